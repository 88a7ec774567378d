"""Videos of avatars: ordered, followed, fetched, deleted."""

from datetime import UTC, datetime
from typing import Any, Literal, cast

from fastapi import APIRouter, Request, Response

from serve.errors import BadRequest, Conflict, NotFound, TooLarge, Unprocessable, WrongMediaType
from serve.footage import check_track, check_video
from serve.front.documents import FilmDocument, FilmsDocument, film_document
from serve.front.front import Front, Here, Id, Owner
from serve.front.names import idempotency_key
from serve.front.problems import TooSlow, responses
from serve.front.ranges import Unsatisfiable, film_response
from serve.front.routes.avatars import Key, about, accepted, root_of
from serve.front.uploads import Form, kept_whole, received, to_the_end
from serve.records.record import Film

router = APIRouter(tags=["videos"])
_TRACK_BYTES = 16 << 20
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "video": {
                            "type": "string",
                            "format": "binary",
                            "description": "whose face drives: MP4, MOV or WebM; its sound is kept; this or track",
                        },
                        "track": {
                            "type": "string",
                            "format": "binary",
                            "description": "a kept track (.npz) of jobs/puppeteer.py; this or video",
                        },
                        "adapt": {
                            "type": "string",
                            "enum": ["auto", "true", "false"],
                            "default": "auto",
                            "description": "bring the driver's face to the avatar's; auto: unless both are one person",
                        },
                    },
                }
            }
        },
    }
}
_LOCATION = {"Location": {"description": "of the video", "schema": {"type": "string"}}}
_BINARY = {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}
_FILM: dict[int | str, dict[str, Any]] = {
    200: {"description": "An MP4, generated; it says so in its C2PA manifest", "content": _BINARY},
    206: {"description": "The part of it that Range asks for", "content": _BINARY},
}


@router.post(
    "/v1/avatars/{id}/videos",
    status_code=202,
    summary="Make a video",
    openapi_extra=_FORM,
    response_model=FilmDocument,
    responses={
        **responses(BadRequest, Conflict, NotFound, TooLarge, TooSlow, Unprocessable, WrongMediaType),
        202: {"headers": _LOCATION, "description": "Accepted and kept"},
    },
)
async def make(request: Request, front: Here, owner: Owner, id: Id, key: Key = None) -> Response:
    """The avatar does what the face of a driving video does."""
    word = idempotency_key(key)
    limits = front.settings.limits
    files = {"video": limits.video_bytes, "track": _TRACK_BYTES}
    # Whose it is comes before what is sent.
    await front.backend.desk.avatar(owner, id)
    with front.uploads.one(owner, "too-many-uploads", "uploads"):
        async with received(request, files, frozenset({"adapt"}), limits.upload_bytes) as form:
            film = await _kept(front, owner, id, form)
            # If this fails, the desk deletes the driver.
            kept, new = await front.backend.desk.accept_film(film, word, form.digest("film", id))
    if new:
        front.backend.metrics.add("uploaded_bytes", sum(upload.size for upload in form.files))
    return accepted(film_document(kept, root_of(request)), new)


@router.get("/v1/avatars/{id}/videos", summary="The videos of an avatar", responses=responses(NotFound))
async def films(request: Request, front: Here, owner: Owner, id: Id) -> FilmsDocument:
    """The newest first."""
    found = await front.backend.desk.films(owner, id)
    return FilmsDocument(videos=[film_document(film, root_of(request)) for film in found])


@router.get("/v1/videos/{id}", summary="One video", responses=responses(NotFound))
async def film(request: Request, front: Here, owner: Owner, id: Id) -> FilmDocument:
    """State and progress."""
    return film_document(await front.backend.desk.film(owner, id), root_of(request))


@router.delete("/v1/videos/{id}", status_code=204, summary="Delete a video", responses=responses(NotFound))
async def delete(front: Here, owner: Owner, id: Id) -> None:
    """It and what drove it are gone when this is answered."""
    await front.backend.desk.delete_film(owner, id)


@router.get(
    "/v1/videos/{id}/film.mp4",
    summary="The film",
    response_class=Response,
    responses={**responses(Conflict, NotFound, Unsatisfiable), **_FILM},
)
async def fetch(request: Request, front: Here, owner: Owner, id: Id) -> Response:
    """Answers to Range, so that players can seek."""
    found = await front.backend.desk.film(owner, id)
    if found.state == "failed":
        raise Conflict("making this video has failed: its record says why", "failed")
    if found.state != "ready":
        raise Conflict("the video is not made yet", "not-ready", {"Retry-After": "5"})
    return await film_response(front.backend.store, id, request.headers.get("range", ""))


async def _kept(front: Front, owner: str, avatar: str, form: Form) -> Film:
    """The record of a new video, whose driver lies in storage."""
    adapt = form.texts.get("adapt", "auto")
    if adapt not in ("auto", "true", "false"):
        raise Unprocessable("'adapt' is auto, true or false", "adapt", extra={"field": "adapt"})
    if len(form.files) != 1:
        detail = "send one 'video' or one 'track' that drives"
        raise Unprocessable(detail, "video-or-track", extra={"field": "video"})
    driver, limits = form.files[0], front.settings.limits
    label = driver.label or driver.field
    with about(driver.field):
        if driver.field == "video":
            await front.decoded(check_video, driver.path, label, limits.video_pixels, limits.video_seconds)
        else:
            await front.decoded(check_track, driver.path, label, limits.video_seconds)
    store, now = front.backend.store, datetime.now(UTC)
    id, file = store.new_id(), "driver.bin" if driver.field == "video" else "driver.npz"
    async with kept_whole(front.backend.store.discard_film, id):
        await to_the_end(store.put_film_driver, id, file, driver.path)
    return Film(
        id=id,
        owner=owner,
        avatar=avatar,
        state="queued",
        created_at=now,
        changed_at=now,
        adapt=cast(Literal["auto", "true", "false"], adapt),
        driver=file,
    )
