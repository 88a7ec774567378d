"""Machines that die during jobs, and jobs whose driver dies."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from people import write_talk
from ray.cluster_utils import Cluster
from toy import write_toy_clips
from toy_run import write_toy_run

from faults.outcome import Outcome
from raytalk.clips.ledger import Ledger
from raytalk.storage import Storage

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 500.0
"""in which a job must end"""
_PLAIN = {"RAY_memory_monitor_refresh_ms": "0"}
"""what else fills this machine is not what is tried"""


@dataclass(frozen=True)
class Work:
    """A job, and how to see what it has done."""

    name: str
    script: str
    words: list[str]
    done: Callable[[], list[str]]
    """names of the items that are done, as often as they are there"""
    expected: set[str]
    environment: dict[str, str]

    def start(self, log: Path, address: str) -> subprocess.Popen[bytes]:
        """log: a file, because what Ray leaves behind after a kill would hold a pipe open."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, self.script, *self.words],
                cwd=ROOT,
                env=os.environ | {**_PLAIN, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)} | self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def tally(self) -> tuple[int, int]:
        """Items that are there twice or were never asked for, and that are missing."""
        found = Counter(self.done())
        return sum(found.values()) - len(found) + len(found.keys() - self.expected), len(self.expected - found.keys())


def preprocessing(folder: Path, videos: int = 9) -> Work:
    """Real pictures of one man, found by dlib."""
    (folder / "videos").mkdir()
    first = write_talk(folder / "videos" / "v0.mp4", frames=24, scale=1)
    for number in range(1, videos):
        shutil.copy(first, folder / "videos" / f"v{number}.mp4")
    words = [f"videos={folder / 'videos'}", f"clips={folder / 'clips'}", "detector=dlib", "resolution=96"]
    words += ["frames_per_clip=12", "min_face=40", "max_clips_per_file=1", "actors=3"]
    expected = {f"v{number}" for number in range(videos)}
    return Work("preprocessing", "jobs/preprocess.py", words, lambda: clips_in(folder / "clips"), expected, {})


def synthesis(folder: Path, people: int = 9) -> Work:
    """With a stand-in for the renderer."""
    words = [f"clips={folder / 'clips'}", f"people={people}", "frames_per_clip=3", "resolution=64"]
    expected = {f"rendered-0-{person:06d}/{clip:03d}/0000" for person in range(people) for clip in range(2)}
    words += ["max_clips_per_file=1", "actors=3"]
    seconds = {"TOY_SECONDS": "2"}
    return Work("synthesis", "tests/toy_studio.py", words, lambda: clips_in(folder / "clips"), expected, seconds)


def evaluation(folder: Path) -> Work:
    """Of tiny networks; no network judges."""
    write_toy_clips(str(folder / "clips"), people=2, held_out=4, frames=12, size=32, per_file=2)
    run = write_toy_run(folder / "run")
    words = [f"checkpoint={run}", f"clips={folder / 'clips'}", f"output={folder / 'out'}", "clips_split=val"]
    words += ["people=4", "shots=1,4", "hold_out=4", "fewshot.steps=8", "fewshot.batch_size=2", "pictures=0"]
    words += ["methods=nearest,ft", "splits=block,interleaved", "tracking.uri=none", "table.cpus_per_person=1"]
    words += [f"metrics.{name}=none" for name in ("lpips", "frechet", "faces", "detector")]
    expected = {f"{split}/person{2 + person}" for split in ("block", "interleaved") for person in range(4)}
    people = folder / "out" / "people"
    return Work(
        "evaluation",
        "jobs/evaluate.py",
        words,
        lambda: [f"{file.parent.name}/{file.stem.rpartition('-')[0]}" for file in people.rglob("*.parquet")],
        expected,
        {},
    )


def clips_in(folder: Path) -> list[str]:
    """Clips that are there, as often as they are."""
    return [clip.clip_id for clip in Ledger.read(Storage(str(folder))).clips] if folder.exists() else []


def node_killed(work: Work, folder: Path, nodes: int = 3) -> Outcome:
    """One of several machines is gone in the middle of a job, with everything on it."""
    log = folder / "job.log"
    with several_nodes(nodes) as cluster:
        job = work.start(log, cluster.address)
        try:
            _wait_for(work, job, log, 2)
            before = len(work.done())
            victim = _busiest(cluster)
            killed_at = time.monotonic()
            kill_node(victim)
            status = job.wait(timeout=_SECONDS)
        finally:
            _end(job)
        seconds = time.monotonic() - killed_at
    wrong, missing = work.tally()
    return Outcome(
        f"a node killed during {work.name}",
        held=status == 0 and not wrong and not missing and before < len(work.expected),
        measured={
            "nodes": nodes,
            "exit status": status,
            "done before": before,
            "of": len(work.expected),
            "doubled": wrong,
            "missing": missing,
            "s from the kill to the end": round(seconds, 1),
            **({"last words": log.read_text()[-400:]} if status else {}),
        },
    )


def driver_killed(work: Work, folder: Path) -> Outcome:
    """The job's own process is killed; the same command goes on."""
    log = folder / "job.log"
    job = work.start(log, "local")
    try:
        _wait_for(work, job, log, 1)
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        time.sleep(1)  # what it left running ends
        before = set(work.done())
        start = time.monotonic()
        job = work.start(log, "local")
        status = job.wait(timeout=_SECONDS)
    finally:
        _end(job)
    wrong, missing = work.tally()
    said = "done before" in log.read_text()
    return Outcome(
        f"the driver killed during {work.name}",
        held=status == 0 and not wrong and not missing and 0 < len(before) < len(work.expected) and said,
        measured={
            "exit status of the same command": status,
            "done before": len(before),
            "of": len(work.expected),
            "doubled": wrong,
            "missing": missing,
            "s of the second run": round(time.monotonic() - start, 1),
        },
    )


@contextlib.contextmanager
def several_nodes(count: int, cpus: int = 1, **head: Any) -> Iterator[Cluster]:
    """A head and others on this machine, each with its own raylet."""
    small = {"num_cpus": cpus, "object_store_memory": 128 << 20}
    os.environ.update(_PLAIN)
    cluster = Cluster()
    try:
        _patiently(lambda: cluster.add_node(**small, include_dashboard=False, **head))
        for _ in range(count - 1):
            _patiently(lambda: cluster.add_node(**small))
        cluster.wait_for_nodes(timeout=120)
        yield cluster
    finally:
        cluster.shutdown()


def _patiently(start: Callable[[], Any], tries: int = 4) -> None:
    """Ray gives a node 30 s to start, which is too little on a machine that does much else."""
    for left in reversed(range(tries)):
        try:
            start()
            return
        except Exception as error:
            if "timed out during startup" not in str(error) or not left:
                raise


def kill_node(node: Any) -> None:
    """Everything of a node at once, as when a machine loses power."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    doomed = [raylet, *raylet.children(recursive=True)]
    for process in doomed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def _busiest(cluster: Cluster) -> Any:
    """The node beside the head whose workers took most CPU."""

    def used(node: Any) -> float:
        seconds = 0.0
        for process in psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                seconds += sum(process.cpu_times()[:2])
        return seconds

    return max(cluster.worker_nodes, key=used)


def _wait_for(work: Work, job: subprocess.Popen[bytes], log: Path, count: int) -> None:
    deadline = time.monotonic() + _SECONDS
    while len(work.done()) < count:
        if job.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the job did too little: {log.read_text()[-2000:]}")
        time.sleep(0.1)


def _end(job: subprocess.Popen[bytes]) -> None:
    if job.poll() is None:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
