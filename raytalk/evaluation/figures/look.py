"""How figures look: colours that colour-blind people tell apart (Okabe and Ito), fonts, a method's style."""

import io
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import ImageFont

from raytalk.evaluation.results import METHODS, METRICS, method_title

INK = "#222222"
QUIET = "#8a8a8a"
_OTHERS = ("#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F", "#661100")
_COLOURS = {
    "nearest": "#7F7F7F",
    "mean": "#B5A642",
    "warping": "#009E73",
    "translation": "#CC79A7",
    "ff": "#0072B2",
    "ft": "#D55E00",
    "ft/no-feature-matching": "#E69F00",
    "ft/no-identity": "#56B4E9",
    "ft/random-start": "#000000",
}
_JUDGED_BY_NETWORKS = ("lpips", "csim", "frechet", "kernel")
_MARKERS = "svD^P*Xh"
DOTS_PER_INCH = 150
SLIDE = (13.33, 7.5)
"""inches, the shape of a slide"""


@dataclass(frozen=True)
class Style:
    """How one method is drawn wherever it appears."""

    colour: str
    marker: str
    line: str


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """A style for each method; those of results.METHODS have theirs always, others get the next that is free."""
    found: dict[str, Style] = {}
    known = list(METHODS)
    for number, method in enumerate(ordered(methods)):
        if method in ("ff", "ft"):
            found[method] = Style(_COLOURS[method], "o", "-")
        elif method in _COLOURS:
            found[method] = Style(_COLOURS[method], _MARKERS[known.index(method) % len(_MARKERS)], "--")
        else:
            found[method] = Style(_OTHERS[number % len(_OTHERS)], _MARKERS[number % len(_MARKERS)], "-.")
    return found


def ordered(methods: Iterable[str]) -> list[str]:
    """Each method once, in the order of tables; other checkpoints last, by name."""
    known = list(METHODS)
    return sorted(set(methods), key=lambda name: (known.index(name) if name in known else len(known), name))


def is_variant(method: str) -> bool:
    """Whether it is learned otherwise, or another checkpoint: such are compared in figures of their own."""
    return "/" in method


def metric_title(metric: str, labels: dict[str, str], width: int = 23) -> str:
    """As a panel's title: what it is, in lines of `width` letters, and which way is better.

    What a network judges is named by its label, which tells a stand-in; the others by their short title.
    """
    title, way = METRICS[metric]
    arrow = "↑ higher is better" if way == "up" else "↓ lower is better"
    text = labels.get(metric, title) if metric in _JUDGED_BY_NETWORKS else title
    return "\n".join([*textwrap.wrap(text[:1].upper() + text[1:], width), arrow])


def name(method: str, width: int = 28) -> str:
    """A method's title in lines of `width` letters."""
    return "\n".join(textwrap.wrap(method_title(method), width))


def sheet(width: float = SLIDE[0], height: float = SLIDE[1]) -> Figure:
    """An empty figure of so many inches."""
    return Figure(
        figsize=(width, height),
        dpi=DOTS_PER_INCH,
        layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.12),
        facecolor="white",
    )


def tidy(axes: Axes) -> None:
    """Only the lines that help reading."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=11)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def to_png(figure: Figure) -> bytes:
    """The picture of a figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of plots, `size` pixels high."""
    weight = "bold" if bold else "normal"
    return ImageFont.truetype(font_manager.findfont(f"DejaVu Sans:{weight}"), size)
