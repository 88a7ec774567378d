"""A table of people over a Ray cluster: actors that each hold the model and learn one person after the other."""

import csv
import io
import os
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import ray
import torch

from raytalk.command import absolute_uri
from raytalk.connect import StorageEnvironment, connect, storage_environment
from raytalk.console import Console, console
from raytalk.enrolment.finetune import already_there, make_one
from raytalk.enrolment.maker import About, AvatarMaker, detector_name
from raytalk.enrolment.settings import FinetuneSettings
from raytalk.enrolment.table import Row, read_table
from raytalk.errors import RaytalkError, SettingsError
from raytalk.learning.pretrained import load_pretrained
from raytalk.storage import Storage, join

REPORT = "people.csv"


@dataclass(frozen=True)
class Result:
    """How it went with one person."""

    row: Row
    avatar: str
    """URI"""
    state: str
    """ready, there already, or failed"""
    seconds: float = 0.0
    reason: str = ""
    error: Exception | None = None


def finetune_table(settings: FinetuneSettings) -> list[Result]:
    """Make everybody's avatar at OUTPUT/ID, skip those that are there, and write OUTPUT/people.csv.

    Raises RaytalkError at the end if somebody could not be made; the others are ready then.
    """
    output = absolute_uri(settings.output)
    rows = read_table(settings.people, settings.mode, settings.consent)
    pretrained = load_pretrained(settings.checkpoint, settings.tracking_uri)
    if any(not row.clip for row in rows):
        detector_name(settings, pretrained)  # what is wrong for all is said before a cluster is asked
    results: list[Result] = []
    work: list[Row] = []
    for row in rows:
        uri = join(output, row.id)
        if already_there(uri, row.mode, settings.again) is None:
            work.append(row)
        else:
            results.append(Result(row, uri, "there already"))
    print(f"{len(rows)} people, {len(results)} of them there already", flush=True)
    if work:
        connect()
        with console() as lines:
            results += _spread(settings, work, output, lines)
    results.sort(key=lambda result: rows.index(result.row))
    Storage(output).write(REPORT, _report(results))
    failed = [result for result in results if result.state == "failed"]
    print(f"{len(results) - len(failed)} avatars ready in {output}; who and how: {join(output, REPORT)}", flush=True)
    if failed:
        first = failed[0]
        error = RaytalkError(
            f"{len(failed)} of {len(rows)} people could not be made ({first.row.name}: {first.reason}); "
            f"all reasons are in {join(output, REPORT)}, and the same command tries again"
        )
        mendable = all(isinstance(result.error, RaytalkError) and result.error.exit_status == 2 for result in failed)
        error.exit_status = 2 if mendable else 1
        raise error
    return results


class _Enroller:
    """An actor with the model in memory."""

    def __init__(self, settings: FinetuneSettings, lines: Console, environment: StorageEnvironment, cpus: int) -> None:
        environment.apply()
        torch.set_num_threads(cpus)
        self._settings, self._say = settings, lines.say
        self._maker = AvatarMaker(settings, load_pretrained(settings.checkpoint, settings.tracking_uri))

    def make(self, row: Row, uri: str) -> tuple[float, Exception | None]:
        """Seconds, and what went wrong."""
        start = time.perf_counter()
        try:
            make_one(
                self._maker,
                self._settings,
                row.images,
                row.clip,
                row.mode,
                About(row.name, row.consent),
                uri,
                self._say,
            )
        except RaytalkError as error:
            return time.perf_counter() - start, error
        except Exception as error:  # noqa: BLE001 - whatever it is, the other people are made
            return time.perf_counter() - start, RuntimeError(f"{type(error).__name__}: {error}")
        return time.perf_counter() - start, None


def _spread(settings: FinetuneSettings, work: list[Row], output: str, lines: Console) -> list[Result]:
    gpus, cpus, count = _resources(settings, len(work))
    print(
        f"{len(work)} to make, {count} at a time, each with {f'{gpus:g} GPU' if gpus else f'{cpus:g} CPUs'}", flush=True
    )
    enroller: Any = ray.remote(_Enroller).options(num_cpus=cpus, num_gpus=gpus)
    given = settings, lines, storage_environment(), max(1, int(cpus))
    idle = deque(enroller.remote(*given) for _ in range(count))
    waiting = deque((row, 1) for row in work)
    running: dict[Any, tuple[Any, Row, int]] = {}
    results: list[Result] = []
    while waiting or running:
        while waiting and idle:
            row, attempt = waiting.popleft()
            actor = idle.popleft()
            running[actor.make.remote(row, join(output, row.id))] = actor, row, attempt
        [done], _ = ray.wait(list(running), num_returns=1)
        actor, row, attempt = running.pop(done)
        uri = join(output, row.id)
        try:
            seconds, error = ray.get(done)
            idle.append(actor)
        except ray.exceptions.RayError as died:
            # Not restarted by Ray: a restarting actor refuses what it is asked meanwhile.
            ray.kill(actor)
            idle.append(enroller.remote(*given))
            if attempt < settings.table.tries:
                print(f"{row.name}: a worker died; begun anew ({attempt + 1} of {settings.table.tries})", flush=True)
                waiting.append((row, attempt + 1))
                continue
            seconds, error = 0.0, RuntimeError(" ".join(str(died).split())[:300])
        if error is not None:
            print(f"{row.name}: failed: {error}", flush=True)
        state, reason = ("ready", "") if error is None else ("failed", " ".join(str(error).split()))
        results.append(Result(row, uri, state, seconds, reason, error))
    return results


def _resources(settings: FinetuneSettings, people: int) -> tuple[float, float, int]:
    """GPUs and CPUs of each actor, and how many there are."""
    cluster, wanted = ray.cluster_resources(), settings.table
    all_gpus, all_cpus = cluster.get("GPU", 0.0), cluster.get("CPU", 1.0)
    use = settings.device != "cpu" and (wanted.gpus_per_person > 0 or (wanted.gpus_per_person < 0 and all_gpus > 0))
    gpus = 0.0 if not use else (wanted.gpus_per_person if wanted.gpus_per_person > 0 else 1.0)
    cpus = wanted.cpus_per_person or (1.0 if gpus else max(1.0, min(4.0, all_cpus // 2)))
    count = int(min(all_cpus // cpus if cpus else people, all_gpus // gpus if gpus else people, people))
    if (settings.device == "cuda" and not gpus) or count < 1:
        raise SettingsError(
            f"nobody can be learned with table.gpus_per_person={gpus:g} and table.cpus_per_person={cpus:g} "
            f"(device={settings.device}): the cluster has {all_gpus:g} GPUs and {all_cpus:g} CPUs"
        )
    return gpus, cpus, count


def _report(results: list[Result]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator=os.linesep)
    table.writerow(["id", "name", "mode", "state", "seconds", "reason", "avatar"])
    for result in results:
        row = result.row
        table.writerow(
            [row.id, row.name, row.mode, result.state, f"{result.seconds:.1f}", result.reason, result.avatar]
        )
    return text.getvalue().encode()
