"""The rows of W: a sparse Adam that follows a dense one, on one rank and on two."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from ranks import leave
from torch import Tensor

from raytalk.errors import CheckpointError
from raytalk.learning.video_embeddings import VideoEmbeddings

SIZE = 6
BETAS = [(0.0, 0.999), (0.9, 0.99)]


def make(videos: int = 5, betas: tuple[float, float] = (0.0, 0.999), names: list[str] | None = None) -> VideoEmbeddings:
    video_ids = names if names is not None else [f"video {index} ü" for index in range(videos)]
    return VideoEmbeddings(video_ids, SIZE, 2e-2, betas, torch.device("cpu"), seed=3)


def batches(number: int = 30) -> list[tuple[Tensor, Tensor]]:
    """Row 4 is never touched; rows come once, twice or not at all in a batch; some gradients are tiny or zero."""
    random = torch.Generator().manual_seed(7)
    made = []
    for step in range(number):
        index = torch.randint(0, 4, (4,), generator=random)
        gradient = torch.randn(4, SIZE, generator=random) * (1e-9 if step % 7 == 3 else 1.0)
        gradient[:, step % SIZE] = 0
        made.append((index, gradient))
    return made


def test_start() -> None:
    rows = make(videos=2000).rows
    assert float(rows.std()) == pytest.approx(0.02, rel=0.05)
    torch.testing.assert_close(make().rows, make().rows, atol=0, rtol=0)


@pytest.mark.parametrize("betas", BETAS)
def test_the_same_trajectory_as_dense_adam_on_each_touched_row(betas: tuple[float, float]) -> None:
    sparse = make(betas=betas)
    dense = [torch.nn.Parameter(row.clone()) for row in sparse.rows]
    optimizers = [torch.optim.Adam([row], lr=2e-2, betas=betas) for row in dense]
    untouched = sparse.rows[4].clone()
    for index, gradient in batches():
        before = sparse.rows.clone()
        sparse.step(index, gradient)
        for row in index.unique().tolist():
            dense[row].grad = gradient[index == row].sum(dim=0)
            optimizers[row].step()
        absent = [row for row in range(5) if row not in index]
        torch.testing.assert_close(sparse.rows[absent], before[absent], atol=0, rtol=0)
        torch.testing.assert_close(sparse.rows, torch.stack([row.detach() for row in dense]), atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(sparse.rows[4], untouched, atol=0, rtol=0)
    assert sparse.visits.tolist() == [sum(row in index for index, _ in batches()) for row in range(5)]


def test_two_episodes_of_one_video_are_one_step_with_their_sum() -> None:
    twice, once = make(), make()
    gradient = torch.randn(2, SIZE)
    twice.step(torch.tensor([1, 1]), gradient)
    once.step(torch.tensor([1]), gradient.sum(dim=0, keepdim=True))
    torch.testing.assert_close(twice.rows, once.rows)
    torch.testing.assert_close(twice.second_moment, once.second_moment)
    assert twice.visits.tolist() == once.visits.tolist() == [0, 1, 0, 0, 0]


def test_adopt_takes_the_mean_embedding_of_a_first_visit() -> None:
    rows = make()
    rows.step(torch.tensor([2]), torch.randn(1, SIZE))
    kept = rows.rows.clone()
    embeddings = torch.rand(4, SIZE)
    seen = rows.adopt(torch.tensor([0, 2, 0, 3]), embeddings)
    assert seen.tolist() == [False, True, False, False]
    torch.testing.assert_close(rows.rows[0], (embeddings[0] + embeddings[2]) / 2)
    torch.testing.assert_close(rows.rows[3], embeddings[3])
    torch.testing.assert_close(rows.rows[[1, 2, 4]], kept[[1, 2, 4]], atol=0, rtol=0)
    rows.step(torch.tensor([0]), torch.zeros(1, SIZE))
    assert rows.adopt(torch.tensor([0]), torch.zeros(1, SIZE)).tolist() == [True]
    assert rows.rows[0].abs().sum() > 0


def test_a_gradient_in_bfloat16_is_taken() -> None:
    rows = make()
    rows.step(torch.tensor([0]), torch.ones(1, SIZE, dtype=torch.bfloat16))
    assert rows.rows.dtype == torch.float32


def test_state_and_load_with_the_same_videos() -> None:
    trained, other = make(), VideoEmbeddings(make().video_ids, SIZE, 2e-2, (0.0, 0.999), torch.device("cpu"), seed=99)
    for index, gradient in batches(10):
        trained.step(index, gradient)
    state = trained.state()
    other.load(state)
    for index, gradient in batches(14)[10:]:
        trained.step(index, gradient)
        other.step(index, gradient)
    torch.testing.assert_close(other.rows, trained.rows, atol=0, rtol=0)
    torch.testing.assert_close(other.visits, trained.visits, atol=0, rtol=0)
    assert not torch.equal(state["rows"], trained.rows), "a snapshot does not move on"


def test_load_with_other_videos() -> None:
    trained = make(names=["a", "b", "c"])
    trained.step(torch.tensor([0, 1, 2, 2]), torch.randn(4, SIZE))
    here = make(names=["c", "new", "a", "newer"])
    start = here.rows.clone()
    here.load(trained.state())
    torch.testing.assert_close(here.rows[[0, 2]], trained.rows[[2, 0]], atol=0, rtol=0)
    torch.testing.assert_close(here.second_moment[[0, 2]], trained.second_moment[[2, 0]], atol=0, rtol=0)
    torch.testing.assert_close(here.rows[[1, 3]], start[[1, 3]], atol=0, rtol=0)
    assert here.visits.tolist() == [1, 0, 1, 0]
    strangers = make(names=["x"])
    strangers.load(trained.state())
    assert strangers.visits.tolist() == [0]


def test_load_of_another_size_is_refused() -> None:
    other = VideoEmbeddings(make().video_ids, SIZE + 2, 1e-3, (0.0, 0.999), torch.device("cpu"))
    with pytest.raises(CheckpointError, match=r"embedding size is 8 .* and 6 here: networks\.max_channels differs"):
        make().load(other.state())


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    rows = make()
    seen = []
    for step, (index, gradient) in enumerate(batches(8)):
        mine = slice(2 * rank, 2 * rank + 2)
        seen.append(rows.adopt(index[mine], gradient[mine].abs() + step))
        rows.step(index[mine], gradient[mine])
    torch.save(rows.state() | {"seen": torch.stack(seen)}, f"{folder}/rank{rank}.pt")
    leave()


def test_two_ranks_hold_the_same_rows_as_one_process_with_the_joined_batch(tmp_path: Path) -> None:
    assert os.environ.get("MASTER_ADDR") is None
    torch.multiprocessing.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    alone = make()
    for step, (index, gradient) in enumerate(batches(8)):
        seen = alone.adopt(index, gradient.abs() + step)
        assert seen.tolist() == [*first["seen"][step].tolist(), *second["seen"][step].tolist()]
        # A rank's loss is a mean over its 2 episodes, the joined one's over 4: half the gradient for each.
        alone.step(index, gradient / 2)
    for name in ("rows", "first_moment", "second_moment", "visits"):
        torch.testing.assert_close(first[name], second[name], atol=0, rtol=0)
        torch.testing.assert_close(first[name], alone.state()[name], atol=1e-6, rtol=1e-5)
