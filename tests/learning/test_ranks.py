"""What ranks exchange, between two processes."""

from pathlib import Path
from typing import Any

import pytest
import reference
import torch
import torch.distributed as dist
from ranks import leave
from torch import Tensor
from toy import TINY_NETWORKS, RandomContent

from raytalk.learning.meta import Episodes, MetaLearner
from raytalk.learning.ranks import Averaging, broadcast, gather, world_size
from raytalk.learning.settings import MetatrainSettings


def learner() -> MetaLearner:
    settings = MetatrainSettings.resolve("debug", {"networks": TINY_NETWORKS, "data": {"shots": 2}})
    content: Any = RandomContent()
    made = MetaLearner(settings, list("abcdef"), content, None, torch.device("cpu"))
    made.rows.visits += 1
    return made


def episodes(part: slice) -> Episodes:
    random = torch.Generator().manual_seed(1)
    frames, drawings = (torch.randint(0, 256, (4, 3, 32, 32, 3), dtype=torch.uint8, generator=random) for _ in "ab")
    return Episodes(frames[part], drawings[part], torch.tensor([0, 3, 3, 5])[part])


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    assert world_size() == 2
    tensors = [torch.full((2, 2), float(rank)), torch.full((3,), 10.0 * rank).bfloat16().float()]
    averaging = Averaging(tensors)
    averaging.wait()
    assert [float(tensor.mean()) for tensor in tensors] == [0.5, 5.0]
    assert gather(torch.tensor([rank, 7])).tolist() == [0, 7, 1, 7]
    own = [torch.full((2,), float(rank)), torch.full((1, 3), rank + 4.0)]
    broadcast(own)
    assert [tensor.tolist() for tensor in own] == [[0, 0], [[4, 4, 4]]]
    patch = pytest.MonkeyPatch()
    frozen = reference.frozen_step(learner(), episodes(slice(2 * rank, 2 * rank + 2)), patch)
    torch.save([frozen.discriminator, frozen.talker], f"{folder}/rank{rank}.pt")
    leave()


def flat(gradients: list[Any]) -> Tensor:
    return torch.cat([g.flatten() for part in gradients for one in part for g in (one if type(one) is list else [one])])


def test_two_ranks_find_the_gradients_of_one_with_the_joined_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.multiprocessing.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    first, second = (flat(torch.load(tmp_path / f"rank{rank}.pt")) for rank in range(2))
    torch.testing.assert_close(first, second, atol=0, rtol=0)
    alone = reference.frozen_step(learner(), episodes(slice(None)), monkeypatch)
    wanted = flat([alone.discriminator, alone.talker])
    assert float((first - wanted).norm() / wanted.norm()) < 1e-4


def test_alone_nothing_is_exchanged() -> None:
    tensor = torch.ones(3, requires_grad=True)
    averaging = Averaging([tensor])
    averaging.wait()
    broadcast([tensor])
    assert world_size() == 1
    assert gather(tensor * 2).tolist() == [2, 2, 2]
