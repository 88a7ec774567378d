"""How much light reaches each vertex: its normal, the key light's shadows, ambient occlusion.

Kernels that warp compiles for the CPU or CUDA.
"""

import warp as wp


@wp.kernel
def face_normals(points: wp.array(dtype=wp.vec3), triangles: wp.array(dtype=int), normals: wp.array(dtype=wp.vec3)):
    """Add each triangle's normal, by its area, to its corners."""
    f = wp.tid()
    a, b, c = triangles[f * 3], triangles[f * 3 + 1], triangles[f * 3 + 2]
    n = wp.cross(points[b] - points[a], points[c] - points[a])
    wp.atomic_add(normals, a, n)
    wp.atomic_add(normals, b, n)
    wp.atomic_add(normals, c, n)


@wp.kernel
def unit(vectors: wp.array(dtype=wp.vec3)):
    """Normalize in place."""
    i = wp.tid()
    vectors[i] = wp.normalize(vectors[i])


@wp.kernel
def reach(
    mesh: wp.uint64,
    points: wp.array(dtype=wp.vec3),
    normals: wp.array(dtype=wp.vec3),
    rays: wp.array(dtype=int),
    eye: wp.vec3,
    key: wp.vec3,
    spread: float,
    sunlight: wp.array(dtype=float),
):
    """Share of the key light that reaches each vertex. mesh: without what light shines through.

    rays: how many to send from each vertex; eye: where the camera stands: what faces away from it can wait.
    """
    i = wp.tid()
    n = normals[i]
    towards = wp.normalize(eye - points[i])
    if wp.dot(n, key) < -0.35 or wp.dot(n, towards) < -0.35:
        sunlight[i] = 0.0
        return
    state = wp.rand_init(17, i)
    reached = float(0.0)
    for _ray in range(rays[i]):
        way = wp.normalize(key + wp.sample_unit_sphere(state) * spread)
        if not wp.mesh_query_ray_anyhit(mesh, points[i] + n * 0.0015 + way * 0.001, way, 0.5):
            reached = reached + 1.0
    sunlight[i] = reached / float(rays[i])


@wp.kernel
def surroundings(
    mesh: wp.uint64,
    points: wp.array(dtype=wp.vec3),
    normals: wp.array(dtype=wp.vec3),
    rays: int,
    far: float,
    openness: wp.array(dtype=float),
):
    """Ambient occlusion: share of cosine-weighted rays that meet nothing within `far` metres; nearer counts more."""
    i = wp.tid()
    n = normals[i]
    state = wp.rand_init(29, i)
    seen = float(0.0)
    for _ray in range(rays):
        way = wp.normalize(n + wp.sample_unit_sphere_surface(state) * 0.999)
        hit = wp.mesh_query_ray(mesh, points[i] + n * 0.001, way, far)
        if hit.result:
            seen = seen + wp.sqrt(hit.t / far) * 0.6
        else:
            seen = seen + 1.0
    openness[i] = seen / float(rays)
