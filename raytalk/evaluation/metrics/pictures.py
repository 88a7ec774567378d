"""Pictures against the frames they should be, pixel by pixel: SSIM and PSNR (higher is better), L1. M pictures."""

import numpy as np
import numpy.typing as npt
from skimage.metrics import structural_similarity

Pictures = npt.NDArray[np.uint8]
Figures = npt.NDArray[np.float64]

_WHITE = 255.0


def ssim(output: Pictures, truth: Pictures) -> Figures:
    """Structural similarity [M], at most 1: uniform windows of 7 pixels, mean over the channels.

    Both: [M, H, W, 3] uint8 RGB, H and W at least 7. As in validation while learning (`learning/validation.py`).
    Raises ValueError for pictures of different shapes.
    """
    _check(output, truth)
    pairs = zip(output, truth, strict=True)
    return np.array(
        [structural_similarity(ours, real, channel_axis=2) for ours, real in pairs],  # type: ignore[no-untyped-call]
        np.float64,
    )


def psnr(output: Pictures, truth: Pictures) -> Figures:
    """Peak signal-to-noise ratio [M] in dB, over all pixels and channels; infinite for equal pictures.

    Both: [M, H, W, 3] uint8 RGB. Raises ValueError for pictures of different shapes.
    """
    _check(output, truth)
    pairs = zip(output, truth, strict=True)
    errors = np.array([np.mean(np.square(ours.astype(np.float64) - real)) for ours, real in pairs], np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(_WHITE**2 / errors), np.float64)


def l1(output: Pictures, truth: Pictures) -> Figures:
    """Mean absolute difference [M] of pictures scaled to [-1, 1], 0 to 2.

    Both: [M, H, W, 3] uint8 RGB. Raises ValueError for pictures of different shapes.
    """
    _check(output, truth)
    pairs = zip(output, truth, strict=True)
    return np.array([np.mean(np.abs(ours.astype(np.float64) - real)) * 2 / _WHITE for ours, real in pairs], np.float64)


def _check(output: Pictures, truth: Pictures) -> None:
    for pictures in (output, truth):
        if pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != np.uint8:
            raise ValueError(
                f"pictures must be uint8 of the shape [M, H, W, 3], not {pictures.dtype} {list(pictures.shape)}"
            )
    if output.shape != truth.shape:
        raise ValueError(f"pictures of {list(output.shape)} cannot be compared with {list(truth.shape)}")
