"""Methods that learn nothing: any model has to do better than these."""

import time

import numpy as np

from raytalk.evaluation.methods.made import Made
from raytalk.evaluation.protocol import Sitting


class NearestFrame:
    """The learning frame whose landmarks lie nearest to the wanted ones."""

    name = "nearest"

    def make(self, sitting: Sitting, shots: int) -> list[Made]:
        """Of each hold-out frame."""
        start = time.perf_counter()
        own = sitting.pool[:shots]
        apart = np.linalg.norm(sitting.landmarks[own][None] - sitting.driving[:, None], axis=-1).mean(axis=-1)
        pictures = sitting.frames[own][apart.argmin(axis=1)]
        return [Made(self.name, shots, 0, pictures, 0.0, (time.perf_counter() - start) / len(pictures))]


class MeanFrame:
    """The mean of the learning frames, whatever is wanted."""

    name = "mean"

    def make(self, sitting: Sitting, shots: int) -> list[Made]:
        """Of each hold-out frame."""
        mean = sitting.frames[sitting.pool[:shots]].astype(np.float32).mean(axis=0).round().astype(np.uint8)
        return [Made(self.name, shots, 0, np.repeat(mean[None], len(sitting.hold_out), axis=0), 0.0, 0.0)]
