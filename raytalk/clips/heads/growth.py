"""The kernel that grows locks of hair, which warp compiles for the CPU (see `locks.grow`)."""

import warp as wp

_REACH = wp.constant(0.4)
"""metres within which the nearest skin is looked for"""
_PULL = wp.constant(0.035)
"""metres above the skin over which combing loses its hold"""


@wp.kernel
def grow_locks(
    mesh: wp.uint64,
    normals: wp.array(dtype=wp.vec3),
    comb: wp.array(dtype=wp.vec3),
    clear: wp.array(dtype=float),
    bare: wp.array(dtype=float),
    roots: wp.array(dtype=wp.vec3),
    ways: wp.array(dtype=wp.vec3),
    lengths: wp.array(dtype=float),
    lift: wp.array(dtype=float),
    hold: float,
    weight: float,
    hug: float,
    steps: int,
    lines: wp.array2d(dtype=wp.vec3),
    facing: wp.array2d(dtype=wp.vec3),
    ends: wp.array(dtype=float),
):
    """Step each lock along the combing and gravity; push it off the skin."""
    i = wp.tid()
    p = roots[i]
    d = ways[i]
    stride = lengths[i] / float(steps)
    down = wp.vec3(0.0, 0.0, -1.0)
    n = d
    ends[i] = float(steps)
    for k in range(steps + 1):
        query = wp.mesh_query_point_no_sign(mesh, p, _REACH)
        pull = wp.vec3(0.0, 0.0, 0.0)
        if query.result:
            a = wp.mesh_get_index(mesh, query.face * 3)
            b = wp.mesh_get_index(mesh, query.face * 3 + 1)
            c = wp.mesh_get_index(mesh, query.face * 3 + 2)
            w = 1.0 - query.u - query.v
            near = wp.mesh_eval_position(mesh, query.face, query.u, query.v)
            n = wp.normalize(normals[a] * query.u + normals[b] * query.v + normals[c] * w)
            pull = comb[a] * query.u + comb[b] * query.v + comb[c] * w
            if bare[a] * query.u + bare[b] * query.v + bare[c] * w > 0.5 and float(k) < ends[i]:
                ends[i] = wp.max(float(k), 1.0)
            off = clear[a] * query.u + clear[b] * query.v + clear[c] * w
            # The first steps rise out of the hair below: no lock begins in sight.
            off = off + lift[i] * wp.min(float(k) / 3.0, 1.0)
            height = wp.dot(p - near, n)
            if height < off and k > 0:
                p = p + n * (off - height)
                height = off
                d = wp.normalize(d - n * wp.min(wp.dot(d, n), 0.0))
            elif k > 0:
                p = p - n * ((height - off) * hug)
                d = wp.normalize(d - n * (wp.max(wp.dot(d, n), 0.0) * hug))
            pull = pull * wp.exp(-wp.max(height - off, 0.0) / _PULL)
        lines[i, k] = p
        facing[i, k] = n
        want = pull + down * weight
        size = wp.length(want)
        if size > 1.0e-4:
            d = wp.normalize(d * hold + want * ((1.0 - hold) * wp.min(1.0 / size, 3.0)))
        p = p + d * stride
