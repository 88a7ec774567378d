"""How many people a running service drives at once, how fast, and what the service itself adds: real WebSockets.

    serve run serve.app:app storage=/tmp/people checkpoint=/tmp/people/model limits.live=64 render.people=64 &
    python benchmarks/serve.py url=http://127.0.0.1:8000 people=1,8,32 rate=25 seconds=20

Every person is driven over a connection of their own by the sample track of the page, at `rate` messages a second
whatever comes back, as a webcam would. People are the avatars of the service that can be driven, or those of
`avatars=`; `python -m benchmarks.serve_people` writes some into an empty storage. `pictures=` drives by JPEG pictures,
whose landmarks the service has to find. Times are those that the service states with every picture; "front" is what is
left of them without detection, rendering, encoding and waiting for the device. Prints a table.
"""

import asyncio
import json
import random
import struct
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import websockets
from pydantic import Field

from raytalk.config import JobSettings, parse_command_line
from raytalk.errors import SettingsError

# This file's own name hides the package: nothing of it is imported.
_SAMPLE = Path(__file__).resolve().parents[1] / "serve" / "page" / "sample.json"
_OPEN_SECONDS = 300.0
"""until a person is loaded"""
_PARTS = ("detect_ms", "render_ms", "encode_ms", "wait_ms")


class ServeSettings(JobSettings):
    """What to ask of a running service."""

    url: str = "http://127.0.0.1:8000"
    """of the service"""
    key: str = ""
    """API key, if it asks for one"""
    people: str = "1"
    """how many at once, one number or several with commas between them"""
    avatars: str = ""
    """ids with commas between them; empty: all that can be driven, the newest first"""
    mode: Literal["", "FF", "FT"] = ""
    """drive only avatars that render so now"""
    rate: float = Field(25.0, gt=0)
    """driving messages per second and person"""
    seconds: float = Field(20.0, gt=0)
    """of measuring"""
    warm_up: float = Field(3.0, ge=0)
    """seconds before it"""
    adapt: Literal["auto", "true", "false"] = "auto"
    """bring the driver's landmarks to the avatar's face"""
    smooth: Literal["none", "light"] = "none"
    """filter them against jitter"""
    pictures: str = ""
    """a folder of JPEG pictures that drive instead of landmarks"""
    form: Literal["table", "json"] = "table"
    """of what is printed"""


@dataclass
class Heard:
    """What came back on one connection while it was measured."""

    heads: list[dict[str, float]] = field(default_factory=list)
    """of the pictures, with `round_trip_ms` and `bytes`"""
    sent: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    """by their code, or by how the connection ended"""


def main(settings: ServeSettings) -> None:
    """Print a table. Raises SettingsError if there are too few people or the service is not there."""
    counts = [int(count) for count in settings.people.split(",")]
    ids = settings.avatars.split(",") if settings.avatars else _drivable(settings)
    if max(counts) > len(ids):
        raise SettingsError(f"people={settings.people}, but {len(ids)} avatars can be driven there: make more")
    messages = _messages(settings)
    rows = []
    for count in counts:
        heard = asyncio.run(_measure(settings, ids[:count], messages))
        rows.append(summary(count, settings.rate, settings.seconds, heard))
        print(f"{count} people: {rows[-1]}", file=sys.stderr, flush=True)
    print(json.dumps(rows, indent=2) if settings.form == "json" else table(rows))


def summary(count: int, rate: float, seconds: float, heard: Sequence[Heard]) -> dict[str, Any]:
    """A row: pictures per second of each person, and milliseconds over all pictures."""
    speeds = sorted(len(each.heads) / seconds for each in heard)
    heads = [head for each in heard for head in each.heads]

    def quantiles(values: list[float]) -> list[float]:
        return [round(float(value), 2) for value in np.quantile(values, [0.5, 0.95, 0.99])] if values else []

    middle = {part: quantiles([head[part] for head in heads])[:1] for part in _PARTS}
    front = [head["server_ms"] - sum(head[part] for part in _PARTS) for head in heads]
    # Counted by the service since the connection began.
    skipped = sum(each.heads[-1]["skipped"] - each.heads[0]["skipped"] for each in heard if each.heads)
    return {
        "people": count,
        "rate": rate,
        "frames/s": [round(speeds[0], 1), round(float(np.median(speeds)), 1), round(speeds[-1], 1)],
        "server_ms": quantiles([head["server_ms"] for head in heads]),
        "round_trip_ms": quantiles([head["round_trip_ms"] for head in heads]),
        **{part: values[0] if values else None for part, values in middle.items()},
        "front_ms": quantiles(front),
        "kB": round(float(np.mean([head["bytes"] for head in heads])) / 1e3, 1) if heads else None,
        "sent": sum(each.sent for each in heard),
        "skipped": int(skipped),
        "problems": dict(sum((each.problems for each in heard), Counter())),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| people | asked for | frames/s: least, median, most | server ms: p50, p95, p99 | round trip ms | detect "
        "| render | encode | wait | front ms: p50, p95, p99 | kB | skipped | problems |",
        "|" + "---|" * 13,
    ]
    for row in rows:
        triples = [", ".join(f"{value:g}" for value in row[key]) for key in ("frames/s", "server_ms", "round_trip_ms")]
        parts = [f"{row[part]:g}" if row[part] is not None else "" for part in _PARTS]
        front = ", ".join(f"{value:g}" for value in row["front_ms"])
        problems = ", ".join(f"{count} {code}" for code, count in row["problems"].items()) or "none"
        skipped = f"{row['skipped']} of {row['sent']}"
        cells = [row["people"], f"{row['rate']:g}", *triples, *parts, front, row["kB"], skipped, problems]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


