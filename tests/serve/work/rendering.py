"""What tests of rendering share: who there is, and a renderer of them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from avatar.toy_avatar import landmarks

from serve.errors import Problem
from serve.parts import PersonKey
from serve.records.store import Store
from serve.settings import RenderSettings, ServiceSettings
from serve.work.renderer import Renderer

POINTS = landmarks(3)
FF, FT = (
    [PersonKey(f"{kind}{number:031x}", folder) for number in range(6)] for kind, folder in ((0, "ff"), (1, "ft-1"))
)


def renderer(store: Store, run: Path, note: Any = None, **settings: Any) -> Renderer:
    wanted = ServiceSettings(device="cpu", render=RenderSettings(**settings))
    return Renderer(store, str(run), wanted, *([note] if note else []))


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))[..., ::-1].astype(int)


def in_loop(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(work(), 60)

    asyncio.run(main())


async def code_of(work: Awaitable[Any]) -> tuple[type[Problem], str]:
    try:
        await work
    except Problem as problem:
        return type(problem), problem.code
    raise AssertionError("nothing was wrong")
