"""The score of a model: one number in [0, 1], measured on people held out of training, the same way in every trial.

Each person is learned from T frames of a clip and reenacted in other frames of it. Three terms, each brought to the
same scale by what real frames of these people score:

    term        measured                      1/2 means                     1 means
    ssim        SSIM of output and truth      another frame of the clip     the frame itself
    likeness    CSIM of output and truth      a stranger                    another frame of the clip
    pose        landmark error of the output  another frame of the clip     the frame itself (the detector's own error)

The score is their mean. A term that cannot be had on the real frames (no network, no face found in most of them) is
left out, for all trials alike. What is not finite, and pose where no face is found, counts as 0.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from raytalk.evaluation.metrics.identity import DLIB, Descriptors, FaceNetwork, csim, load_face_network
from raytalk.evaluation.metrics.landmarks import detect_again, landmark_error
from raytalk.evaluation.metrics.pictures import ssim
from raytalk.evaluation.protocol import Sitting, Trial, choose, sit
from raytalk.faces.detect import make_detector
from raytalk.faces.face import LandmarkDetector
from raytalk.storage import Storage
from raytalk.sweep.settings import ObjectiveSettings

Pictures = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.float64]

TERMS = ("ssim", "likeness", "pose")
FIGURES = {"ssim": "ssim", "likeness": "csim", "pose": "landmark_error"}
"""what each term is made of"""
_MOST_LOST = 0.5
"""share of real frames without a face from which on pose is not asked for"""


@dataclass(frozen=True)
class Scale:
    """What a term's figure is at 1/2 and at 1."""

    half: float
    full: float

    def __call__(self, figure: Numbers) -> Numbers:
        """[M] -> [M] in [0, 1]; what is not finite is 0."""
        made = 0.5 + 0.5 * (figure - self.half) / (self.full - self.half)
        return np.where(np.isfinite(made), np.clip(made, 0.0, 1.0), 0.0)


@dataclass(frozen=True)
class Yardstick:
    """The terms that there are, with their scales. Measured once per set of people, and kept with the sweep."""

    scales: dict[str, Scale]

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {name: asdict(scale) for name, scale in self.scales.items()}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Yardstick":
        """What `to_json` gave."""
        return cls({name: Scale(**scale) for name, scale in kept.items()})


@dataclass(frozen=True)
class People:
    """Who is looked at: trials of the evaluation's protocol, and their yardstick."""

    trials: tuple[Trial, ...]
    yardstick: Yardstick


class Judges:
    """Face network and detector, loaded once per process."""

    def __init__(self, settings: ObjectiveSettings) -> None:
        """Raises WeightsError for what cannot be had."""
        self._described: dict[str, Descriptors] = {}
        self.faces: FaceNetwork | None = None
        if settings.faces != "none":
            self.faces = load_face_network(settings.faces, settings.weights if settings.faces != DLIB else "")
        self.detector: LandmarkDetector | None = None
        if settings.detector != "none":
            self.detector = make_detector(settings.detector)

    def figures(self, pictures: Pictures, sitting: Sitting) -> dict[str, Numbers]:
        """`ssim`, `csim` and `landmark_error` [M] of pictures [M, S, S, 3] against the hold-out frames."""
        found = {"ssim": ssim(pictures, sitting.truth)}
        if self.faces is not None:
            real = self._real(sitting, self.faces)
            found["csim"] = csim(self.faces.describe(pictures, sitting.driving), real)
        if self.detector is not None:
            found["landmark_error"] = landmark_error(detect_again(pictures, self.detector), sitting.driving)
        return found

    def _real(self, sitting: Sitting, faces: FaceNetwork) -> Descriptors:
        """Of the hold-out frames; they are the same at every look."""
        if sitting.trial.clip not in self._described:
            self._described[sitting.trial.clip] = faces.describe(sitting.truth, sitting.driving)
        return self._described[sitting.trial.clip]


