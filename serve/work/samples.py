"""The sample track of the page: a head that turns, speaks and blinks, in a loop of some seconds.

    python -m serve.work.samples

draws the motion of a rendered person anew and writes `serve/page/sample.json`. No picture is made, and nobody was
filmed.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

FILE = Path(__file__).parents[1] / "page" / "sample.json"
FPS, SIZE = 25, 256
_SECONDS, _SEAM = 7.2, 0.8
"""length of the loop, and how much of it leads from its end to its beginning"""
_SEED, _PERSON, _CLIP = 2026, 31, 0
_DISTANCE = 0.9
"""of the camera, metres"""


@dataclass(frozen=True, eq=False)
class Sample:
    """Landmarks of a driver, frame by frame."""

    landmarks: npt.NDArray[np.float32]
    """[n, 68, 2] in pixels of pictures of `size`"""
    fps: float
    size: tuple[int, int]
    """width and height"""


def load_sample(file: Path = FILE) -> Sample:
    """What comes with the page."""
    kept = json.loads(file.read_text())
    return Sample(
        np.array(kept["frames"], np.float32), float(kept["fps"]), (int(kept["size"][0]), int(kept["size"][1]))
    )


def draw_sample(seed: int = _SEED, person: int = _PERSON, clip: int = _CLIP) -> Sample:
    """The motion of a clip of a rendered person (`raytalk.clips.heads`); its end leads over to its beginning."""
    # Imported late: the service itself needs none of this.
    from raytalk.clips.heads.anatomy import load_anatomy
    from raytalk.clips.heads.camera import FRAME, Camera
    from raytalk.clips.heads.landmarks import landmarks
    from raytalk.clips.heads.motion import Motion, draw_motion, draw_temper
    from raytalk.clips.heads.person import draw_person
    from raytalk.clips.heads.pose import express, follow, turns
    from raytalk.faces.crop import square_map, steady_squares, to_crop

    times, seam = np.arange(round(_SECONDS * FPS)) / FPS, round(_SEAM * FPS)
    track = draw_motion(
        np.random.default_rng([seed, person, 4, clip]),
        _SECONDS + _SEAM,
        draw_temper(np.random.default_rng([seed, person, 3])),
    )
    now, later = track.sample(times), track.sample(times[:seam] + _SECONDS)
    share = (np.arange(seam) / seam)[:, None]

    def looped(part: str) -> npt.NDArray[np.float32]:
        ours: npt.NDArray[np.float32] = getattr(now, part).copy()
        ours[:seam] = share * ours[:seam] + (1 - share) * getattr(later, part)
        return ours

    motion = Motion(times, looped("actions"), looped("head"), looped("sway"), looped("gaze"))
    anatomy = load_anatomy()
    rest, joints = anatomy.rest(draw_person(anatomy, seed, person).coefficients)
    corners = anatomy.landmarks[[36, 45]]
    scale = float(np.ptp(rest[corners, 0]) / np.ptp(anatomy.template[corners, 0]))
    face = rest[anatomy.landmarks].astype(np.float64)
    camera = Camera(
        face[27:36].mean(axis=0) - [0, _DISTANCE, 0],
        np.array([[1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0]]),
        FRAME * _DISTANCE / (5 * float(np.linalg.norm(face[8] - face[27]))),
    )
    points = []
    for actions, head, sway in zip(motion.actions, motion.head, motion.sway, strict=True):
        posed = follow(express(anatomy, rest, actions, scale), anatomy.weights, turns(joints, head, sway))
        points.append(landmarks(anatomy, posed, camera))
    squares = steady_squares(np.stack(points), times)
    cropped = [to_crop(each, square_map(square, SIZE)) for each, square in zip(points, squares, strict=True)]
    return Sample(np.asarray(np.round(np.stack(cropped), 1), np.float32), float(FPS), (SIZE, SIZE))


def write_sample(sample: Sample, file: Path = FILE) -> None:
    """One frame a line; numbers to a tenth of a pixel."""
    frames = [[[round(float(x), 1), round(float(y), 1)] for x, y in face] for face in sample.landmarks]
    lines = ",\n".join(json.dumps(frame, separators=(",", ":")) for frame in frames)
    file.write_text(f'{{"fps":{sample.fps:g},"size":{json.dumps(sample.size)},"frames":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    write_sample(draw_sample())
