"""Plots of a sweep: the score over each setting, parallel coordinates, learning curves, and the comparison. PNG."""

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from raytalk.evaluation.figures.look import INK, QUIET, SLIDE, sheet, tidy, to_png
from raytalk.sweep.confirm import Confirmation
from raytalk.sweep.records import Record, ranked
from raytalk.sweep.searching import DEFAULTS
from raytalk.sweep.space import Dimension, Space

_COLOURS = colormaps["viridis"]
_WINNER, _OWN = "#D55E00", "#0072B2"
_MARKERS = {"finished": "o", "stopped": "v", "collapsed": "X", "failed": "X", "begun": "s"}


def plots(space: Space, records: list[Record], whole: int, confirmation: Confirmation) -> dict[str, bytes]:
    """All that these trials give, by file name; `whole`: episodes of a whole trial."""
    scored = ranked(records, whole)
    if not scored:
        return {}
    made = {
        "score-over-settings.png": over_settings(space, scored),
        "parallel-coordinates.png": parallel(space, scored),
        "learning-curves.png": curves(records, scored[0], whole),
    }
    if confirmation.winner:
        made["winner-and-defaults.png"] = comparison(confirmation, scored[0])
    return made


def over_settings(space: Space, scored: list[Record]) -> bytes:
    """A panel per setting: each trial's score over its value; colour says how far it came."""
    columns = min(4, len(space.dimensions))
    rows = math.ceil(len(space.dimensions) / columns)
    figure = sheet(SLIDE[0], 0.9 + 3.1 * rows)
    parts = figure.subplots(rows, columns, sharey=True, squeeze=False)
    shown = _colouring([record.episodes for record in scored], from_zero=True)
    low, high = _scale(scored)
    floor = low - 0.06 * (high - low)  # where those lie that collapsed
    for axes, dimension in zip(parts.flat, space.dimensions, strict=False):
        for record in reversed(scored):
            place = _x(dimension, record), max(record.score, floor)
            _dot(axes, place, record, scored[0], _colour(shown, record.episodes))
        _axis(axes, dimension)
        tidy(axes)
    for axes in parts.flat[len(space.dimensions) :]:
        axes.set_visible(False)
    parts.flat[0].set_ylim(low - 0.12 * (high - low), high + 0.1 * (high - low))
    for axes in parts[:, 0]:
        axes.set_ylabel("score", fontsize=11, color=INK)
    _bar(figure, shown, "episodes shown")
    _key(figure, scored)
    figure.suptitle("Score over settings", fontsize=17, color=INK)
    return to_png(figure)


def parallel(space: Space, scored: list[Record]) -> bytes:
    """A line per trial through all its settings to its score; colour is the score."""
    figure = sheet(SLIDE[0], 6.4)
    axes = figure.subplots()
    low, high = _scale(scored)
    shown = _colouring([low, high])
    count = len(space.dimensions)
    for record in reversed(scored):
        best = record is scored[0]
        heights = [dimension.place(record.point[dimension.key]) for dimension in space.dimensions]
        heights.append(max(0.0, (record.score - low) / (high - low)))
        line = "--" if record.number == DEFAULTS else "-"
        axes.plot(
            range(count + 1), heights, line, color=_colour(shown, record.score), linewidth=3.4 if best else 1.6,
            alpha=1.0 if best or record.number == DEFAULTS else 0.75, zorder=3 if best else 2,
        )  # fmt: skip
    for place, dimension in enumerate(space.dimensions):
        axes.axvline(place, color=QUIET, linewidth=1, zorder=1)
        for height, text in _ticks(dimension):
            axes.annotate(
                text, (place, height), xytext=(4, 0), textcoords="offset points", fontsize=9, color=INK, va="center",
                zorder=4, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
            )  # fmt: skip
    axes.axvline(count, color=QUIET, linewidth=1, zorder=1)
    for height, value in ((0.0, low), (1.0, high)):
        axes.annotate(f"{value:.3f}", (count, height), xytext=(4, 0), textcoords="offset points", fontsize=9)
    axes.set_xticks(range(count + 1), [*(_title(dimension) for dimension in space.dimensions), "score"], fontsize=10)
    axes.set_yticks([])
    axes.set_xlim(-0.15, count + 0.4)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    _bar(figure, shown, "score")
    figure.suptitle(
        f"All trials (thick: {scored[0].name}, the best; dashed: the defaults)", fontsize=17, color=INK
    )  # fmt: skip
    return to_png(figure)


def curves(records: list[Record], best: Record, whole: int) -> bytes:
    """Score over episodes of each trial, marked where it ended before its time."""
    figure = sheet(SLIDE[0], 6.4)
    axes = figure.subplots()
    for record in records:
        if not record.curve:
            continue
        x = sorted(record.curve)
        y = [record.curve[episodes]["score"] for episodes in x]
        colour, width = ("#b5b5b5", 1.4)
        if record.number in (best.number, DEFAULTS):
            colour, width = (_WINNER if record.number == best.number else _OWN), 2.6
        axes.plot(x, y, "-o", color=colour, linewidth=width, markersize=4, zorder=2 + (width > 2))
        if record.state in ("stopped", "collapsed", "failed"):
            axes.plot(x[-1], y[-1], _MARKERS[record.state], color=INK, markersize=8, zorder=4)
    axes.plot([], [], "-o", color=_WINNER, label=f"trial {best.name}, the best")
    if best.number != DEFAULTS:
        axes.plot([], [], "-o", color=_OWN, label="the defaults")
    for state in sorted({record.state for record in records} & {"stopped", "collapsed", "failed"}):
        axes.plot([], [], _MARKERS[state], color=INK, linestyle="none", label=state)
    axes.set_xlim(0, 1.03 * whole)
    axes.set_xlabel("episodes", fontsize=12, color=INK)
    axes.set_ylabel("score on people held out", fontsize=12, color=INK)
    axes.legend(frameon=False, fontsize=11, loc="lower right")
    tidy(axes)
    axes.set_title("Learning curves", fontsize=17, color=INK)
    return to_png(figure)


