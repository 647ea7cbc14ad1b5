"""Sharing out an external wrench over the points of the body that can touch the floor.

From motion alone the root residual of the inverse dynamics is the force and moment that the ground must supply. Each
end of a contact capsule near the floor may push along the four edges of a friction pyramid; the least-squares
forces are found with a penalty that grows with the point's height.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax import rotation
from imdy_jax.dynamics.kinematics import Pose, forward_kinematics
from imdy_jax.dynamics.newton_euler import inverse_dynamics, no_wrench
from imdy_jax.dynamics.nonnegative import nonnegative_least_squares
from imdy_jax.humanoid import GRAVITY, SOLID_BODY, Humanoid

LEVER = 0.3  # m: weighs moments against forces
_POINTS = 16  # the lowest capsule ends that may carry load in one frame
POINT_BODY = np.repeat(np.array(SOLID_BODY, np.int32), 2)  # the segment of each end of each capsule


class ContactModel(NamedTuple):
    """Who may push, and how dearly: a force of one body weight at height h costs effort·(1 + (h / reach)⁴)."""

    friction: float = 1.0
    reach: float = 0.03  # m
    effort: float = 1e-3
    iterations: int = 30  # of Newton's method


def contact_points(humanoid: Humanoid, pose: Pose) -> tuple[jax.Array, jax.Array]:
    """Lowest points of the capsule ends (2G, 3) in the world and their heights above the floor (2G,), m."""
    ends = humanoid.solid_ends.reshape(-1, 3)
    world = rotation.rotate(pose.rotation[POINT_BODY], ends) + pose.position[POINT_BODY]
    lowest = world.at[:, 2].add(-jnp.repeat(humanoid.solid_radius, 2))
    return lowest, lowest[:, 2]


def share_wrench(humanoid: Humanoid, q: jax.Array, residual: jax.Array, model: ContactModel | None = None) -> jax.Array:
    """Contact wrenches (24, 6), layout of inverse_dynamics, that best supply the root residual (6,) at q (99,)."""
    model = model or ContactModel()
    pose = forward_kinematics(humanoid, q)
    points, height = contact_points(humanoid, pose)
    _, chosen = jax.lax.top_k(-height, _POINTS)
    arm, height = points[chosen] - q[None, :3], jnp.maximum(height[chosen], 0.0)
    mu = model.friction
    edges = jnp.asarray([[mu, 0, 1], [-mu, 0, 1], [0, mu, 1], [0, -mu, 1]], q.dtype)
    force = jnp.broadcast_to(edges, (_POINTS, 4, 3))
    moment = jnp.cross(arm[:, None, :], force)
    columns = jnp.concatenate([force, moment / LEVER], axis=-1).reshape(-1, 6)
    weight = humanoid.total_mass * GRAVITY
    wanted = jnp.concatenate([residual[:3], rotation.rotate(q[3:7], residual[3:]) / LEVER]) / weight
    cost = jnp.repeat(model.effort * (1.0 + (height / model.reach) ** 4), 4)
    share = nonnegative_least_squares(columns, wanted, cost, model.iterations) * weight
    pushed = jnp.einsum("pe,ex->px", share.reshape(_POINTS, 4), edges, precision=jax.lax.Precision.HIGHEST)

    body = jnp.asarray(POINT_BODY)[chosen]
    about_joint = jnp.cross(points[chosen] - pose.position[body], pushed)
    return no_wrench(q.dtype).at[body].add(jnp.concatenate([pushed, about_joint], axis=-1))


def supported_torque(
    humanoid: Humanoid, q: jax.Array, v: jax.Array, a: jax.Array, model: ContactModel | None = None
) -> tuple[jax.Array, jax.Array]:
    """Joint torques (23, 3) with the floor's share of the load taken off, and the wrenches (24, 6) assumed."""
    _, residual = inverse_dynamics(humanoid, q, v, a)
    wrench = share_wrench(humanoid, q, residual, model)
    torque, _ = inverse_dynamics(humanoid, q, v, a, wrench)
    return torque, wrench
