"""`jobs/metatrain.py` as a process of its own, on toy people: what it says and when, what it tracks and keeps."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import torch
from mlflow import MlflowClient
from toy import TINY_NETWORKS, write_toy_clips

from raytalk.learning import checkpoint
from raytalk.learning.checkpoint import load_part
from raytalk.storage import Storage

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600.0
"""in which what is waited for must happen; a busy machine takes long to start a process"""
WINDOW = 8
"""episodes between two progress lines"""
TINY: dict[str, Any] = {
    **{f"networks.{key}": value for key, value in TINY_NETWORKS.items()},
    "data.shots": 2,
    "data.shuffle_files": 2,
    "batch_size": 4,
    "log_every": WINDOW // 4,
    "checkpoint_every": 4 * WINDOW,
    "validation.people": 3,
    "validation.targets": 2,
    "validation.every": 1_000_000,
}
_PROGRESS = re.compile(r"^episodes ([\d,]+)/")


@dataclass(frozen=True)
class Line:
    """One that the job printed."""

    at: float
    """time.monotonic when it was seen"""
    text: str

    @property
    def shown(self) -> int | None:
        """Episodes, if it is a progress line."""
        found = _PROGRESS.match(self.text)
        return int(found[1].replace(",", "")) if found else None


class Training:
    """The job while it runs."""

    def __init__(self, folder: Path, address: str, settings: dict[str, Any]) -> None:
        """folder: has the clips, and gets the run."""
        self.run = folder / "runs" / "metatrain"
        self._log = folder / "job.log"
        self._given = TINY | {"clips": folder / "clips", "output": folder / "runs"} | settings
        self._environment = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
        self._lines: list[Line] = []
        self._read = 0
        self._log.touch()
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        words = [f"{key}={value}" for key, value in self._given.items()]
        with self._log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "jobs/metatrain.py", "--preset", "debug", *words],
                cwd=ROOT,
                env=os.environ | self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def finish_soon(self) -> int:
        """Kill the job and give the command again for some episodes more; how many there are to be in all then.

        For runs that have to last for as long as something else takes.
        """
        self.kill()
        shown = max(line.shown or 0 for line in self.lines)
        self._given["episodes"] = shown + 4 * WINDOW
        self.process = self._start()
        return int(self._given["episodes"])

    def kill(self) -> None:
        """The job's own process and its children; what runs on the cluster for it ends by itself."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    @property
    def lines(self) -> list[Line]:
        """What it has printed so far."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            fresh = log.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._read += len(whole)
        now = time.monotonic()
        self._lines += [Line(now, text) for text in whole.decode(errors="replace").splitlines()]
        return self._lines

    def wait_for(self, pattern: str, after: float = 0.0) -> Line:
        """The first line since `after` in which the pattern is found."""
        deadline = time.monotonic() + SECONDS
        while True:
            ended = self.process.poll() is not None
            for line in self.lines:
                if line.at > after and re.search(pattern, line.text):
                    return line
            if ended or time.monotonic() > deadline:
                raise AssertionError(f"'{pattern}' was not said: {self.last_words()}")
            time.sleep(0.05)

    def wait_until_shown(self, episodes: int) -> Line:
        """The first progress line of so many episodes or more."""
        deadline = time.monotonic() + SECONDS
        while True:
            ended = self.process.poll() is not None
            for line in self.lines:
                if (line.shown or 0) >= episodes:
                    return line
            if ended or time.monotonic() > deadline:
                raise AssertionError(f"episode {episodes} was not shown: {self.last_words()}")
            time.sleep(0.05)

    def end(self) -> int:
        """Its exit status, when it has ended."""
        return self.process.wait(timeout=2 * SECONDS)

    def said(self, pattern: str) -> list[re.Match[str]]:
        """Where the pattern was found, line by line."""
        return [found for line in self.lines if (found := re.search(pattern, line.text))]

    def last_words(self) -> str:
        """For when something went wrong."""
        return "\n".join(line.text for line in self.lines[-25:])

    def repeated(self) -> int:
        """Episodes that were shown again, by its own account."""
        return sum(int(found[1].replace(",", "")) for found in self.said(r": ([\d,]+) episodes are shown again"))


@contextmanager
def training(folder: Path, address: str = "local", **settings: Any) -> Iterator[Training]:
    """On a cluster, with toy people; __ in a setting's name stands for a dot."""
    if not (folder / "clips").exists():
        write_toy_clips(str(folder / "clips"), people=8, held_out=3, frames=8, size=48)
    made = Training(folder, address, {key.replace("__", "."): value for key, value in settings.items()})
    try:
        yield made
    finally:
        made.kill()


def workers_below(pids: list[int]) -> list[psutil.Process]:
    """Ray Train's workers among the children of these processes."""
    found = []
    for pid in pids:
        for process in psutil.Process(pid).children(recursive=True):
            try:
                if "RayTrainWorker" in " ".join(process.cmdline() or [process.name()]):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
    return found


@dataclass(frozen=True)
class Curve:
    """A tracked figure over a run."""

    missing: int
    """windows without a value"""
    again: int
    """windows with more than one"""
    difference: float
    """largest between two values of the same window, relative"""
    jump: float
    """largest between two windows next to each other, relative"""


def curve_of(run: Path, uri: str, episodes: int, key: str = "loss/content") -> Curve:
    """How whole and how smooth what MLflow has of it is."""
    noted = json.loads((run / "run.json").read_text())["tracking_run"]
    values: dict[int, list[float]] = {}
    for metric in MlflowClient(uri).get_metric_history(noted, key):
        values.setdefault(metric.step, []).append(metric.value)
    wanted = range(WINDOW, episodes + 1, WINDOW)
    there = [values[step][0] for step in wanted if step in values]
    return Curve(
        missing=sum(step not in values for step in wanted),
        again=sum(len(found) > 1 for found in values.values()),
        difference=max((max(found) - min(found)) / max(found) for found in values.values()),
        jump=max(abs(one - other) / one for one, other in pairwise(there)),
    )


def unreadable(run: Path) -> list[str]:
    """The checkpoints of a run that cannot be read to the last file."""
    broken = []
    checkpoints = Storage(str(run / checkpoint.FOLDER))
    for name in checkpoint.names(checkpoints):
        try:
            state = checkpoint.read_state(checkpoints.below(name))
            for file in state.files:
                if file.endswith(".safetensors"):
                    load_part(name, run / checkpoint.FOLDER / name / file)
            torch.load(run / checkpoint.FOLDER / name / "optimizer.pt", weights_only=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not readable
            broken.append(f"{name}: {error}")
    return broken


def state_of(run: Path) -> checkpoint.State:
    """Of the newest checkpoint."""
    return checkpoint.read_state(checkpoint.newest(Storage(str(run))))
