"""The paper's claims as tests of a checkpoint: each is stated as it comes out, with the figures behind it.

Differences are paired: of the same people, whose mean difference has a 95 % interval over people (bootstrap).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from raytalk.evaluation.results import METRICS, method_title
from raytalk.evaluation.summary import bootstrap


@dataclass(frozen=True)
class Claim:
    """One comparison of two columns of the table."""

    text: str
    metric: str
    better: tuple[str, int]
    """method and T that should be ahead"""
    worse: tuple[str, int]
    lead: float
    """mean difference over people, positive if `better` is ahead"""
    low: float
    high: float
    people: int

    @property
    def verdict(self) -> str:
        """holds, does not hold, or undecided where the interval includes 0."""
        if not self.low <= self.high:
            return "undecided"
        return "holds" if self.low > 0 else "does not hold" if self.high < 0 else "undecided"

    def line(self) -> str:
        """For a person."""
        (ahead, t1), (behind, t2) = self.better, self.worse
        return (
            f"| {self.text} | {METRICS[self.metric][0]}: {_name(ahead, t1)} against {_name(behind, t2)} | "
            f"{self.lead:+.3f} [{self.low:+.3f}, {self.high:+.3f}] | {self.verdict} |"
        )


def check_claims(people: pd.DataFrame) -> dict[str, list[Claim]]:
    """All claims that the results allow, by split. people: as `summary.per_person` gives them."""
    last = people.loc[people.groupby(["split", "method", "shots", "person"])["steps"].idxmax()]
    return {str(split): list(_of_split(group)) for split, group in last.groupby("split")}


def _of_split(people: pd.DataFrame) -> Iterator[Claim]:
    shots = sorted(set(people["shots"]) - {0})
    few, many = shots[0], shots[-1]
    middle = shots[len(shots) // 2]
    wanted: list[tuple[str, str, tuple[str, int], tuple[str, int]]] = []
    for method in ("ft", "ff"):
        for metric in ("ssim", "lpips", "csim"):
            wanted.append(("better with T", metric, (method, many), (method, few)))
    for metric in ("csim", "lpips", "ssim"):
        wanted.append((f"feed-forward ahead at T = {few}", metric, ("ff", few), ("ft", few)))
    for metric in ("csim", "lpips", "ssim"):
        wanted.append((f"fine-tuned ahead at T = {many}", metric, ("ft", many), ("ff", many)))
    for metric in ("ssim", "lpips", "csim"):
        wanted.append(("meta-learned start ahead of a random one", metric, ("ft", middle), ("ft/random-start", middle)))
    wanted.append(("fine-tuning closes the identity gap", "csim", ("ft", middle), ("ff", middle)))
    for metric in ("landmark_error", "ssim", "lpips"):
        for copy in ("nearest", "mean"):
            wanted.append(("ahead of copying", metric, ("ft", middle), (copy, middle)))
    for family in ("translation", "warping"):
        for metric in ("ssim", "csim"):
            wanted.append(("ahead of the other families", metric, ("ft", middle), (family, middle)))
    for text, metric, better, worse in wanted:
        if better[0] == worse[0] and better[1] == worse[1]:
            continue
        claim = _compare(people, text, metric, better, worse)
        if claim is not None:
            yield claim


def _compare(
    people: pd.DataFrame, text: str, metric: str, better: tuple[str, int], worse: tuple[str, int]
) -> Claim | None:
    ahead, behind = (_of(people, *side)[metric] for side in (better, worse))
    both = ahead.index.intersection(behind.index)
    lead = (ahead[both] - behind[both]) * (1 if METRICS[metric][1] == "up" else -1)
    lead = lead[np.isfinite(lead)]
    if not len(lead):
        return None
    values = lead.to_numpy(float)
    return Claim(text, metric, better, worse, float(values.mean()), *bootstrap(values), len(values))


def _of(people: pd.DataFrame, method: str, shots: int) -> pd.DataFrame:
    return people[(people["method"] == method) & (people["shots"] == shots)].set_index("person")


def _name(method: str, shots: int) -> str:
    return f"{method_title(method)} ({shots})"