def divide_people(clips: Storage, settings: ObjectiveSettings, seed: int) -> tuple[list[Trial], list[Trial]]:
    """Who is chosen by and, none of them, who the choice is confirmed on.

    At most half of the people held out choose, so that as many confirm. Raises ClipsError if there is nobody.
    """
    wanted = settings.people + settings.confirmation
    found = choose(clips, "val", wanted, settings.shots + settings.targets, ["block"], seed).trials
    chosen = max(1, min(settings.people, len(found) // 2))
    return found[:chosen], found[chosen:]


def seat(
    clips: Storage, trials: tuple[Trial, ...], resolution: int, settings: ObjectiveSettings, seed: int
) -> list[Sitting]:
    """Their frames. Raises ClipsError if a clip cannot be used."""
    return [sit(clips, trial, resolution, settings.shots, settings.targets, seed) for trial in trials]


def measure_yardstick(sittings: list[Sitting], judges: Judges) -> Yardstick:
    """What real frames of these people score."""
    scales = {}
    # Another frame of the clip: the learning frames, one for each hold-out frame.
    others = [_other_frames(sitting) for sitting in sittings]
    copied = [judges.figures(other, sitting) for other, sitting in zip(others, sittings, strict=True)]
    scales["ssim"] = Scale(float(np.mean([np.mean(found["ssim"]) for found in copied])), 1.0)
    if judges.faces is not None:
        scale = _likeness(sittings, judges.faces)
        if scale is not None:
            scales["likeness"] = scale
    if judges.detector is not None:
        real = np.concatenate([landmark_error(detect_again(s.truth, judges.detector), s.driving) for s in sittings])
        other = np.concatenate([found["landmark_error"] for found in copied])
        if np.isnan(real).mean() < _MOST_LOST and np.isfinite(other).any():
            scale = Scale(float(np.nanmean(other)), float(np.nanmean(real)))
            if scale.full < scale.half:
                scales["pose"] = scale
    return Yardstick(scales)


def score(
    make: Callable[[Sitting], Pictures], sittings: list[Sitting], yardstick: Yardstick, judges: Judges
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Figures over all people, `score` among them, and a row for each person.

    make: the hold-out frames of one sitting by the model, [M, S, S, 3] uint8 RGB.
    """
    rows = []
    for sitting in sittings:
        found = judges.figures(make(sitting), sitting)
        terms = {name: float(scale(found[FIGURES[name]]).mean()) for name, scale in yardstick.scales.items()}
        row: dict[str, Any] = {"person": sitting.trial.person, "score": float(np.mean(list(terms.values())))}
        row |= {f"term_{name}": value for name, value in terms.items()}
        row |= {name: _mean(values) for name, values in found.items()}
        if "landmark_error" in found:
            row["not_found"] = float(np.isnan(found["landmark_error"]).mean())
        rows.append(row)
    keys = [key for key in rows[0] if key != "person"]
    return {key: _mean(np.array([row[key] for row in rows])) for key in keys}, rows


def _likeness(sittings: list[Sitting], faces: FaceNetwork) -> Scale | None:
    """CSIM between strangers, and between two frames of one person."""
    own, means = [], []
    for sitting in sittings:
        pool = sitting.pool[: len(sitting.hold_out)]
        there = faces.describe(sitting.truth, sitting.driving)
        here = faces.describe(sitting.frames[pool], sitting.landmarks[pool])
        count = min(len(there), len(here))
        own.append(csim(here[:count], there[:count]))
        means.append(np.nanmean(there, axis=0))
    if len(means) < 2:
        return None
    pairs = [(a, b) for a in range(len(means)) for b in range(a)]
    between = csim(np.stack([means[a] for a, _ in pairs]), np.stack([means[b] for _, b in pairs]))
    half, full = _mean(between), _mean(np.concatenate(own))
    return Scale(half, full) if np.isfinite([half, full]).all() and full > half else None


def _other_frames(sitting: Sitting) -> Pictures:
    pool = [sitting.pool[place % len(sitting.pool)] for place in range(len(sitting.hold_out))]
    return sitting.frames[pool]


def _mean(values: Numbers) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
