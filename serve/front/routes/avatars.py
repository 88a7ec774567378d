"""Avatars: made, listed, looked at, deleted."""

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import Annotated, Any, cast

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from raytalk.faces.photographs import MOST
from serve.errors import BadRequest, Conflict, NotFound, TooLarge, Unprocessable, WrongMediaType
from serve.footage import check_video
from serve.front.documents import AvatarDocument, AvatarsDocument, avatar_document
from serve.front.front import Front, Here, Id, Owner
from serve.front.names import consent_statement, idempotency_key, person_name
from serve.front.pictures import kept_photograph
from serve.front.problems import TooSlow, responses
from serve.front.uploads import Form, Upload, kept_whole, received, to_the_end
from serve.records.record import Avatar, Mode, Photo

router = APIRouter(prefix="/v1/avatars", tags=["avatars"])
_TEXTS = frozenset({"name", "mode", "consent"})
JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}, "description": "A JPEG"}
}
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["name", "consent"],
                    "additionalProperties": False,
                    "properties": {
                        "photos": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": MOST,
                            "items": {"type": "string", "format": "binary"},
                            "description": "photographs of one person: JPEG, PNG, WebP, HEIC; this or video",
                        },
                        "video": {
                            "type": "string",
                            "format": "binary",
                            "description": "a short video of the person: MP4, MOV or WebM; this or photos",
                        },
                        "name": {"type": "string", "minLength": 1, "maxLength": 80, "examples": ["Ada"]},
                        "mode": {
                            "type": "string",
                            "enum": ["FF", "FT"],
                            "default": "FT",
                            "description": "FF: feed-forward, ready at once; FT: fine-tuned after that",
                        },
                        "consent": {
                            "type": "string",
                            "minLength": 1,
                            "maxLength": 2000,
                            "description": "what the person has agreed to; true if that is on record elsewhere",
                            "examples": ["I agree that an avatar of me is made for this demonstration."],
                        },
                    },
                }
            }
        },
    }
}
_MADE = {
    "Location": {"description": "of the avatar", "schema": {"type": "string"}},
    "Idempotent-Replayed": {
        "description": "true if this key was used for the same request before; nothing new was made",
        "schema": {"type": "string"},
    },
}
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Any word of 1 to 200 characters: the same request sent again with it makes nothing twice",
        examples=["5b2c7d1e"],
    ),
]


@router.post(
    "",
    status_code=202,
    summary="Make an avatar",
    openapi_extra=_FORM,
    response_model=AvatarDocument,
    responses={
        **responses(BadRequest, Conflict, TooLarge, TooSlow, WrongMediaType, Unprocessable),
        202: {"headers": _MADE, "description": "Accepted and kept: it is made, whatever happens to this service"},
    },
)
async def make(request: Request, front: Here, owner: Owner, key: Key = None) -> Response:
    """Photographs or a short video of one person, a name, and the statement of consent.

    The feed-forward version can be driven within seconds (`preview_ready`), the fine-tuned one follows.
    """
    word = idempotency_key(key)
    limits = front.settings.limits
    files = {"photos": limits.photo_bytes, "video": limits.video_bytes}
    with front.uploads.one(owner, "too-many-uploads", "uploads"):
        async with received(request, files, _TEXTS, limits.upload_bytes) as form:
            avatar = await _kept(front, owner, form)
            # If this fails, the desk deletes the material: nobody else knows whether it was taken up.
            kept, new = await front.backend.desk.accept_avatar(avatar, word, form.digest("avatar"))
    if new:
        front.backend.metrics.add("uploaded_bytes", sum(upload.size for upload in form.files))
    return accepted(avatar_document(kept, root_of(request)), new)


@router.get("", summary="Your avatars, the newest first", responses=responses(BadRequest, Unprocessable))
async def avatars(
    request: Request,
    front: Here,
    owner: Owner,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str, Query(max_length=200, description="`next` of the page before")] = "",
) -> AvatarsDocument:
    """A page of them."""
    found, cursor = await front.backend.desk.avatars(owner, limit, after)
    return AvatarsDocument(avatars=[avatar_document(avatar, root_of(request)) for avatar in found], next=cursor)


@router.get("/{id}", summary="One avatar", responses=responses(NotFound))
async def avatar(request: Request, front: Here, owner: Owner, id: Id) -> AvatarDocument:
    """State, progress, what became of each photograph."""
    return avatar_document(await front.backend.desk.avatar(owner, id), root_of(request))


