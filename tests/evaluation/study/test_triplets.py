from collections import Counter

import numpy as np
import pytest
from evaluation.toy_results import toy_rows

from raytalk.errors import SettingsError, StudyError
from raytalk.evaluation.figures.grid import decode
from raytalk.evaluation.study.settings import TripletSettings
from raytalk.evaluation.study.triplets import distorted, draw_checks, draw_triplets, real_pictures


@pytest.fixture(scope="module")
def rows():
    return toy_rows(people=4, size=32, steps=(20, 320), splits=("block", "interleaved"))


def _draw(rows, **settings):
    return draw_triplets(rows, TripletSettings(**settings))


def _picture(rows, triplet, place):
    clip, frame = triplet.others[place]
    found = rows[(rows["clip"] == clip) & (rows.frame == frame) & rows.method.isin(["truth", "learning"])]
    return [decode(picture) for picture in found.picture.dropna()]


def test_one_is_generated_and_two_are_real_pictures_of_the_same_person(rows):
    for triplet in _draw(rows, triplets=60):
        made = rows[(rows.method == triplet.method) & (rows.shots == triplet.shots) & (rows.frame == triplet.frame)]
        made = made[(made["clip"] == triplet.clip) & (made.split == "block") & made.picture.notna()]
        final = made[made.steps == made.steps.max()]
        assert (triplet.pictures[triplet.fake] == decode(final.picture.iloc[0])).all()
        real = [picture for place, picture in enumerate(triplet.pictures) if place != triplet.fake]
        for place, picture in enumerate(real):
            assert triplet.others[place][0].startswith(f"{triplet.person}/")
            assert any((picture == other).all() for other in _picture(rows, triplet, place))


def test_methods_t_and_people_are_balanced(rows):
    triplets = _draw(rows, triplets=36, methods="ff,ft", shots="1,8,32")
    assert set(Counter((triplet.method, triplet.shots) for triplet in triplets).values()) == {6}
    per_person = Counter((triplet.method, triplet.shots, triplet.person) for triplet in triplets)
    assert max(per_person.values()) - min(per_person.values()) <= 1
    assert len(per_person) == 24


def test_copies_and_what_was_learned_otherwise_are_left_out_unless_asked_for():
    rows = toy_rows(
        people=2, size=32, methods=["nearest", "mean", "ff", "ft", "ft/no-identity", "old/ff"], steps=(320,)
    )
    assert {triplet.method for triplet in _draw(rows)} == {"ff", "ft", "old/ff"}
    assert {triplet.method for triplet in _draw(rows, methods="ft/no-identity")} == {"ft/no-identity"}


def test_never_the_very_frame_and_held_out_frames_before_learned_ones(rows):
    triplets = _draw(rows)
    assert not any(triplet.shows_truth for triplet in triplets)
    assert all(frame >= 100 for triplet in triplets for _, frame in triplet.others)
    assert all(triplet.same_clip for triplet in triplets)
    few = rows[(rows.method != "truth") | (rows.frame == 100)]
    drawn = [triplet for triplet in _draw(few, methods="ff") if triplet.frame == 100]
    assert drawn
    assert not any(triplet.shows_truth for triplet in drawn)


def test_the_very_frame_is_said_to_be_shown_where_nothing_else_is_there(rows):
    few = rows[(rows.method != "learning") & ((rows.method != "truth") | rows.frame.isin([100, 103]))]
    triplets = [triplet for triplet in _draw(few, methods="ff") if triplet.frame == 100]
    assert triplets
    assert all(triplet.shows_truth for triplet in triplets)


def test_other_clips_of_the_person_come_first():
    rows = toy_rows(people=2, size=32, methods=("ff",), clips=3, steps=(320,))
    triplets = _draw(rows)
    assert not any(triplet.same_clip for triplet in triplets)
    assert all(len({clip for clip, _ in triplet.others}) == 2 for triplet in triplets)


def test_the_place_is_random_and_seeded(rows):
    places = [triplet.fake for triplet in _draw(rows, triplets=90, seed=3)]
    assert min(Counter(places).values()) > 15
    assert places == [triplet.fake for triplet in _draw(rows, triplets=90, seed=3)]
    assert places != [triplet.fake for triplet in _draw(rows, triplets=90, seed=4)]


def test_a_frame_counts_once_and_as_held_out(rows):
    own = real_pictures(rows)["person0"]
    assert len({(real.clip, real.frame) for real in own}) == len(own)
    assert sum(not real.learned for real in own) == 4


def test_checks_are_far_from_any_picture(rows):
    for check in draw_checks(rows, 6, 0):
        assert check.is_check
        clear = decode(rows[(rows["clip"] == check.clip) & (rows.frame == check.frame)].picture.dropna().iloc[0])
        assert np.abs(check.pictures[check.fake].astype(float) - clear).mean() > 10
    assert len(draw_checks(rows, 6, 0)) == 6


def test_a_distorted_picture_has_twenty_squares_a_side():
    picture = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    spoilt = distorted(picture)
    assert spoilt.shape == picture.shape
    assert (spoilt[::2, ::2] == spoilt[1::2, 1::2]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": "warped"}, "study.methods: no pictures of warped .* but of ff, ft"),
        ({"shots": "4"}, "study.shots: no pictures of 4 .* but of 1, 8, 32"),
    ],
)
def test_what_is_not_there_is_said(rows, settings, message):
    with pytest.raises(SettingsError, match=message):
        _draw(rows, **settings)


def test_a_split_that_is_not_there_and_pictures_that_are_not_there():
    rows = toy_rows(people=1, size=32, methods=("ff",), pictures=1)
    with pytest.raises(SettingsError, match="split: no pictures of interleaved"):
        _draw(rows, split="interleaved")
    with pytest.raises(StudyError, match="pictures=4"):
        _draw(rows[rows.method != "learning"])
    with pytest.raises(SettingsError, match="none at all"):
        _draw(rows.assign(picture=None))
