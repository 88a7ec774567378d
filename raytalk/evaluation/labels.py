"""Which networks judge, and what their columns are called: a stand-in never has the name of what it stands for."""

import re
from collections.abc import Mapping

from raytalk.evaluation.metrics.distribution import frechet_label, kernel_label
from raytalk.evaluation.metrics.features import (
    EFFICIENTNET,
    INCEPTION,
    FrameFeatures,
    load_frame_features,
)
from raytalk.evaluation.metrics.identity import ARCFACE, ARCFACE_FILE, DLIB, FaceNetwork, load_face_network
from raytalk.evaluation.metrics.lpips import LPIPS, STAND_IN, VGG16_FILE, Lpips, load_lpips
from raytalk.evaluation.results import METRICS
from raytalk.evaluation.settings import MetricSettings
from raytalk.faces.detect import resolve_detector
from raytalk.networks.inception import INCEPTION_FILE
from raytalk.networks.weights import has_weights

_EXPLAINED = {
    "ssim": "SSIM of 8-bit RGB, windows of 7 x 7",
    "psnr": "PSNR of 8-bit RGB in dB, averaged over frames",
    "l1": "mean absolute difference of pictures in [-1, 1]",
}
_STAND_INS = {"frechet": "Fréchet*", "kernel": "kernel*", "lpips": "LPIPS-HED*", "csim": "CSIM-dlib*"}


def resolved(wanted: MetricSettings) -> MetricSettings:
    """The same without `auto`, as it is here: whoever judges elsewhere must judge likewise.

    Raises WeightsError for a detector that cannot be had.
    """
    changes = {}
    if wanted.lpips == "auto":
        changes["lpips"] = LPIPS if has_weights(VGG16_FILE, wanted.weights) else STAND_IN
    if wanted.frechet == "auto":
        changes["frechet"] = INCEPTION if has_weights(INCEPTION_FILE, wanted.weights) else EFFICIENTNET
    if wanted.faces == "auto":
        changes["faces"] = ARCFACE if has_weights(ARCFACE_FILE, wanted.weights) else DLIB
    if wanted.detector != "none":
        changes["detector"] = resolve_detector(wanted.detector)
    return wanted.model_copy(update=changes)


def lpips_of(wanted: MetricSettings) -> Lpips | None:
    """Of resolved settings; a stand-in's file comes with its package. Raises WeightsError."""
    if wanted.lpips == "none":
        return None
    return load_lpips(wanted.lpips, wanted.weights if wanted.lpips == LPIPS else "")


def features_of(wanted: MetricSettings) -> FrameFeatures | None:
    """Likewise."""
    if wanted.frechet == "none":
        return None
    return load_frame_features(wanted.frechet, wanted.weights if wanted.frechet == INCEPTION else "")


def faces_of(wanted: MetricSettings) -> FaceNetwork | None:
    """Likewise."""
    if wanted.faces == "none":
        return None
    return load_face_network(wanted.faces, wanted.weights if wanted.faces == ARCFACE else "")


def labels_of(wanted: MetricSettings) -> dict[str, str]:
    """What each metric is, in words, by its column; those that are not measured are left out.

    Loads every network once, so that a missing file is told before anything is done. Raises WeightsError.
    """
    labels = dict(_EXPLAINED)
    if (lpips := lpips_of(wanted)) is not None:
        labels["lpips"] = lpips.title
    if (faces := faces_of(wanted)) is not None:
        labels["csim"] = faces.title
    if (features := features_of(wanted)) is not None:
        warning = f" ({features.warning})" if features.warning else ""
        labels["frechet"], labels["kernel"] = frechet_label(features) + warning, kernel_label(features) + warning
    if wanted.detector != "none":
        labels["landmark_error"] = (
            f"distance of landmarks found by {wanted.detector} from the driving ones, "
            "over that of the outer eye corners"
        )
        labels["not_found"] = "share of pictures in which no face was found (the landmark error leaves them out)"
        labels["jitter"] = "change of that error's vector from one hold-out frame to the next"
    return labels


def short_title(metric: str, labels: Mapping[str, str]) -> str:
    """The head of a column."""
    return METRICS[metric][0] if is_published(metric, labels) else _STAND_INS[metric]


def is_published(metric: str, labels: Mapping[str, str]) -> bool:
    """Whether a figure compares with published ones: no network, and no other file, stands in for another."""
    return metric not in _STAND_INS or not re.search(
        r"\bnot (FID|KID|LPIPS|of ArcFace)\b|WARNING", labels.get(metric, "")
    )
