"""One person's pictures become rows of figures: what needs a CPU and no model."""

import io
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raytalk.evaluation.labels import faces_of
from raytalk.evaluation.methods.made import Made
from raytalk.evaluation.metrics.identity import FaceNetwork, csim
from raytalk.evaluation.metrics.landmarks import detect_again, jitter, landmark_error
from raytalk.evaluation.metrics.pictures import l1, psnr, ssim
from raytalk.evaluation.performer import Performance
from raytalk.evaluation.results import ROWS
from raytalk.evaluation.settings import EvaluateSettings
from raytalk.faces.detect import make_detector
from raytalk.faces.face import LandmarkDetector

Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Judge:
    """The judges that are loaded once per process."""

    faces: FaceNetwork | None
    detector: LandmarkDetector | None
    pictures_kept: int

    @classmethod
    def of(cls, settings: EvaluateSettings) -> "Judge":
        """Of settings whose metrics are resolved. Raises WeightsError."""
        wanted = settings.metrics
        detector = None if wanted.detector == "none" else make_detector(wanted.detector)
        return cls(faces_of(wanted), detector, settings.pictures)

    def rows(self, performance: Performance) -> pa.Table:
        """All rows of one trial (`results.ROWS`)."""
        sitting = performance.sitting
        truth = Made("truth", 0, 0, sitting.truth, 0.0, 0.0)
        own = None if self.faces is None else self.faces.describe(sitting.truth, sitting.driving)
        rows = self._learning_rows(performance)
        rows += self._rows(performance, truth, None, performance.true_features, own)
        for made, distances, features in zip(performance.made, performance.lpips, performance.features, strict=True):
            rows += self._rows(performance, made, distances, features, own)
        return pa.Table.from_pylist(rows, schema=ROWS)

    def _rows(
        self,
        performance: Performance,
        made: Made,
        lpips: npt.NDArray[np.floating] | None,
        features: npt.NDArray[np.float32] | None,
        true_faces: npt.NDArray[np.float32] | None,
    ) -> list[dict[str, Any]]:
        sitting, count = performance.sitting, len(made.pictures)
        nothing = np.full(count, np.nan)
        error, restless = nothing, np.nan
        if self.detector is not None:
            found = _detect_once(made.pictures, self.detector)
            error, restless = landmark_error(found, sitting.driving), jitter(found, sitting.driving)
        faces = None
        if self.faces is not None and true_faces is not None:
            faces = true_faces if made.method == "truth" else self.faces.describe(made.pictures, sitting.driving)
        columns = {
            "ssim": ssim(made.pictures, sitting.truth),
            "psnr": psnr(made.pictures, sitting.truth),
            "l1": l1(made.pictures, sitting.truth),
            "lpips": nothing if lpips is None else lpips,
            "csim": nothing if faces is None or true_faces is None else csim(faces, true_faces),
            "landmark_error": error,
        }
        if made.method == "truth":  # a frame against itself
            columns |= dict.fromkeys(("ssim", "psnr", "l1", "csim"), nothing)
        kept = set(np.linspace(0, count - 1, min(self.pictures_kept, count)).round().astype(int).tolist())
        return [
            _row(performance, made, sitting.numbers[sitting.hold_out[place]])
            | {name: float(values[place]) for name, values in columns.items()}
            | {
                "jitter": float(restless),
                "features": None if features is None else features[place],
                "descriptor": None if faces is None else faces[place],
                "picture": _png(made.pictures[place]) if place in kept else None,
            }
            for place in range(count)
        ]

    def _learning_rows(self, performance: Performance) -> list[dict[str, Any]]:
        """Which frames were learned from, and the pictures of the first."""
        sitting, rows = performance.sitting, []
        for shots in sorted({made.shots for made in performance.made}):
            chosen = sitting.pool[:shots]
            learned = Made("learning", shots, 0, sitting.frames[chosen], 0.0, 0.0)
            for place, index in enumerate(chosen):
                picture = _png(learned.pictures[place]) if place < self.pictures_kept else None
                rows.append(_row(performance, learned, sitting.numbers[index]) | {"picture": picture})
        return rows


def _detect_once(pictures: Pictures, detector: LandmarkDetector) -> npt.NDArray[np.float32]:
    """`detect_again`, each picture that comes more than once (a copy, a mean) only once."""
    places: dict[bytes, int] = {}
    which = [places.setdefault(picture.tobytes(), len(places)) for picture in pictures]
    first = [which.index(number) for number in range(len(places))]
    return detect_again(pictures[first], detector)[which]


def _row(performance: Performance, made: Made, frame: int) -> dict[str, Any]:
    trial = performance.sitting.trial
    return {
        "split": trial.split,
        "person": trial.person,
        "clip": trial.clip,
        "method": made.method,
        "shots": made.shots,
        "steps": made.steps,
        "frame": frame,
        "learning_seconds": made.learning_seconds,
        "frame_seconds": made.frame_seconds,
    }


def _png(picture: Pictures) -> bytes:
    return cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1].tobytes()


def to_parquet(table: pa.Table, about: dict[str, str]) -> bytes:
    """One trial's file; `about` says with what it was made."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(about), buffer, compression="zstd")
    return buffer.getvalue()
