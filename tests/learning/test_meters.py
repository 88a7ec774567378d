"""What Prometheus reads of a training run, from the endpoint of a real Ray node."""

import re
import time
import urllib.request
from typing import Literal

import pytest
import ray
import torch

from raytalk.learning import meters
from raytalk.learning.meters import UNTIL_HEARD, RunMeters

NAMES = {
    "episodes_total", "episodes_per_second", "epoch", "wait_share", "loss", "gpu_memory_bytes", "world_size",
    "checkpoint_seconds_sum", "checkpoints_total", "restarts_total", "validation", "faults_total",
    "event_seconds",
}  # fmt: skip
TERMS = ["generator", "content", "identity", "adversarial", "feature_matching", "match", "discriminator"]


@ray.remote(num_cpus=0)
class Trainer:
    """As rank 0 of a run."""

    def train(self) -> None:
        from raytalk.learning.meters import RankMeters, RunMeters

        waited: list[float] = []
        figures = {f"loss/{term}": 0.5 + index for index, term in enumerate(TERMS)}
        figures |= {"speed/episodes_per_second": 42.5, "speed/waiting": 0.25}
        run = RunMeters("first")
        run.began(ranks=2, again=False)
        run.began(ranks=3, again=True)
        run.window(figures, episodes=8, faults=0, epoch=1.5)
        run.window(figures, episodes=16, faults=3, epoch=2.5)
        run.validated("val", {"ssim": 0.75})
        run.published(2.0)
        run.ended("finished", waited.append)
        self.rank = RankMeters("first", 1, torch.device("cpu"))
        self.rank.window()


def exported() -> dict[str, float]:
    """The metrics of the project: name{our own tags} to value."""
    [node] = ray.nodes()
    place = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(place, timeout=30) as answer:
        text = answer.read().decode()
    found = {}
    for name, tags, value in re.findall(r"^ray_raytalk_train_(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        ours = ",".join(sorted(re.findall(r'(?:run|event|rank|term|set|figure|le)="[^"]*"', tags)))
        found[f"{name}{{{ours}}}"] = float(value)
    return found


@pytest.mark.ray
def test_prometheus_reads_what_training_says(ray_session: None) -> None:
    trainer = Trainer.remote()
    ray.get(trainer.train.remote())
    deadline = time.monotonic() + 90  # a process hands its metrics on every ten seconds
    while not {key.split("{")[0] for key in exported()} >= NAMES:
        assert time.monotonic() < deadline, NAMES - {key.split("{")[0] for key in exported()}
        time.sleep(0.5)
    found = exported()
    assert found['episodes_total{run="first"}'] == 24
    assert found['faults_total{run="first"}'] == 3
    assert found['restarts_total{run="first"}'] == 1
    assert found['world_size{run="first"}'] == 3
    assert found['episodes_per_second{run="first"}'] == 42.5
    assert found['wait_share{run="first"}'] == 0.25
    assert found['epoch{run="first"}'] == 2.5
    assert found['validation{figure="ssim",run="first",set="val"}'] == 0.75
    assert [found[f'loss{{run="first",term="{term}"}}'] for term in TERMS] == [0.5 + index for index in range(7)]
    assert found['gpu_memory_bytes{rank="1",run="first"}'] == 0
    assert found['checkpoints_total{run="first"}'] == 1
    assert found['checkpoint_seconds_sum{run="first"}'] == 2
    assert found['checkpoint_seconds_bucket{le="3.0",run="first"}'] == 1
    assert found['checkpoint_seconds_bucket{le="1.0",run="first"}'] == 0
    begun, finished = (found[f'event_seconds{{event="{event}",run="first"}}'] for event in ("begun", "finished"))
    assert time.time() - 300 < begun <= finished <= time.time()
    time.sleep(40)  # Ray alone would have forgotten what was set once
    assert exported().items() >= {key: value for key, value in found.items() if "world_size" in key}.items()
    assert {key for key in exported() if key.startswith("loss")} == {key for key in found if key.startswith("loss")}
    ray.kill(trainer)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The events that gauges are set to, in their order; Ray hears nothing of them."""
    events: list[str] = []

    def heard(gauge: meters._Gauge, value: float, **tags: str) -> None:
        if "event" in tags:
            assert abs(value - time.time()) < 60
            events.append(tags["event"])

    monkeypatch.setattr(meters._Gauge, "set", heard)
    return events


@pytest.mark.parametrize("how", ["finished", "stopped"])
def test_a_run_says_how_it_ended_and_waits_until_that_was_heard(
    how: Literal["finished", "stopped"], told: list[str]
) -> None:
    heard: list[tuple[float, int]] = []
    run = RunMeters("first")
    run.began(ranks=2, again=False)
    run.ended(how, lambda seconds: heard.append((seconds, len(told))))
    assert told == ["begun", how]
    assert heard == [(UNTIL_HEARD, 2)]
    assert 2 * ray._config.metrics_report_interval_ms() / 1000 <= UNTIL_HEARD


def test_a_run_that_nobody_watches_says_nothing_and_does_not_wait(told: list[str]) -> None:
    run = RunMeters("first", watched=False)
    run.began(ranks=2, again=False)
    run.ended("stopped", lambda _: pytest.fail("it waits"))
    assert not told
