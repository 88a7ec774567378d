"""What is said over a live connection: JSON texts, and binary messages with a head.

A driving picture is 4 bytes sequence number, 4 bytes milliseconds of the client (both unsigned, big-endian), JPEG. A
rendered picture is 4 bytes length of a JSON head (big-endian), the head, JPEG.
"""

import json
import struct
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from serve.errors import BadRequest
from serve.front.documents import Points, PoseGiven
from serve.parts import Landmarks

TEXT_BYTES = 32 << 10
_HEAD = struct.Struct(">II")
_Count = Annotated[int, pydantic.Field(ge=0, lt=1 << 32)]


class _Message(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class Start(_Message):
    """The first message of a client; sent again it changes how it goes on."""

    type: Literal["start"]
    drive: Literal["picture", "landmarks", "pose"]
    adapt: Literal["auto", "true", "false"] = "auto"
    """bring the driver's landmarks to the avatar's face"""
    smooth: Literal["none", "light"] = "none"
    width: Annotated[int, pydantic.Field(ge=1, le=16384)] | None = None
    """of the pictures that landmarks come from, pixels"""
    height: Annotated[int, pydantic.Field(ge=1, le=16384)] | None = None
    window: Annotated[int, pydantic.Field(ge=0, le=64)] = 0
    """so many pictures may be on the way that the client has not said `shown` of; 0: as many as the connection takes.
    With proxies in between that store what they cannot pass on, only this keeps a slow client near the present."""


class Shown(_Message):
    """The client has shown this picture, and all before it."""

    type: Literal["shown"]
    n: _Count


class _LandmarksGiven(_Message):
    type: Literal["landmarks"]
    n: _Count
    t: _Count = 0
    points: Points


class _PoseMessage(_Message):
    type: Literal["pose"]
    n: _Count
    t: _Count = 0
    pose: PoseGiven


@dataclass(frozen=True, eq=False)
class Driving:
    """One driving message."""

    n: int
    """sequence number of the client"""
    t: int
    """milliseconds of the client's clock"""
    what: "bytes | Landmarks | PoseGiven"
    """a JPEG, landmarks [68, 2], or sliders"""

    @property
    def drive(self) -> str:
        """As in `Start`."""
        return (
            "picture" if isinstance(self.what, bytes) else "pose" if isinstance(self.what, PoseGiven) else "landmarks"
        )


_TEXTS: pydantic.TypeAdapter[Start | Shown | _LandmarksGiven | _PoseMessage] = pydantic.TypeAdapter(
    Annotated[Start | Shown | _LandmarksGiven | _PoseMessage, pydantic.Field(discriminator="type")]
)


def read_text(text: str) -> Start | Shown | Driving:
    """A text of a client. Raises BadRequest (`bad-message`)."""
    if len(text) > TEXT_BYTES:
        raise BadRequest(f"texts have at most {TEXT_BYTES} characters", "bad-message")
    try:
        message = _TEXTS.validate_json(text)
    except (pydantic.ValidationError, RecursionError) as error:
        listed = (
            error.errors(include_url=False, include_input=False) if isinstance(error, pydantic.ValidationError) else []
        )
        said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in listed[:3])
        raise BadRequest(f"a message that cannot be read: {said[:300]}", "bad-message") from None
    if isinstance(message, _LandmarksGiven):
        return Driving(message.n, message.t, np.asarray(message.points, np.float32))
    if isinstance(message, _PoseMessage):
        return Driving(message.n, message.t, message.pose)
    return message


def read_binary(data: bytes, most: int) -> Driving:
    """A driving picture, not looked at. Raises BadRequest (`bad-message`, `message-too-large`)."""
    if len(data) <= _HEAD.size:
        raise BadRequest("a driving picture has 8 bytes of head and a JPEG", "bad-message")
    if len(data) > most + _HEAD.size:
        raise BadRequest(f"a driving picture has at most {most} bytes: make it smaller", "message-too-large")
    n, t = _HEAD.unpack_from(data)
    return Driving(n, t, bytes(data[_HEAD.size :]))


def packed(head: dict[str, Any], jpeg: bytes) -> bytes:
    """A rendered picture as it is sent."""
    text = json.dumps(head, separators=(",", ":")).encode()
    return struct.pack(">I", len(text)) + text + jpeg


def unpacked(message: bytes) -> tuple[dict[str, Any], bytes]:
    """Head and JPEG of what `packed` made: for clients in Python."""
    length = int.from_bytes(message[:4], "big")
    return json.loads(message[4 : 4 + length]), message[4 + length :]
