"""Files and folders of a mounted file system that appear whole or not at all."""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

ASIDE = ".aside-"
"""how the names begin of what is being written"""
_ASIDE_SECONDS = 3600.0


def aside_of(target: Path) -> Path:
    """A new name beside `target`."""
    return target.with_name(f"{ASIDE}{uuid.uuid4().hex}")


@contextlib.contextmanager
def written_aside(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `target` at the end, unless there is an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(target)
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def publish_locally(folder: Path, target: Path) -> None:
    """Copy a folder to `target`, in place of what was there; if that fails, what was there stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(target)
    try:
        shutil.copytree(folder, aside)
        if target.exists():
            old = aside_of(target)
            target.rename(old)
            try:
                aside.rename(target)
            except OSError:
                os.rename(old, target)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def clear_aside(folder: Path) -> None:
    """Remove what killed processes left half-written directly below a folder.

    What changed within the last hour stays: another process may be writing it at this moment.
    """
    for leftover in folder.glob(f"{ASIDE}*"):
        # A live writer may rename or finish it between any two of these calls.
        with contextlib.suppress(FileNotFoundError):
            changed = max(path.stat().st_mtime for path in (leftover, *leftover.rglob("*")))
            if time.time() - changed > _ASIDE_SECONDS:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