def comparison(confirmation: Confirmation, best: Record) -> bytes:
    """A dot per person by whom nobody was chosen: the winner's score over the defaults'."""
    figure = sheet(6.8, 6.6)
    axes = figure.subplots()
    own = np.array([row["score"] for row in confirmation.defaults])
    mine = np.array([row["score"] for row in confirmation.winner])
    low, high = float(min(own.min(), mine.min())), float(max(own.max(), mine.max()))
    room = max(0.02, 0.08 * (high - low))
    axes.plot([low - room, high + room], [low - room, high + room], color=QUIET, linewidth=1.2)
    axes.scatter(own, mine, s=52, color=np.where(mine > own, _WINNER, _OWN), zorder=3)
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(low - room, high + room)
    axes.set_aspect("equal")
    axes.set_xlabel("score of the defaults", fontsize=12, color=INK)
    axes.set_ylabel(f"score of trial {best.name}", fontsize=12, color=INK)
    gain, below, above = confirmation.difference()
    axes.set_title(
        f"{len(own)} people by whom nobody was chosen\n{gain:+.3f} [{below:+.3f}, {above:+.3f}]", fontsize=14, color=INK
    )
    tidy(axes)
    return to_png(figure)


def _dot(axes: Axes, place: tuple[float, float], record: Record, best: Record, colour: object) -> None:
    edge = _WINNER if record is best else _OWN if record.number == DEFAULTS else "white"
    size, width = (70, 0.8) if edge == "white" else (110, 2.4)
    axes.scatter(
        *place, s=size, color=[colour], marker=_MARKERS[record.state], edgecolor=edge, linewidth=width,
        zorder=4 if record is best else 3,
    )  # fmt: skip


def _x(dimension: Dimension, record: Record) -> float:
    value = record.point[dimension.key]
    if not dimension.choices:
        return float(value)
    return float(dimension.choices.index(value)) if value in dimension.choices else -0.6


def _axis(axes: Axes, dimension: Dimension) -> None:
    axes.set_xlabel(_title(dimension).replace("\n", " "), fontsize=10.5, color=INK)
    if dimension.choices:
        axes.set_xticks(range(len(dimension.choices)), [str(value) for value in dimension.choices])
        axes.set_xlim(-0.8, len(dimension.choices) - 0.2)
    elif dimension.log:
        axes.set_xscale("log")
        axes.set_xlim(dimension.low / 1.2, dimension.high * 1.2)
        ends = [dimension.low, math.sqrt(dimension.low * dimension.high), dimension.high]
        axes.set_xticks(ends, [f"{value:.3g}" for value in ends])
        axes.xaxis.set_minor_locator(NullLocator())


def _ticks(dimension: Dimension) -> list[tuple[float, str]]:
    if dimension.choices:
        return [(dimension.place(value), str(value)) for value in dimension.choices]
    return [(0.0, f"{dimension.low:.3g}"), (1.0, f"{dimension.high:.3g}")]


def _title(dimension: Dimension) -> str:
    group, _, leaf = dimension.key.rpartition(".")
    words = leaf.replace("_", " ")
    lines = [words] if len(words) < 15 else words.rsplit(" ", 1)
    return "\n".join([*lines, f"({group})"] if group == "losses" else lines)


def _scale(scored: list[Record]) -> tuple[float, float]:
    """Lowest and highest score; of those that collapsed, which have 0, only if there are no others."""
    scores = [record.score for record in scored if record.state != "collapsed"] or [0.0]
    low, high = min(scores), max(scores)
    return (low, high) if high > low else (low - 0.01, high + 0.01)


def _colouring(values: list[float] | list[int], from_zero: bool = False) -> ScalarMappable:
    low, high = (0.0 if from_zero else min(values)), max(values)
    return ScalarMappable(Normalize(low, high if high > low else low + 1), _COLOURS)


def _colour(shown: ScalarMappable, value: float) -> object:
    return shown.to_rgba(np.array([value]))[0]


def _bar(figure: Figure, shown: ScalarMappable, label: str) -> None:
    bar = figure.colorbar(shown, ax=figure.axes, shrink=0.8, pad=0.01)
    bar.set_label(label, fontsize=11, color=INK)


def _key(figure: Figure, scored: list[Record]) -> None:
    axes = figure.axes[0]
    axes.scatter(
        [], [], s=110, color="white", edgecolor=_WINNER, linewidth=2.4, label=f"trial {scored[0].name}, the best"
    )
    if scored[0].number != DEFAULTS:
        axes.scatter([], [], s=110, color="white", edgecolor=_OWN, linewidth=2.4, label="the defaults")
    for state in sorted({record.state for record in scored}):
        axes.scatter([], [], s=70, color=QUIET, marker=_MARKERS[state], label=state)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=11)
