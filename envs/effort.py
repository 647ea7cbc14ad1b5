"""Effort limits: the PD target is drawn in so that the spring cannot ask a joint for more than its limit."""

import jax
import jax.numpy as jnp

from imdy_jax import rotation
from imdy_jax.humanoid import Humanoid
from imdy_jax.skeleton import NUM_JOINTS


def limit_target(humanoid: Humanoid, q: jax.Array, target: jax.Array) -> jax.Array:
    """Target (23, 4) moved along the shortest rotation towards q (99,) until kp·|log(q⁻¹∘target)| ≤ effort.

    Exact at the start of a control step; the recorded share of clipped substeps tells what happens within it.
    """
    joints = q[7:].reshape(NUM_JOINTS, 4)
    error = rotation.between(joints, target)
    torque = humanoid.stiffness * jnp.linalg.norm(error, axis=-1)
    share = humanoid.effort / jnp.maximum(torque, humanoid.effort)
    drawn_in = rotation.multiply(joints, rotation.exp(share[:, None] * error))
    return jnp.where((share < 1.0)[:, None], drawn_in, target)


def exceeds_effort(humanoid: Humanoid, torque: jax.Array) -> jax.Array:
    """Whether the net joint torque (23, 3), N·m, is beyond the joint's effort limit, (23,) bool."""
    return jnp.linalg.norm(torque, axis=-1) > humanoid.effort
