"""What trials have in common."""

import math
from typing import Any

import pytest
import ray
from sweep.toy_sweep import sweep_settings

from raytalk.errors import SettingsError
from raytalk.learning.settings import MetatrainSettings
from raytalk.sweep.plan import gpus_per_worker, rhythm


def looks(episodes: int, batch: int, log_every: int, wanted: int) -> list[int]:
    """Episodes at which the worker's loop validates, as it decides it."""
    run = MetatrainSettings.resolve("debug", {"episodes": episodes, "batch_size": batch, "log_every": log_every})
    made = rhythm(run, wanted)
    every, window = made["validation"].every, made["log_every"]
    at, last = [], 0
    for step in range(1, math.ceil(episodes / batch) + 1):
        shown = step * batch
        done = shown >= episodes
        if step % window and not done:
            continue
        if done or shown - last >= every:
            at.append(shown)
            last = shown
    return at


@pytest.mark.parametrize(
    ("episodes", "batch", "log_every", "wanted"),
    [(1600, 8, 50, 4), (1000, 8, 50, 3), (24_000, 16, 50, 4), (32, 4, 2, 2), (24_000, 16, 7, 5), (400, 8, 50, 1)],
)
def test_a_run_is_looked_at_as_often_as_asked_and_in_the_end(
    episodes: int, batch: int, log_every: int, wanted: int
) -> None:
    at = looks(episodes, batch, log_every, wanted)
    assert len(at) == wanted
    assert at[-1] >= episodes
    steps = [later - earlier for earlier, later in zip([0, *at], at, strict=False)]
    assert max(steps) - min(steps) <= wanted * batch * log_every


@pytest.mark.parametrize(
    ("gpus", "concurrent", "workers", "share"),
    [(0, 4, 1, 0.0), (4, 4, 1, 1.0), (1, 4, 1, 0.25), (2, 3, 1, 0.5), (8, 2, 4, 1.0)],
)
def test_trials_share_gpus_so_that_all_fit(
    monkeypatch: pytest.MonkeyPatch, gpus: int, concurrent: int, workers: int, share: float
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": float(gpus), "CPU": 16.0})
    assert gpus_per_worker(MetatrainSettings(), concurrent, workers) == share


def test_gpus_that_cannot_be_had_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 1.0, "CPU": 16.0})
    with pytest.raises(SettingsError, match="only trials of one worker can share a GPU"):
        gpus_per_worker(MetatrainSettings(), 2, 2)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 16.0})
    with pytest.raises(SettingsError, match="the cluster has no GPU"):
        gpus_per_worker(MetatrainSettings(device="cuda"), 2, 1)


@pytest.mark.parametrize("key", ["name", "output", "cpus_per_worker"])
def test_what_follows_from_the_sweep_is_not_set_for_trials(key: str) -> None:
    value: Any = 2 if key == "cpus_per_worker" else "mine"
    with pytest.raises(SettingsError, match=f"train.{key} follows from the sweep"):
        sweep_settings({f"train.{key}": value})
