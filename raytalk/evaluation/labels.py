"""What the columns of an evaluation are called: a stand-in never has the name of what it stands for."""

import re

from raytalk.evaluation.metrics.distribution import frechet_label, kernel_label
from raytalk.evaluation.metrics.features import load_frame_features
from raytalk.evaluation.metrics.identity import load_face_network
from raytalk.evaluation.metrics.lpips import load_lpips
from raytalk.evaluation.results import METRICS
from raytalk.evaluation.settings import EvaluateSettings

_EXPLAINED = {
    "ssim": "SSIM of 8-bit RGB, windows of 7 x 7",
    "psnr": "PSNR of 8-bit RGB in dB, averaged over frames",
    "l1": "mean absolute difference of pictures in [-1, 1]",
    "not_found": "share of pictures in which no face was found (the landmark error leaves them out)",
}


def labels_of(settings: EvaluateSettings, detector: str) -> dict[str, str]:
    """What each metric is, in words, by its column; those that are not measured are left out.

    Loads every network once, so that a missing file is told before anything is done. Raises WeightsError.
    """
    wanted, labels = settings.metrics, dict(_EXPLAINED)
    if wanted.lpips != "none":
        labels["lpips"] = load_lpips(wanted.lpips, wanted.weights).title
    if wanted.faces != "none":
        labels["csim"] = load_face_network(wanted.faces, wanted.weights).title
    if wanted.frechet != "none":
        features = load_frame_features(wanted.frechet, wanted.weights)
        warning = f" ({features.warning})" if features.warning else ""
        labels["frechet"], labels["kernel"] = frechet_label(features) + warning, kernel_label(features) + warning
    if detector != "none":
        labels["landmark_error"] = (
            f"distance of landmarks found by {detector} from the driving ones, over that of the outer eye corners"
        )
        labels["jitter"] = "change of that error's vector from one hold-out frame to the next"
    return labels


def short_title(metric: str, labels: dict[str, str]) -> str:
    """The head of a column."""
    title = METRICS[metric][0]
    stand_ins = {
        "frechet": ("FID", "Fréchet*"),
        "kernel": ("KID", "kernel*"),
        "lpips": ("LPIPS", "LPIPS-HED*"),
        "csim": ("CSIM", "CSIM-dlib*"),
    }
    if metric in stand_ins and not is_published(metric, labels):
        return stand_ins[metric][1]
    return title


def is_published(metric: str, labels: dict[str, str]) -> bool:
    """Whether a figure compares with published ones: no network stands in for another."""
    return not re.search(r"\bnot (FID|KID|LPIPS|of ArcFace)\b", labels.get(metric, ""))
