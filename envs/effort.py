"""Effort limits: the PD target is drawn in so that spring and damper together cannot ask a joint for more."""

import jax
import jax.numpy as jnp

from imdy_jax import rotation
from imdy_jax.humanoid import Humanoid
from imdy_jax.skeleton import NUM_JOINTS

_LEAD = 2.5  # rad: the furthest that the spring is led ahead of a moving joint; beyond π it would pull backwards


def limit_target(humanoid: Humanoid, q: jax.Array, v: jax.Array, target: jax.Array) -> jax.Array:
    """Target (23, 4) moved towards the one that asks for no torque until |kp·log(q⁻¹∘target) − kd·ω| ≤ effort.

    The damper's share counts: limiting the spring alone would hold every leg below effort / kd = 6 rad/s, which a
    walk's swing already exceeds. Exact at the start of a control step, at q (99,) and v (75,); the recorded share of
    clipped substeps tells what happens within it.
    """
    joints = q[7:].reshape(NUM_JOINTS, 4)
    error = rotation.between(joints, target)
    lead = (humanoid.damping / humanoid.stiffness)[:, None] * v[6:].reshape(NUM_JOINTS, 3)
    lead = lead * (_LEAD / jnp.maximum(jnp.linalg.norm(lead, axis=-1, keepdims=True), _LEAD))
    torque = humanoid.stiffness * jnp.linalg.norm(error - lead, axis=-1)
    share = (humanoid.effort / jnp.maximum(torque, humanoid.effort))[:, None]
    drawn_in = rotation.multiply(joints, rotation.exp(lead + share * (error - lead)))
    return jnp.where(share < 1.0, drawn_in, target)


def exceeds_effort(humanoid: Humanoid, torque: jax.Array) -> jax.Array:
    """Whether the net joint torque (23, 3), N·m, is beyond the joint's effort limit, (23,) bool."""
    return jnp.linalg.norm(torque, axis=-1) > humanoid.effort
