"""One command at a time drives a sweep: two would train the same trials into the same folders.

`SWEEP/driver.json` names the process and is written again every few seconds for as long as it lives, so that the next
command can tell one that works from one that was killed.
"""

import json
import os
import socket
import threading
import time
from types import TracebackType
from typing import Any, Self

import psutil  # type: ignore[import-untyped]

from raytalk.errors import SettingsError, StorageError
from raytalk.storage import Storage

_FILE = "driver.json"
_BEAT_S = 5.0
_SILENT_BEATS = 4
"""after so many without a sign of life a driver on another machine counts as dead"""


class Driver:
    """Holds a sweep while the block lasts. Entering raises SettingsError if another process holds it, StorageError."""

    def __init__(self, sweep: Storage) -> None:
        self._sweep = sweep
        self._over = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="drive-sweep", daemon=True)
        own = psutil.Process()
        self._told: dict[str, Any] = {"host": socket.gethostname(), "pid": own.pid, "began": own.create_time()}
        self._beats = 0

    def __enter__(self) -> Self:
        other = self._read()
        if other is not None and self._lives(other):
            raise SettingsError(
                f"{self._sweep.uri} is worked on by another command (process {other['pid']} on {other['host']}): wait "
                "for it, stop it first, or give another name="
            )
        self._write()
        self._beating.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._beating.join()
        try:
            self._sweep.delete(_FILE)
        except StorageError:
            # The next command finds it silent.
            return

    def _lives(self, other: dict[str, Any]) -> bool:
        if other.get("host") == self._told["host"]:
            try:
                process = psutil.Process(int(other["pid"]))
                return bool(process.pid != os.getpid() and abs(process.create_time() - float(other["began"])) < 1)
            except psutil.NoSuchProcess:
                return False
        print(f"{self._sweep.uri}: looking whether the command on {other.get('host')} still works on it", flush=True)
        for _ in range(_SILENT_BEATS):
            time.sleep(_BEAT_S)
            if self._read() != other:
                return self._sweep.exists(_FILE)
        return False

    def _read(self) -> dict[str, Any] | None:
        if not self._sweep.exists(_FILE):
            return None
        try:
            told = json.loads(self._sweep.read(_FILE))
            return told if isinstance(told, dict) and {"host", "pid", "began"} <= set(told) else None
        except ValueError:
            return None

    def _write(self) -> None:
        self._beats += 1
        self._sweep.write(_FILE, json.dumps({**self._told, "beat": self._beats}).encode())

    def _beat(self) -> None:
        while not self._over.wait(_BEAT_S):
            try:
                self._write()
            except StorageError:
                # Whoever needs the store for more than this tells it.
                continue
