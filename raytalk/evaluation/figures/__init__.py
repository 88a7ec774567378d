"""Pictures of an evaluation for people: grids as the paper's Figures 3 and 4, quality over T and over steps, timings.

Nothing here knows Ray, or where results lie: tables in (results.py), PNG out.
"""

import cv2
import pandas as pd

from raytalk.evaluation.figures.grid import Picture, final, people_grid, shots_grid
from raytalk.evaluation.figures.look import is_variant
from raytalk.evaluation.figures.plots import over_shots, over_steps, timings

_PEOPLE_WITH_GRID = 3


def figures(rows: pd.DataFrame, summary: pd.DataFrame, labels: dict[str, str]) -> dict[str, bytes]:
    """All figures that these results give, PNG by file name.

    rows: results.ROWS, `features` and `descriptor` not needed. summary: see results.METRICS. labels: what each metric
    is in words; those of networks become titles, because they tell a stand-in. What is missing is left out: nothing in,
    nothing out.
    """
    made: dict[str, bytes | None] = {}
    last = final(rows) if not rows.empty else rows
    methods = [] if rows.empty else [name for name in rows.method.unique() if name not in ("truth", "learning")]
    groups = {"": [name for name in methods if not is_variant(name)]}
    if any(is_variant(name) for name in methods):
        groups["-variants"] = [name for name in methods if is_variant(name) or name in ("ff", "ft")]
    for split in [] if rows.empty else rows.split.unique():
        for suffix, group in groups.items():
            for shots in sorted({int(count) for count in rows.shots if count > 0}):
                made[f"grid-{split}-t{shots}{suffix}.png"] = _png(people_grid(last, split, shots, group))
            for number, person in enumerate(_shown(last, split)):
                made[f"grid-{split}-person{number + 1}{suffix}.png"] = _png(shots_grid(last, split, person, group))
    for split in [] if summary.empty else summary.split.unique():
        made[f"quality-over-t-{split}.png"] = over_shots(summary, split, groups[""], labels)
        if "-variants" in groups:
            title = "Learned otherwise: quality over T"
            made[f"quality-over-t-{split}-variants.png"] = over_shots(
                summary, split, groups["-variants"], labels, title
            )
        made[f"quality-over-steps-{split}.png"] = over_steps(summary, rows, split, labels)
    if not rows.empty:
        made["timings.png"] = timings(last, groups[""])
    return {name: data for name, data in made.items() if data is not None}


def _shown(rows: pd.DataFrame, split: str) -> list[str]:
    pictured = rows[(rows.split == split) & rows.picture.notna()]
    return list(pictured.person.unique()[:_PEOPLE_WITH_GRID])


def _png(picture: Picture | None) -> bytes | None:
    return None if picture is None else bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
