"""The winner against the defaults, on people held out by whom nobody was chosen."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
import torch

from raytalk.connect import StorageEnvironment, storage_environment
from raytalk.errors import RaytalkError
from raytalk.evaluation.summary import bootstrap
from raytalk.learning.meta import choose_device
from raytalk.learning.pretrained import load_pretrained
from raytalk.storage import Storage, join
from raytalk.sweep.making import by_checkpoint
from raytalk.sweep.objective import Judges, People, score, seat
from raytalk.sweep.records import TRIALS, Record, Records
from raytalk.sweep.searching import DEFAULTS
from raytalk.sweep.settings import SweepSettings

Row = dict[str, Any]
CONFIRMATION_FILE = "confirmation.json"


@dataclass(frozen=True)
class Confirmation:
    """A row of figures per person (`objective.score`) of both, in the same order; or why there is none."""

    winner: list[Row] = field(default_factory=list)
    defaults: list[Row] = field(default_factory=list)
    missing: str = ""

    def difference(self, key: str = "score") -> tuple[float, float, float]:
        """Winner minus defaults in the mean over people, and its 95 % interval (bootstrap over people)."""
        pairs = zip(self.winner, self.defaults, strict=True)
        gains = np.array([mine.get(key, np.nan) - theirs.get(key, np.nan) for mine, theirs in pairs], np.float64)
        gains = gains[np.isfinite(gains)]
        if not len(gains):
            return float("nan"), float("nan"), float("nan")
        return float(gains.mean()), *bootstrap(gains)


def confirm(
    settings: SweepSettings, records: Records, best: Record, people: People | None, gpus: float
) -> Confirmation:
    """Measure both, beside each other on the cluster; what was measured before is kept."""
    if people is None:
        return Confirmation(missing="too few people are held out for a comparison with the defaults")
    if best.number == DEFAULTS:
        return Confirmation(missing="the defaults themselves are best")
    defaults = next((record for record in records.all() if record.number == DEFAULTS), None)
    if defaults is None or defaults.state != "finished":
        how = f"they have {defaults.state}" if defaults else "they were not tried"
        return Confirmation(missing=f"there is no whole trial of the defaults to compare with: {how}")
    if best.state != "finished":
        return Confirmation(missing="no other trial was shown all its episodes")
    of = [best.number, best.episodes, defaults.episodes]
    kept = kept_confirmation(records)
    if kept is not None and kept[0] == of:
        return kept[1]
    measure: Any = ray.remote(measure_run).options(num_cpus=1, num_gpus=gpus, max_retries=1)
    wanted = [
        measure.remote(settings, join(records.storage.uri, TRIALS, record.name), people, storage_environment())
        for record in (best, defaults)
    ]
    print(f"comparing trial {best.name} with the defaults on {len(people.trials)} other people", flush=True)
    try:
        winner, own = ray.get(wanted)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        cause = cause if isinstance(cause, RaytalkError) else error
        return Confirmation(missing=f"the comparison failed: {' '.join(str(cause).split())[-300:]}")
    records.storage.write(CONFIRMATION_FILE, json.dumps({"of": of, "winner": winner, "defaults": own}).encode())
    return Confirmation(winner, own)


def kept_confirmation(records: Records) -> tuple[list[int], Confirmation] | None:
    """Of whom (winner, its episodes, the defaults') and what, if there is one."""
    if not records.storage.exists(CONFIRMATION_FILE):
        return None
    kept = json.loads(records.storage.read(CONFIRMATION_FILE))
    return kept["of"], Confirmation(kept["winner"], kept["defaults"])


def measure_run(settings: SweepSettings, run: str, people: People, environment: StorageEnvironment) -> list[Row]:
    """A row for each person of the newest checkpoint of a trial's run. Raises RaytalkError."""
    environment.apply()
    model, train = load_pretrained(run), settings.train
    device = choose_device("auto" if train.device == "auto" else train.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    names = train.perceptual
    make = by_checkpoint(model, (names.content, names.identity, names.weights), settings.objective, device)
    sittings = seat(
        Storage(settings.clips), people.trials, model.networks.resolution, settings.objective, settings.seed
    )
    return score(make, sittings, people.yardstick, Judges(settings.objective))[1]
