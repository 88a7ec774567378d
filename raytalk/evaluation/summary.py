"""Rows become a summary: means over people, with intervals, for each split, method, T and number of steps."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from raytalk.evaluation.metrics.distribution import frechet_distance, kernel_distance
from raytalk.evaluation.results import METHODS

KEY = ["split", "method", "shots", "steps"]
PER_PERSON = ("ssim", "psnr", "l1", "lpips", "csim", "landmark_error", "not_found", "jitter")
_DRAWS = 1000


def per_person(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each person under each split, method, T and number of steps: the means over frames."""
    figures = rows[rows["method"] != "learning"].copy()
    figures["not_found"] = figures["landmark_error"].isna().astype(float)
    if figures["landmark_error"].isna().all():  # nobody looked
        figures["not_found"] = np.nan
    # Of an exact copy PSNR is infinite, and so would be every mean that it is in.
    figures["psnr"] = figures["psnr"].replace(np.inf, np.nan)
    columns = [*PER_PERSON, "learning_seconds", "frame_seconds"]
    return figures.groupby([*KEY, "person", "clip"], sort=False)[columns].mean().reset_index()


def summarise(rows: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """See `results.METRICS` for the columns; in the order of methods, T and steps."""
    people = per_person(rows)
    truth = {split: _features(part) for split, part in rows[rows["method"] == "truth"].groupby("split")}
    lines = []
    for key, group in people.groupby(KEY, sort=False):
        line: dict[str, Any] = dict(zip(KEY, key, strict=True))
        mine = rows[(rows[KEY] == pd.Series(line)).all(axis=1)]
        line |= {"people": len(group), "frames": len(mine)}
        for metric in PER_PERSON:
            line |= _mean(metric, group[metric].to_numpy(float), seed)
        line |= {name: float(group[name].median()) for name in ("learning_seconds", "frame_seconds")}
        line |= _distances(_features(mine), truth.get(str(line["split"]))) if line["method"] != "truth" else {}
        lines.append(line)
    summary = pd.DataFrame(lines)
    order = {name: place for place, name in enumerate(METHODS)}
    summary["_order"] = summary["method"].map(lambda name: order.get(name, len(order)))
    summary = summary.sort_values(["split", "shots", "_order", "method", "steps"]).drop(columns="_order")
    return summary.reset_index(drop=True)


def likeness(rows: pd.DataFrame) -> dict[str, float]:
    """What CSIM can be: between real hold-out frames of one person, and of two different people, in the mean."""
    real = rows[(rows["method"] == "truth") & rows["descriptor"].notna()]
    means, same = [], []
    for _, group in real.groupby(["split", "person"]):
        faces = np.stack(group["descriptor"].to_list()).astype(float)
        faces /= np.linalg.norm(faces, axis=1, keepdims=True)
        means.append(faces.mean(axis=0))
        if len(faces) > 1:
            same.append((faces @ faces.T)[~np.eye(len(faces), dtype=bool)].mean())
    if len(means) < 2 or not same:
        return {}
    people = [name for (_, name), _ in real.groupby(["split", "person"])]
    apart = np.array(people)[:, None] != np.array(people)[None]
    stacked = np.stack(means)
    if not apart.any():
        return {}
    return {"same_person": float(np.mean(same)), "strangers": float((stacked @ stacked.T)[apart].mean())}


def bootstrap(values: npt.NDArray[np.floating], seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean over people [P], drawn anew 1,000 times; NaN for fewer than two."""
    if len(values) < 2:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(0, len(values), (_DRAWS, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def _mean(metric: str, values: npt.NDArray[np.float64], seed: int) -> dict[str, float]:
    known = values[np.isfinite(values)]
    low, high = bootstrap(known, seed)
    return {metric: float(known.mean()) if len(known) else float("nan"), f"{metric}_low": low, f"{metric}_high": high}


def _features(rows: pd.DataFrame) -> npt.NDArray[np.float32] | None:
    known = rows["features"].dropna()
    return np.stack(known.to_list()).astype(np.float32) if len(known) > 1 else None


def _distances(own: npt.NDArray[np.float32] | None, truth: npt.NDArray[np.float32] | None) -> dict[str, float]:
    if own is None or truth is None:
        return {"frechet": float("nan"), "kernel": float("nan")}
    return {"frechet": frechet_distance(own, truth), "kernel": kernel_distance(own, truth)[0]}
