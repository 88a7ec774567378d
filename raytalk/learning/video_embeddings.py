"""W: one learned row per training video (Eq. 4), kept out of data-parallel training.

A step touches the rows of its batch alone. Their gradients are gathered from all ranks and Adam is applied to just
those rows, in the same order on every rank, so the copies stay identical. A row that is not touched does not move
and costs nothing. Every operation has a fixed shape and none waits for the device.
"""

import torch
from torch import Tensor

from raytalk.errors import CheckpointError
from raytalk.learning.ranks import gather, world_size


class VideoEmbeddings:
    """Rows [V, N] float32 with Adam moments and visits of each row."""

    def __init__(
        self,
        video_ids: list[str],
        size: int,
        learning_rate: float,
        betas: tuple[float, float],
        device: torch.device,
        seed: int = 0,
    ) -> None:
        self.video_ids = video_ids
        self.learning_rate, self.betas, self.epsilon = learning_rate, betas, 1e-8
        generator = torch.Generator().manual_seed(seed)
        self.rows = (torch.randn(len(video_ids), size, generator=generator) * 0.02).to(device)
        self.first_moment = torch.zeros_like(self.rows)
        self.second_moment = torch.zeros_like(self.rows)
        self.left_behind = 0
        self.sizes: list[int] | None = None
        """episodes of a step on each rank, where they differ"""
        self.visits = torch.zeros(len(video_ids), dtype=torch.int64, device=device)

    def adopt(self, index: Tensor, embeddings: Tensor) -> Tensor:
        """Set each row that was never visited to the mean embedding ê of its episodes in this step, over all ranks.

        index [B] int64, embeddings [B, N]. Returns which of the B rows had been visited before, bool [B]. Without
        this L_MCH pulls the embedder to W's random start, where its ReLU dies.
        """
        everywhere = gather(index, self.sizes)
        same = _same(everywhere)
        means = same @ gather(embeddings.float(), self.sizes) / same.sum(dim=1, keepdim=True)
        seen = self.visits[everywhere] > 0
        self.rows[everywhere] = torch.where(seen[:, None], self.rows[everywhere], means)
        return self.visits[index] > 0

    def step(self, index: Tensor, gradient: Tensor) -> None:
        """One Adam step on the touched rows.

        index [B] int64, gradient [B, N]: of this rank's loss, a mean over its B episodes. Several episodes of one
        video are one step with the sum of their gradients, as with a dense parameter.
        """
        weight = len(index) / sum(self.sizes) if self.sizes else 1 / world_size()
        everywhere = gather(index, self.sizes)
        total = _same(everywhere) @ gather(gradient.float() * weight, self.sizes)
        beta1, beta2 = self.betas
        visits = self.visits[everywhere] + 1
        first = self.first_moment[everywhere].lerp(total, 1 - beta1)
        second = self.second_moment[everywhere].lerp(total.square(), 1 - beta2)
        age = visits[:, None].double()
        denominator = (second / (1 - beta2**age).float()).sqrt() + self.epsilon
        update = first / (1 - beta1**age).float() / denominator
        # Duplicates in `everywhere` carry equal values: whichever is written last is right.
        self.rows[everywhere] = self.rows[everywhere] - self.learning_rate * update
        self.first_moment[everywhere] = first
        self.second_moment[everywhere] = second
        self.visits[everywhere] = visits

    def state(self) -> dict[str, Tensor]:
        """Tensors on the CPU; `video_ids` as newline-separated UTF-8 bytes, uint8."""
        names = torch.frombuffer(bytearray("\n".join(self.video_ids).encode()), dtype=torch.uint8)
        return {"video_ids": names} | {name: getattr(self, name).detach().to("cpu", copy=True) for name in _TENSORS}

    def load(self, state: dict[str, Tensor], rows_only: bool = False) -> None:
        """Take over the rows of the videos that both know; rows of other videos keep their start.

        `left_behind` then counts the state's videos that are not known here.
        `rows_only` leaves Adam's moments alone, for another run. Raises CheckpointError if the embedding size differs.
        """
        if state["rows"].shape[1] != self.rows.shape[1]:
            raise CheckpointError(
                f"embedding size is {state['rows'].shape[1]} in the checkpoint's video_embeddings and "
                f"{self.rows.shape[1]} here: networks.max_channels differs"
            )
        position = {name: index for index, name in enumerate(bytes(state["video_ids"].numpy()).decode().split("\n"))}
        pairs = [(here, position[name]) for here, name in enumerate(self.video_ids) if name in position]
        if pairs:
            here, there = torch.tensor(pairs).unbind(dim=1)
            for name in ("rows", "visits") if rows_only else _TENSORS:
                own = getattr(self, name)
                own[here.to(own.device)] = state[name][there].to(own.device)
        self.left_behind = len(position) - len(pairs)


_TENSORS = ("rows", "first_moment", "second_moment", "visits")


def _same(index: Tensor) -> Tensor:
    """[M, M] float32: 1 where two entries name the same row."""
    return (index[:, None] == index[None, :]).float()
