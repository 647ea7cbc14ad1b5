"""Torque that would make the reference's motion happen, computed where the humanoid is and not where it should be.

The reference's acceleration, corrected towards its root trajectory, goes through inverse dynamics at the humanoid's
own state; the floor supplies what contact can. What the feet have to push to bring the trunk back thus becomes part
of the joint torques: balance, to the extent that the support allows it.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from imdy_jax import rotation
from imdy_jax.dynamics.contact import ContactModel, supported_torque
from imdy_jax.humanoid import Humanoid


@dataclass(frozen=True)
class BalanceGains:
    """Correction of the root's acceleration, and the friction that it may count on.

    Found by trying on how long the controller alone follows the clips.
    """

    position: float = 35.0  # 1/s²
    velocity: float = 15.0  # 1/s
    rotation: float = 30.0  # 1/s²
    angular: float = 12.0  # 1/s
    friction: float = 0.5


_REACH, _EFFORT, _ITERATIONS = 0.045, 8e-3, 8


def balancing_torque(
    humanoid: Humanoid, q: jax.Array, v: jax.Array, wanted_q: jax.Array, wanted_v: jax.Array, wanted_a: jax.Array,
    gains: BalanceGains,
) -> jax.Array:  # fmt: skip
    """Feed-forward torque (23, 3) N·m, child axes, at q (99,), v (75,) towards the reference's q, v and v̇."""
    pull = gains.position * (wanted_q[:3] - q[:3]) + gains.velocity * (wanted_v[:3] - v[:3])
    turn = gains.rotation * rotation.between(q[3:7], wanted_q[3:7]) + gains.angular * (wanted_v[3:6] - v[3:6])
    acceleration = wanted_a.at[:6].add(jnp.concatenate([pull, turn]))
    contact = ContactModel(gains.friction, _REACH, _EFFORT, _ITERATIONS)
    torque, _ = supported_torque(humanoid, q, v, acceleration, contact)
    return torque
