import numpy as np
import pytest
from evaluation.toy_results import png, toy_rows

from raytalk.evaluation.figures.grid import decode, final, people_grid, shots_grid


def _rows(people, size=32, steps=(320,)):
    return final(toy_rows(people=people, methods=("ff", "ft"), hold_out=2, pictures=2, size=size, steps=steps))


def _holds(grid, picture):
    """Whether a picture lies somewhere in a grid, pixel by pixel."""
    size = len(picture)
    corners = np.argwhere((grid[: -size + 1, : -size + 1] == picture[0, 0]).all(axis=2))
    return any((grid[y : y + size, x : x + size] == picture).all() for y, x in corners)


def test_a_row_shows_learning_frame_truth_and_each_method_of_one_frame():
    rows = _rows(people=2, size=192)
    grid = people_grid(rows, "block", 8, ["ff", "ft"])
    assert grid is not None
    for person in ("person0", "person1"):
        own = rows[(rows.person == person)]
        held = own[own.frame == 100]
        assert _holds(grid, decode(own[(own.method == "learning") & (own.shots == 8)].picture.iloc[0]))
        assert _holds(grid, decode(held[held.method == "truth"].picture.iloc[0]))
        for method in ("ff", "ft"):
            of_method = held[held.method == method]
            assert _holds(grid, decode(of_method[of_method.shots == 8].picture.iloc[0]))
            assert not _holds(grid, decode(of_method[of_method.shots == 1].picture.iloc[0]))


def test_rows_below_each_other_are_the_same_frame_for_each_t():
    rows = _rows(people=1, size=192)
    grid = shots_grid(rows, "block", "person0", ["ft"])
    assert grid is not None
    for shots in (1, 8, 32):
        made = rows[(rows.method == "ft") & (rows.shots == shots) & (rows.frame == 100)]
        assert _holds(grid, decode(made.picture.iloc[0]))
    assert len(shots_grid(rows, "block", "person0", ["ft"], [1, 8])) < len(grid)


def test_a_method_without_pictures_gets_no_column_and_a_hole_stays_grey():
    rows = _rows(people=2, size=192)
    with_both = people_grid(rows, "block", 1, ["ff", "ft"])
    without = people_grid(rows[rows.method != "ff"], "block", 1, ["ff", "ft"])
    hole = people_grid(rows[(rows.method != "ff") | (rows.person == "person0")], "block", 1, ["ff", "ft"])
    assert with_both.shape[1] - without.shape[1] == 192 + 6
    assert hole.shape == with_both.shape
    assert _holds(hole[300:], np.full((60, 60, 3), 240, np.uint8))
    assert not _holds(with_both[300:], np.full((60, 60, 3), 240, np.uint8))


def test_the_frame_shown_is_one_that_all_methods_made():
    rows = _rows(people=1, size=192)
    rows = rows[~((rows.method == "ff") & (rows.frame == 100))]
    grid = people_grid(rows, "block", 1, ["ff", "ft"])
    shown = rows[(rows.frame == 103) & (rows.method == "truth")].picture.iloc[0]
    assert _holds(grid, decode(shown))


def test_only_the_last_state_of_fine_tuning_is_kept():
    rows = _rows(people=1, steps=(10, 30))
    assert set(rows[rows.method == "ft"].steps) == {30}
    assert set(rows[rows.method == "ff"].steps) == {0}


@pytest.mark.parametrize("broken", [("shots", 5), ("split", "interleaved"), ("methods", ["warping/ff"])])
def test_nothing_to_show_gives_none(broken):
    wanted = {"split": "block", "shots": 1, "methods": ["ff"]} | dict([broken])
    assert people_grid(_rows(people=1), **wanted) is None


def test_small_pictures_are_enlarged_and_large_ones_kept():
    small = people_grid(_rows(people=1, size=64), "block", 1, ["ff"])
    same = people_grid(_rows(people=1, size=192), "block", 1, ["ff"])
    assert small.shape == same.shape


def test_png_is_read_back_as_rgb():
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[..., 0] = 200
    assert (decode(png(picture)) == picture).all()
