"""Makes `raytalk/faces/face_shapes.npz`, how faces differ and how they move, from the anatomy of rendered people.

    python -m raytalk.clips.heads.face_shapes_fit [--people 600] [--output raytalk/faces/face_shapes.npz]

People are drawn as for clips, of a population of their own. Each is brought to one size and place; what then differs
between resting faces gives the shapes of identity, and what faces do in clips those of expression. Every person is
used mirrored, too. No picture is made. `raytalk.faces.face_shapes.FaceShapes` says what the file holds.
"""

import argparse
import io
import json
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.anatomy import Anatomy, load_anatomy
from raytalk.clips.heads.landmarks import Spots, locate
from raytalk.clips.heads.person import draw_person
from raytalk.clips.heads.pose import express
from raytalk.clips.heads.studio import Order, motion_of
from raytalk.faces.face_shapes import FILE, INNER, JAW, LEFT_CORNER, LIDS, MIRROR, RIGHT_CORNER, TWINS

Points = npt.NDArray[np.float64]

SEED = 68
"""of the population that is drawn: not the one that clips have unless somebody asks for it"""
IDENTITIES, EXPRESSIONS = 36, 24
"""how many shapes of each are kept"""
_SECONDS = 8.0
_TO_CAMERA = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])
"""rows: right, down and away of the anatomy's left, back and up"""


class Sampler:
    """Points of the model on anybody's mesh."""

    def __init__(self, anatomy: Anatomy) -> None:
        stored = json.loads((resources.files("raytalk.clips.heads") / "landmark_points.json").read_text())
        lines = [np.array(part["line"]) / 1000 for part in stored["contour"]]
        lines += [line * MIRROR for line in lines[7::-1]]
        outward = np.array([part["outward"] for part in stored["contour"]]) * [1, -1]
        self.outward = np.concatenate([outward, outward[7::-1] * [-1, 1]])
        self.lines = np.full((JAW, max(map(len, lines))), -1)
        first = INNER
        for row, line in zip(self.lines, lines, strict=True):
            row[: len(line)] = np.arange(first, first + len(line))
            first += len(line)
        self.twins = np.empty(first, np.int64)
        self.twins[:INNER] = np.array(TWINS[JAW:]) - JAW
        self.twins[self.lines[self.lines >= 0]] = self.lines[::-1][self.lines >= 0]
        self.anatomy = anatomy
        self._spots: Spots = locate(anatomy, np.concatenate([np.array(stored["points"]) / 1000, *lines]))

    def on(self, vertices: npt.NDArray[np.float32]) -> Points:
        """[M, 3] metres, in the directions of the camera."""
        points = self._spots.on(vertices) @ _TO_CAMERA.T
        for *pairs, _ in LIDS:
            for upper, lower in pairs:
                # Lids that would pass each other meet halfway.
                passed = max(0.0, float(points[upper - JAW, 1] - points[lower - JAW, 1]))
                points[[upper - JAW, lower - JAW], 1] += np.array([-passed / 2, passed / 2])
        return np.asarray(points)

    def mirrored(self, points: Points) -> Points:
        """[..., M, 3]."""
        return np.asarray((points * MIRROR)[..., self.twins, :])


def samples(sampler: Sampler, people: int, frames: int) -> tuple[Points, Points]:
    """Resting faces [people, M, 3] and what they do [people * frames, M, 3], all in distances between eye corners."""
    resting, moved = [], []
    for number in range(people):
        person = draw_person(sampler.anatomy, SEED, number)
        vertices = sampler.anatomy.rest(person.coefficients)[0]
        landmarks = sampler.anatomy.landmarks[[36, 45]]
        scale = float(np.ptp(vertices[landmarks, 0]) / np.ptp(sampler.anatomy.template[landmarks, 0]))
        rest = sampler.on(vertices)
        unit = float(np.linalg.norm(rest[LEFT_CORNER - JAW] - rest[RIGHT_CORNER - JAW]))
        resting.append(rest / unit)
        for actions in motion_of(Order(SEED, number, 0, frames, _SECONDS, 256)).actions:
            moved.append((sampler.on(express(sampler.anatomy, vertices, actions, scale)) - rest) / unit)
    return np.stack(resting), np.stack(moved)


def centred(faces: Points) -> Points:
    """[n, M, 3] moved, not turned: a face that looks up a little on a level head belongs to its person, and which
    faces do so can be told from the rest of them."""
    return np.asarray(faces - faces[:, :INNER].mean(axis=1, keepdims=True))


def shapes(differences: Points, count: int) -> tuple[Points, float]:
    """[count, M, 3] the first principal components of [n, M, 3] times their deviation, and what share they explain."""
    flat = differences.reshape(len(differences), -1)
    values, vectors = np.linalg.eigh(flat.T @ flat / len(flat))
    kept = vectors[:, : -count - 1 : -1].T * np.sqrt(values[: -count - 1 : -1, None])
    return np.asarray(kept.reshape(count, -1, 3)), float(values[-count:].sum() / values.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=600)
    parser.add_argument("--frames", type=int, default=16, help="of the motion of each person")
    parser.add_argument("--output", type=Path, default=Path("raytalk/faces") / FILE)
    asked = parser.parse_args()
    sampler = Sampler(load_anatomy())
    resting, moved = samples(sampler, asked.people, asked.frames)
    resting = centred(np.concatenate([resting, sampler.mirrored(resting)]))
    moved = np.concatenate([moved, sampler.mirrored(moved)])
    usual = moved.mean(axis=0)
    identities, known = shapes(resting - resting.mean(axis=0), IDENTITIES)
    expressions, played = shapes(moved - usual, EXPRESSIONS)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        mean=(resting.mean(axis=0) + usual).astype(np.float32),
        identities=identities.astype(np.float16),
        expressions=expressions.astype(np.float16),
        lines=sampler.lines.astype(np.int16),
        outward=sampler.outward.astype(np.float32),
    )
    asked.output.write_bytes(buffer.getvalue())
    print(
        json.dumps(
            {
                "people": asked.people,
                "points": len(usual),
                "identity explained": round(known, 4),
                "expression explained": round(played, 4),
                "bytes": len(buffer.getvalue()),
            }
        )
    )


if __name__ == "__main__":
    main()
