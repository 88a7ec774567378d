"""Figures of a window, and when a run must stop."""

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from ranks import leave

from raytalk.learning.health import Guard, Window
from raytalk.learning.settings import GuardSettings

SCALE = 1 / 64
HEALTHY = {
    "loss/discriminator": 1.2,
    "contrast/output": 0.4,
    "contrast/truth": 0.5,
    "embedding/rms": 0.02,
    "embedding/between": 0.005,
    "loss/content": 3.0,
}
FAILURES = [
    ({"loss/discriminator": 1e-4}, "the discriminator tells all real from all generated frames"),
    ({"contrast/output": 0.01}, "the output is flat"),
    ({"embedding/rms": 1e-5, "embedding/between": 1e-6}, "the embedding is dead"),
    ({"embedding/between": 1e-5}, "the embedding is the same for everybody"),
]


def guard(patience: int = 3, videos: int = 10) -> Guard:
    return Guard(GuardSettings(patience=patience), SCALE, videos)


def test_without_an_embedder_nothing_is_asked_of_embeddings() -> None:
    figures = HEALTHY | {"embedding/rms": 0.0, "embedding/between": 0.0}
    without = Guard(GuardSettings(patience=1), SCALE, 10, embedder=False)
    assert guard(1).check(figures)
    assert without.check(figures) is None
    assert without.check(figures | {"loss/discriminator": 1e-4})


def metrics(value: float, embedding: list[list[float]], within: float = 4.0) -> dict[str, torch.Tensor]:
    return {
        "loss/content": torch.tensor(value),
        "embedding/within": torch.tensor(within),
        "embedding": torch.tensor(embedding),
    }


def test_a_window_is_the_mean_of_its_steps() -> None:
    window = Window()
    window.add(metrics(1.0, [[1.0, 0.0], [3.0, 0.0]], within=1.0))
    window.add(metrics(4.0, [[5.0, 0.0], [7.0, 0.0]], within=7.0))
    figures = window.reduce()
    assert figures["loss/content"] == pytest.approx(2.5)
    assert figures["embedding/within"] == pytest.approx(2.0)
    assert figures["embedding/rms"] == pytest.approx(math.sqrt((1 + 9 + 25 + 49) / 8))
    assert figures["embedding/between"] == pytest.approx(math.sqrt(5 / 2)), "over all episodes of the window"
    window.add(metrics(9.0, [[1.0, 1.0]]))
    assert window.reduce()["loss/content"] == 9, "the next window starts afresh"


def test_a_window_does_not_change_the_metrics_it_was_given() -> None:
    window, given = Window(), metrics(1.0, [[1.0]])
    window.add(given)
    window.add(metrics(5.0, [[1.0]]))
    assert given["loss/content"] == 1


def test_a_small_spread_on_a_large_mean_is_not_lost() -> None:
    window = Window()
    window.add(metrics(0.0, [[1000.001], [999.999]]))
    assert window.reduce()["embedding/between"] == pytest.approx(0.001, rel=0.05)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    window = Window()
    window.add(metrics(bad, [[1.0], [2.0]]))
    window.add(metrics(1.0, [[bad], [2.0]], within=bad))
    figures = window.reduce()
    for key in ("loss/content", "embedding/rms", "embedding/between", "embedding/within"):
        assert not math.isfinite(figures[key])


def _rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    window = Window()
    window.add(metrics(1.0 + 2 * rank, [[1.0 + 2 * rank]]))
    torch.save(window.reduce(), f"{folder}/rank{rank}.pt")
    leave()


def test_figures_are_the_same_on_every_rank(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert first == second
    assert first["loss/content"] == 2
    assert first["embedding/between"] == pytest.approx(1)


def test_a_healthy_run_goes_on() -> None:
    watch = guard(patience=1)
    assert [watch.check(HEALTHY) for _ in range(20)] == [None] * 20
    assert not watch.suspicious


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_finite_stops_at_once(bad: float) -> None:
    watch = guard()
    reason = watch.check(HEALTHY | {"loss/content": bad})
    assert reason is not None
    assert reason.startswith("loss/content is not finite")
    assert watch.suspicious


@pytest.mark.parametrize(("change", "message"), FAILURES)
def test_a_collapse_stops_the_run_after_patience_windows(change: dict[str, float], message: str) -> None:
    watch = guard()
    bad = HEALTHY | change
    assert watch.check(bad) is None
    assert watch.suspicious, "no time to keep a checkpoint"
    assert watch.check(bad) is None
    reason = watch.check(bad)
    assert reason is not None
    assert reason.startswith(message)
    assert reason.endswith("so for 3 windows in a row")
    assert ":" in reason, "it says what to do"


@pytest.mark.parametrize(("change", "message"), FAILURES)
def test_one_good_window_forgives(change: dict[str, float], message: str) -> None:
    watch = guard()
    for _ in range(5):
        assert watch.check(HEALTHY | change) is None
        assert watch.check(HEALTHY | change) is None
        assert watch.check(HEALTHY) is None
        assert not watch.suspicious


def test_different_failures_do_not_add_up() -> None:
    watch = guard(patience=2)
    for change, _ in (FAILURES[0], FAILURES[1], FAILURES[0], FAILURES[1]):
        assert watch.check(HEALTHY | change) is None


def test_a_run_on_one_video_has_no_spread() -> None:
    assert guard(patience=1, videos=1).check(HEALTHY | {"embedding/between": 0.0}) is None


def test_the_embedding_is_measured_before_its_scale() -> None:
    """rms 5e-4 after 1/64 is 0.03 before: alive."""
    assert guard(patience=1).check(HEALTHY | {"embedding/rms": 5e-4, "embedding/between": 1e-4}) is None
