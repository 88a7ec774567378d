"""Hair of every cut and beard: sound geometry, within its budget, and out of the face."""

from dataclasses import replace

import numpy as np
import pytest

from raytalk.clips.heads.anatomy import Anatomy
from raytalk.clips.heads.attach import Attachment, vertex_normals
from raytalk.clips.heads.hair import hair
from raytalk.clips.heads.person import BEARDS, CUTS, Person, draw_person

BUDGET = 15_500
"""triangles of a head of hair without its beard"""
PEOPLE = 20
_LONG = ("long", "long with fringe", "wavy", "ponytail")


def grow(anatomy: Anatomy, person: Person) -> list[Attachment]:
    rest, _ = anatomy.rest(person.coefficients)
    return hair(anatomy, rest, vertex_normals(rest, anatomy.triangles), person)


def some_person(anatomy: Anatomy, number: int, **traits: object) -> Person:
    return replace(draw_person(anatomy, 0, number), **traits)  # type: ignore[arg-type]


def triangles(parts: list[Attachment]) -> int:
    return sum(len(part.triangles) for part in parts)


def check(parts: list[Attachment], vertices: int) -> None:
    for part in parts:
        count = len(part.points)
        for values in (part.points, part.corners, part.strands, part.weights):
            assert np.isfinite(values).all()
            assert values.dtype == np.float32
        assert part.triangles.min() >= 0
        assert part.triangles.max() < count
        assert part.strands.shape == (count, 3)
        np.testing.assert_allclose(part.weights.sum(axis=1), 1, atol=1e-4)
        assert part.weights.min() >= -1e-6
        assert part.anchors.shape == (count,)
        assert part.anchors.max() < vertices


@pytest.mark.parametrize("cut", CUTS)
def test_every_cut_is_sound_and_within_budget(anatomy: Anatomy, cut: str) -> None:
    for number in range(3):
        parts = grow(anatomy, some_person(anatomy, number, cut=cut, beard="none"))
        assert bool(parts) == (cut not in ("bald", "buzz"))
        check(parts, len(anatomy.template))
        assert triangles(parts) <= BUDGET


@pytest.mark.parametrize("beard", BEARDS)
def test_every_beard_is_sound_and_moves_with_the_face(anatomy: Anatomy, beard: str) -> None:
    parts = grow(anatomy, some_person(anatomy, 1, cut="bald", beard=beard))
    assert bool(parts) == (beard not in ("none", "stubble"))
    check(parts, len(anatomy.template))
    assert triangles(parts) <= 6000
    rest, _ = anatomy.rest(draw_person(anatomy, 0, 1).coefficients)
    for part in parts:
        assert part.anchors.min() >= 0
        # A lock stays near the vertex whose movement it shares.
        assert np.linalg.norm(part.points - rest[part.anchors], axis=1).max() < 0.08


def test_longer_beards_hang_lower(anatomy: Anatomy) -> None:
    lowest = [
        min(part.points[:, 2].min() for part in grow(anatomy, some_person(anatomy, 1, cut="bald", beard=beard)))
        for beard in ("moustache", "short beard", "full beard")
    ]
    assert lowest[0] > lowest[1] > lowest[2]


@pytest.mark.parametrize("cut", CUTS)
def test_no_hair_before_eyes_and_brows(anatomy: Anatomy, cut: str) -> None:
    for number in range(PEOPLE):
        person = some_person(anatomy, number, cut=cut, beard="none")
        marks = anatomy.rest(person.coefficients)[0][anatomy.landmarks]
        low, high = marks[[40, 41, 46, 47], 2].min() - 0.005, marks[17:27, 2].max()
        for part in grow(anatomy, person):
            x, y, z = part.points.T
            before = (x > marks[17, 0]) & (x < marks[26, 0]) & (y < marks[[17, 26], 1].max()) & (z > low) & (z < high)
            assert not before.any(), (cut, number)


@pytest.mark.parametrize("cut", ["crop", "long", "afro"])
def test_it_is_the_same_every_time_and_differs_between_people(anatomy: Anatomy, cut: str) -> None:
    first, again = (grow(anatomy, some_person(anatomy, 3, cut=cut)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.points, other.points)
        np.testing.assert_array_equal(one.corners, other.corners)
    twin = grow(anatomy, some_person(anatomy, 3, cut=cut, seed=4))
    shared = min(len(first[1].points), len(twin[1].points))
    assert np.abs(first[1].points[:shared] - twin[1].points[:shared]).mean() > 0.003


@pytest.mark.parametrize("cut", _LONG)
def test_long_hair_stays_with_the_chest_below_and_with_the_head_above(anatomy: Anatomy, cut: str) -> None:
    person = some_person(anatomy, 3, cut=cut, beard="none")
    marks = anatomy.rest(person.coefficients)[0][anatomy.landmarks]
    parts = grow(anatomy, person)
    points = np.concatenate([part.points for part in parts])
    weights = np.concatenate([part.weights for part in parts])
    low = points[:, 2] < marks[8, 2] - 0.09
    assert low.any()
    assert weights[low, 0].min() > 0.95
    assert weights[points[:, 2] > marks[27, 2] + 0.05, 4].min() > 0.9


def test_long_hair_is_longer_than_a_bob_and_a_bob_than_a_crop(anatomy: Anatomy) -> None:
    lowest = [
        np.mean([
            min(part.points[:, 2].min() for part in grow(anatomy, some_person(anatomy, number, cut=cut, beard="none")))
            for number in range(3)
        ])
        for cut in ("crop", "bob", "long")
    ]  # fmt: skip
    assert lowest[0] > lowest[1] > lowest[2]
