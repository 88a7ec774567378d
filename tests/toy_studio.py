"""A stand-in for the renderer of people: toy faces in its place. As a script, the whole job with it."""

import os
import sys
import time
from pathlib import Path

import numpy as np
from toy import face_landmarks, toy_frame

from raytalk.clips import synthesize
from raytalk.clips.heads.studio import Order, Shot
from raytalk.clips.reels import ShootReel
from raytalk.command import run_job


class ToyStudio:
    """Follows from the order alone, as the renderer does. TOY_SECONDS: how long each clip takes."""

    def shoot(self, order: Order) -> Shot:
        time.sleep(float(os.environ.get("TOY_SECONDS", 0)))
        random = np.random.default_rng((order.seed, order.person, order.clip))
        moves = [(tuple(random.uniform(-0.1, 0.1, 2)), random.uniform()) for _ in range(order.frames)]
        landmarks = np.stack([face_landmarks(order.resolution, *move) for move in moves])
        return Shot(
            pictures=np.stack([toy_frame(order.person, points, order.resolution) for points in landmarks]),
            landmarks=landmarks,
            pupils=np.stack([landmarks[:, 36:42].mean(axis=1), landmarks[:, 42:48].mean(axis=1)], axis=1),
            gaze=random.uniform(-0.3, 0.3, (order.frames, 2)).astype(np.float32),
            fps=(order.frames - 1) / order.seconds,
        )


class ToyShootReel(ShootReel):
    """What runs in the actors, with the stand-in."""

    def _open(self) -> ToyStudio:
        return ToyStudio()


def no_anatomy() -> None:
    """The stand-in needs none."""


if __name__ == "__main__":
    # Workers import the class from the module of this name, not from the script.
    sys.path.insert(0, str(Path(__file__).parent))
    import toy_studio

    synthesize.load_anatomy, synthesize.ShootReel = no_anatomy, toy_studio.ToyShootReel
    run_job(synthesize.SynthesizeSettings, "", synthesize.synthesize)
