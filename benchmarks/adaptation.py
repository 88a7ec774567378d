"""How near landmark adaptation comes to the target's own face, on rendered people whose exact shapes are known.

    python benchmarks/adaptation.py [--pairs 24] [--frames 100] [--noise 0.0]

Prints JSON. The truth is the target's figure posed with the driver's motion before the driver's camera. Errors are mean
distances to it of all 68 landmarks (and of parts), after each track was cropped as the project crops every track, in
the truth's distances between the outer eye corners; `aligned` first brings every frame to the truth's inner points by
the best similarity, which leaves the shape alone: where a head is in its crop, and whether the crop follows it, depends
on its movement, too. `driver` is what driving without adaptation gives. Correlations are over one track's frames, of
openings in units of the face's size, with the driver's; only tracks are counted in which they move. `jitter` is the
energy of second differences beside the driver's. No picture is made. The model was fitted to another population.
"""

import argparse
import json
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.anatomy import Anatomy, load_anatomy
from raytalk.clips.heads.camera import Camera
from raytalk.clips.heads.figure import Figure
from raytalk.clips.heads.landmarks import landmarks
from raytalk.clips.heads.motion import Motion
from raytalk.clips.heads.person import draw_person
from raytalk.clips.heads.pose import turns
from raytalk.clips.heads.scene import draw_scene
from raytalk.clips.heads.studio import Order, motion_of
from raytalk.faces.crop import square_map, steady_squares, to_crop
from raytalk.faces.retarget import adapt

Points = npt.NDArray[np.float64]

SEED = 0
SECONDS = 8.0
SIZE = 256
PARTS = {"all": slice(0, 68), "contour": slice(0, 17), "brows": slice(17, 27), "nose": slice(27, 36),
         "eyes": slice(36, 48), "mouth": slice(48, 68)}  # fmt: skip
SHOTS = 1, 8


@dataclass(frozen=True)
class Actor:
    """One person with the camera and the motion of a clip."""

    figure: Figure
    camera: Camera
    motion: Motion

    def landmarks(self, motion: Motion, camera: Camera) -> Points:
        """[n, 68, 2] pixels of the camera's frame."""
        figure = self.figure
        faces = []
        for actions, head, sway in zip(motion.actions, motion.head, motion.sway, strict=True):
            mesh, _ = figure.posed(actions, turns(figure.joints, head, sway))
            faces.append(landmarks(figure.anatomy, mesh[: len(figure.vertices)], camera))
        return np.stack(faces)


def actor(anatomy: Anatomy, number: int, frames: int) -> Actor:
    order = Order(SEED, number, 0, frames, SECONDS, SIZE)
    scene = draw_scene(np.random.default_rng([order.seed, order.person, 2, order.clip]))
    blank = np.zeros((2, 2, 3), np.float32), np.zeros((2, 2), np.float32)
    figure = Figure(anatomy, draw_person(anatomy, SEED, number), "crew", blank)
    return Actor(figure, Camera.before(figure, scene), motion_of(order))


def cropped(faces: Points, times: Points | None) -> Points:
    squares = steady_squares(faces, times)
    return np.stack([to_crop(f, square_map(s, SIZE)) for f, s in zip(faces, squares, strict=True)]).astype(np.float64)


def aligned(faces: Points, truth: Points) -> Points:
    """Every frame brought to the truth's by the similarity that fits points 17-67 best."""
    a, b = (face[:, :, 0] + 1j * face[:, :, 1] for face in (faces, truth))
    middle_a, middle_b = a[:, 17:].mean(axis=1, keepdims=True), b[:, 17:].mean(axis=1, keepdims=True)
    a, b = a - middle_a, b - middle_b
    factor = (a[:, 17:].conj() * b[:, 17:]).sum(axis=1) / (abs(a[:, 17:]) ** 2).sum(axis=1)
    moved = a * factor[:, None] + middle_b
    return np.stack([moved.real, moved.imag], axis=-1)


def opening(faces: Points, pairs: list[tuple[int, int]]) -> Points:
    size = np.linalg.norm(faces[:, 36:48].mean(axis=1) - faces[:, 33], axis=1)
    return np.mean([np.linalg.norm(faces[:, a] - faces[:, b], axis=1) for a, b in pairs], axis=0) / size