async def _measure(settings: ServeSettings, ids: Sequence[str], messages: Sequence[Any]) -> list[Heard]:
    heard = [Heard() for _ in ids]
    ready = [asyncio.Event() for _ in ids]
    begin = asyncio.get_running_loop().create_future()
    tasks = [
        asyncio.create_task(_drive(settings, id, messages, own, opened, begin))
        for id, own, opened in zip(ids, heard, ready, strict=True)
    ]
    opening = [asyncio.create_task(opened.wait()) for opened in ready]
    await asyncio.wait({*opening}, timeout=_OPEN_SECONDS)
    begin.set_result(time.perf_counter())
    await asyncio.gather(*tasks)
    return heard


async def _drive(
    settings: ServeSettings, id: str, messages: Sequence[Any], heard: Heard, opened: asyncio.Event, begin: Any
) -> None:
    protocols: list[Any] = ["raytalk.v1", *([f"bearer.{settings.key}"] if settings.key else [])]
    url = f"{settings.url.replace('http', 'ws', 1)}/v1/avatars/{id}/live"
    drive = "picture" if settings.pictures else "landmarks"
    start = {"type": "start", "drive": drive, "adapt": settings.adapt, "smooth": settings.smooth}
    try:
        async with websockets.connect(url, subprotocols=protocols, max_size=None, compression=None) as socket:
            await socket.send(json.dumps(start | {"width": 256, "height": 256}))
            while json.loads(await asyncio.wait_for(socket.recv(), _OPEN_SECONDS))["type"] != "ready":
                pass
            opened.set()
            began = await begin
            from_, until = began + settings.warm_up, began + settings.warm_up + settings.seconds
            sent: dict[int, float] = {}
            listening = asyncio.create_task(_listen(socket, sent, heard, from_, until))
            # Nobody's webcam ticks with another's.
            next_, number = began + random.uniform(0, 1 / settings.rate), 0
            while next_ < until and not listening.done():
                await asyncio.sleep(max(0.0, next_ - time.perf_counter()))
                sent[number] = time.perf_counter()
                heard.sent += from_ <= sent[number] < until
                await socket.send(_numbered(messages[number % len(messages)], number))
                number, next_ = number + 1, next_ + 1 / settings.rate
            await listening
    except (OSError, websockets.WebSocketException, TimeoutError) as error:
        heard.problems[_name(error)] += 1
    finally:
        opened.set()


async def _listen(socket: Any, sent: dict[int, float], heard: Heard, from_: float, until: float) -> None:
    """Until the time is over; pictures that come before or after it do not count."""
    while (left := until - time.perf_counter()) > 0:
        try:
            message = await asyncio.wait_for(socket.recv(), left)
        except TimeoutError:
            return
        now = time.perf_counter()
        if now < from_:
            continue
        if isinstance(message, bytes):
            length = int.from_bytes(message[:4], "big")
            head = json.loads(message[4 : 4 + length])
            trip = (now - sent.pop(head["n"])) * 1e3
            heard.heads.append(head | {"round_trip_ms": trip, "bytes": len(message) - 4 - length})
        else:
            said = json.loads(message)
            if said["type"] == "problem":
                heard.problems[said["code"]] += 1


def _name(error: Exception) -> str:
    if isinstance(error, websockets.ConnectionClosed) and error.rcvd is not None:
        return f"closed {error.rcvd.code} {error.rcvd.reason}".strip()
    return f"{type(error).__name__}: {error}"[:80]


def _messages(settings: ServeSettings) -> list[Any]:
    """What drives, made before: JPEG pictures, or what a message of landmarks says after its number."""
    if settings.pictures:
        files = sorted(path for path in Path(settings.pictures).iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
        if not files:
            raise SettingsError(f"pictures={settings.pictures} holds no JPEG pictures")
        return [file.read_bytes() for file in files]
    return [json.dumps(frame, separators=(",", ":")) for frame in json.loads(_SAMPLE.read_text())["frames"]]


def _numbered(message: Any, number: int) -> Any:
    now = int(time.perf_counter() * 1e3) & 0xFFFFFFFF
    if isinstance(message, bytes):
        return struct.pack(">II", number, now) + message
    return f'{{"type":"landmarks","n":{number},"t":{now},"points":{message}}}'


def _drivable(settings: ServeSettings) -> list[str]:
    ids: list[str] = []
    after = ""
    while True:
        request = urllib.request.Request(f"{settings.url}/v1/avatars?limit=100&after={after}")
        if settings.key:
            request.add_header("Authorization", f"Bearer {settings.key}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                page = json.load(answer)
        except OSError as error:
            raise SettingsError(f"{settings.url} does not answer ({error}): give url= of a running service") from None
        for avatar in page["avatars"]:
            if avatar["version"] and settings.mode in ("", avatar["version"]):
                ids.append(avatar["id"])
        after = page["next"]
        if not after:
            return ids


if __name__ == "__main__":
    main(parse_command_line(ServeSettings, sys.argv[1:], __doc__ or ""))
