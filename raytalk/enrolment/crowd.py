"""A table of people over a Ray cluster: actors that each hold the model and learn one person after the other."""

import csv
import io
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import ray
import torch

from raytalk.command import absolute_uri
from raytalk.connect import StorageEnvironment, connect, storage_environment
from raytalk.console import Console, console
from raytalk.crowd import Crowd
from raytalk.enrolment.maker import About, AvatarMaker, detector_name
from raytalk.enrolment.one import already_there, make_one
from raytalk.enrolment.perceptual import perceptual_networks
from raytalk.enrolment.room import room_for
from raytalk.enrolment.settings import FinetuneSettings
from raytalk.enrolment.table import Row, read_table
from raytalk.errors import RaytalkError
from raytalk.learning.naming import absolute_checkpoint
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
            results += _make(settings, output, lines, work)
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


def _make(settings: FinetuneSettings, output: str, lines: Console, work: list[Row]) -> Iterator[Result]:
    """Everybody, in whatever order they end."""
    cpus, gpus, room = room_for(settings.table, settings.device)
    count = min(room, len(work))
    each = f"{gpus:g} GPU" if gpus else f"{cpus:g} CPUs"
    print(f"{len(work)} to make, {count} at a time, each with {each}", flush=True)
    actor: Any = ray.remote(_Enroller).options(num_cpus=cpus, num_gpus=gpus)
    arguments = settings, lines, storage_environment(lines.say_once), max(1, int(cpus))

    def give(enroller: Any, row: Row) -> Any:
        return enroller.make.remote(row, join(output, row.id))

    for done in Crowd(actor, arguments, give, lambda row: row.name, settings.table.tries).work(work, count):
        seconds, error = done.said if not done.died else (0.0, RuntimeError(done.died))
        if error is not None:
            print(f"{done.item.name}: failed: {error}", flush=True)
        state = "ready" if error is None else "failed"
        yield Result(done.item, join(output, done.item.id), state, seconds, error)


def _with_absolute_places(settings: FinetuneSettings) -> FinetuneSettings:
    """Actors run in other folders."""
    checkpoint, perceptual = absolute_checkpoint(settings.checkpoint), settings.perceptual
    if perceptual.weights:
        perceptual = perceptual.model_copy(update={"weights": absolute_uri(perceptual.weights)})
    return settings.model_copy(update={"checkpoint": checkpoint, "perceptual": perceptual})


def _check(settings: FinetuneSettings, work: list[Row]) -> None:
    """What is wrong for all is said before a cluster is asked."""
    pretrained = load_pretrained(settings.checkpoint, settings.tracking_uri)
    if any(not row.clip for row in work):
        detector_name(settings, pretrained)
    if any(row.mode == "FT" for row in work):
        perceptual_networks(settings.perceptual, pretrained)


def _report(results: list[Result]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator=os.linesep)
    table.writerow(["id", "name", "mode", "state", "seconds", "reason", "avatar"])
    for result in results:
        row, seconds = result.row, f"{result.seconds:.1f}"
        table.writerow([row.id, row.name, row.mode, result.state, seconds, result.reason, result.avatar])
    return text.getvalue().encode()
