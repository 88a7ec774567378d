"""Grids of pictures as the paper's Figures 3 and 4: learning frame, ground truth, methods side by side."""

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from raytalk.evaluation.figures.look import INK, QUIET, font, ordered
from raytalk.evaluation.results import method_title

Picture = npt.NDArray[np.uint8]

_SMALLEST = 192
_GAP = 6
_EDGE = 24
_SIDE = 96
"""pixels left of the pictures, where a row is named"""
_EMPTY = (240, 240, 240)

_Row = tuple[str, dict[str, Picture]]


def people_grid(rows: pd.DataFrame, split: str, shots: int, methods: list[str], people: int = 6) -> Picture | None:
    """A row per person for one T: one of the T learning frames, ground truth, each method. HxWx3 uint8 RGB.

    rows: pictures of final states only (`final`). A method without any picture here is left out, and so is a person
    without one; None if nothing is left. At most `people` rows.
    """
    chosen = _pictured(rows, split)
    lines: list[_Row] = []
    for (_, _), own in chosen.groupby(["person", "clip"], sort=False):
        cells = _cells(own, shots, methods, _frame(own, [shots], methods))
        if any(method in cells for method in methods):
            lines.append(("", cells))
    return _draw(lines[:people], methods, f"T = {shots}", split)


def shots_grid(
    rows: pd.DataFrame, split: str, person: str, methods: list[str], shots: list[int] | None = None
) -> Picture | None:
    """One person, a row per T, all of the same hold-out frame; otherwise as `people_grid`.

    shots: these T; None: all that there are.
    """
    chosen = _pictured(rows, split)
    chosen = chosen[chosen.person == person]
    if chosen.empty:
        return None
    own = chosen[chosen["clip"] == chosen["clip"].iloc[0]]
    made = own[own.method.isin(methods)]
    counts = [count for count in sorted({int(count) for count in made.shots}) if shots is None or count in shots]
    frame = _frame(own, counts, methods)
    lines = [(f"T = {count}", _cells(own, count, methods, frame)) for count in counts]
    return _draw(lines, methods, "", split)


def final(rows: pd.DataFrame) -> pd.DataFrame:
    """Of what was fine-tuned, the last state of each person, method and T."""
    last = rows.groupby(["split", "person", "clip", "method", "shots"]).steps.transform("max")
    return rows[rows.steps == last]


def decode(picture: bytes) -> Picture:
    """PNG to HxWx3 uint8 RGB."""
    read = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(read, np.uint8)


def _pictured(rows: pd.DataFrame, split: str) -> pd.DataFrame:
    return rows[(rows.split == split) & rows.picture.notna()]


def _frame(own: pd.DataFrame, counts: list[int], methods: list[str]) -> int | None:
    """The hold-out frame that most methods have a picture of; of several the first."""
    made = own[own.method.isin(methods) & own.shots.isin(counts)]
    if made.empty:
        return None
    many = made.groupby("frame").size()
    return int(many[many == many.max()].index.min())


def _cells(own: pd.DataFrame, shots: int, methods: list[str], frame: int | None) -> dict[str, Picture]:
    """The pictures of one row by column."""
    learning = own[(own.method == "learning") & (own.shots == shots)]
    held = own[own.frame == frame]
    cells = {} if learning.empty else {"learning": learning.picture.iloc[0]}
    for method in ("truth", *methods):
        found = held[(held.method == method) & (held.shots == (0 if method == "truth" else shots))]
        if not found.empty:
            cells[method] = found.picture.iloc[0]
    return {method: decode(picture) for method, picture in cells.items()}


def _draw(lines: list[_Row], methods: list[str], corner: str, split: str) -> Picture | None:
    columns = [
        column for column in ("learning", "truth", *ordered(methods)) if any(column in cells for _, cells in lines)
    ]
    if not set(columns) & set(methods):
        return None
    size = max(_SMALLEST, max(len(picture) for _, cells in lines for picture in cells.values()))
    letters = font(max(15, size // 12))
    strong = font(max(16, size // 10), bold=True)
    titles = [_wrapped(_title(column), letters, size) for column in columns]
    line_height = round(1.25 * letters.size)
    top = _EDGE + line_height * max(len(title) for title in titles) + _GAP
    side = _EDGE + max(_SIDE, round(strong.getlength("T = 32")) + 2 * _GAP)
    foot = _EDGE + round(1.5 * letters.size)
    width = side + len(columns) * (size + _GAP) - _GAP + _EDGE
    canvas = Image.new("RGB", (width, top + len(lines) * (size + _GAP) - _GAP + foot + _GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(titles):
        for number, text in enumerate(reversed(title)):
            place = (side + column * (size + _GAP) + size / 2, top - _GAP - number * line_height)
            draw.text(place, text, INK, letters, anchor="ms")
    draw.text((_EDGE, top - _GAP), corner, INK, strong, anchor="ls")
    for row, (name, cells) in enumerate(lines):
        y = top + row * (size + _GAP)
        draw.text((_EDGE, y + size / 2), name, INK, strong, anchor="lm")
        for column, method in enumerate(columns):
            canvas.paste(_cell(cells.get(method), size), (side + column * (size + _GAP), y))
    note = f"{_SPLITS.get(split, split)}. No frame that is shown under “ground truth” was learned from."
    draw.text((side, canvas.height - _EDGE / 2), note, QUIET, font(max(12, size // 18)), anchor="ls")
    return np.asarray(canvas, np.uint8)


_SPLITS = {
    "block": "Hold-out frames lie after the learning frames",
    "interleaved": "Hold-out frames lie between the learning frames in time",
}


def _title(column: str) -> str:
    return {"learning": "Learning frame", "truth": "Ground truth"}.get(column) or _capital(method_title(column))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _wrapped(text: str, letters: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines no wider than `width` pixels, unless one word is."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and letters.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _cell(picture: Picture | None, size: int) -> Image.Image:
    if picture is None:
        cell = Image.new("RGB", (size, size), _EMPTY)
        ImageDraw.Draw(cell).text((size / 2, size / 2), "not made", QUIET, font(max(12, size // 16)), anchor="mm")
        return cell
    whole = Image.fromarray(picture)
    return whole if picture.shape[:2] == (size, size) else whole.resize((size, size), Image.Resampling.BICUBIC)
