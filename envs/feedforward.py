"""Torque that would make the reference's motion happen, computed where the humanoid is and not where it should be.

The reference's acceleration, corrected towards its root trajectory, goes through inverse dynamics at the humanoid's
own state; the floor supplies what contact can. What the feet have to push to bring the trunk back thus becomes part
of the joint torques: balance, to the extent that the support allows it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from imdy_jax.dynamics.contact import ContactModel, supported_torque
from imdy_jax.humanoid import Humanoid


class BalanceGains(NamedTuple):
    """Correction of the root's linear acceleration."""

    position: float = 40.0  # 1/s²
    velocity: float = 10.0  # 1/s


_CONTACT = ContactModel(iterations=40)


def balancing_torque(
    humanoid: Humanoid, q: jax.Array, v: jax.Array, wanted_q: jax.Array, wanted_v: jax.Array, wanted_a: jax.Array,
    gains: BalanceGains,
) -> jax.Array:  # fmt: skip
    """Feed-forward torque (23, 3) N·m, child axes, at q (99,), v (75,) towards the reference's q, v and v̇."""
    pull = gains.position * (wanted_q[:3] - q[:3]) + gains.velocity * (wanted_v[:3] - v[:3])
    acceleration = wanted_a + jnp.concatenate([pull, jnp.zeros(len(v) - 3, v.dtype)])
    torque, _ = supported_torque(humanoid, q, v, acceleration, _CONTACT)
    return torque
