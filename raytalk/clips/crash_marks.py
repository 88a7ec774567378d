"""Telling which video killed a detector process, or which clip a renderer.

A crash inside a decoder, a detector or a renderer takes the process with it, and Ray repeats the chunk in a new one,
for ever. So each process notes on its machine's own disk what it is at; the next one finds the note.
"""

import contextlib
import hashlib
import shutil
import tempfile
import time
from pathlib import Path

_MOST_CRASHES = 2
_PREFIX = "raytalk-crashes-"
_FORGOTTEN_SECONDS = 7 * 24 * 3600.0


class CrashMarks:
    """Notes of one run (`run`: any string that no other run has), in a folder of their own."""

    def __init__(self, run: str) -> None:
        self._folder = Path(tempfile.gettempdir()) / f"{_PREFIX}{run}"

    def enter(self, clip_id: str) -> bool:
        """Note that work on a clip begins; False if it has killed a process twice and is better left alone."""
        mark = self._mark(clip_id)
        crashes = mark.stat().st_size if mark.exists() else 0
        if crashes >= _MOST_CRASHES:
            return False
        self._folder.mkdir(exist_ok=True)
        with mark.open("ab") as file:
            file.write(b".")
        return True

    def leave(self, clip_id: str) -> None:
        """The clip is through, well or not."""
        self._mark(clip_id).unlink(missing_ok=True)

    def remove(self) -> None:
        """The run is over: remove its notes on this machine."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def remove_forgotten(self) -> None:
        """Remove what killed runs, and runs led from another machine, left here: a live run notes something always."""
        for folder in self._folder.parent.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):
                if folder != self._folder and time.time() - folder.stat().st_mtime > _FORGOTTEN_SECONDS:
                    shutil.rmtree(folder)

    def _mark(self, clip_id: str) -> Path:
        return self._folder / hashlib.sha256(clip_id.encode()).hexdigest()[:24]
