"""A command by itself: if it hangs it is ended, and whatever it leaves running is ended with it."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """What children leave behind becomes a child of this process (Linux), so that `run_alone` finds and ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run_alone(command: Sequence[str], seconds: float, log: Path, place: Path, environment: Mapping[str, str]) -> bool:
    """Run it in a folder with this environment; whether it ended by itself in time.

    All other children of this process are ended as well: it has none beside.
    """
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, cwd=place, env=dict(environment), stdout=output, stderr=output, start_new_session=True
        )
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            _end_all(child)
    return True


def _end_all(child: "subprocess.Popen[bytes]") -> None:
    for _ in range(20):
        family = psutil.Process().children(recursive=True)
        if not family:
            return
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        # The command first: what it is known to have ended with must not be lost.
        with suppress(subprocess.TimeoutExpired):
            child.wait(10)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.1)