MOUTH = [(61, 67), (62, 66), (63, 65)]
EYES = [(37, 41), (38, 40), (43, 47), (44, 46)]


def correlation(one: Points, other: Points) -> float | None:
    return None if one.std() < 0.01 else float(np.corrcoef(one, other)[0, 1])


def error(faces: Points, truth: Points) -> dict[str, float]:
    apart = np.linalg.norm(truth[:, 45] - truth[:, 36], axis=1).mean()
    each = np.linalg.norm(faces - truth, axis=2) / apart
    return {name: float(each[:, part].mean()) for name, part in PARTS.items()}


def jitter(faces: Points) -> float:
    return float((np.diff(faces, 2, axis=0) ** 2).sum(axis=-1).mean())


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([row[name] for row in rows])), 4) for name in rows[0]}


def spread(values: list[float | None]) -> dict[str, float]:
    known = [value for value in values if value is not None]
    return {"tracks": len(known), "mean": round(float(np.mean(known)), 4), "worst": round(min(known), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--frames", type=int, default=100, help="of each driver, over 8 seconds")
    parser.add_argument("--first", type=int, default=3000, help="number of the first person")
    parser.add_argument(
        "--noise", type=float, default=0.0, help="of all landmarks seen, in distances between eye corners"
    )
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    anatomy = load_anatomy()

    def noisy(faces: Points) -> Points:
        apart = np.linalg.norm(faces[:, 45] - faces[:, 36], axis=1).mean()
        return faces + rng.normal(0, asked.noise * apart, faces.shape)

    plain: dict[str, list[dict[str, float]]] = {"cropped": [], "aligned": []}
    found = {shots: {"cropped": [], "aligned": []} for shots in SHOTS}
    mouths, eyes, ratios, seconds = ({shots: [] for shots in SHOTS} for _ in range(4))
    for pair in range(asked.pairs):
        driver = actor(anatomy, asked.first + 2 * pair, asked.frames)
        target = actor(anatomy, asked.first + 2 * pair + 1, max(SHOTS))
        times = driver.motion.times
        seen = noisy(driver.landmarks(driver.motion, driver.camera))
        truth = target.landmarks(driver.motion, driver.camera)
        photographs = cropped(noisy(target.landmarks(target.motion, target.camera)), None)
        crop = cropped(truth, times)
        plain["cropped"].append(error(cropped(seen, times), crop))
        plain["aligned"].append(error(aligned(seen, crop), crop))
        for shots in SHOTS:
            begun = time.perf_counter()
            result = adapt(seen, photographs[np.linspace(0, max(SHOTS) - 1, shots).astype(int)], times)
            seconds[shots].append(time.perf_counter() - begun)
            made = result.landmarks.astype(np.float64)
            found[shots]["cropped"].append(error(cropped(made, times), crop))
            found[shots]["aligned"].append(error(aligned(made, crop), crop))
            for kept, pairs in ((mouths, MOUTH), (eyes, EYES)):
                kept[shots].append(correlation(opening(seen, pairs), opening(made, pairs)))
            ratios[shots].append(jitter(made) / jitter(seen))
    report: dict[str, object] = {
        "pairs": asked.pairs,
        "frames": asked.frames,
        "noise": asked.noise,
        "driver": {how: mean(rows) for how, rows in plain.items()},
    }
    for shots in SHOTS:
        report[f"T = {shots}"] = {
            **{how: mean(rows) for how, rows in found[shots].items()},
            "share of the driver's error": {
                how: round(mean(rows)["all"] / mean(plain[how])["all"], 3) for how, rows in found[shots].items()
            },
            "median pair's share": {
                how: round(float(np.median([a["all"] / b["all"] for a, b in zip(rows, plain[how], strict=True)])), 3)
                for how, rows in found[shots].items()
            },
            "pairs that got worse": sum(
                a["all"] > b["all"] for a, b in zip(found[shots]["cropped"], plain["cropped"], strict=True)
            ),
            "mouth": spread(mouths[shots]),
            "eyes": spread(eyes[shots]),
            "jitter": {"mean": round(float(np.mean(ratios[shots])), 3), "worst": round(max(ratios[shots]), 3)},
            "seconds a track": round(float(np.median(seconds[shots])), 3),
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
