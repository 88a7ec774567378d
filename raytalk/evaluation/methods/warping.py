"""The warping baseline: pixels of the learning frames are moved, none is painted (the idea of X2Face)."""

import torch

from raytalk.evaluation.methods.made import Clock, Made
from raytalk.evaluation.protocol import Sitting
from raytalk.faces.draw import draw_batch
from raytalk.warping.model import Warping


class WarpedFrames:
    """All T learning frames warped to the wanted landmarks and mixed."""

    name = "warping"

    def __init__(self, warping: Warping, device: torch.device) -> None:
        self._warping, self._device = warping, device

    def make(self, sitting: Sitting, shots: int) -> list[Made]:
        """It learns nothing of the person."""
        own, size = sitting.pool[:shots], sitting.frames.shape[1]
        clock = Clock(self._device)
        pictures = self._warping.draw(
            sitting.frames[own],
            draw_batch(sitting.landmarks[own], size),
            draw_batch(sitting.driving, size),
            self._device,
        )
        return [Made(self.name, shots, 0, pictures, 0.0, clock.pause() / len(pictures))]
