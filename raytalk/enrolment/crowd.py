"""A table of people over a Ray cluster: actors that each hold the model and learn one person after the other."""

import csv
import io
import os
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import ray
import torch

from raytalk.command import absolute_uri
from raytalk.connect import StorageEnvironment, connect, storage_environment
from raytalk.console import Console, console
from raytalk.enrolment.maker import About, AvatarMaker, detector_name, perceptual_networks
from raytalk.enrolment.one import already_there, make_one
from raytalk.enrolment.room import room_for
from raytalk.enrolment.settings import FinetuneSettings
from raytalk.enrolment.table import Row, read_table
from raytalk.errors import RaytalkError
from raytalk.learning.pretrained import load_pretrained
from raytalk.storage import Storage, join

REPORT = "people.csv"

_PATIENCE = 30.0
"""seconds between lines that say that nothing happens"""


@dataclass(frozen=True)
class Result:
    """How it went with one person."""

    row: Row
    avatar: str
    """URI"""
    state: str
    """ready, there already, or failed"""
    seconds: float = 0.0
    error: Exception | None = None

    @property
    def reason(self) -> str:
        """Of a failure, in one line."""
        return " ".join(str(self.error).split())[:500] if self.error else ""


def finetune_table(settings: FinetuneSettings) -> list[Result]:
    """Make everybody's avatar at OUTPUT/ID, skip those that are there, and write OUTPUT/people.csv.

    Raises RaytalkError at the end if somebody could not be made; the others are ready then.
    """
    output = absolute_uri(settings.output)
    settings = _with_absolute_places(settings)
    rows = read_table(settings.people, settings.mode, settings.consent)
    results: list[Result] = []
    work: list[Row] = []
    for row in rows:
        uri = join(output, row.id)
        if already_there(uri, row.mode, settings.again) is None:
            work.append(replace(row, images=absolute_uri(row.images)))
        else:
            results.append(Result(row, uri, "there already"))
    print(f"{len(rows)} people, {len(results)} of them there already", flush=True)
    if work:
        _check(settings, work)
        connect()
        with console() as lines:
            results += _Crowd(settings, output, lines).make(work)
    order = {row.id: number for number, row in enumerate(rows)}
    results.sort(key=lambda result: order[result.row.id])
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

    def ready(self) -> None:
        """Returns when there is room for the actor and the model is loaded."""

    def make(self, row: Row, uri: str) -> tuple[float, RaytalkError | None]:
        """Seconds, and what a person can mend; anything else is raised, and this process is not used again."""
        start = time.perf_counter()
        about = About(row.name, row.consent)
        try:
            make_one(self._maker, self._settings, row.images, row.clip, row.mode, about, uri, self._say)
        except RaytalkError as error:
            return time.perf_counter() - start, error
        return time.perf_counter() - start, None


class _Crowd:
    """Hands people to actors as these have time for them."""

    def __init__(self, settings: FinetuneSettings, output: str, lines: Console) -> None:
        self._settings, self._output = settings, output
        self._cpus, self._gpus, self._room = room_for(settings)
        self._actor: Any = ray.remote(_Enroller).options(num_cpus=self._cpus, num_gpus=self._gpus)
        self._given = settings, lines, storage_environment(), max(1, int(self._cpus))
        self._waiting: deque[tuple[Row, int]] = deque()
        self._running: dict[Any, tuple[Any, tuple[Row, int] | None]] = {}
        """what is awaited: of which actor, and whom it makes; nobody while it starts"""

    def make(self, work: list[Row]) -> list[Result]:
        """Everybody, in whatever order they end."""
        count = min(self._room, len(work))
        each = f"{self._gpus:g} GPU" if self._gpus else f"{self._cpus:g} CPUs"
        print(f"{len(work)} to make, {count} at a time, each with {each}", flush=True)
        self._waiting.extend((row, 1) for row in work)
        for _ in range(count):
            self._start_actor()
        results: list[Result] = []
        while self._waiting or any(person for _, person in self._running.values()):
            ended, _ = ray.wait(list(self._running), num_returns=1, timeout=_PATIENCE)
            if not ended:
                if not any(person for _, person in self._running.values()):
                    print("waiting for room on the cluster", flush=True)
                continue
            result = self._ended(ended[0])
            if result is not None:
                results.append(result)
        for actor, _ in self._running.values():
            ray.kill(actor)
        return results

    def _start_actor(self) -> None:
        actor = self._actor.remote(*self._given)
        self._running[actor.ready.remote()] = actor, None

    def _ended(self, reference: Any) -> Result | None:
        """Take what an actor has to say and give it somebody else, or replace it; a result if somebody is done."""
        actor, person = self._running.pop(reference)
        try:
            said = ray.get(reference)
        except ray.exceptions.RayError as died:
            ray.kill(actor)  # not restarted by Ray: a restarting actor refuses what it is asked meanwhile
            return self._died(person, died)
        if self._waiting:
            row, attempt = self._waiting.popleft()
            self._running[actor.make.remote(row, self._uri(row))] = actor, (row, attempt)
        else:
            ray.kill(actor)  # its room may be needed
        if person is None:
            return None
        seconds, error = said
        if error is not None:
            print(f"{person[0].name}: failed: {error}", flush=True)
        return Result(person[0], self._uri(person[0]), "ready" if error is None else "failed", seconds, error)

    def _died(self, person: tuple[Row, int] | None, died: Exception) -> Result | None:
        row, attempt = person or (None, 1)
        why = " ".join(str(died).split())[-300:]
        if row is None:  # it never started: whoever would have come next stands for it
            row, attempt = self._waiting.popleft() if self._waiting else (None, 1)
        if row is None:
            return None
        self._start_actor()
        if attempt < self._settings.table.tries:
            print(f"{row.name}: a worker died; begun anew ({attempt + 1} of {self._settings.table.tries})", flush=True)
            self._waiting.append((row, attempt + 1))
            return None
        print(f"{row.name}: failed: {why}", flush=True)
        return Result(row, self._uri(row), "failed", 0.0, RuntimeError(why))

    def _uri(self, row: Row) -> str:
        return join(self._output, row.id)


def _with_absolute_places(settings: FinetuneSettings) -> FinetuneSettings:
    """Actors run in other folders."""
    checkpoint, perceptual = settings.checkpoint, settings.perceptual
    if not checkpoint.startswith("models:/"):
        checkpoint = absolute_uri(checkpoint)
    if perceptual.weights:
        perceptual = perceptual.model_copy(update={"weights": absolute_uri(perceptual.weights)})
    return settings.model_copy(update={"checkpoint": checkpoint, "perceptual": perceptual})


def _check(settings: FinetuneSettings, work: list[Row]) -> None:
    """What is wrong for all is said before a cluster is asked."""
    pretrained = load_pretrained(settings.checkpoint, settings.tracking_uri)
    if any(not row.clip for row in work):
        detector_name(settings, pretrained)
    if any(row.mode == "FT" for row in work):
        perceptual_networks(settings, pretrained)


def _report(results: list[Result]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator=os.linesep)
    table.writerow(["id", "name", "mode", "state", "seconds", "reason", "avatar"])
    for result in results:
        row, seconds = result.row, f"{result.seconds:.1f}"
        table.writerow([row.id, row.name, row.mode, result.state, seconds, result.reason, result.avatar])
    return text.getvalue().encode()
