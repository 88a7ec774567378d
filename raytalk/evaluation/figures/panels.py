"""Small panels beside each other, their axes, titles and one legend for all of them."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from raytalk.evaluation.figures.look import INK, SLIDE, metric_title, sheet, tidy

_FROM_ZERO = ("l1", "lpips", "landmark_error", "not_found", "jitter", "frechet", "kernel")
_LEAST_SPAN = {"ssim": 0.2, "csim": 0.3, "psnr": 5.0}
"""of an axis that does not begin at 0: differences that nobody would see must not fill a panel"""
_UNITS = {
    "l1": "of pictures in [-1, 1]",
    "landmark_error": "eye distances",
    "not_found": "share of frames",
    "jitter": "eye distances",
}


def panels(number: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, at most five beside each other."""
    columns = min(number, 5 if number > 6 else 4 if number == 4 else 3)
    rows = math.ceil(number / columns)
    figure = sheet(max(7.0, SLIDE[0] * columns / 5 if columns < 4 else SLIDE[0]), 1.9 + 2.8 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[number:]:
        axes.set_axis_off()
    return figure, list(grid[:number])


def titled(axes: Axes, metric: str, labels: dict[str, str]) -> None:
    """What a panel shows, and in which unit."""
    axes.set_title(metric_title(metric, labels), fontsize=12, color=INK)
    axes.set_ylabel(_UNITS.get(metric, ""), fontsize=10.5, color=INK)


def head(figure: Figure, title: str, split: str, chosen: pd.DataFrame) -> None:
    """The title over all panels: what, of which split, of how many people."""
    people = f", {int(chosen.people.max())} people" if "people" in chosen else ""
    figure.suptitle(f"{title} · {split} split{people}; bars and bands: 95 % over people", fontsize=16, color=INK)


def legend(figure: Figure, parts: Sequence[Axes], order: list[str]) -> None:
    """One legend below all panels."""
    handles = {label: handle for axes in parts for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    kept = [label for label in order if label in handles]
    columns = next((n for n in range(len(kept), 1, -1) if _letters(kept, n) < 11 * figure.get_figwidth()), 1)
    figure.legend(
        [handles[label] for label in kept], kept, loc="outside lower center", ncols=columns, frameon=False, fontsize=11
    )


def _letters(labels: list[str], columns: int) -> int:
    """Width of a legend with so many columns, filled one after the other, its lines and gaps included."""
    return sum(max(map(len, column)) + 9 for column in np.array_split(np.array(labels), columns))


def fit_range(axes: Axes, metric: str) -> None:
    """From 0 where 0 means something; elsewhere wide enough that small differences look small."""
    low, high = axes.get_ylim()
    if metric in _FROM_ZERO:
        top = max(1.04 * high, 1e-6)
        axes.set_ylim(min(-0.03 * top, low if metric == "kernel" else 0.0), top)
    elif (span := _LEAST_SPAN.get(metric, 0.0)) > high - low:
        top = min((low + high) / 2 + span / 2, 1.0 if metric in ("ssim", "csim") else np.inf)
        axes.set_ylim(top - span, top)
    axes.yaxis.set_major_locator(MaxNLocator(5))


def axis_of_shots(axes: Axes, counts: list[int]) -> None:
    """T, logarithmic, with a tick at each that there is."""
    tidy(axes)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_xlim(counts[0] / 1.6, counts[-1] * 1.6)
    axes.set_xlabel("T, learning frames", fontsize=11, color=INK)


def axis_of_steps(axes: Axes, tuned: pd.DataFrame) -> None:
    """Steps, logarithmic above the first that was measured, so that 0 has a place."""
    tidy(axes)
    least = max(1, int(tuned.steps[tuned.steps > 0].min()))
    axes.set_xscale("symlog", base=2, linthresh=least, linscale=0.8)
    steps = [0, *sorted({int(step) for step in tuned.steps if step > 0})]
    thinned = steps if len(steps) <= 5 else [0, *steps[:0:-2][::-1]]
    axes.xaxis.set_major_locator(FixedLocator(thinned))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_xlim(-0.1 * least, 1.15 * steps[-1])
    axes.set_xlabel("fine-tuning steps", fontsize=11, color=INK)


def duration(seconds: float) -> str:
    """As a person says it."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds / 60:.3g} min"
