"""How far the landmarks stored with rendered people lie from those that dlib finds in their pictures.

    python benchmarks/heads_landmarks.py --people 100 --frames 10 [--first 200] [--sheet sheet.png]

Prints JSON. Errors are divided by the distance between the outer eye corners in the picture (stored points 36 and 45).
Frames are those of the job's clips in which the head turns by no more than 40 degrees. dlib errs too:
`gross` frames are those where its inner points are off by more than 0.1 on average, the box mostly being wrong, and
`without gross` leaves them out. `contour line` is the distance to the line through the stored contour, wherever on it.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.anatomy import Anatomy, load_anatomy
from raytalk.clips.heads.expressions import columns
from raytalk.clips.heads.person import draw_person
from raytalk.clips.heads.studio import Order, Studio, motion_of
from raytalk.faces.detect import make_detector

Points = npt.NDArray[np.float64]

SIZE = 256
"""of the pictures, in pixels: a face is some 120 wide"""
MOST_YAW = 40.0
GROSS = 0.1
CONTOUR = 17
BLINK, JAW = columns("eyeBlink"), columns("jawOpen")


@dataclass(frozen=True)
class Frame:
    """One picture; points in its pixels."""

    picture: npt.NDArray[np.uint8]
    points: Points
    """[68, 2] stored"""
    pupils: Points
    """[2, 2] stored"""
    yaw: float
    """degrees"""
    blink: float
    jaw: float
    glasses: bool


def film(studio: Studio, anatomy: Anatomy, number: int, frames: int) -> Iterator[Frame]:
    """Frames of one clip of one person, as the job makes them, within MOST_YAW."""
    order = Order(0, number, 0, frames, 8.0, SIZE)
    shot, motion = studio.shoot(order), motion_of(order)
    glasses = draw_person(anatomy, order.seed, number).glasses != "none"
    for index in range(frames):
        yaw = float(np.degrees(motion.head[index, 0]))
        if abs(yaw) <= MOST_YAW:
            yield Frame(
                shot.pictures[index],
                shot.landmarks[index].astype(np.float64),
                shot.pupils[index].astype(np.float64),
                yaw,
                float(motion.actions[index][BLINK].max()),
                float(motion.actions[index][JAW][0]),
                glasses,
            )


def to_line(points: Points, line: Points) -> Points:
    """[n] distances of points [n, 2] to a line through [m, 2]."""
    starts, ways = line[:-1], np.diff(line, axis=0)
    share = ((points[:, None] - starts) * ways).sum(axis=-1) / np.maximum((ways**2).sum(axis=-1), 1e-9)
    nearest = starts + np.clip(share, 0, 1)[..., None] * ways
    return np.asarray(np.linalg.norm(points[:, None] - nearest, axis=-1).min(axis=1))


def summary(errors: Points, lines: Points) -> dict[str, float]:
    """Of frames [n, 68] and distances to the contour's line [n, 17]."""
    if not len(errors):
        return {"frames": 0}
    return {
        "frames": len(errors),
        "all": round(float(errors.mean()), 4),
        "inner": round(float(errors[:, CONTOUR:].mean()), 4),
        "contour": round(float(errors[:, :CONTOUR].mean()), 4),
        "contour line": round(float(lines.mean()), 4),
        "inner, median frame": round(float(np.median(errors[:, CONTOUR:].mean(axis=1))), 4),
    }


def measure(frames: list[Frame], found: list[Points | None]) -> dict[str, object]:
    """The whole report."""
    pairs = [(frame, points) for frame, points in zip(frames, found, strict=True) if points is not None]
    apart = np.array([np.linalg.norm(frame.points[36] - frame.points[45]) for frame, _ in pairs])[:, None]
    errors = np.stack([np.linalg.norm(points - frame.points, axis=1) for frame, points in pairs]) / apart
    lines = np.stack([to_line(points[:CONTOUR], frame.points[:CONTOUR]) for frame, points in pairs]) / apart
    yaw = np.array([frame.yaw for frame, _ in pairs])
    blink, jaw = (np.array([getattr(frame, name) for frame, _ in pairs]) for name in ("blink", "jaw"))
    glasses = np.array([frame.glasses for frame, _ in pairs])
    gross = errors[:, CONTOUR:].mean(axis=1) > GROSS

    def of(chosen: npt.NDArray[np.bool_]) -> dict[str, float]:
        return summary(errors[chosen], lines[chosen])

    return {
        "frames": len(frames),
        "found": round(len(pairs) / len(frames), 4),
        "found without glasses": round(
            sum(not frame.glasses for frame, _ in pairs) / max(1, sum(not frame.glasses for frame in frames)), 4
        ),
        "gross": round(float(gross.mean()), 4),
        "every frame": of(np.full(len(pairs), True)),
        "without gross": of(~gross),
        "without gross, by yaw": {
            f"{low}..{low + 10}": of(~gross & (np.abs(yaw) >= low) & (np.abs(yaw) < low + 10))
            for low in range(0, 40, 10)
        },
        "without gross, by looks": {
            "eyes closed (blink > 0.6)": of(~gross & (blink > 0.6)),
            "mouth open (jaw > 0.35)": of(~gross & (jaw > 0.35)),
            "neither": of(~gross & (blink <= 0.6) & (jaw <= 0.35)),
            "with glasses": of(~gross & glasses),
            "without glasses": of(~gross & ~glasses),
        },
        "without gross, by point": np.round(errors[~gross].mean(axis=0), 3).tolist(),
    }


def draw(frame: Frame, found: Points | None, zoom: int = 3) -> npt.NDArray[np.uint8]:
    """The picture enlarged, stored points green, pupils blue, dlib's red."""
    drawn = cv2.resize(frame.picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    sets = [(found, (255, 40, 40)), (frame.points, (0, 255, 0)), (frame.pupils, (60, 120, 255))]
    for points, colour in sets:
        for point in points if points is not None else []:
            place = np.rint(((point + 0.5) * zoom - 0.5) * 16).astype(int)
            cv2.circle(drawn, (int(place[0]), int(place[1])), 24, colour, -1, cv2.LINE_AA, 4)
    return np.asarray(drawn, np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--frames", type=int, default=10, help="of each person")
    parser.add_argument("--first", type=int, default=200, help="number of the first person; the fit saw 0-129")
    parser.add_argument("--sheet", help="save up to 24 frames with both sets of points")
    asked = parser.parse_args()
    anatomy, detector = load_anatomy(), make_detector("dlib", "cpu")
    studio = Studio(anatomy)
    frames = [f for i in range(asked.people) for f in film(studio, anatomy, asked.first + i, asked.frames)]
    found: list[Points | None] = []
    for frame in frames:
        faces = detector.detect([frame.picture])[0]
        found.append(faces[0].landmarks.astype(np.float64) if faces else None)
    print(json.dumps(measure(frames, found), indent=2))
    if asked.sheet:
        # Neighbours on the sheet are different people and different kinds of frames.
        chosen = np.linspace(0, len(frames) - 1, min(24, len(frames))).astype(int)
        pictures = [draw(frames[index], found[index]) for index in chosen]
        rows = [np.hstack(pictures[start : start + 4]) for start in range(0, len(pictures) // 4 * 4, 4)]
        cv2.imwrite(asked.sheet, np.vstack(rows)[..., ::-1])


if __name__ == "__main__":
    main()
