"""Telling which video killed a detector process.

A crash inside a decoder or a detector takes the process with it, and Ray repeats the chunk in a new one, for ever.
So each process notes on its machine's own disk which video it is at; the next one finds the note.
"""

import hashlib
import tempfile
from pathlib import Path

_MOST_CRASHES = 2


class CrashMarks:
    """Notes of one run (`run`: any string that no other run has)."""

    def __init__(self, run: str) -> None:
        self._run = run

    def enter(self, clip_id: str) -> bool:
        """Note that work on a video begins; False if it has killed a process twice and is better left alone."""
        mark = self._mark(clip_id)
        crashes = mark.stat().st_size if mark.exists() else 0
        if crashes >= _MOST_CRASHES:
            return False
        with mark.open("ab") as file:
            file.write(b".")
        return True

    def leave(self, clip_id: str) -> None:
        """The video is through, well or not."""
        self._mark(clip_id).unlink(missing_ok=True)

    def _mark(self, clip_id: str) -> Path:
        name = hashlib.sha256(clip_id.encode()).hexdigest()[:24]
        return Path(tempfile.gettempdir()) / f"raytalk-{self._run}-{name}"
