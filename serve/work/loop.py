"""A worker's life: it takes a job, says how far it is, and ends it one way or the other.

The handler runs in a thread of its own and talks to the desk through a `Report`. Whatever happens, what an attempt
wrote and the desk did not take is taken away again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from raytalk.errors import FaceError, StorageError, VideoError
from serve.errors import Problem
from serve.records.desk_protocol import Desk
from serve.records.record import Change, Job, JobKind
from serve.work.report import Hold, Report, Stopped

_log = logging.getLogger("raytalk.serve.work")

_Answer = TypeVar("_Answer")
_LONGEST_PAUSE = 10.0
"""seconds between two attempts to reach a desk that does not answer"""


class Handler(Protocol):
    """Does jobs of one kind, one at a time; plain and synchronous."""

    @property
    def kind(self) -> JobKind: ...

    def do(self, job: Job, report: Report) -> Change:
        """The work; returns what the desk is told with `finish`.

        Raises Stopped as `report` does, FaceError, VideoError or a Problem below 500 for material that cannot be used,
        and anything else for what may go better with another try.
        """
        ...

    def kept(self, job: Job) -> None:
        """The desk has taken what was done: tidy up."""
        ...

    def lost(self, job: Job) -> None:
        """It has not: take away what this attempt wrote, unless somebody else counts on it."""
        ...


async def work(desk: Desk, handler: Handler, worker: str, lease_s: float, wait_s: float = 5.0) -> None:
    """Take jobs and do them until cancelled; then the job at hand is given back.

    worker: name, for the records; lease_s: as the desk's; wait_s: of one question for a job, short since the desk may
    answer one of a worker that was killed meanwhile. A desk that does not answer is asked again.
    """
    with ThreadPoolExecutor(1, thread_name_prefix=f"raytalk-{handler.kind}") as thread:
        while True:
            job = await _patiently(lambda: desk.take(handler.kind, worker, wait_s), f"{worker}: no job")
            if job is not None:
                await work_on(desk, handler, job, lease_s, thread)


async def work_on(desk: Desk, handler: Handler, job: Job, lease_s: float, thread: ThreadPoolExecutor) -> None:
    """One job from begin to end. Raises nothing but CancelledError."""
    loop = asyncio.get_running_loop()
    hold = Hold(desk, job.token, lease_s, loop)
    alive = asyncio.create_task(hold.keep_alive())
    doing = loop.run_in_executor(thread, handler.do, job, hold.report)

    async def end(call: Callable[[], Awaitable[bool]]) -> bool:
        """Tell the desk, however long it takes while the job is ours."""

        async def told() -> bool:
            await hold.flush()
            return await call()

        return bool(await _patiently(told, f"{handler.kind} {job.id}: not ended", lambda: hold.lost))

    async def give_up(call: Callable[[], Awaitable[bool]] | None) -> None:
        await loop.run_in_executor(thread, _taken_away, handler, job)
        if call is not None and not hold.lost:
            await end(call)

    try:
        change = await asyncio.shield(doing)
        if await end(lambda: desk.finish(job.token, change)):
            await loop.run_in_executor(thread, _tidied, handler, job)
        else:
            await give_up(None)
    except Stopped as stopped:
        _log.info("%s %s: stopped: %s", handler.kind, job.id, stopped)
        await give_up(None)
    except asyncio.CancelledError:
        hold.stop("the worker was told to stop")
        await asyncio.wait([doing])
        _ = doing.cancelled() or doing.exception()
        await give_up(lambda: desk.fail(job.token, "stopped", "The worker was told to stop.", again=True))
        raise
    except Exception as error:  # noqa: BLE001 - whatever a handler raises becomes the end of one job, not of the worker
        code, detail, again = explained(error)
        if again:
            _log.exception("%s %s: %s", handler.kind, job.id, code, exc_info=error)
        await give_up(lambda: desk.fail(job.token, code, detail, again))
    finally:
        alive.cancel()


def explained(error: Exception) -> tuple[str, str, bool]:
    """Code, detail for people, and whether another try may help. Nothing of the machine is told."""
    if isinstance(error, FaceError):
        return slug(error.reason), _line(error.detail), False
    if isinstance(error, VideoError):
        return "bad-video", _line(str(error)), False
    if isinstance(error, Problem) and error.status < 500:
        return error.code, _line(error.detail), False
    if isinstance(error, StorageError):
        return "storage", "Storage could not be read or written.", True
    return "internal", f"Something broke in the service ({type(error).__name__}); its log says more.", True


def slug(reason: str) -> str:
    """`face too small` -> `face-too-small`: how reasons of raytalk become codes."""
    return reason.replace(" ", "-")


def _line(text: str) -> str:
    return " ".join(text.split())[:1000]


async def _patiently(
    call: Callable[[], Awaitable[_Answer]], what: str, given_up: Callable[[], bool] = lambda: False
) -> _Answer | None:
    """Ask until there is an answer; None if it is given up before."""
    pause = 0.5
    while not given_up():
        try:
            return await call()
        except Exception as error:  # noqa: BLE001 - a desk that restarts fails in as many ways as Ray knows
            _log.warning("%s: the desk does not answer (%s)", what, _line(f"{type(error).__name__}: {error}"))
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return None


def _taken_away(handler: Handler, job: Job) -> None:
    try:
        handler.lost(job)
    except StorageError:
        # The desk sweeps what belongs to nobody when it starts.
        _log.exception("%s %s: what was begun could not be taken away", handler.kind, job.id)


def _tidied(handler: Handler, job: Job) -> None:
    try:
        handler.kept(job)
    except StorageError:
        _log.exception("%s %s: could not be tidied up", handler.kind, job.id)
