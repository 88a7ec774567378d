"""A whole person, dressed, at rest: one mesh, and how it moves."""

import numpy as np

from raytalk.clips.heads import wear
from raytalk.clips.heads.anatomy import CAVITY, EYE, LASH, TONGUE, Anatomy, Array
from raytalk.clips.heads.attach import vertex_normals
from raytalk.clips.heads.hair import hair
from raytalk.clips.heads.person import Person
from raytalk.clips.heads.pose import express, follow
from raytalk.clips.heads.render import Surface
from raytalk.clips.heads.skin import paint

_LEAST_OPEN = {EYE: 0.75, TONGUE: 0.35, CAVITY: 0.12, LASH: 1.0}
_TEETH_OPEN, _TEETH_DEPTH = (0.75, 0.25), 0.02
"""the same for front and back teeth, metres from one to the other"""
_SMALLER = np.array([0.93, 0.93, 0.9])
_UPPER_EDGE, _LOWER_EDGE = np.array([0, 0.0095, -0.0042]), np.array([0, 0.0115, -0.0034])
"""metres from the middle of the upper lip's inner edge to that of the incisors': backwards and up"""
_CROWN = 0.014
"""metres from an incisor's edge to where it is left as it is"""


class Figure:
    """One person in one outfit. `surface` and `rest` are what `render.Stage` takes."""

    def __init__(
        self, anatomy: Anatomy, person: Person, collar: str, painted: tuple[Array, Array] | None = None
    ) -> None:
        """painted: what `skin.paint` made of this person, if it is at hand."""
        self.anatomy, self.person = anatomy, person
        vertices, self.joints = anatomy.rest(person.coefficients)
        self.vertices = set_teeth(anatomy, vertices)
        apart = np.linalg.norm(np.diff(self.vertices[anatomy.landmarks[[36, 45]]], axis=0))
        own = np.linalg.norm(np.diff(anatomy.template[anatomy.landmarks[[36, 45]]], axis=0))
        self.scale = float(apart / own)
        normals = vertex_normals(self.vertices, anatomy.triangles)
        self.attachments = [
            *hair(anatomy, self.vertices, normals, person),
            *wear.clothes(anatomy, self.vertices, normals, collar),
            *wear.glasses(anatomy, self.vertices, person),
            *wear.earrings(anatomy, self.vertices, person),
        ]
        # Skin well under the clothes would only come through them.
        self._bare = (wear.covered(anatomy.template, collar)[anatomy.triangles] < 0.03).any(axis=1)
        self.surface = self._surface(*(painted or paint(anatomy, person)))
        parts = self.attachments
        self.rest = np.concatenate([self.vertices, *(part.points for part in parts)])
        self._weights = np.concatenate([anatomy.weights, *(part.weights for part in parts)])
        self._strands = np.concatenate([np.zeros_like(self.vertices), *(part.strands for part in parts)])
        self._growing = np.flatnonzero(np.abs(self._strands).sum(axis=1) > 0)
        anchors = np.concatenate([np.arange(len(self.vertices), dtype=np.int32), *(part.anchors for part in parts)])
        self._carried = np.flatnonzero(anchors[len(self.vertices) :] >= 0) + len(self.vertices)
        self._anchors = anchors[self._carried]

    def posed(self, actions: Array, moves: Array) -> tuple[Array, Array]:
        """All points and strands [N, 3] with facial actions [52] and moves [5, 3, 4] (`pose.turns`)."""
        face = express(self.anatomy, self.vertices, actions, self.scale)
        points = self.rest.copy()
        points[: len(face)] = face
        points[self._carried] += (face - self.vertices)[self._anchors]
        strands = self._strands.copy()
        turned = np.einsum("nj,jxy->nxy", self._weights[self._growing], moves[:, :, :3])
        strands[self._growing] = np.einsum("nij,nj->ni", turned, strands[self._growing])
        return follow(points, self._weights, moves), strands

    def _surface(self, texture: Array, relief: Array) -> Surface:
        anatomy, parts = self.anatomy, self.attachments
        starts = np.cumsum([len(self.vertices), *(len(part.points) for part in parts)])
        least = np.zeros(starts[-1], np.float32)
        for material, value in _LEAST_OPEN.items():
            least[np.unique(anatomy.triangles[anatomy.materials == material])] = value
        for teeth in (anatomy.upper_teeth, anatomy.lower_teeth):
            depth = self.vertices[teeth, 1] - self.vertices[teeth, 1].min()
            least[teeth] = np.interp(depth, [0, _TEETH_DEPTH], _TEETH_OPEN)
        tints = np.zeros((starts[-1], 2), np.float32)
        tints[: len(self.vertices)] = np.stack([anatomy.lips, anatomy.ears], axis=1)
        return Surface(
            triangles=np.concatenate(
                [anatomy.triangles[self._bare], *(p.triangles + s for p, s in zip(parts, starts, strict=False))]
            ),
            materials=np.concatenate(
                [anatomy.materials[self._bare], *(np.full(len(p.triangles), p.material, np.int32) for p in parts)]
            ),
            corners=np.concatenate([anatomy.unwrapped[self._bare], *(p.corners for p in parts)]),
            tints=tints,
            least_open=least,
            texture=texture,
            relief=relief,
        )


def set_teeth(anatomy: Anatomy, vertices: Array) -> Array:
    """Teeth as far behind the lips, and as low, as they are in people: anny's shapes move lips and leave teeth behind.

    The edge of the upper incisors shows a little when lips part; the lower ones close behind it.
    """
    placed = vertices.copy()
    lip = vertices[anatomy.landmarks[62]]
    for ids, edge, side in (
        (anatomy.upper_teeth, lip + _UPPER_EDGE, -1),
        (anatomy.lower_teeth, lip + _LOWER_EDGE, 1),
    ):
        teeth = placed[ids]
        teeth = teeth.mean(axis=0) + (teeth - teeth.mean(axis=0)) * _SMALLER
        front = teeth[np.abs(teeth[:, 0] - lip[0]) < 0.004]
        now = front[np.argmax(side * front[:, 2] - front[:, 1])]
        # Roots go neither ahead nor back: the skin over them lies further back than the lips.
        teeth[:, 1] += (edge[1] - now[1]) * np.clip(1 - np.abs(teeth[:, 2] - now[2]) / _CROWN, 0, 1)
        teeth[:, 2] += edge[2] - now[2]
        placed[ids] = teeth
    return placed
