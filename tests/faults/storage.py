"""Object storage that fails: for a while, for good, or because it is full."""

import contextlib
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from toy import write_toy_clips

from faults.faulty_s3 import FaultyS3, Kind, faulty_s3
from faults.outcome import Outcome
from faults.training_run import training
from raytalk.clips.ledger import Ledger
from raytalk.errors import RaytalkError, StorageError
from raytalk.learning.checkpoint import newest, read_state
from raytalk.storage import Storage
from raytalk.storage_patience import OUTAGES

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = 12
"""of a job that is disturbed; two clips each"""
_LEAST_ROUNDS = 3
"""of each client, however busy the machine is"""
_PLAIN = {"RAY_ADDRESS": "local", "RAY_memory_monitor_refresh_ms": "0"}
"""a Ray of its own, on a machine that may be busy"""


@dataclass
class Client:
    """One of several that write, read, list, replace and delete without a pause, and check all that they see."""

    storage: Storage
    name: str
    until: float
    waits: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    written: dict[str, bytes] = field(default_factory=dict)

    def run(self) -> None:
        number = 0
        chance = random.Random(self.name)
        while time.monotonic() < self.until or number < _LEAST_ROUNDS:
            path = f"{self.name}/{number % 5}"
            data = chance.randbytes(chance.choice([100, 50_000]))
            start = time.monotonic()
            try:
                self._round(path, data)
            except RaytalkError as error:
                self.wrong.append(str(error))
            self.waits.append(time.monotonic() - start)
            number += 1

    def _round(self, path: str, data: bytes) -> None:
        self.storage.write(path, data)
        self.written[path] = data
        if self.storage.read(path) != data:
            self.wrong.append(f"{path} holds something else than was written")
        seen = {entry.path for entry in self.storage.entries(self.name)}
        if seen != set(self.written):
            self.wrong.append(f"{sorted(seen)} are listed, not {sorted(self.written)}")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "weights").write_bytes(data)
            (Path(folder) / "marker").write_bytes(data[:10])
            self.storage.publish(Path(folder), f"{self.name}-published", "marker")
        if self.storage.read(f"{self.name}-published/marker") != data[:10]:
            self.wrong.append("what was published is not what was given")


def outage(kind: Kind, seconds: float) -> Outcome:
    """Four clients at work while the store fails for a while."""
    lines: list[str] = []
    with faulty_s3() as server, _heard(lines):
        started = time.monotonic()
        until = started + seconds + 8
        clients = [Client(Storage(f"{server.uri}/work"), f"client{number}", until) for number in range(4)]
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        time.sleep(3)
        server.break_for(kind, seconds)
        for thread in threads:
            thread.join()
        wrong = [text for client in clients for text in client.wrong]
        here = {path for client in clients for path in client.written}
        kept = {key.removeprefix("work/") for key in server.objects() if "-published" not in key}
        # A folder above may have an empty object of its own.
        missing = [path for path in here if path not in kept]
        wrong += [f"{path} is lost" for path in missing]
        refused = server.failed
        rounds, longest = sum(len(client.waits) for client in clients), max(max(client.waits) for client in clients)
    said = Counter("answers again" in line for line in lines)
    quiet = kind in ("slow", "silent", "half")
    clear = quiet or (said[False] >= 1 and said[False] == said[True] and len(lines) <= 4)
    return Outcome(
        f"object storage: {kind} for {seconds:.0f} s",
        held=not wrong and refused > 0 and rounds >= _LEAST_ROUNDS * len(clients) and clear,
        measured={
            "rounds of work": rounds,
            "requests that failed": refused,
            "lost or wrong": len(wrong),
            "longest wait of one round, s": round(longest, 1),
            "lines logged": len(lines),
            **({"first thing wrong": wrong[0][:300]} if wrong else {}),
        },
    )


def job_through_outage(kind: Kind, seconds: float, folder: Path) -> Outcome:
    """A whole job over Ray whose object storage fails in the middle of it."""
    with faulty_s3() as server:
        clips = f"{server.uri}/clips"
        start = time.monotonic()
        job = start_synthesis(clips, folder / "job.log", server.environment)
        first = wait_for_clips(server, job, folder / "job.log")
        server.break_from_next_request(kind, seconds)
        status = job.wait(timeout=seconds + 300)
        log = (folder / "job.log").read_text()
        refused = server.failed
        doubled, missing = counted(clips)
    told = re.findall(r"answers again, after (\d+) s", log)
    return Outcome(
        f"object storage: {kind} for {seconds:.0f} s during a job",
        held=status == 0 and not doubled and not missing and refused > 0 and (kind == "slow" or bool(told)),
        measured={
            "exit status": status,
            "requests that failed": refused,
            "clips doubled": doubled,
            "clips missing": missing,
            "s to the first clips": round(first - start, 1),
            "s in all": round(time.monotonic() - start, 1),
            "said in the log": next((line for line in log.splitlines() if "asked again" in line), ""),
        },
    )


