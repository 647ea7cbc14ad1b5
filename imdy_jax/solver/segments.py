"""Inverse dynamics inside the solver: what the joints would do and the floor have to give, as the window tells it.

A motion of "segments" carries the person's inertia beside the pose, and the accelerations of a window are differences
of its own frames. So τ_free, the torques if nothing touched the body, and the force and moment that the motion of the
whole body takes from outside are functions of what the network sees anyway. It is told them, and has to tell the rest:
how the force is shared, what that does to the joints, and what happens between frames.
"""

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax import rotation
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.humanoid import NUM_BETAS, Humanoid
from imdy_jax.skeleton import NUM_BODIES, NUM_JOINTS

CHANNELS = 13  # offset 3, mass, centre of mass 3, inertia 6
FREE = 6  # numbers by which inverse dynamics tells of a joint in one frame
_UPPER = tuple(np.array(x, np.int32) for x in np.triu_indices(3))


def as_channels(humanoid: Humanoid) -> jax.Array:
    """(24, CHANNELS) of a person, per kg: offset (m), share of the mass, centre of mass (m), inertia (m²)."""
    total = humanoid.total_mass
    inertia = humanoid.inertia[:, *_UPPER] / total
    return jnp.concatenate([humanoid.offset, humanoid.mass[:, None] / total, humanoid.com, inertia], axis=-1)


def from_channels(channels: jax.Array) -> Humanoid:
    """The inverse of as_channels: a person of 1 kg with rigid segments, no solids and no controller."""
    offset, mass, com, upper = jnp.split(channels, (3, 4, 7), axis=-1)
    inertia = jnp.zeros((NUM_BODIES, 3, 3), channels.dtype).at[:, *_UPPER].set(upper)
    inertia = inertia + jnp.swapaxes(jnp.triu(inertia, 1), -1, -2)
    none = jnp.zeros(NUM_JOINTS, channels.dtype)
    solids = jnp.zeros((0, 2, 3), channels.dtype), jnp.zeros(0, channels.dtype)
    shape = jnp.zeros(NUM_BETAS, channels.dtype)
    return Humanoid(offset, mass[:, 0], com, inertia, *solids, none, none, none, none, shape)


def free_dynamics(motion: jax.Array, dt: float | jax.Array) -> jax.Array:
    """Inverse dynamics of a window (F, 24, 7 + CHANNELS) without contact, at all frames but the first and the last.

    Velocities are means and accelerations differences of the tangents between frames (differentiate.py).

    Returns (F-2, 24, FREE), per kg: of a joint its torque (N·m/kg, child axes), of the pelvis in its place the moment
    about it that the motion takes from outside (in the axes of the motion's positions); and of each the force that the
    motion of the whole body takes (N/kg).
    """
    turns, position = motion[..., 3:7], motion[:, 0, :3]
    spin = rotation.between(turns[:-1], turns[1:]).reshape(len(motion) - 1, -1)
    tangent = jnp.concatenate([jnp.diff(position, axis=0), spin], axis=-1) / dt
    v, a = (tangent[1:] + tangent[:-1]) / 2, jnp.diff(tangent, axis=0) / dt
    q = jnp.concatenate([position, turns.reshape(len(motion), -1)], axis=-1)[1:-1]
    torque, root = jax.vmap(inverse_dynamics, in_axes=(None, 0, 0, 0))(from_channels(motion[0, :, 7:]), q, v, a)
    moment = rotation.rotate(turns[1:-1, 0], root[:, 3:])
    force = jnp.broadcast_to(root[:, None, :3], (len(q), NUM_BODIES, 3))
    return jnp.concatenate([jnp.concatenate([moment[:, None], torque], axis=1), force], axis=-1)
