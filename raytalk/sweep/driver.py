"""One command at a time drives a sweep: two would train the same trials into the same folders.

`SWEEP/driver.json` names the process and is written again every few seconds for as long as it works, so that the next
command can tell one that works from one that was killed.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ray import tune

from raytalk.errors import SettingsError, StorageError
from raytalk.storage import Storage

_FILE = "driver.json"
_BEAT_S = 5.0
_SILENT_BEATS = 4
"""after so many without a sign of life a driver that cannot be looked at counts as dead"""
_SETTLE_S = 0.5
"""in which another command that began at the same moment writes its name too: the last one works"""
_PATIENCE_S = 10.0
"""for a store that does not answer; what needs it more says so itself"""


_replaced: set[str] = set()
"""tokens of this process's drivers who lost their sweep"""


class Driver:
    """Holds a sweep while the block lasts. Entering raises SettingsError if another process holds it, StorageError."""

    def __init__(self, sweep: str) -> None:
        """sweep: its URI."""
        self._sweep = Storage(sweep, patience=_PATIENCE_S)
        self._over = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="drive-sweep", daemon=True)
        self._own: dict[str, Any] = {
            "token": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "began": _began(os.getpid()),
        }
        self._beats = 0

    def __enter__(self) -> Self:
        other = self._read()
        if other is not None and self._works(other):
            raise self._refusal(other)
        self._write()
        time.sleep(_SETTLE_S)
        other = self._read()
        if other is not None and not self._is_own(other):
            raise self._refusal(other)
        self._beating.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._beating.join(2 * _PATIENCE_S)
        # Where the store does not answer the file stays, and the next command finds it silent.
        with contextlib.suppress(StorageError):
            other = self._read()
            if other is not None and self._is_own(other):
                self._sweep.delete(_FILE)

    @property
    def replaced(self) -> bool:
        """Whether another command has the sweep now; then this one is to stop."""
        return self._own["token"] in _replaced

    def check(self) -> None:
        """Raises SettingsError if another command has the sweep now."""
        if self.replaced:
            raise SettingsError(f"{self._sweep.uri} is worked on by another command now: this one stops")

    def stopper(self) -> tune.Stopper:
        """For Ray Tune: ends all trials in good order if another command has the sweep."""
        return _Stopper(self._own["token"])

    def _is_own(self, other: dict[str, Any]) -> bool:
        return bool(other.get("token") == self._own["token"])

    def _refusal(self, other: dict[str, Any]) -> SettingsError:
        return SettingsError(
            f"{self._sweep.uri} is worked on by another command (process {other.get('pid')} on {other.get('host')}): "
            "wait for it, stop it first, or give another name="
        )

    def _works(self, other: dict[str, Any]) -> bool:
        if other.get("machine") == self._own["machine"] != "":
            # A number is given again after a while, but not to a process that began at the same moment.
            return other.get("began") == _began(other.get("pid"))
        print(f"{self._sweep.uri}: looking whether the command on {other.get('host')} still works on it", flush=True)
        for _ in range(_SILENT_BEATS):
            time.sleep(_BEAT_S)
            now = self._read()
            if now != other:
                return now is not None
        return False

    def _read(self) -> dict[str, Any] | None:
        """What the file says; None if there is none, or it says nothing."""
        try:
            told = json.loads(self._sweep.read(_FILE)) if self._sweep.exists(_FILE) else None
        except ValueError:
            return None
        except StorageError:
            if self._sweep.exists(_FILE):
                raise
            return None
        return told if isinstance(told, dict) else None

    def _write(self) -> None:
        self._beats += 1
        self._sweep.write(_FILE, json.dumps({**self._own, "beat": self._beats}).encode())

    def _beat(self) -> None:
        while not self._over.wait(_BEAT_S):
            with contextlib.suppress(StorageError):
                other = self._read()
                if other is not None and not self._is_own(other):
                    _replaced.add(self._own["token"])
                    return
                self._write()


class _Stopper(tune.Stopper):
    """Tune copies and pickles it, which cannot be done to who it asks."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._token in _replaced


def _machine() -> str:
    """What tells processes with one number from each other: the boot, and the container. Empty where nothing does."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _began(pid: Any) -> str | None:
    """When a living process of this machine began, in ticks since the boot; None if it does not live."""
    try:
        told = Path(f"/proc/{int(pid)}/stat").read_text()
    except (OSError, TypeError, ValueError):
        return None
    # The name, in brackets, may hold anything. A zombie has ended.
    state, *fields = told.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]
