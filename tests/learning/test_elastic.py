"""Training with one, two and three ranks, and with a number of ranks that changes on the way: the same curve."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from ranks import leave
from torch import Tensor
from toy import TINY_NETWORKS, RandomContent, face_landmarks, toy_frame

from raytalk.faces.draw import draw_landmarks
from raytalk.learning import checkpoint
from raytalk.learning.checkpoint import Snapshot, State
from raytalk.learning.checkpoint_writer import CheckpointWriter
from raytalk.learning.dealing import Dealing
from raytalk.learning.health import Window
from raytalk.learning.meta import Episodes, MetaLearner
from raytalk.learning.settings import MetatrainSettings
from raytalk.storage import Storage

SHOTS, SIZE, BATCH = 2, 32, 4
VIDEOS = [f"person{person}/video0" for person in range(6)]


def learner() -> MetaLearner:
    given = {"networks": TINY_NETWORKS, "data": {"shots": SHOTS}, "batch_size": BATCH}
    content: Any = RandomContent()
    settings = MetatrainSettings.resolve("debug", given)
    return MetaLearner(settings, VIDEOS, content, None, torch.device("cpu"))


def episode(number: int) -> tuple[Tensor, Tensor, int]:
    random = np.random.default_rng(number)
    video = int(random.integers(0, len(VIDEOS)))
    points = [face_landmarks(SIZE, tuple(random.uniform(-0.1, 0.1, 2)), random.uniform()) for _ in range(1 + SHOTS)]
    frames = np.stack([toy_frame(video, shown, SIZE) for shown in points])
    drawings = np.stack([draw_landmarks(shown, SIZE) for shown in points])
    return torch.from_numpy(frames), torch.from_numpy(drawings), video


def train(rank: int, ranks: int, folder: Path, steps: int) -> list[dict[str, float]]:
    """Go on from the folder's newest checkpoint, if there is one, and keep another; the figures of each step."""
    made = learner()
    place = checkpoint.latest(Storage(str(folder)))[0]
    shown = checkpoint.load(place, made).episodes if place else 0
    dealing = Dealing(shown, BATCH, ranks, steps=1)
    curve = []
    for step in range(steps):
        frames, drawings, videos = zip(*(episode(number) for number in dealing.expected(rank, step)), strict=True)
        window = Window()
        window.add(made.step(Episodes(torch.stack(frames), torch.stack(drawings), torch.tensor(videos))))
        curve.append(window.reduce())
    if rank == 0:
        writer = CheckpointWriter(Storage(str(folder)), keep=3)
        writer.save(Snapshot.take(made, State(shown + steps * BATCH, 0.0, made.steps, 0, "dlib", [])))
        writer.close()
    return curve


def _rank(rank: int, ranks: int, folder: Path, steps: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet{ranks}", rank=rank, world_size=ranks)
    curve = train(rank, ranks, folder, steps)
    torch.save(curve, folder / f"curve{rank}.pt")
    leave()


def with_ranks(ranks: int, folder: Path, steps: int) -> list[dict[str, float]]:
    """The curve that all ranks agree on."""
    torch.multiprocessing.spawn(_rank, args=(ranks, folder, steps), nprocs=ranks)
    curves = [torch.load(folder / f"curve{rank}.pt") for rank in range(ranks)]
    assert all(curve == curves[0] for curve in curves)
    found: list[dict[str, float]] = curves[0]
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    return train(0, 1, tmp_path_factory.mktemp("alone"), steps=9)


def same(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> None:
    assert len(ours) == len(theirs)
    for step, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        for name in one:
            if not name.startswith("contrast/"):  # of the pictures of a rank
                assert one[name] == pytest.approx(other[name], rel=2e-3, abs=2e-4), f"{name} at step {step}"


def test_three_ranks_share_four_episodes_unevenly_and_learn_as_one(
    tmp_path: Path, alone: list[dict[str, float]]
) -> None:
    assert Dealing(0, BATCH, 3, 1).shares == [2, 1, 1]
    same(with_ranks(3, tmp_path, steps=9), alone)


def test_the_number_of_ranks_changes_on_the_way_and_the_curve_goes_on(
    tmp_path: Path, alone: list[dict[str, float]]
) -> None:
    curve = with_ranks(2, tmp_path, steps=3) + train(0, 1, tmp_path, steps=3) + with_ranks(3, tmp_path, steps=3)
    same(curve, alone)
    # What is compared moves from step to step by more than the tolerance.
    assert abs(curve[0]["loss/content"] - curve[-1]["loss/content"]) > 0.02 * curve[0]["loss/content"]
