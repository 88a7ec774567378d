"""Do rendered people look like people on video? Brightness, colours, roughness and mouths of clips beside each other.

Reads clips of any kind, brings three frames of each to one size and prints the 10th, 50th and 90th percentile.

    python benchmarks/heads_look.py clips=~/raytalk/clips,~/raytalk/rendered
"""

import sys

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.clips.catalog import read_clips
from raytalk.clips.episodes import decode, resized
from raytalk.clips.schema import SPLITS
from raytalk.config import JobSettings, parse_command_line
from raytalk.errors import ClipsError
from raytalk.storage import Storage

_SIZE = 128


class LookSettings(JobSettings):
    """What to compare."""

    clips: str
    """folders of clips, separated by commas"""


def main(settings: LookSettings) -> None:
    columns = [looks(Storage(folder)) for folder in settings.clips.split(",")]
    for name in columns[0]:
        cells = (" · ".join(f"{value:.2f}" for value in np.percentile(each[name], [10, 50, 90])) for each in columns)
        print(f"| {name} | {' | '.join(cells)} |")


def looks(storage: Storage) -> dict[str, list[float]]:
    """Figures of the first frame of each clip and those after one and two thirds of it."""
    paths = [entry.path for split in SPLITS for entry in storage.entries(split) if entry.path.endswith(".parquet")]
    if not paths:
        raise ClipsError(f"no clips in {storage.uri}; make some with jobs/preprocess.py or jobs/synthesize.py")
    found: dict[str, list[float]] = {}
    for clip in (clip for path in paths for clip in read_clips(storage, path)):
        for index in (0, len(clip.frames) // 3, 2 * len(clip.frames) // 3):
            decoded = decode(clip.frames[index], _SIZE)
            if decoded is None:
                raise ClipsError(f"clip {clip.clip_id}: frame {index} cannot be decoded")
            points = resized(clip.landmarks[index], decoded[1])
            for name, value in look(decoded[0], points).items():
                found.setdefault(name, []).append(value)
    return found


def look(picture: npt.NDArray[np.uint8], points: npt.NDArray[np.floating]) -> dict[str, float]:
    """Of one picture [s, s, 3] uint8 RGB with landmarks [68, 2]; L*, a* and b* as CIELAB has them."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    light, yellow = lab[..., 0] * 100 / 255, lab[..., 2] - 128
    rough = np.abs(cv2.Laplacian(light, cv2.CV_32F))
    face = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(points.astype(np.int32)), 1)
    behind = cv2.dilate(face, np.ones((45, 45), np.uint8)) == 0
    behind[90:] = False  # shoulders
    inner, cheeks = cv2.erode(face, np.ones((5, 5), np.uint8)) > 0, np.zeros_like(face)
    for eye, lip, jaw in ((36, 48, 2), (45, 54, 14)):
        x, y = (points[eye] + points[lip] + 0.6 * points[jaw]) / 2.6
        cv2.circle(cheeks, (int(x), int(y)), 5, 1, -1)
    skin = cheeks > 0
    apart = float(np.linalg.norm(points[36] - points[45]))
    return {
        "brightness behind the person, L*": float(light[behind].mean()),
        "yellow (+) or blue (-) there, b*": float(yellow[behind].mean()),
        "brightness of the face, L*": float(light[inner].mean()),
        "yellow of the cheeks, b*": float(yellow[skin].mean()),
        "roughness of the cheeks, mean absolute Laplacian of L*": float(rough[skin].mean()),
        "roughness of the picture": float(rough.mean()),
        "contrast of the picture, deviation of L*": float(light.std()),
        "width of the mouth, over the eyes' distance": float(np.linalg.norm(points[48] - points[54])) / apart,
    }


if __name__ == "__main__":
    main(parse_command_line(LookSettings, sys.argv[1:], __doc__ or ""))
