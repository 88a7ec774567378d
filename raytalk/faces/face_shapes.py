"""How faces differ and how they move: a small three-dimensional model of the 68 iBUG landmarks.

A face is mean + identities · a + expressions · b with a and b of unit variance, in a space of its own: x to the
picture's right, y down, z away from the camera, the origin between eyes and mouth, the outer eye corners some 1 apart.
Made from rendered people by `raytalk.clips.heads.face_shapes_fit`, so it is as free as they are.
"""

import io
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]

JAW, INNER = 17, 51
"""points 0-16 are a contour, 17-67 spots of the skin"""
RIGHT_CORNER, LEFT_CORNER = 36, 45
"""the outer corners of the eyes"""
LIDS = (((37, 41), (38, 40), (36, 39)), ((43, 47), (44, 46), (42, 45)))
"""of each eye: two pairs of upper and lower lid, and the corners, from the picture's left to its right"""
MIRROR = np.array([-1.0, 1.0, 1.0])
TWINS = (
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36,
    41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
)  # fmt: skip
"""which point each becomes in a mirror"""
_SOFTNESS = 0.008
"""how gradually one point of a contour's line takes over from the next"""
FILE = "face_shapes.npz"


@dataclass(frozen=True, eq=False)
class FaceShapes:
    """M points: the 51 inner ones, then the lines that the 17 points of the contour lie on."""

    mean: Points
    """[M, 3]"""
    identities: Points
    """[I, M, 3] the most frequent difference first"""
    expressions: Points
    """[E, M, 3] likewise"""
    lines: npt.NDArray[np.int64]
    """[17, K] which of the M points each line has, from the ear's side to the front; -1 fills up"""
    outward: Points
    """[17, 2] the way that is outwards there, to the right and down of an upright face"""

    def shape(self, identity: Points) -> Points:
        """[M, 3] at rest, of identity [I]."""
        return np.asarray(self.mean + np.tensordot(identity, self.identities, 1))

    def choice(self, projected: Points) -> Points:
        """[n, 17, K] how much the contour shows of each point of its lines in pictures with the points at [n, M, 2].

        It shows what is furthest out: the silhouette on the side that is turned away.
        """
        across = projected[:, LEFT_CORNER - JAW] - projected[:, RIGHT_CORNER - JAW]
        apart = np.maximum(np.linalg.norm(across, axis=-1), 1e-9)[:, None]
        across = across / apart
        below = np.stack([-across[:, 1], across[:, 0]], axis=-1)
        ways = self.outward[:, :1] * across[:, None] + self.outward[:, 1:] * below[:, None]
        reach = np.einsum("njkx,njx->njk", projected[:, self.lines], ways) / (_SOFTNESS * apart[..., None])
        reach = np.where(self.lines < 0, -np.inf, reach)
        share = np.exp(reach - reach.max(axis=-1, keepdims=True))
        return np.asarray(share / share.sum(axis=-1, keepdims=True))

    def visible(self, share: Points, points: Points) -> Points:
        """[n, 68, ...] landmarks of points [n or 1, M, ...], share [n, 17, K] from `choice`."""
        jaw = np.einsum(
            "njk,njk...->nj...", share, np.broadcast_to(points, (len(share), *points.shape[1:]))[:, self.lines]
        )
        inner = np.broadcast_to(points[:, :INNER], (len(share), INNER, *points.shape[2:]))
        return np.concatenate([jaw, inner], axis=1)


@cache
def load_face_shapes() -> FaceShapes:
    """The model that comes with the package."""
    data = resources.files(__package__).joinpath(FILE).read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        fields = {name: stored[name] for name in stored.files}
    lines = fields.pop("lines").astype(np.int64)
    return FaceShapes(lines=lines, **{name: value.astype(np.float64) for name, value in fields.items()})
