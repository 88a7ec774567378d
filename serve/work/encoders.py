"""Where frames become signed files: in threads beside the renderer, or in processes of their own.

Signing reads and writes through Python, some seventy calls for a picture, each of which has to wait for the
interpreter. Threads that share one slow each other and whoever renders: on a GPU a picture took 2.4 ms with one person
and 122 ms among 32. In a process of its own a picture takes what it takes.
"""

import asyncio
import multiprocessing
import os
import threading
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.connection import wait

import cv2
import numpy as np
import numpy.typing as npt

from serve.errors import Unavailable
from serve.parts import PictureFormat
from serve.work.encoding import encode
from serve.work.provenance import Signer

Pictures = npt.NDArray[np.uint8]

_THREADS = 4


class Encoders:
    """Used on one event loop."""

    def __init__(self, signer: Signer, processes: int) -> None:
        """processes: 0 for threads of this one."""
        self._signer, self._processes = signer, processes
        self._pool = self._make()

    async def start(self) -> None:
        """Processes are there when this is done. Raises BrokenExecutor if they cannot be had."""
        frames = [np.zeros((16, 16, 3), np.uint8)] * max(1, self._processes)
        await self._in(self._pool, frames, "jpeg", 90, False)

    async def encode(
        self, frames: "list[Pictures]", format: PictureFormat, quality: int, visible_mark: bool
    ) -> list[bytes]:
        """Frames HxWx3 uint8 RGB as files: see `serve.work.encoding.encode`.

        A process that was killed is replaced. Raises Unavailable if that one ends as well.
        """
        pool = self._pool
        try:
            return await self._in(pool, frames, format, quality, visible_mark)
        except BrokenExecutor:
            if self._pool is pool:
                pool.shutdown(wait=False, cancel_futures=True)
                self._pool = self._make()
        try:
            return await self._in(self._pool, frames, format, quality, visible_mark)
        except BrokenExecutor as error:
            raise Unavailable("Pictures cannot be encoded now: try again.", "encoders-unavailable") from error

    def close(self) -> None:
        """End threads and processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _in(
        self, pool: Executor, frames: "list[Pictures]", format: PictureFormat, quality: int, visible_mark: bool
    ) -> list[bytes]:
        loop = asyncio.get_running_loop()
        if self._processes:
            calls = [loop.run_in_executor(pool, _encode, frame, format, quality, visible_mark) for frame in frames]
        else:
            calls = [
                loop.run_in_executor(pool, encode, frame, format, quality, self._signer, visible_mark)
                for frame in frames
            ]
        return await asyncio.gather(*calls)

    def _make(self) -> Executor:
        if not self._processes:
            return ThreadPoolExecutor(_THREADS, "encode")
        # Who has CUDA cannot be forked.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._processes, context, _begin, (self._signer,))


_signer: Signer
"""of a process that encodes"""


def _begin(signer: Signer) -> None:
    global _signer
    _signer = signer
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A renderer that is killed takes its processes along."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _encode(frame: Pictures, format: PictureFormat, quality: int, visible_mark: bool) -> bytes:
    return encode(frame, format, quality, _signer, visible_mark)
