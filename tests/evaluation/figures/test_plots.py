import cv2
import numpy as np
import pandas as pd
import pytest
from evaluation.toy_results import MAIN, toy_rows, toy_summary

from raytalk.evaluation.figures import figures
from raytalk.evaluation.figures.look import SLIDE, metric_title, ordered, styles
from raytalk.evaluation.figures.panels import duration, fit_range
from raytalk.evaluation.figures.plots import _overfits, over_shots, over_steps, timings


@pytest.fixture(scope="module")
def rows():
    return toy_rows(people=5, size=32, methods=[*MAIN, "ft/random-start"])


@pytest.fixture(scope="module")
def summary(rows):
    return toy_summary(rows)


def _read(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def test_all_figures_by_name(rows, summary):
    made = figures(rows, summary, {})
    assert {f"grid-block-t{shots}.png" for shots in (1, 8, 32)} <= set(made)
    assert {"grid-block-person1.png", "grid-block-t8-variants.png", "timings.png"} <= set(made)
    assert {"quality-over-t-block.png", "quality-over-t-block-variants.png", "quality-over-steps-block.png"} <= set(
        made
    )
    assert all(_read(data) is not None for data in made.values())


def test_nothing_in_nothing_out(rows, summary):
    assert figures(rows.iloc[:0], summary.iloc[:0], {}) == {}
    assert figures(pd.DataFrame(), pd.DataFrame(), {}) == {}


def test_what_is_missing_is_left_out(rows, summary):
    without_pictures = figures(rows.assign(picture=None, learning_seconds=np.nan), summary, {})
    assert not [name for name in without_pictures if "grid" in name or "timings" in name]
    bare = summary[["split", "method", "shots", "steps", "ssim"]]
    assert over_shots(bare, "block", ["ff", "ft"], {}) is not None
    assert over_shots(summary, "interleaved", ["ff"], {}) is None
    assert over_shots(summary.assign(**dict.fromkeys(summary.columns[6:], np.nan)), "block", ["ff"], {}) is None
    one_state = summary[summary.method.ne("ft") | summary.steps.eq(320)]
    assert over_steps(one_state, rows, "block", {}) is None
    assert timings(rows[rows.method == "nearest"], ["nearest"]) is None


def test_figures_have_the_width_of_a_slide(summary):
    assert _read(over_shots(summary, "block", ["ff", "ft"], {})).shape[1] == int(SLIDE[0] * 150)


def test_nothing_is_cut_off_at_the_edges(rows, summary):
    """A label of any length wraps; what would be cut off reaches the edge of the picture."""
    labels = {"kernel": "kernel distance (unbiased) of the features of EfficientNet-Lite0"}
    for data in (
        over_shots(summary, "block", list(MAIN), labels),
        over_steps(summary, rows, "block", labels),
        timings(rows, list(MAIN)),
    ):
        picture = _read(data)
        edges = np.concatenate(
            [picture[:4].ravel(), picture[-4:].ravel(), picture[:, :4].ravel(), picture[:, -4:].ravel()]
        )
        assert edges.min() == 255


def test_a_stand_in_is_named_as_such():
    title = metric_title("frechet", {"frechet": "Fréchet distance of EfficientNet-Lite0 features (not FID)"})
    assert " ".join(title.split()) == "Fréchet distance of EfficientNet-Lite0 features (not FID) ↓ lower is better"
    assert metric_title("ssim", {"ssim": "SSIM of 8-bit RGB"}) == "SSIM\n↑ higher is better"
    assert metric_title("lpips", {}) == "LPIPS\n↓ lower is better"


def test_overfitting_is_seen_where_it_is_and_not_where_it_is_noise(rows, summary):
    def of(shots):
        chosen = summary[(summary.method.isin(["ff", "ft"])) & (summary.shots == shots)].sort_values("steps")
        return _overfits(chosen, rows, "block", "ft", "ssim", shots)

    assert of(1)
    assert not of(32)


def test_overfitting_without_rows_is_judged_by_the_interval(rows, summary):
    own = summary[(summary.method == "ft") & (summary.shots == 1)].sort_values("steps")
    wide = own.assign(frechet_low=0.0, frechet_high=1000.0)
    narrow = own.assign(frechet_low=own.frechet - 0.1, frechet_high=own.frechet + 0.1)
    assert not _overfits(wide, rows, "block", "ft", "frechet", 1)
    assert _overfits(narrow, rows, "block", "ft", "frechet", 1)


def test_axes_do_not_make_small_differences_large():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    axes.plot([1, 2], [0.700, 0.701])
    fit_range(axes, "ssim")
    assert np.ptp(axes.get_ylim()) >= 0.199
    axes = Figure().subplots()
    axes.plot([1, 2], [40.0, 41.0])
    fit_range(axes, "frechet")
    assert axes.get_ylim()[0] <= 0


def test_methods_keep_order_and_colour():
    assert ordered(["other/ft", "ft", "ff", "nearest"]) == ["nearest", "ff", "ft", "other/ft"]
    assert styles(["ff"])["ff"] == styles(["nearest", "ff", "ft"])["ff"]
    several = styles([*MAIN, "ft/no-identity", "a/ff", "b/ff"])
    assert len(set(several.values())) == len(several)


def test_durations():
    assert [duration(seconds) for seconds in (0.0042, 3.21, 600)] == ["4.2 ms", "3.21 s", "10 min"]
