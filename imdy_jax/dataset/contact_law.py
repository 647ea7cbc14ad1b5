"""Whether a contact wrench is one that the floor can exert on a segment through the solids that touch it.

The floor (z = 0) pushes on the lowest point p_i of each end of a capsule that reaches it, with forces f_i that point
upwards and keep to the friction cone |f_xy| ≤ μ f_z. A wrench (F, M about the joint) that is a sum of such forces obeys

    pull      F_z ≥ 0
    slip      |F_xy| ≤ μ F_z
    lift      F = 0 and M = 0 where nothing touches
    centre    the centre of pressure lies among the p_i: d·P ≤ F_z max_i d·p_i for every horizontal direction d, with
              P = Σ p_i f_iz = (z F_x − M_y, M_x + z F_y), up to the spread of the p_i in height
    twist     |M_z about the middle of the p_i| ≤ μ F_z max_i |p_i − middle|

and a wrench forged without regard to the body's pose breaks one of them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax import rotation
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.humanoid import SOLID_BODY, Humanoid
from imdy_jax.skeleton import NUM_BODIES

_END_BODY = np.repeat(np.array(SOLID_BODY), 2)
# The capsule ends of each segment (24, E); a segment with fewer than E names its own more than once.
_ENDS = np.stack([np.resize(np.flatnonzero(k == _END_BODY), 4) for k in range(NUM_BODIES)])
_ANGLES = np.arange(16) * np.pi / 8
_DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=-1)  # of the floor, in which the centre is bounded


def contact_violations(
    humanoid: Humanoid, q: jax.Array, wrench: jax.Array, friction: jax.Array, margin: jax.Array
) -> dict[str, jax.Array]:
    """By how much the wrenches (24, 6) at q (99,) break each law, (24,): N for the first three, then N·m.

    margin: height above the floor, m, up to which a solid counts as touching.
    """
    pose = forward_kinematics(humanoid, q)
    ends = rotation.rotate(pose.rotation[_END_BODY], humanoid.solid_ends.reshape(-1, 3)) + pose.position[_END_BODY]
    depth = ends[:, 2] - jnp.repeat(humanoid.solid_radius, 2)
    # The engine applies the force half-way between the floor and the solid's lowest point.
    points = ends.at[:, 2].set(depth / 2)[_ENDS] - pose.position[:, None]  # (24, E, 3) from each segment's joint
    touching = depth[_ENDS] <= margin  # (24, E)
    force, moment = wrench[:, :3], wrench[:, 3:]
    load = jnp.maximum(force[:, 2], 0.0)
    contact = jnp.any(touching, axis=-1)
    centre = _centre_violation(points, touching, force, moment, friction)
    twist = _twist_violation(points, touching, force, moment, friction)
    return {
        "contact_pull": jnp.maximum(-force[:, 2], 0.0),
        "contact_slip": jnp.maximum(jnp.linalg.norm(force[:, :2], axis=-1) - friction * load, 0.0),
        "contact_lift": jnp.where(contact, 0.0, jnp.linalg.norm(force, axis=-1)),
        "contact_centre": jnp.where(contact, jnp.maximum(centre, 0.0), jnp.linalg.norm(moment, axis=-1)),
        "contact_twist": jnp.where(contact, jnp.maximum(twist, 0.0), 0.0),
    }


def _centre_violation(
    points: jax.Array, touching: jax.Array, force: jax.Array, moment: jax.Array, friction: jax.Array
) -> jax.Array:
    """Excess (24,), N·m, of the first moment of pressure beyond the touching points."""
    load = jnp.maximum(force[:, 2], 0.0)
    highest = jnp.max(jnp.where(touching, points[..., 2], -jnp.inf), axis=-1)
    lowest = jnp.min(jnp.where(touching, points[..., 2], jnp.inf), axis=-1)
    z, spread = (highest + lowest) / 2, (highest - lowest) / 2
    first = jnp.stack([z * force[:, 0] - moment[:, 1], moment[:, 0] + z * force[:, 1]], axis=-1)
    along = lambda x: jnp.matmul(x, jnp.asarray(_DIRECTIONS.T, x.dtype), precision=jax.lax.Precision.HIGHEST)  # noqa: E731
    reach = jnp.max(jnp.where(touching[..., None], along(points[..., :2]), -jnp.inf), axis=1)
    return jnp.max(along(first) - load[:, None] * reach, axis=-1) - spread * friction * load


def _twist_violation(
    points: jax.Array, touching: jax.Array, force: jax.Array, moment: jax.Array, friction: jax.Array
) -> jax.Array:
    """Excess (24,), N·m, of the moment about the vertical through the middle of the touching points."""
    count = jnp.maximum(jnp.sum(touching, axis=-1), 1)[:, None]
    middle = jnp.sum(jnp.where(touching[..., None], points[..., :2], 0.0), axis=1) / count
    offset = jnp.linalg.norm(points[..., :2] - middle[:, None], axis=-1)
    radius = jnp.max(jnp.where(touching, offset, 0.0), axis=-1)
    about_middle = moment[:, 2] - (middle[:, 0] * force[:, 1] - middle[:, 1] * force[:, 0])
    return jnp.abs(about_middle) - friction * jnp.maximum(force[:, 2], 0.0) * radius
