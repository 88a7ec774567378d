"""Toy people: drawings with a colour of their own and a head that moves, made in milliseconds, with true landmarks."""

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from raytalk.clips.schema import Clip, Split, clips_to_table, write_table
from raytalk.storage import Storage

TINY_NETWORKS = {
    "resolution": 32,
    "min_channels": 8,
    "max_channels": 16,
    "attention_down": 16,
    "attention_up": 32,
    "adain_blocks": 1,
}
"""networks that cost nothing, as settings"""


def face_landmarks(size: int, shift: tuple[float, float] = (0.0, 0.0), mouth: float = 0.2) -> npt.NDArray[np.float32]:
    """[68, 2] in pixels: a schematic face in iBUG order; `shift` in picture sizes, `mouth` is how far it is open."""
    jaw = [(np.sin(a) * 0.3, np.cos(a) * 0.36 + 0.02) for a in np.linspace(-1.9, 1.9, 17)]
    brows = [
        (x, -0.17 - 0.02 * np.sin((abs(x) - 0.05) * 16))
        for x in np.r_[np.linspace(-0.22, -0.06, 5), np.linspace(0.06, 0.22, 5)]
    ]
    nose = [(0.0, y) for y in np.linspace(-0.1, 0.05, 4)] + [(x, 0.09) for x in np.linspace(-0.06, 0.06, 5)]
    eyes = [
        (cx + 0.05 * np.cos(a), -0.1 + 0.022 * np.sin(a))
        for cx in (-0.13, 0.13)
        for a in np.linspace(np.pi, 3 * np.pi, 7)[:6]
    ]
    outer = [
        (0.11 * np.cos(a), 0.2 + (0.04 + 0.08 * mouth) * np.sin(a)) for a in np.linspace(np.pi, 3 * np.pi, 13)[:12]
    ]
    inner = [(0.08 * np.cos(a), 0.2 + 0.07 * mouth * np.sin(a)) for a in np.linspace(np.pi, 3 * np.pi, 9)[:8]]
    points = np.array(jaw + brows + nose + eyes + outer + inner)
    return ((points + 0.5 + np.array(shift)) * size).astype(np.float32)


def toy_frame(person: int, points: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.uint8]:
    """size x size x 3 uint8 RGB; background, skin and hair colours depend on the person."""
    colour = np.random.default_rng(person).integers(40, 255, (3, 3)).tolist()
    picture = np.full((size, size, 3), colour[0], np.uint8)
    centre = points[:17].mean(axis=0)
    cv2.ellipse(
        picture,
        (int(centre[0]), int(centre[1] - 0.05 * size)),
        (int(0.33 * size), int(0.42 * size)),
        0,
        0,
        360,
        colour[1],
        -1,
    )
    cv2.fillPoly(picture, [np.rint(points[:17]).astype(np.int32)], colour[2])
    for first, last in ((36, 42), (42, 48), (48, 60)):
        cv2.fillPoly(
            picture, [np.rint(points[first:last]).astype(np.int32)], (250, 250, 250) if first < 48 else (160, 30, 40)
        )
    return picture


def toy_clip(person: int, frames: int = 16, size: int = 64, split: Split = "train", video: int = 0) -> Clip:
    """One clip; the head sways and the mouth opens."""
    random = np.random.default_rng((person, video))
    landmarks = np.stack(
        [face_landmarks(size, tuple(random.uniform(-0.1, 0.1, 2)), random.uniform()) for _ in range(frames)]
    )
    pictures = [toy_frame(person, points, size) for points in landmarks]
    return Clip(
        clip_id=f"person{person}/video{video}/0",
        video_id=f"person{person}/video{video}",
        person_id=f"person{person}",
        split=split,
        fps=25.0,
        detector="dlib",
        frames=[
            cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
            for picture in pictures
        ],
        landmarks=landmarks,
        source=f"toy://{person}/{video}",
    )


def with_pupils(clip: Clip) -> Clip:
    """The same clip; the eyes look here and there."""
    eyes = np.stack([clip.landmarks[:, 36:42].mean(axis=1), clip.landmarks[:, 42:48].mean(axis=1)], axis=1)
    size = np.ptp(clip.landmarks[:, 36:42, 0], axis=1)
    eyes[..., 0] += np.linspace(-0.3, 0.3, len(eyes))[:, None] * size[:, None]
    return dataclasses.replace(clip, pupils=eyes.astype(np.float32))


def write_toy_clips(
    uri: str,
    people: int = 8,
    held_out: int = 3,
    frames: int = 16,
    size: int = 64,
    per_file: int = 3,
    pupils: bool = False,
) -> None:
    """`people` in train and `held_out` more in val, a few clips to a file; `pupils`: they are known."""
    storage = Storage(uri)
    groups: list[tuple[Split, range]] = [("train", range(people)), ("val", range(people, people + held_out))]
    for split, members in groups:
        for start in range(members.start, members.stop, per_file):
            clips = [
                toy_clip(person, frames, size, split)
                for person in members[start - members.start : start - members.start + per_file]
            ]
            clips = [with_pupils(clip) for clip in clips] if pupils else clips
            write_table(storage, f"{split}/part-{start:04d}.parquet", clips_to_table(clips))


class RandomContent(nn.Module):
    """Stands in for a PerceptualNetwork: frozen random features at three sizes."""

    def __init__(self, scale: float = 10.0, seed: int = 5) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.scale = scale
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, 8, 3, padding=1, bias=False) for channels in (3, 8, 8))
        for convolution in self.convolutions:
            weight = convolution.weight.requires_grad_(False)
            weight.copy_(torch.randn(weight.shape, generator=random) / weight.shape[1] ** 0.5)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, taps = images * self.scale, []
        for convolution in self.convolutions:
            x = torch.relu(convolution(x.to(convolution.weight.dtype)))
            taps.append(x)
            x = nn.functional.avg_pool2d(x, 2)
        return taps
