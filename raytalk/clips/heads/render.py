"""What a camera sees of a person, on the CPU or on CUDA.

Visibility is rasterized (rays for it took three times as long); shadows and occlusion are warp's mesh queries.

warp compiles the kernels on first use (half a minute, then cached on the machine).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import warp as wp

from raytalk.clips.heads.anatomy import LASH, Array
from raytalk.clips.heads.lightfall import face_normals, reach, surroundings, unit
from raytalk.clips.heads.raster import SUBSAMPLES, Scenery, cover, project, shade
from raytalk.clips.heads.shading import HAIR, LENS, Look

_AO_RAYS = 24
_AO_REACH = 0.09
_SUN_RAYS, _SUN_RAYS_ON_HAIR = 3, 1
_SUN_SPREAD = 0.07


@dataclass(frozen=True)
class Surface:
    """A person's mesh: what does not change from frame to frame. N vertices, F triangles."""

    triangles: npt.NDArray[np.int32]
    """[F, 3] counter-clockwise from outside"""
    materials: npt.NDArray[np.int32]
    """[F] see `anatomy.py` and `shading.py`"""
    corners: Array
    """[F, 3, 2] skin: texture coordinates; cloth: metres; hair: a number for each lock plus 0..0.9 across it
    (on the cap, a place across the strands), and 0 (root) to 1 (tip)"""
    tints: Array
    """[N, 2] 0..1: how much a vertex belongs to the lips and to the ears"""
    least_open: Array
    """[N] 0..1: ambient occlusion goes no further than this (the inside of a mouth opens)"""
    texture: Array
    """[H, W, 3] linear albedo of the skin"""
    relief: Array
    """[H, W, 3] tilt of the skin's normal to the side and up, and how much glossier it is"""


class Stage:
    """One person's mesh on a device, ready to be posed and looked at."""

    def __init__(self, surface: Surface, rest: Array, device: str = "cpu") -> None:
        """rest: [N, 3] metres, the mesh with its face at rest; occlusion is measured on it."""
        self._device = wp.get_device(device)
        self._count, self._faces = len(rest), len(surface.triangles)
        scenery = Scenery()
        scenery.materials = self._put(surface.materials, int)
        scenery.corners = self._put(surface.corners.reshape(-1, 2), wp.vec2)
        scenery.tints = self._put(surface.tints, wp.vec2)
        scenery.texture = self._put(surface.texture, wp.vec3)
        scenery.relief = self._put(surface.relief, wp.vec3)
        scenery.triangles = self._put(surface.triangles.reshape(-1), int)
        scenery.points = self._put(rest, wp.vec3)
        solid = (surface.materials != LENS) & (surface.materials != LASH)
        rays = np.full(self._count, _SUN_RAYS)
        rays[np.unique(surface.triangles[surface.materials == HAIR])] = _SUN_RAYS_ON_HAIR
        self._rays = self._put(rays, int)
        with wp.ScopedDevice(self._device):
            scenery.normals = wp.zeros(self._count, dtype=wp.vec3)
            scenery.strands = wp.zeros(self._count, dtype=wp.vec3)
            scenery.sunlight = wp.zeros(self._count, dtype=float)
            scenery.projected = wp.zeros(self._count, dtype=wp.vec3)
            self._mesh = wp.Mesh(scenery.points, self._put(surface.triangles[solid].reshape(-1), int))
        self._scenery = scenery
        self._turn_normals()
        scenery.openness = self._put(np.maximum(self._occlusion(), surface.least_open), float)
        self._opaque: Any = None
        self._clear: Any = None
        self._picture: Any = None
        self.film(np.zeros((1, 1, 3), np.float32))

    def pose(self, points: Array, strands: Array) -> None:
        """points: [N, 3] metres; strands: [N, 3] the way a hair grows at each vertex (0 where there is none)."""
        self._scenery.points.assign(np.ascontiguousarray(points, np.float32))
        self._scenery.strands.assign(np.ascontiguousarray(strands, np.float32))
        with wp.ScopedDevice(self._device):
            self._mesh.refit()
        self._turn_normals()

    def backdrop(self, picture: Array) -> None:
        """What is seen past the person: [H, W, 3] linear, over the whole of the camera's frame."""
        self._scenery.background = self._put(picture, wp.vec3)

    def film(self, grain: Array) -> None:
        """Noise of the sensor, [h, w, 3] of 255, repeated over the picture."""
        self._grain = self._put(grain, wp.vec3)

    def picture(self, look: Look, exposure: Array) -> npt.NDArray[np.uint8]:
        """[size, size, 3] RGB. exposure: [3] what the camera multiplies each channel by. Needs a `backdrop`."""
        shape, side = (look.size, look.size), look.size * SUBSAMPLES
        scenery = self._scenery
        with wp.ScopedDevice(self._device):
            if self._picture is None or self._picture.shape[:2] != shape:
                self._opaque = wp.zeros((side, side), dtype=wp.uint64)
                self._clear = wp.zeros((side, side), dtype=wp.uint64)
                self._picture = wp.zeros((*shape, 3), dtype=wp.uint8)
            self._opaque.zero_()
            self._clear.zero_()
            sun = [self._rays, look.origin, look.key, _SUN_SPREAD, scenery.sunlight]
            wp.launch(reach, dim=self._count, inputs=[self._mesh.id, scenery.points, scenery.normals, *sun])
            wp.launch(project, dim=self._count, inputs=[scenery, look])
            wp.launch(cover, dim=self._faces, inputs=[scenery, look, self._opaque, self._clear])
            film = [self._grain, wp.vec3(*exposure.tolist()), self._picture]
            wp.launch(shade, dim=shape, inputs=[scenery, look, self._opaque, self._clear, *film])
        return np.array(self._picture.numpy())

    def materials(self) -> npt.NDArray[np.int32]:
        """[size * SUBSAMPLES squared] what each sample of the last picture shows; -1 where it is the background."""
        faces = (self._opaque.numpy() & np.uint64(0xFFFFFFFF)).astype(np.int64) - 1
        known = np.append(self._scenery.materials.numpy(), -1)
        return np.asarray(known[faces], np.int32)

    def _turn_normals(self) -> None:
        scenery = self._scenery
        with wp.ScopedDevice(self._device):
            scenery.normals.zero_()
            wp.launch(face_normals, dim=self._faces, inputs=[scenery.points, scenery.triangles, scenery.normals])
            wp.launch(unit, dim=self._count, inputs=[scenery.normals])

    def _occlusion(self) -> Array:
        scenery = self._scenery
        with wp.ScopedDevice(self._device):
            openness = wp.zeros(self._count, dtype=float)
            inputs = [self._mesh.id, scenery.points, scenery.normals, _AO_RAYS, _AO_REACH, openness]
            wp.launch(surroundings, dim=self._count, inputs=inputs)
        return np.asarray(openness.numpy())

    def _put(self, values: npt.NDArray[Any], dtype: Any) -> Any:
        return wp.array(np.ascontiguousarray(values), dtype=dtype, device=self._device)
