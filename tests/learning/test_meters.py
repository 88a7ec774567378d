"""What Prometheus reads of a training run, from the endpoint of a real Ray node."""

import re
import time
import urllib.request

import pytest
import ray
import torch

pytestmark = pytest.mark.ray

NAMES = {
    "episodes_total", "episodes_per_second", "epoch", "wait_share", "loss", "gpu_memory_bytes", "world_size",
    "checkpoint_seconds_sum", "checkpoints_total", "restarts_total", "validation", "faults_total",
}  # fmt: skip
TERMS = ["generator", "content", "identity", "adversarial", "feature_matching", "match", "discriminator"]


@ray.remote(num_cpus=0)
class Trainer:
    """As rank 0 of a run."""

    def train(self) -> None:
        from raytalk.learning.meters import RankMeters, RunMeters

        figures = {f"loss/{term}": 0.5 + index for index, term in enumerate(TERMS)}
        figures |= {"speed/episodes_per_second": 42.5, "speed/waiting": 0.25}
        run = RunMeters("first")
        run.began(ranks=2, again=False)
        run.began(ranks=3, again=True)
        run.window(figures, episodes=8, faults=0, epoch=1.5)
        run.window(figures, episodes=16, faults=3, epoch=2.5)
        run.validated("val", {"ssim": 0.75})
        run.published(2.0)
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
        ours = ",".join(sorted(re.findall(r'(?:run|rank|term|set|figure|le)="[^"]*"', tags)))
        found[f"{name}{{{ours}}}"] = float(value)
    return found


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
    time.sleep(40)  # Ray alone would have forgotten what was set once
    assert exported().items() >= {key: value for key, value in found.items() if "world_size" in key}.items()
    assert {key for key in exported() if key.startswith("loss")} == {key for key in found if key.startswith("loss")}
    ray.kill(trainer)
