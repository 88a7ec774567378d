"""What a benchmark of training needs and cannot download: clips that decode like photographs, and files of weights.

The clips show nobody: shading and grain under a face's landmarks that move. A frame of 256 px takes some 26 KB, where
those that `jobs/preprocess.py` writes take 15 to 30. The weights are random, in the layout of the published files.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raytalk.clips.schema import Clip, clips_to_table, write_table
from raytalk.networks.perceptual import SPECS
from raytalk.storage import Storage

Pictures = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]

_QUALITY = 95
"""of the JPEG, as preprocessing writes it"""
_GRAIN = 14.0
"""standard deviation of the grain, in grey levels"""


def write_clips(uri: str, people: int, frames: int, size: int, per_file: int) -> int:
    """One clip of `frames` pictures of size x size for each of so many people; returns the bytes of all pictures."""
    storage, pool = Storage(uri), ThreadPoolExecutor()

    def write(start: int) -> int:
        clips = [_clip(person, frames, size) for person in range(start, min(start + per_file, people))]
        write_table(storage, f"train/part-{start:05d}.parquet", clips_to_table(clips))
        return sum(len(picture) for clip in clips for picture in clip.frames)

    with pool:
        return sum(pool.map(write, range(0, people, per_file)))


def write_weights(folder: Path, names: Iterable[str]) -> None:
    """Files of random weights for the perceptual networks of these names; `hed` needs the package h5py."""
    for name in names:
        spec, random = SPECS[name], torch.Generator().manual_seed(0)
        tensors: dict[str, Tensor] = {}
        for kernel, bias, incoming, outgoing in spec.layers():
            # He's initialisation: activations neither vanish nor grow on their way up.
            deviation = (2 / (9 * incoming)) ** 0.5
            tensors[kernel] = torch.randn(outgoing, incoming, 3, 3, generator=random) * deviation
            tensors[bias] = torch.zeros(outgoing)
        if spec.keys == "keras":
            import h5py

            with h5py.File(folder / spec.file, "w") as file:
                for key, tensor in tensors.items():
                    file[key] = (tensor.permute(2, 3, 1, 0) if tensor.ndim == 4 else tensor).contiguous().numpy()
        else:
            torch.save(tensors, folder / spec.file)


def _clip(person: int, frames: int, size: int) -> Clip:
    random = np.random.default_rng(person)
    colours = random.uniform(30, 225, (6, 6, 3)).astype(np.float32)
    face, rest = _face(random), random.uniform(0, 2 * np.pi, 4)
    landmarks = np.empty((frames, 68, 2), np.float32)
    pictures = []
    for index in range(frames):
        sway = np.sin(rest + 2 * np.pi * index / frames)
        points = face.copy()
        points[48:, 1] += (points[48:, 1] - 0.2) * (0.6 + 0.6 * sway[2])
        points = points * (1 + 0.08 * sway[3]) + 0.5 + 0.08 * sway[:2]
        landmarks[index] = points * size
        picture = _picture(colours, landmarks[index], size, random)
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
        pictures.append(data.tobytes())
    name = f"nobody{person}"
    return Clip(f"{name}/0/0", f"{name}/0", name, "train", 25.0, "dlib", pictures, landmarks, f"stand-in://{person}")


def _face(random: np.random.Generator) -> Points:
    """[68, 2]: a schematic face in iBUG order around 0, 0 in picture sizes, y downwards."""
    turn = np.linspace(-1.9, 1.9, 17)
    jaw = np.stack([0.3 * np.sin(turn), 0.36 * np.cos(turn) + 0.02], axis=1)
    x = np.r_[np.linspace(-0.22, -0.06, 5), np.linspace(0.06, 0.22, 5)]
    brows = np.stack([x, -0.17 - 0.02 * np.sin((np.abs(x) - 0.05) * 16)], axis=1)
    bridge = np.stack([np.zeros(4), np.linspace(-0.1, 0.05, 4)], axis=1)
    base = np.stack([np.linspace(-0.06, 0.06, 5), np.full(5, 0.09)], axis=1)
    rings = [
        (-0.13, -0.1, 0.05, 0.022, 6),
        (0.13, -0.1, 0.05, 0.022, 6),
        (0, 0.2, 0.11, 0.05, 12),
        (0, 0.2, 0.08, 0.03, 8),
    ]
    parts = [jaw, brows, bridge, base]
    for across, down, width, height, count in rings:
        turn = np.pi + 2 * np.pi * np.arange(count) / count
        parts.append(np.stack([across + width * np.cos(turn), down + height * np.sin(turn)], axis=1))
    points = np.concatenate(parts) * random.uniform(0.9, 1.1, 2)
    return points.astype(np.float32)


def _picture(colours: npt.NDArray[np.float32], points: Points, size: int, random: np.random.Generator) -> Pictures:
    """[size, size, 3] uint8: a background, a face of another shade, grain."""
    shades = cv2.resize(colours, (size, size), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [np.rint(points[:27]).astype(np.int32)], 1.0)
    edge = np.asarray(cv2.GaussianBlur(mask, (0, 0), size / 80))[..., None]
    grain = np.asarray(cv2.GaussianBlur(random.standard_normal((size, size), np.float32), (0, 0), 1.0))
    shades = shades + edge * (colours[2, 2] - shades) * 0.7 + (grain * (_GRAIN / grain.std()))[..., None]
    return np.asarray(np.clip(shades, 0, 255), np.uint8)