def training_through_outage(kind: Kind, seconds: float, folder: Path, episodes: int = 160) -> Outcome:
    """Clips and checkpoints of a training run are in the store that fails."""
    with faulty_s3() as server:
        write_toy_clips(f"{server.uri}/clips", people=8, held_out=3, frames=8, size=48)
        places = {"clips": f"{server.uri}/clips", "output": f"{server.uri}/runs"}
        with training(folder, episodes=episodes, tracking__uri="none", **places) as run:
            run.wait_until_shown(episodes // 4)
            server.break_from_next_request(kind, seconds)
            start = time.monotonic()
            status = run.end()
            said = run.said("answers again, after")
            restarts = run.said("going on from the checkpoint")
            last = run.last_words()
        refused = server.failed
        try:
            kept = read_state(newest(Storage(f"{server.uri}/runs/metatrain"))).episodes
        except RaytalkError:
            kept = 0
    return Outcome(
        f"object storage: {kind} for {seconds:.0f} s during training",
        held=status == 0 and kept == episodes and refused > 0,
        measured={
            "exit status": status,
            "episodes in the last checkpoint": kept,
            "of": episodes,
            "requests that failed": refused,
            "restarts of the workers": len(restarts),
            "times it was told that the store answers again": len(said),
            "s from the fault to the end": round(time.monotonic() - start, 1),
            **({"last words": last[-600:]} if status else {}),
        },
    )


def refused_for_good(kind: Kind, folder: Path) -> Outcome:
    """Storage is full, or permission is withdrawn, amid a job: one clear line, nothing lost, and it goes on later."""
    with faulty_s3() as server:
        clips = f"{server.uri}/clips"
        job = start_synthesis(clips, folder / "first.log", server.environment)
        wait_for_clips(server, job, folder / "first.log")
        server.break_for(kind)
        refused_at = time.monotonic()
        status = job.wait(timeout=200)
        seconds = time.monotonic() - refused_at
        before = {key: server.read(key) for key in server.objects() if key.endswith(".parquet")}
        server.mend()
        again = start_synthesis(clips, folder / "second.log", server.environment).wait(timeout=300)
        after = {key: server.read(key) for key in before}
        doubled, missing = counted(clips)
    last = [line for line in (folder / "first.log").read_text().splitlines() if line.startswith("raytalk: ")]
    words = "storage is full" if kind == "full" else "no permission"
    clear = len(last) == 1 and words in last[0]
    return Outcome(
        {"full": "storage full during a job", "forbidden": "permission withdrawn during a job"}[kind],
        held=status == 2 and clear and bool(before) and before == after and again == 0 and not doubled + missing,
        measured={
            "exit status": status,
            "said": " | ".join(last),
            "s until it ended": round(seconds, 1),
            "files before, unchanged": len(before),
            "exit status of the same command later": again,
            "clips doubled": doubled,
            "clips missing": missing,
        },
    )


def full_while_publishing(folder: Path) -> Outcome:
    """A checkpoint that does not fit any more: the one before it stays, in a bucket and on a disk."""
    made = {name: folder / name for name in ("first", "second")}
    for name, path in made.items():
        path.mkdir()
        (path / "weights").write_bytes(name.encode() * 30_000)
        (path / "marker").write_text(name)
    told: dict[str, str] = {}
    intact = True
    with faulty_s3() as server, small_disk(folder) as disk:
        for place in filter(None, (Storage(f"{server.uri}/run"), disk)):
            place.publish(made["first"], "first", "marker")
            server.break_for("full")
            try:
                place.publish(made["second"], "second", "marker")
            except StorageError as error:
                told["disk" if place.local_root else "bucket"] = str(error)
            server.mend()
            intact &= place.read("first/weights") == b"first" * 30_000 and not place.exists("second/marker")
    clear = all("is full" in text for text in told.values())
    return Outcome(
        "storage full while a checkpoint is published",
        held=intact and clear and "bucket" in told,
        measured={f"said of the {place}": text for place, text in told.items()},
    )


def start_synthesis(clips: str, log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """jobs/synthesize.py with a stand-in for the renderer, one file for two clips."""
    words = [f"clips={clips}", f"people={PEOPLE}", "frames_per_clip=3", "resolution=64", "actors=1"]
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "tests/toy_studio.py", *words, "max_clips_per_file=2"],
            cwd=ROOT,
            env=os.environ | _PLAIN | environment | {"TOY_SECONDS": "0.3", "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def wait_for_clips(server: FaultyS3, job: subprocess.Popen[bytes], log: Path) -> float:
    """Until some clips are there; when that was."""
    deadline = time.monotonic() + 240
    while not any("part-" in key and "rejected" not in key for key in server.objects()):
        if job.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the job made nothing: {log.read_text()[-2000:]}")
        time.sleep(0.1)
    return time.monotonic()


def counted(clips: str) -> tuple[int, int]:
    """Clips that are there twice, and that are not there."""
    found = Counter(clip.clip_id for clip in Ledger.read(Storage(clips)).clips)
    return sum(found.values()) - len(found), 2 * PEOPLE - len(found)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Storage | None]:
    """A disk of 256 KiB, where one may be mounted."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    try:
        yield Storage(str(disk))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@contextlib.contextmanager
def _heard(lines: list[str]) -> Iterator[None]:
    before, OUTAGES.tell = OUTAGES.tell, lines.append
    try:
        yield
    finally:
        OUTAGES.tell = before
