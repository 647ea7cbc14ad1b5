"""Inverse dynamics of the humanoid: M(q) v̇ + b(q, v) = [0₆; τ] + Σ_b J_bᵀ W_b.

World axes, moments about the root: the sum over each subtree of the bodies' inertial forces and moments, less the
external wrenches, is what the joint above it transmits. Taking moments about the root and not the world origin keeps
float32 accurate wherever the person walks.
"""

import jax
import jax.numpy as jnp

from imdy_jax import rotation
from imdy_jax.dynamics.kinematics import body_accelerations, body_velocities, relative_pose
from imdy_jax.humanoid import GRAVITY, Humanoid
from imdy_jax.skeleton import NUM_BODIES, NUM_V
from imdy_jax.tree import build_tree, subtree_sum


def inverse_dynamics(
    humanoid: Humanoid, q: jax.Array, v: jax.Array, a: jax.Array, wrench: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Joint torques and root residual that explain the acceleration a = v̇ (75,) at q (99,), v (75,).

    wrench (24, 6): external force (N) and moment (N·m) about each body's joint origin, on the body, world axes.
    Returns torque (23, 3) N·m in child axes, and the residual (6,): the force (N, world) and the moment about the
    pelvis joint (N·m, root axes) that nothing modelled supplies; zero when the motion obeys physics.
    """
    pose = relative_pose(humanoid, q)
    motion = body_velocities(humanoid, pose, v)
    weightless = a.at[2].add(GRAVITY)  # gravity as an upward acceleration of the whole world
    acceleration = body_accelerations(humanoid, pose, motion, v, weightless)

    arm = rotation.rotate(pose.rotation, humanoid.com)
    swing = jnp.cross(motion.angular, jnp.cross(motion.angular, arm))
    force = humanoid.mass[:, None] * (acceleration.linear + jnp.cross(acceleration.angular, arm) + swing)
    moment = _euler(humanoid.inertia, pose.rotation, motion.angular, acceleration.angular)
    moment = moment + jnp.cross(pose.position + arm, force)
    if wrench is not None:
        force = force - wrench[:, :3]
        moment = moment - wrench[:, 3:] - jnp.cross(pose.position, wrench[:, :3])

    total = subtree_sum(build_tree(), jnp.concatenate([force, moment], axis=-1))
    about_joint = total[:, 3:] - jnp.cross(pose.position, total[:, :3])
    local = rotation.inverse_rotate(pose.rotation, about_joint)
    return local[1:], jnp.concatenate([total[0, :3], local[0]])


def generalized_force(
    humanoid: Humanoid, q: jax.Array, v: jax.Array, a: jax.Array, wrench: jax.Array | None = None
) -> jax.Array:
    """M a + b − Σ J_bᵀ W_b as one vector (75,), in the layout of v."""
    torque, residual = inverse_dynamics(humanoid, q, v, a, wrench)
    return jnp.concatenate([residual, torque.reshape(-1)])


def bias(humanoid: Humanoid, q: jax.Array, v: jax.Array) -> jax.Array:
    """b(q, v) (75,): Coriolis, centrifugal and gravity forces."""
    return generalized_force(humanoid, q, v, jnp.zeros(NUM_V, q.dtype))


def energy(humanoid: Humanoid, q: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Kinetic and potential energy, J; the potential is zero with every mass at the height of the floor."""
    pose = relative_pose(humanoid, q)
    motion = body_velocities(humanoid, pose, v)
    arm = rotation.rotate(pose.rotation, humanoid.com)
    speed = motion.linear + jnp.cross(motion.angular, arm)
    local = rotation.inverse_rotate(pose.rotation, motion.angular)
    spin = jnp.einsum("ki,kij,kj->k", local, humanoid.inertia, local, precision=jax.lax.Precision.HIGHEST)
    kinetic = 0.5 * jnp.sum(humanoid.mass * jnp.sum(speed * speed, axis=-1) + spin)
    height = q[2] + pose.position[:, 2] + arm[:, 2]
    return kinetic, GRAVITY * jnp.sum(humanoid.mass * height)


def no_wrench(dtype: jnp.dtype) -> jax.Array:
    """The wrenches (24, 6) of a body that nothing touches."""
    return jnp.zeros((NUM_BODIES, 6), dtype)


def _euler(inertia: jax.Array, rotations: jax.Array, omega: jax.Array, alpha: jax.Array) -> jax.Array:
    """Rate of change of angular momentum about each centre of mass (24, 3), world axes: I α + ω × I ω."""
    spin = rotation.inverse_rotate(rotations, omega)
    apply = lambda x: jnp.einsum("kij,kj->ki", inertia, x, precision=jax.lax.Precision.HIGHEST)  # noqa: E731
    local = apply(rotation.inverse_rotate(rotations, alpha)) + jnp.cross(spin, apply(spin))
    return rotation.rotate(rotations, local)