@router.delete("/{id}", status_code=204, summary="Delete an avatar", responses=responses(NotFound))
async def delete(front: Here, owner: Owner, id: Id) -> None:
    """Everything of that person is gone from storage when this is answered, its videos too."""
    await front.backend.desk.delete_avatar(owner, id)


@router.get(
    "/{id}/preview.jpg",
    summary="The person as rendered now",
    response_class=Response,
    responses={**responses(NotFound), **JPEG},
)
async def preview(front: Here, owner: Owner, id: Id) -> Response:
    """It is replaced while the avatar is learned: `links.preview` changes then. A query v= is ignored."""
    await front.backend.desk.avatar(owner, id)
    return _jpeg(await asyncio.to_thread(front.backend.store.read_picture, id, "preview"))


@router.get(
    "/{id}/crops/{number}.jpg",
    summary="What was found in a photograph",
    response_class=Response,
    responses={**responses(NotFound), **JPEG},
)
async def crop(front: Here, owner: Owner, id: Id, number: Annotated[str, Path(pattern="^[0-9]{1,3}$")]) -> Response:
    """The crop, and beside it the drawing of its landmarks. number: of the photograph, from 0."""
    photos = (await front.backend.desk.avatar(owner, id)).photos
    name = photos[int(number)].crop if number.isascii() and number.isdigit() and int(number) < len(photos) else ""
    if not name:
        raise NotFound("there is no such crop")
    return _jpeg(await asyncio.to_thread(front.backend.store.read_picture, id, "crop", name))


def accepted(document: Any, new: bool) -> Response:
    """202 with the place of what was accepted."""
    headers = {"Location": document.links.self} | ({} if new else {"Idempotent-Replayed": "true"})
    return JSONResponse(document.model_dump(mode="json"), 202, headers)


def root_of(request: Request) -> str:
    """What stands before /v1 in the service's URLs."""
    return str(request.scope.get("root_path", "")).rstrip("/")


async def _kept(front: Front, owner: str, form: Form) -> Avatar:
    """The record of a new avatar, whose material lies in storage."""
    now = datetime.now(UTC)
    name = person_name(form.texts.get("name", ""))
    consent = consent_statement(form.texts.get("consent", ""), now.date().isoformat())
    mode = form.texts.get("mode", "").strip() or "FT"
    if mode not in ("FF", "FT"):
        raise Unprocessable("'mode' is FF or FT", "mode", extra={"field": "mode"})
    photos, videos = form.of("photos"), form.of("video")
    if bool(photos) == bool(videos) or len(videos) > 1:
        detail = "send 'photos' (one or more) or one 'video', not both"
        raise Unprocessable(detail, "photos-or-video", extra={"field": "photos"})
    if len(photos) > MOST:
        raise Unprocessable(f"at most {MOST} photographs are taken", "too-many-photos", extra={"field": "photos"})
    id = front.backend.store.new_id()
    async with kept_whole(front.backend.store.discard, id):
        material = await (_keep_photographs(front, id, photos) if photos else _keep_video(front, id, videos[0]))
    return Avatar(
        id=id,
        owner=owner,
        name=name,
        mode=cast(Mode, mode),
        state="queued",
        consent=consent,
        created_at=now,
        changed_at=now,
        material="photos" if photos else "video",
        photos=material,
    )


async def _keep_photographs(front: Front, id: str, photos: list[Upload]) -> tuple[Photo, ...]:
    store, most = front.backend.store, front.settings.limits.photo_pixels
    kept: list[Photo] = []
    for number, upload in enumerate(photos):
        label = upload.label or f"photo {number + 1}"
        with about(upload.field):
            jpeg = await front.decoded(kept_photograph, upload.path, label, most)
        kept.append(Photo(file=f"{number:03d}.jpg", label=label))
        await to_the_end(store.put_material, id, kept[-1].file, jpeg)
    return tuple(kept)


async def _keep_video(front: Front, id: str, upload: Upload) -> tuple[Photo, ...]:
    limits, label = front.settings.limits, upload.label or "video"
    with about(upload.field):
        await front.decoded(check_video, upload.path, label, limits.video_pixels, limits.video_seconds)
    await to_the_end(front.backend.store.put_material, id, "000.bin", upload.path)
    return (Photo(file="000.bin", label=label),)


@contextlib.contextmanager
def about(field: str) -> Any:
    """Problems of the block tell which field of the form they are about."""
    try:
        yield
    except (WrongMediaType, TooLarge, Unprocessable) as problem:
        problem.extra.setdefault("field", field)
        raise


def _jpeg(data: bytes) -> Response:
    return Response(data, media_type="image/jpeg")
