"""Rows and a summary such as an evaluation gives: toy faces whose quality is made up but plausible."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from toy import face_landmarks, toy_frame

from raytalk.evaluation.results import METRICS, ROWS

Picture = npt.NDArray[np.uint8]

MAIN = ("nearest", "mean", "warping", "translation", "ff", "ft")
STEPS = (20, 40, 80, 160, 320)
_LEFT_OUT = ("features", "descriptor")
_BLUR = {"nearest": 0.0, "mean": 3.0, "warping": 1.6, "translation": 1.2, "ff": 0.8, "ft": 0.5}
_QUALITY = {"nearest": 0.62, "mean": 0.66, "warping": 0.68, "translation": 0.64, "ff": 0.70, "ft": 0.69}


def toy_rows(
    people: int = 4,
    methods: Sequence[str] = MAIN,
    shots: Sequence[int] = (1, 8, 32),
    splits: Sequence[str] = ("block",),
    hold_out: int = 6,
    pictures: int = 4,
    size: int = 96,
    steps: Sequence[int] = STEPS,
    clips: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """What lies in the people/ folder of an evaluation; the last of `steps` is where `ft` ends."""
    rows = [
        row
        for split in splits
        for person in range(people)
        for clip in range(clips)
        for row in _person(person, clip, split, methods, shots, hold_out, pictures, size, steps, seed)
    ]
    columns = [name for name in ROWS.names if name not in _LEFT_OUT]
    return pd.DataFrame(rows, columns=columns)


def toy_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over people with an interval, and a made-up Fréchet and kernel distance."""
    means = [name for name in METRICS if name in rows.columns]
    summary = []
    for key, group in rows[rows.method != "learning"].groupby(["split", "method", "shots", "steps"], sort=False):
        line = dict(zip(("split", "method", "shots", "steps"), key, strict=True))
        line |= {"people": group.person.nunique(), "frames": len(group)}
        for name in means:
            of_people = group.groupby("person")[name].mean()
            half = 2 * of_people.std(ddof=1) / np.sqrt(max(1, of_people.count()))
            line |= {
                name: of_people.mean(),
                f"{name}_low": of_people.mean() - half,
                f"{name}_high": of_people.mean() + half,
            }
        line["not_found"] = float(group.landmark_error.isna().mean())
        line["not_found_low"], line["not_found_high"] = max(0.0, line["not_found"] - 0.02), line["not_found"] + 0.02
        line["frechet"], line["kernel"] = 150 * (1 - line["ssim"]) + 3, 0.08 * (1 - line["ssim"])
        summary.append(line)
    return pd.DataFrame(summary)


def _person(
    person: int,
    clip: int,
    split: str,
    methods: Sequence[str],
    shots: Sequence[int],
    hold_out: int,
    pictures: int,
    size: int,
    steps: Sequence[int],
    seed: int,
) -> Iterator[dict[str, object]]:
    random = np.random.default_rng((seed, person, clip, len(split)))
    key = {"split": split, "person": f"person{person}", "clip": f"person{person}/video{clip}/0"}
    learning = [_face(person, size, random) for _ in range(max(shots))]
    truth = [_face(person, size, random) for _ in range(hold_out)]
    bonus = random.normal(0, 0.02)
    for count in shots:
        for frame in range(min(count, pictures)):
            yield key | {
                "method": "learning",
                "shots": count,
                "steps": 0,
                "frame": frame,
                "picture": png(learning[frame]),
            }
    for index, picture in enumerate(truth):
        yield (
            key
            | {
                "method": "truth",
                "shots": 0,
                "steps": 0,
                "frame": 100 + 3 * index,
                "ssim": 1.0,
                "l1": 0.0,
                "lpips": 0.0,
            }
            | {"csim": 1.0, "landmark_error": 0.02 + random.uniform(0, 0.01), "jitter": 0.01, "psnr": np.nan}
            | {"picture": png(picture) if index < pictures else None}
        )
    for method in methods:
        base = method.rpartition("/")[2] if method.rpartition("/")[2] in _BLUR else "ft"
        for count in shots:
            for made in steps if base == "ft" else (0,):
                for index, picture in enumerate(truth):
                    good = _good(base, count, made, steps) + bonus + random.normal(0, 0.01) - 0.03 * ("/" in method)
                    shown = index < pictures and made in (0, steps[-1])
                    copied = learning[index % count] if base == "nearest" else np.mean(learning[:count], axis=0)
                    source = copied.astype(np.uint8) if base in ("nearest", "mean") else picture
                    yield (
                        key
                        | {"method": method, "shots": count, "steps": made, "frame": 100 + 3 * index}
                        | _figures(good, random, base)
                        | {
                            "learning_seconds": _learning_seconds(base, count, made),
                            "frame_seconds": _frame_seconds(base),
                        }
                        | {"picture": png(_generated(source, _BLUR[base] / count**0.2, random)) if shown else None}
                    )


def _figures(good: float, random: np.random.Generator, base: str) -> dict[str, float]:
    lost = random.uniform() < 0.04
    return {
        "ssim": good,
        "psnr": 10 + 14 * good,
        "l1": 0.4 * (1 - good),
        "lpips": 0.9 * (1 - good),
        "csim": 0.3 + 0.5 * good + (0.3 if base == "nearest" else 0.0),
        "landmark_error": np.nan if lost else (0.3 if base == "nearest" else 0.16) * (1.3 - good),
        "jitter": 0.06 if base == "nearest" else 0.02,
    }


def _good(base: str, count: int, made: int, steps: Sequence[int]) -> float:
    """Fine-tuning rises from the feed-forward state to a top and falls again: early with one frame, late with many."""
    if base != "ft":
        return _QUALITY[base] + 0.012 * np.log2(count)
    top = 57 * count**0.5
    course = np.log2(made / top) / np.log2(steps[-1] / 4)
    return _QUALITY["ff"] + 0.01 + 0.022 * np.log2(count) - 0.12 * max(course, -course / 2) ** 2


def _learning_seconds(base: str, count: int, made: int) -> float:
    return {"ft": 0.02 * made + 0.2 + 0.03 * count, "translation": 0.06 * count * 40 / 4}.get(
        base, 0.02 + 0.002 * count
    )


def _frame_seconds(base: str) -> float:
    return {"nearest": 0.0001, "mean": 0.00001, "warping": 0.009}.get(base, 0.0062)


def _face(person: int, size: int, random: np.random.Generator) -> Picture:
    points = face_landmarks(size, tuple(random.uniform(-0.08, 0.08, 2)), random.uniform())
    return toy_frame(person, points, size)


def _generated(picture: Picture, blur: float, random: np.random.Generator) -> Picture:
    soft = cv2.GaussianBlur(picture, (0, 0), blur) if blur > 0 else picture
    return np.clip(soft + random.normal(0, 4, picture.shape), 0, 255).astype(np.uint8) if blur > 0 else soft


def png(picture: Picture) -> bytes:
    """HxWx3 uint8 RGB as PNG."""
    return bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
