"""USER over T, a line per method."""

import pandas as pd

from raytalk.evaluation.figures.look import INK, ordered, sheet, styles, to_png
from raytalk.evaluation.figures.panels import axis_of_shots, legend
from raytalk.evaluation.results import method_title
from raytalk.evaluation.study.analysis import GUESSING


def user_figure(table: pd.DataFrame, participants: int, confidence: float = 0.95) -> bytes:
    """PNG of an analysis' table: shares with their intervals, guessing as a line."""
    methods, counts = ordered(table.method), sorted(set(table.shots))
    looks = styles(methods)
    figure = sheet(8.6, 5.4)
    axes = figure.subplots()
    for number, method in enumerate(methods):
        own = table[table.method == method].sort_values("shots")
        axes.errorbar(
            own.shots.to_numpy(float) * 2 ** (0.09 * (number - (len(methods) - 1) / 2)),
            100 * own.user,
            yerr=[100 * (own.user - own.user_low), 100 * (own.user_high - own.user)],
            color=looks[method].colour,
            marker=looks[method].marker,
            linestyle=looks[method].line,
            linewidth=2,
            markersize=7,
            capsize=3,
            label=method_title(method),
        )
    guessing = f"Guessing ({100 * GUESSING:.0f} %): the best there is"
    axes.axhline(100 * GUESSING, color=INK, linestyle=":", linewidth=1.6, label=guessing)
    axis_of_shots(axes, counts)
    axes.set_ylim(0, 102)
    axes.set_ylabel("found the generated picture, %", fontsize=12, color=INK)
    people = "1 participant" if participants == 1 else f"{participants} participants"
    title = f"User study · {people}, {100 * confidence:g} % intervals · ↓ lower is better"
    figure.suptitle(title, fontsize=13.5, color=INK)
    legend(figure, [axes], [*(method_title(method) for method in methods), guessing])
    return to_png(figure)
