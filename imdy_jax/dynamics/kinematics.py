"""Kinematics of the humanoid in world axes: poses, velocities and accelerations of the 24 bodies, and integration.

Only rotations are composed joint by joint. With d_i = R_parent(i) offset_i and w_j = R_j v_j (the joint's own angular
velocity in world axes) everything else is a sum over ancestors, which is one small matrix product:

    p_i = p_0 + Σ d        ω_i = Σ w        α_i = Σ (R_j v̇_j + ω_j × w_j)
    u_i = u_0 + Σ ω_parent × d              a_i = a_0 + Σ (α_parent × d + ω_parent × (ω_parent × d))
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax import rotation
from imdy_jax.humanoid import Humanoid
from imdy_jax.skeleton import PARENTS
from imdy_jax.tree import ancestor_sum, build_tree, descend

_UPPER = np.array((0, *PARENTS[1:]), np.int32)  # the root hangs on itself with a zero offset


class Pose(NamedTuple):
    """Where the bodies are, world axes."""

    rotation: jax.Array  # (24, 4) body-to-world
    position: jax.Array  # (24, 3) m, joint origins


class Motion(NamedTuple):
    """How the bodies move, world axes, at the joint origins."""

    angular: jax.Array  # (24, 3) rad/s
    linear: jax.Array  # (24, 3) m/s


def split_q(q: jax.Array) -> tuple[jax.Array, jax.Array]:
    """q (99,) → root position (3,), rotations (24, 4): the root's in the world, each joint's in its parent."""
    return q[:3], q[3:].reshape(24, 4)


def join_q(position: jax.Array, rotations: jax.Array) -> jax.Array:
    """Inverse of split_q."""
    return jnp.concatenate([position, rotations.reshape(96)])


def forward_kinematics(humanoid: Humanoid, q: jax.Array) -> Pose:
    """World pose of every body for q (99,)."""
    rotations, from_root = relative_pose(humanoid, q)
    return Pose(rotations, q[None, :3] + from_root)


def relative_pose(humanoid: Humanoid, q: jax.Array) -> Pose:
    """As forward_kinematics, with positions measured from the root: what moments are taken about, exact in float32."""
    tree = build_tree()
    rotations = descend(tree, rotation.multiply, split_q(q)[1])
    return Pose(rotations, ancestor_sum(tree, rotation.rotate(rotations[_UPPER], humanoid.offset)))


def body_velocities(humanoid: Humanoid, pose: Pose, v: jax.Array) -> Motion:
    """Velocities of the bodies for v (75,); raises nothing, differentiable in all arguments."""
    tree = build_tree()
    omega = ancestor_sum(tree, rotation.rotate(pose.rotation, v[3:].reshape(24, 3)))
    lever = pose.position - pose.position[_UPPER]
    return Motion(omega, v[None, :3] + ancestor_sum(tree, jnp.cross(omega[_UPPER], lever)))


def body_accelerations(humanoid: Humanoid, pose: Pose, motion: Motion, v: jax.Array, a: jax.Array) -> Motion:
    """Accelerations (rad/s², m/s²) of the bodies for v, a = v̇ (75,)."""
    tree = build_tree()
    own = rotation.rotate(pose.rotation, v[3:].reshape(24, 3))
    alpha = ancestor_sum(tree, rotation.rotate(pose.rotation, a[3:].reshape(24, 3)) + jnp.cross(motion.angular, own))
    lever = pose.position - pose.position[_UPPER]
    omega = motion.angular[_UPPER]
    swing = jnp.cross(alpha[_UPPER], lever) + jnp.cross(omega, jnp.cross(omega, lever))
    return Motion(alpha, a[None, :3] + ancestor_sum(tree, swing))


def integrate(q: jax.Array, v: jax.Array, dt: float | jax.Array) -> jax.Array:
    """q after moving with constant v (75,) for dt seconds: exact on the rotation group."""
    position, rotations = split_q(q)
    turned = rotation.multiply(rotations, rotation.exp(v[3:].reshape(24, 3) * dt))
    return join_q(position + v[:3] * dt, rotation.normalize(turned))


def difference(q0: jax.Array, q1: jax.Array) -> jax.Array:
    """Tangent (75,) that takes q0 to q1 in unit time: the inverse of integrate."""
    (p0, r0), (p1, r1) = split_q(q0), split_q(q1)
    return jnp.concatenate([p1 - p0, rotation.between(r0, r1).reshape(72)])
