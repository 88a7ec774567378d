"""The progress line."""

import pytest

from raytalk.learning.progress import Stopwatch, duration, line

FIGURES = {
    "loss/content": 3.21,
    "loss/identity": 0.0,
    "loss/feature_matching": 0.5,
    "loss/match": 0.01,
    "loss/discriminator": 1.5,
    "score/real": 0.75,
    "score/fake": -0.5,
    "embedding/rms": 0.02,
    "embedding/between": 0.005,
    "speed/episodes_per_second": 10.0,
    "speed/waiting": 0.031,
}


def test_line() -> None:
    text = line(FIGURES, shown=4000, total=10_000, epoch=2.345)
    for part in (
        "episodes 4,000/10,000 (40%, epoch 2.3)",
        "content 3.21",
        "FM 0.5",
        "D 1.5 (real +0.75, fake -0.50)",
        "e 0.02 ±25%",
        "10 episodes/s, waiting 3.1%",
        "10 min left",
    ):
        assert part in text
    assert "\n" not in text


def test_line_with_a_dead_embedding() -> None:
    assert "e 0 ±0%" in line(FIGURES | {"embedding/rms": 0.0, "embedding/between": 0.0}, 1, 10, 0.1)


def test_line_when_the_last_batch_goes_past_the_end() -> None:
    assert "-" not in line(FIGURES | {"score/fake": 0.5}, shown=10_040, total=10_000, epoch=1.0).rpartition("|")[2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (45, "45 s"),
        (89, "89 s"),
        (90, "2 min"),
        (720, "12 min"),
        (12_600, "3.5 h"),
        (2.1 * 86_400, "2.1 days"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_stopwatch(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("raytalk.learning.progress.time.perf_counter", lambda: now[0])
    watch = Stopwatch()
    watch.waited(1.5)
    watch.waited(0.5)
    now[0] += 8
    assert watch.lap(40) == {"speed/episodes_per_second": 5.0, "speed/waiting": 0.25}
    now[0] += 2
    assert watch.lap(40) == {"speed/episodes_per_second": 20.0, "speed/waiting": 0.0}
    assert watch.lap(0)["speed/waiting"] == 0, "no time at all is no division by zero"
