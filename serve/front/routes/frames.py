"""One picture of an avatar."""

import asyncio
from typing import Any, Literal, cast

import numpy as np
import pydantic
from fastapi import APIRouter, Request, Response

from raytalk.driving.live import Adapt
from raytalk.errors import AvatarError
from serve.errors import BadRequest, Conflict, NotFound, TooLarge, Unprocessable, WrongMediaType
from serve.front.documents import ByLandmarks, ByPose, schema_of
from serve.front.driving import adapted_once
from serve.front.front import Front, Here, Id, Owner
from serve.front.pictures import check_driving_picture
from serve.front.problems import NotAcceptable, TooSlow, invalid, responses
from serve.front.uploads import media_type, received, small_body
from serve.parts import Landmarks, PersonKey, PictureFormat
from serve.records.record import Avatar

router = APIRouter(prefix="/v1/avatars", tags=["frames"])
_JSON_BYTES = 64 << 10
_FORM_MARGIN = 64 << 10
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_MS = {"schema": {"type": "number"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "additionalProperties": False,
                    "properties": {
                        "image": {
                            "type": "string",
                            "format": "binary",
                            "description": "a driving picture with one face: JPEG, PNG or WebP",
                        },
                        "adapt": {
                            "type": "string",
                            "enum": ["auto", "true", "false"],
                            "default": "auto",
                            "description": "bring the driver's landmarks to the avatar's face",
                        },
                    },
                }
            },
            "application/json": {
                "schema": {"anyOf": [{"$ref": schema_of(ByLandmarks)}, {"$ref": schema_of(ByPose)}]},
                "examples": {
                    "sliders": {"value": {"pose": {"yaw": 12, "mouth": 0.4}}},
                    "landmarks": {
                        "summary": "68 points in pixels of the avatar's resolution",
                        "value": {"landmarks": [[128.0 + number, 128.0] for number in range(68)]},
                    },
                },
            },
        },
    }
}


@router.post(
    "/{id}/frames",
    summary="Render one picture",
    openapi_extra=_BODY,
    response_class=Response,
    responses={
        **responses(BadRequest, Conflict, NotAcceptable, NotFound, TooLarge, TooSlow, Unprocessable, WrongMediaType),
        200: {
            "description": "The avatar, generated; it says so in its C2PA manifest",
            "content": {"image/jpeg": _BINARY, "image/png": _BINARY},
            "headers": {
                "X-Avatar-Mode": {"description": "FF or FT: which version was rendered", "schema": {"type": "string"}},
                "X-Queue-Ms": _MS,
                "X-Render-Ms": _MS,
                "X-Encode-Ms": _MS,
            },
        },
    },
)
async def frame(request: Request, front: Here, owner: Owner, id: Id) -> Response:
    """From a driving picture, from landmarks, or from sliders; JPEG or PNG, whichever `Accept` prefers."""
    format = _wanted(request.headers.get("accept", ""))
    avatar = await front.backend.desk.avatar(owner, id)
    key, mode = version_of(avatar)
    landmarks = await _landmarks(request, front, key)
    quality = front.settings.render.jpeg_quality
    rendered = await front.backend.renderer.render(key, landmarks[None], format, quality)
    front.backend.audit.count(owner, "frame-rendered", id)
    headers = {
        "X-Avatar-Mode": mode,
        "X-Queue-Ms": f"{rendered.queue_ms:.1f}",
        "X-Render-Ms": f"{rendered.render_ms:.1f}",
        "X-Encode-Ms": f"{rendered.encode_ms:.1f}",
        "Vary": "Accept",
    }
    return Response(rendered.pictures[0], media_type=f"image/{format}", headers=headers)


def version_of(avatar: Avatar) -> tuple[PersonKey, Literal["FF", "FT"]]:
    """What renders now. Raises Conflict (`not-ready`) if nothing does yet."""
    if avatar.version is None:
        if avatar.state == "failed":
            raise Conflict("making this avatar has failed: its record says why", "failed")
        raise Conflict("nothing can be rendered yet: wait for preview_ready", "not-ready", {"Retry-After": "2"})
    return PersonKey(avatar.id, avatar.version.folder), avatar.version.mode


async def _landmarks(request: Request, front: Front, key: PersonKey) -> Landmarks:
    """[68, 2] in pixels of the avatar's resolution."""
    kind = media_type(request)
    if kind == "application/json":
        return await _from_json(front, key, await small_body(request, _JSON_BYTES))
    if kind == "multipart/form-data":
        most = front.settings.limits.frame_bytes
        async with received(request, {"image": most}, frozenset({"adapt"}), most + _FORM_MARGIN) as form:
            images = form.of("image")
            if len(images) != 1:
                raise Unprocessable("send one 'image'", "image-missing", extra={"field": "image"})
            adapt = form.texts.get("adapt", "auto")
            data = await asyncio.to_thread(images[0].path.read_bytes)
        if adapt not in ("auto", "true", "false"):
            raise Unprocessable("'adapt' is auto, true or false", "adapt", extra={"field": "adapt"})
        return await _from_picture(front, key, data, cast(Adapt, adapt))
    raise WrongMediaType("send multipart/form-data with an image, or application/json", "body-type")


async def _from_json(front: Front, key: PersonKey, body: bytes) -> Landmarks:
    try:
        # Which of the two is meant is told by its member, so that messages are about that one.
        given = ByPose.model_validate_json(body) if b'"pose"' in body[:4096] else ByLandmarks.model_validate_json(body)
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        if any(item["type"] == "json_invalid" for item in found):
            raise BadRequest("the body is no JSON", "not-json") from None
        raise invalid(found) from None
    if isinstance(given, ByLandmarks):
        return np.asarray(given.landmarks, np.float32)
    face = await front.backend.renderer.face(key)
    try:
        return await front.moved(front.posers.posed, key.id, face, given.pose.pose())
    except AvatarError as error:
        raise Conflict(str(error), "no-face-kept") from None


async def _from_picture(front: Front, key: PersonKey, data: bytes, adapt: Adapt) -> Landmarks:
    await front.moved(check_driving_picture, data, front.settings.limits.video_pixels)
    found = await front.backend.faces.landmarks(data)
    face = await front.backend.renderer.face(key)
    try:
        return await front.moved(adapted_once, face, found, adapt)
    except AvatarError as error:
        raise Conflict(str(error), "no-face-kept") from None


def _wanted(accept: str) -> PictureFormat:
    """By the client's preference; JPEG where it has none. Raises NotAcceptable."""
    best: tuple[float, PictureFormat] | None = None
    for part in accept.split(",") if accept.strip() else ["*/*"]:
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        format: PictureFormat | None
        format = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/*": "jpeg", "*/*": "jpeg"}.get(
            kind
        )  # type: ignore[assignment]
        if format is not None and weight > 0 and (best is None or weight > best[0]):
            best = (weight, format)
    if best is None:
        raise NotAcceptable("image/jpeg and image/png can be made")
    return best[1]
