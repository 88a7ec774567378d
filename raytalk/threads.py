"""How many threads a process computes with."""

import cv2
import torch


def use_threads(count: int) -> None:
    """For torch and OpenCV, which take every core otherwise, in each of many processes."""
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
