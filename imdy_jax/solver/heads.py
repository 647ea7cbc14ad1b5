"""Heads of the solver's network beyond the paper's four linear ones."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from imdy_jax.humanoid import REFERENCE_MASS
from imdy_jax.skeleton import NUM_BODIES, NUM_JOINTS

UNIT = 100.0 / REFERENCE_MASS  # N/kg, N·m/kg: one unit of a magnitude head is 100 N or 100 N·m on the reference body
LIGHT = 0.3  # N/kg: where all segments together bear less, what inverse dynamics asks for is not laid on them


class Spread(nn.Module):
    """f_ID → scales of the Laplace distributions of the estimates' errors, above `smallest`."""

    hidden: int
    smallest: float = 1e-4  # UNITs, so that what is always right, as a hand that never touches, has a finite score

    @nn.compact
    def __call__(self, feature: jax.Array) -> tuple[jax.Array, jax.Array]:
        told = nn.Dense(3 * NUM_JOINTS + 2 * NUM_BODIES)(nn.relu(nn.Dense(self.hidden)(feature)))
        scale = UNIT * (self.smallest + jnp.exp(jnp.minimum(told, 8.0) - 3.0))
        torque = scale[..., : 3 * NUM_JOINTS].reshape(*feature.shape[:-1], NUM_JOINTS, 3)
        across, up = jnp.split(scale[..., 3 * NUM_JOINTS :], 2, axis=-1)
        return torque, jnp.stack([across, across, up], axis=-1)


class Remainder(nn.Module):
    """Torques and forces as those of inverse dynamics without contact, and what f_ID has to say beside them."""

    window: int

    @nn.compact
    def __call__(self, feature: jax.Array, free: jax.Array, force: jax.Array) -> tuple[jax.Array, jax.Array]:
        """f_ID (..., d), free (..., 24, 2w, FREE) and the heads' forces (..., 2, 24, 3), N/kg → torque (..., 23, 3),
        N·m/kg, and forces whose sum is what the motion takes.

        The frames on either side of a step count alike at first; the weights of all are learnt.
        """
        now, count = self.window - 1, 2 * self.window
        by_joint = self.param("torque", lambda _: jnp.tile(_either_side(now, count), (NUM_JOINTS, 1)))
        by_step = self.param("force", lambda _: jnp.stack([_either_side(now + k, count) for k in range(2)]))
        batch = feature.shape[:-1]
        rest = UNIT * nn.Dense(3 * NUM_JOINTS + 6)(feature)
        torque = jnp.einsum("...jfx,jf->...jx", free[..., 1:, :, :3], by_joint)
        torque = torque + rest[..., :-6].reshape(*batch, NUM_JOINTS, 3)
        whole = jnp.einsum("...fx,sf->...sx", free[..., 0, :, 3:], by_step) + rest[..., -6:].reshape(*batch, 2, 3)
        length = jnp.sqrt(jnp.sum(force * force, axis=-1, keepdims=True) + 1e-12)
        total = jnp.sum(length, axis=-2, keepdims=True)
        share = length * total / (total**2 + LIGHT**2)
        return torque, force + share * (whole - jnp.sum(force, axis=-2))[..., None, :]


def _either_side(step: int, count: int) -> jax.Array:
    """Weights (count,) of frames: half each of those before and after a step, all of the last where none follows."""
    weights = np.zeros(count, np.float32)
    np.add.at(weights, [step, min(step + 1, count - 1)], 0.5)
    return jnp.asarray(weights)
