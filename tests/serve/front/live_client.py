"""A client of live driving, as a page is one."""

import io
import json
import time
from typing import Any

from PIL import Image
from toy import face_landmarks
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from serve.front.live_messages import unpacked
from tests.serve.front.fakes import Service

POINTS = face_landmarks(200).tolist()


def opened(service: Service, id: str, key: str | None = None, **options: Any) -> ClientConnection:
    """A connection as a page makes it."""
    key = service.keys["ada"] if key is None else key
    url = f"{service.url.replace('http', 'ws')}/v1/avatars/{id}/live"
    protocols: Any = ["raytalk.v1", *([f"bearer.{key}"] if key else [])]
    return connect(url, subprotocols=protocols, max_size=None, ping_interval=None, **options)


def text(socket: ClientConnection, **message: Any) -> None:
    socket.send(json.dumps(message))


def begin(socket: ClientConnection, drive: str = "landmarks", **more: Any) -> dict[str, Any]:
    text(socket, type="start", drive=drive, **more)
    return said(socket)


def said(socket: ClientConnection, seconds: float = 10.0) -> dict[str, Any]:
    """The next text."""
    message = socket.recv(seconds)
    assert isinstance(message, str), message[:100]
    document: dict[str, Any] = json.loads(message)
    return document


def shown(socket: ClientConnection, seconds: float = 10.0) -> dict[str, Any]:
    """The head of the next picture, which is one."""
    message = socket.recv(seconds)
    assert isinstance(message, bytes), message
    head, jpeg = unpacked(message)
    assert Image.open(io.BytesIO(jpeg)).format == "JPEG"
    return head


def drive(socket: ClientConnection, n: int, **more: Any) -> None:
    text(socket, type="landmarks", n=n, t=7 * n, points=POINTS, **more)


def closed_with(socket: ClientConnection, seconds: float = 10.0) -> tuple[int, str]:
    """Code and reason of the end, whatever comes before it."""
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            socket.recv(seconds)
    except ConnectionClosed as closed:
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")
    raise AssertionError("still open")
