"""Plots of an evaluation: quality over T, quality over fine-tuning steps, time per T. Each gives PNG, or None."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from scipy import stats

from raytalk.evaluation.figures.look import INK, SLIDE, name, ordered, sheet, styles, tidy, to_png
from raytalk.evaluation.figures.panels import (
    axis_of_shots,
    axis_of_steps,
    duration,
    fit_range,
    head,
    legend,
    panels,
    titled,
)
from raytalk.evaluation.results import METRICS, method_title

_OVERFITTING = "overfitting: the end is worse than the best"
_MAY_OVERFIT = ("ssim", "psnr", "l1", "lpips", "csim", "landmark_error", "frechet", "kernel")
_TRUTH_SHOWN = ("landmark_error", "not_found", "jitter")
"""where real frames are no trivial 0 or 1"""


def over_shots(
    summary: pd.DataFrame, split: str, methods: list[str], labels: dict[str, str], title: str = "Quality over T"
) -> bytes | None:
    """A panel per metric: each method over T with the 95 % interval over people."""
    chosen = _last(summary[(summary.split == split) & summary.method.isin(methods)])
    metrics = _filled(chosen)
    if not metrics:
        return None
    shown = ordered(chosen.method)
    counts = sorted({int(count) for count in chosen.shots if count > 0})
    looks = styles(shown)
    figure, parts = panels(len(metrics))
    real = summary[(summary.split == split) & (summary.method == "truth")]
    has_truth = False
    for axes, metric in zip(parts, metrics, strict=True):
        for number, method in enumerate(shown):
            own = chosen[(chosen.method == method) & chosen[metric].notna()].sort_values("shots")
            if own.empty:
                continue
            # Side by side, so that intervals do not hide each other.
            x = own.shots.to_numpy(float) * 2 ** (0.11 * (number - (len(shown) - 1) / 2))
            look = looks[method]
            axes.errorbar(
                x,
                own[metric],
                yerr=_reach(own, metric),
                color=look.colour,
                marker=look.marker,
                linestyle=look.line,
                linewidth=2.2 if method in ("ff", "ft") else 1.4,
                markersize=6,
                capsize=2.5,
                elinewidth=1.1,
                label=method_title(method),
                zorder=3 if method in ("ff", "ft") else 2,
            )
        if metric in _TRUTH_SHOWN and metric in real and real[metric].notna().any():
            axes.axhline(
                float(real[metric].dropna().iloc[0]), color=INK, linestyle=":", linewidth=1.4, label="Real frames"
            )
            has_truth = True
        axis_of_shots(axes, counts)
        fit_range(axes, metric)
        titled(axes, metric, labels)
    legend(figure, parts, [method_title(method) for method in shown] + ["Real frames"] * has_truth)
    head(figure, title, split, chosen)
    return to_png(figure)


def over_steps(
    summary: pd.DataFrame, rows: pd.DataFrame, split: str, labels: dict[str, str], method: str = "ft"
) -> bytes | None:
    """A panel per metric: a line per T over fine-tuning steps; the best is marked, and what is worse after it.

    Step 0 is the feed-forward state. A line is broken after its best point where the last state is worse by more than
    chance (over people, of the same person; where rows have no such column, by the interval of the best).
    """
    partner = method.removesuffix("ft") + "ff"
    chosen = summary[(summary.split == split) & summary.method.isin([method, partner])]
    tuned = chosen[chosen.method == method]
    counts = sorted({int(count) for count in tuned.shots})
    metrics = _filled(tuned)
    if not metrics or tuned.groupby("shots").steps.nunique().max() < 2:
        return None
    colours = dict(zip(counts, colormaps["viridis"](np.linspace(0.0, 0.78, len(counts))), strict=True))
    figure, parts = panels(len(metrics))
    for axes, metric in zip(parts, metrics, strict=True):
        for count in counts:
            own = chosen[(chosen.shots == count) & chosen[metric].notna()].sort_values("steps")
            if not own.empty:
                _course(axes, own, metric, colours[count], _overfits(own, rows, split, method, metric, count), count)
        axis_of_steps(axes, tuned)
        fit_range(axes, metric)
        titled(axes, metric, labels)
    axes = parts[0]
    axes.plot([], [], "*", color=INK, markersize=13, label="best")
    axes.plot([], [], "--", color=INK, label=_OVERFITTING)
    legend(figure, parts, [*(f"T = {count}" for count in counts), "best", _OVERFITTING])
    head(figure, "Quality over fine-tuning steps (0: feed-forward)", split, tuned)
    return to_png(figure)


def timings(rows: pd.DataFrame, methods: list[str], where: str = "") -> bytes | None:
    """Seconds to learn a person over T, and milliseconds per rendered frame: medians over people, and the quartiles.

    where: what it was measured on, for the title.
    """
    learned = [method for method in methods if method not in ("nearest", "mean")]
    chosen = rows[rows.method.isin(learned) & rows.learning_seconds.notna()]
    people = chosen.groupby(["method", "shots", "split", "person", "clip"], as_index=False)[
        ["learning_seconds", "frame_seconds"]
    ].first()
    if people.empty:
        return None
    shown, looks = ordered(people.method), styles(people.method)
    learns = people.groupby("method").learning_seconds.max() > 0
    counts = sorted({int(count) for count in people.shots})
    figure = sheet(SLIDE[0], 5.6)
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    for method in (method for method in shown if learns[method]):
        own = people[people.method == method].groupby("shots").learning_seconds.quantile([0.25, 0.5, 0.75]).unstack()
        low, middle, high = (own[q].to_numpy().clip(1e-4) for q in (0.25, 0.5, 0.75))
        look = looks[method]
        left.errorbar(
            own.index.to_numpy(float), middle, yerr=[middle - low, high - middle], color=look.colour,
            marker=look.marker, linestyle=look.line, linewidth=2, markersize=7, capsize=3, label=method_title(method),
        )  # fmt: skip
    left.set_yscale("log")
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    axis_of_shots(left, counts)
    left.set_title("Learning one person", fontsize=13, color=INK)
    left.set_ylabel("time (logarithmic)", fontsize=11, color=INK)
    _direct(left, people, [method for method in shown if learns[method]])
    _frame_bars(right, people, shown)
    legend(figure, [left], [method_title(method) for method in shown if learns[method]])
    figure.suptitle("Time per person and per frame" + (f" on {where}" if where else ""), fontsize=17, color=INK)
    return to_png(figure)


def _frame_bars(axes: Axes, people: pd.DataFrame, shown: Sequence[str]) -> None:
    """Milliseconds per frame, which do not depend on T, as bars with their figures."""
    values = [1000 * people[people.method == method].frame_seconds.median() for method in shown]
    looks = styles(shown)
    bars = axes.barh(range(len(shown)), values, color=[looks[method].colour for method in shown], height=0.62)
    axes.bar_label(bars, [f" {value:.2g} ms" for value in values], fontsize=11, color=INK)
    axes.set_yticks(range(len(shown)), [name(method) for method in shown])
    axes.invert_yaxis()
    tidy(axes)
    axes.grid(visible=False)
    top = max([value for value in values if math.isfinite(value)], default=1.0)
    axes.set(xlim=(0, 1.22 * max(top, 1e-3)))
    axes.set_xlabel("milliseconds", fontsize=11, color=INK)
    axes.set_title("Rendering one frame", fontsize=13, color=INK)


def _direct(axes: Axes, people: pd.DataFrame, shown: Sequence[str]) -> None:
    """Figures beside the last points, moved apart where points are close."""
    ends = [people[people.method == method].groupby("shots").learning_seconds.median() for method in shown]
    low, high = np.log(axes.get_ylim())
    least, above = 0.055 * (high - low), -math.inf
    for place, seconds in sorted((max(1e-4, float(own.iloc[-1])), float(own.iloc[-1])) for own in ends):
        above = max(math.log(place), above + least)
        x = max(float(own.index[-1]) for own in ends)
        axes.annotate(
            duration(seconds), (x, math.exp(above)), xytext=(10, 0), textcoords="offset points", va="center",
            fontsize=11, color=INK,
        )  # fmt: skip


def _course(axes: Axes, own: pd.DataFrame, metric: str, colour: object, overfits: bool, count: int) -> None:
    x, y = own.steps.to_numpy(float), own[metric].to_numpy(float)
    best = int(np.argmax(y) if METRICS[metric][1] == "up" else np.argmin(y))
    reach = _reach(own, metric)
    if reach is not None:
        axes.fill_between(x, y - reach[0], y + reach[1], color=colour, alpha=0.13, linewidth=0)
    differ = np.ptp(y) > 1e-9
    turn = best if overfits else len(x) - 1
    axes.plot(x[: turn + 1], y[: turn + 1], color=colour, linewidth=2.2, label=f"T = {count}")
    axes.plot(x[turn:], y[turn:], color=colour, linewidth=2.2, linestyle=(0, (3, 2)))
    if differ:
        axes.plot(x[best], y[best], "*", color=colour, markersize=14, markeredgecolor="white", zorder=4)


def _overfits(own: pd.DataFrame, rows: pd.DataFrame, split: str, method: str, metric: str, count: int) -> bool:
    """Whether the end is worse than the best by more than chance (t-test over people)."""
    sign = 1 if METRICS[metric][1] == "up" else -1
    values = sign * own[metric].to_numpy(float)
    best, last = own.iloc[int(np.argmax(values))], own.iloc[-1]
    if best.steps == last.steps or metric not in _MAY_OVERFIT:
        return False
    if metric not in rows:
        low, high = f"{metric}_low", f"{metric}_high"
        if low not in own or not np.isfinite([best[low], best[high]]).all():
            return False
        return bool(last[metric] < best[low] if sign > 0 else last[metric] > best[high])
    of_split = rows[(rows.split == split) & (rows.shots == count)]
    means = [
        of_split[(of_split.method == state.method) & (of_split.steps == state.steps)].groupby("person")[metric].mean()
        for state in (best, last)
    ]
    loss = (sign * (means[0] - means[1])).dropna()
    if len(loss) < 2:
        return False
    # The best is chosen among all states, so each of them counts as a trial.
    bound = float(stats.t.ppf(1 - 0.025 / (len(own) - 1), len(loss) - 1))
    return bool(loss.mean() > bound * loss.std(ddof=1) / math.sqrt(len(loss)))


def _last(summary: pd.DataFrame) -> pd.DataFrame:
    """The last state of what was fine-tuned."""
    return summary[summary.steps == summary.groupby(["split", "method", "shots"]).steps.transform("max")]


def _filled(summary: pd.DataFrame) -> list[str]:
    return [metric for metric in METRICS if metric in summary and summary[metric].notna().any()]


def _reach(own: pd.DataFrame, metric: str) -> list[np.ndarray] | None:
    """How far the interval goes down and up; None where there is none."""
    low, high = f"{metric}_low", f"{metric}_high"
    if low not in own or high not in own:
        return None
    down, up = own[metric] - own[low], own[high] - own[metric]
    return [np.nan_to_num(part.to_numpy(float)).clip(0) for part in (down, up)]
