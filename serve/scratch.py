"""Folders for what somebody sent while it is worked on, which go with the process that made them, however it ends.

Below the machine's temporary folder each process has one of its own, which it keeps locked (`flock`) as long as it
lives. The system gives the lock up when the process ends, also by SIGKILL; whoever starts next on that machine deletes
what nobody holds. No process id is believed: ids come again, and containers with one temporary folder do not see each
other's.
"""

import atexit
import fcntl
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_log = logging.getLogger("raytalk.serve.scratch")

_PREFIX = "raytalk-scratch-"
_own: dict[int, tuple[Path, int]] = {}
"""of this process, by its id (a fork has one of its own): the folder, and the descriptor that holds its lock"""
_making = threading.Lock()


@contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """A folder that is deleted at the end of the block. purpose: a word for its name. Slow: call it in a thread."""
    folder = new_folder(purpose)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_folder(purpose: str) -> Path:
    """The same for whoever deletes it themselves."""
    return Path(tempfile.mkdtemp(prefix=f"{purpose}-", dir=_own_folder()))


def sweep() -> None:
    """Delete what processes left behind that are no more. To be called when one starts."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        descriptor = _opened(folder)
        if descriptor is None:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Held while it is deleted: whoever has just made it and not locked it yet finds it gone, and makes another.
            shutil.rmtree(folder, ignore_errors=True)
            _log.info("%s belonged to a process that is no more, and is deleted", folder)
        except OSError:
            # Held; or a file system without locks, on which nothing can be told.
            continue
        finally:
            os.close(descriptor)


def _own_folder() -> Path:
    with _making:
        known = _own.get(os.getpid())
        while known is None or not known[0].is_dir():
            if known is not None:
                os.close(known[1])
            known = _made()
        _own[os.getpid()] = known
        return known[0]


def _made() -> tuple[Path, int] | None:
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    descriptor = _opened(folder)
    if descriptor is None:
        return None
    # Waits for a sweep that was faster.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        _log.warning("%s cannot be locked: it stays if this process is killed: %s", folder, error)
    return folder, descriptor


@atexit.register
def _tidy_up() -> None:
    known = _own.get(os.getpid())
    if known is not None:
        shutil.rmtree(known[0], ignore_errors=True)


def _opened(folder: Path) -> int | None:
    """A descriptor of a folder of this user's; None for anything else of that name."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    if os.fstat(descriptor).st_uid != os.geteuid():
        os.close(descriptor)
        return None
    return descriptor
