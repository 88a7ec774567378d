"""Figures and a picture grid of the feed-forward model on people held out of training, and on people seen.

Each person's clip gives K source frames and some targets. The same targets are drawn once more with somebody else's
embedding: if that is not worse, the embedder is ignored.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from skimage.metrics import structural_similarity
from torch import Tensor

from raytalk.clips.catalog import read_clips, scan
from raytalk.clips.episodes import decode_and_draw
from raytalk.clips.schema import Clip, Split
from raytalk.errors import ClipsError
from raytalk.learning.losses import content_loss
from raytalk.learning.meta import Talker, to_unit
from raytalk.networks.perceptual import PerceptualNetwork
from raytalk.storage import Storage

Pictures = npt.NDArray[np.uint8]

_SOURCES_SHOWN = 3


@dataclass(frozen=True)
class People:
    """Some people of one split: P people, K sources and M targets each."""

    names: list[str]
    sources: Tensor
    """[P, K, H, W, 3] uint8 RGB"""
    source_drawings: Tensor
    """[P, K, H, W, 3] uint8"""
    targets: Tensor
    """[P, M, H, W, 3] uint8 RGB, none of them a source"""
    target_drawings: Tensor
    """[P, M, H, W, 3] uint8"""


def load_people(
    storage: Storage, split: Split, people: int, shots: int, targets: int, resolution: int, with_pupils: bool = False
) -> People:
    """One clip of each of the first `people` people of a split; drawn with the pupils that are known, or without any.

    Raises ClipsError if fewer than two can be used.
    """
    rows: dict[str, list[Pictures]] = {}
    for path in scan(storage, split).files:
        for clip in read_clips(storage, path):
            if clip.person_id not in rows and (pictures := _pictures(clip, shots, targets, resolution, with_pupils)):
                rows[clip.person_id] = pictures
        if len(rows) >= people:
            break
    names = list(rows)[:people]
    if len(names) < 2:
        raise ClipsError(f"{split} has {len(names)} people with at least {shots + targets} good frames; 2 are needed")
    columns = [torch.from_numpy(np.stack([rows[name][part] for name in names])) for part in range(4)]
    return People(names, *columns)


@torch.no_grad()
def validate(
    model: Talker, content: PerceptualNetwork, people: People, device: torch.device
) -> tuple[dict[str, float], Pictures]:
    """Figures of feed-forward reenactment, and the grid.

    Figures: `l1` (of pictures in [-1, 1]), `ssim`, `content` (L_CNT's network), and the same with `_wrong` under
    somebody else's embedding; `spread` between people's embeddings over their rms. The grid has a row per person:
    sources · drawing · ground truth · output · output with the next person's embedding; HxWx3 uint8 RGB.
    """
    embeddings = torch.stack(
        [
            model.embedder(to_unit(frames.to(device)), to_unit(drawings.to(device))).mean(dim=0)
            for frames, drawings in zip(people.sources, people.source_drawings, strict=True)
        ]
    )
    right, wrong = _render(model, people, embeddings), _render(model, people, embeddings.roll(-1, dims=0))
    truth = to_unit(people.targets).flatten(0, 1)
    figures = _compare(right, truth, content, "") | _compare(wrong, truth, content, "_wrong")
    rms = embeddings.square().mean().sqrt()
    figures["spread"] = float((embeddings - embeddings.mean(dim=0)).square().mean().sqrt() / rms.clamp_min(1e-12))
    shape = people.targets.shape[:2]
    return figures, _grid(people, right.unflatten(0, shape)[:, 0], wrong.unflatten(0, shape)[:, 0])


def to_pictures(frames: Tensor) -> Pictures:
    """[..., 3, H, W] in [-1, 1] -> [..., H, W, 3] uint8 RGB."""
    pictures = ((frames.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(-3, -1)
    return np.asarray(pictures.cpu().numpy(), np.uint8)


def _pictures(clip: Clip, shots: int, targets: int, resolution: int, with_pupils: bool) -> list[Pictures] | None:
    """Sources, their drawings, targets, their drawings; sources and targets alternate over the clip."""
    pairs = [decode_and_draw(clip, index, resolution, with_pupils) for index in range(len(clip.frames))]
    good = [pair for pair in pairs if pair is not None]
    if len(good) < shots + targets:
        return None
    frames, drawings = zip(*good, strict=True)
    picked = np.unique(np.linspace(0, len(frames) - 1, targets + 2).round().astype(int)[1:-1])
    if len(picked) < targets:  # a short clip: its first frames
        picked = np.arange(targets)
    others = np.setdiff1d(np.arange(len(frames)), picked)
    sources = others[np.linspace(0, len(others) - 1, shots).round().astype(int)]
    all_frames, all_drawings = np.stack(frames), np.stack(drawings)
    return [all_frames[sources], all_drawings[sources], all_frames[picked], all_drawings[picked]]


def _render(model: Talker, people: People, embeddings: Tensor) -> Tensor:
    """[P * M, 3, H, W] in [-1, 1] on the CPU, a person at a time."""
    device = embeddings.device
    return torch.cat(
        [
            model.generator(to_unit(drawings.to(device)), embedding.expand(len(drawings), -1)).float().cpu()
            for drawings, embedding in zip(people.target_drawings, embeddings, strict=True)
        ]
    )


def _compare(output: Tensor, truth: Tensor, content: PerceptualNetwork, suffix: str) -> dict[str, float]:
    device = next(content.parameters()).device
    pairs = list(zip(to_pictures(output), to_pictures(truth), strict=True))
    ssim = [structural_similarity(ours, real, channel_axis=2) for ours, real in pairs]  # type: ignore[no-untyped-call]
    distance = [
        float(content_loss(content(ours.to(device)), content(real.to(device)))) * len(ours)
        for ours, real in zip(output.split(8), truth.split(8), strict=True)
    ]
    return {
        f"l1{suffix}": float(F.l1_loss(output, truth)),
        f"ssim{suffix}": float(np.mean(ssim)),
        f"content{suffix}": sum(distance) / len(output),
    }


def _grid(people: People, right: Tensor, wrong: Tensor) -> Pictures:
    rows = []
    for index in range(len(people.names)):
        row = [
            *people.sources[index][:_SOURCES_SHOWN].numpy(),
            people.target_drawings[index][0].numpy(),
            people.targets[index][0].numpy(),
            to_pictures(right[index]),
            to_pictures(wrong[index]),
        ]
        rows.append(np.concatenate(row, axis=1))
    grid = np.concatenate(rows, axis=0)
    size = people.targets.shape[2]
    columns = grid.shape[1] // size
    header = np.full((22, grid.shape[1], 3), 255, np.uint8)
    titles = ["source"] * (columns - 4) + ["drawing", "truth", "output", "wrong id"]
    for column, title in enumerate(titles):
        place = (column * size + 4, 15)
        cv2.putText(header, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([header, grid])
