"""What is seen of a face: nothing comes through where it should be hidden."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from raytalk.clips.heads.anatomy import EYE, SKIN, TEETH, TONGUE, Anatomy, Array
from raytalk.clips.heads.camera import Camera, aim_eyes, look
from raytalk.clips.heads.expressions import columns
from raytalk.clips.heads.figure import Figure
from raytalk.clips.heads.person import draw_person
from raytalk.clips.heads.pose import turns
from raytalk.clips.heads.render import Stage
from raytalk.clips.heads.scene import draw_scene
from raytalk.clips.heads.shading import CLOTH

PEOPLE = range(8)


def filmed(
    anatomy: Anatomy, person: int, actions: Array, collar: str | None = None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """What each sample of a frontal picture shows, [h, w], and the landmarks [68, 2] in samples."""
    scene = draw_scene(np.random.default_rng(person))
    figure = Figure(anatomy, draw_person(anatomy, 0, person), collar or scene.collar)
    stage, camera = Stage(figure.surface, figure.rest), Camera.before(figure, scene)
    moves = turns(figure.joints, np.zeros(3), np.zeros(3))
    mesh, strands = figure.posed(actions, moves)
    middle = camera.project(mesh[anatomy.landmarks]).mean(axis=0)
    view = look(figure, scene, camera, np.array([*middle, 500.0]), 128)
    aim_eyes(view, figure, mesh[: len(figure.vertices)], moves, np.zeros(2))
    stage.pose(mesh, strands)
    stage.backdrop(scene.background)
    stage.picture(view, scene.exposure)
    materials = stage.materials()
    side = round(materials.size**0.5)
    own = camera.project(mesh[anatomy.landmarks])
    return materials.reshape(side, side), np.asarray((own - middle + 250) * side / 500, np.float32)


def seen(anatomy: Anatomy, person: int, actions: Array, collar: str | None = None) -> dict[int, int]:
    """How many samples show each material in a frontal picture."""
    materials, counts = np.unique(filmed(anatomy, person, actions, collar)[0], return_counts=True)
    return dict(zip(materials.tolist(), counts.tolist(), strict=True))


def acting(**values: float) -> Array:
    actions = np.zeros(52, np.float32)
    for name, value in values.items():
        actions[columns(name)] = value
    return actions


@pytest.mark.parametrize("person", PEOPLE)
def test_a_closed_mouth_hides_the_teeth_and_closed_lids_the_eyes(anatomy: Anatomy, person: int) -> None:
    counts = seen(anatomy, person, acting(eyeBlink=1.0))
    assert counts[SKIN] > 5000
    # Some people's lips leave a slit of a sample's height; an open mouth shows hundreds.
    assert counts.get(TEETH, 0) + counts.get(TONGUE, 0) <= 30
    assert counts.get(EYE, 0) <= 12


def test_an_open_mouth_shows_teeth_and_open_lids_the_eyes(anatomy: Anatomy) -> None:
    counts = seen(anatomy, 1, acting(jawOpen=0.6))
    assert counts[TEETH] + counts[TONGUE] > 100
    assert counts[EYE] > 60


@pytest.mark.parametrize("person", PEOPLE)
def test_a_broad_smile_shows_teeth_and_they_stay_behind_the_lips(anatomy: Anatomy, person: int) -> None:
    smile = {"mouthSmile": 1.0, "mouthUpperUp": 0.8, "mouthLowerDown": 0.8, "mouthStretch": 0.4, "jawOpen": 0.14}
    others = acting(mouthPucker=1.0), acting(mouthFrown=1.0), acting(mouthPress=1.0), acting(jawOpen=0.8)
    for actions, least in ((acting(**smile), 230), *((each, 0) for each in others)):
        materials, points = filmed(anatomy, person, actions)
        mouth = np.zeros(materials.shape, np.uint8)
        cv2.fillConvexPoly(mouth, cv2.convexHull(points[48:60]).astype(np.int32), 1)
        teeth = materials == TEETH
        assert teeth.sum() >= least
        assert not teeth[cv2.dilate(mouth, np.ones((5, 5), np.uint8)) == 0].any()


@pytest.mark.parametrize("collar", ["crew", "v", "wide", "turtleneck", "shirt"])
def test_clothes_are_seen(anatomy: Anatomy, collar: str) -> None:
    assert seen(anatomy, 2, acting(), collar)[CLOTH] > 2000
