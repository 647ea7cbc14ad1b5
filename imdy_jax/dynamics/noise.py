"""Noise of estimated poses: on the rotation group, joint by joint, white or correlated in time.

A joint's rotation R becomes R exp(φ), φ a Gaussian rotation vector in the joint's own (child) axes, the coordinates in
which angular velocities are given too. Estimates from video err for a while in the same direction: an
Ornstein–Uhlenbeck process sampled at the frame rate (AR(1)), whose correlation falls to 1/e within its memory.
"""

import jax
import jax.numpy as jnp
from flax import struct

from imdy_jax import rotation


@struct.dataclass
class PoseNoise:
    """Standard deviations of each component, and how long an error lasts."""

    rotation_sd: float | jax.Array = 0.0  # rad, of each component of φ; one number or (24,), the root first
    translation_sd: float | jax.Array = 0.0  # m, of each component of the root's position
    memory: float | jax.Array = 0.0  # s, after which the correlation is 1/e; 0 is white noise


def perturb(
    key: jax.Array,
    rotations: jax.Array,
    translation: jax.Array,
    fps: float | jax.Array,
    rotation_sd: float | jax.Array = 0.0,
    translation_sd: float | jax.Array = 0.0,
    memory_seconds: float | jax.Array = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Poses with noise added.

    The same key gives the same random numbers whatever the standard deviations are.

    Args:
      key: jax random key.
      rotations: (T, 24, 4) joint quaternions.
      translation: (T, 3) m.
      fps: frames per second.
      rotation_sd: rad, of each component of a joint's rotation vector; one number or (24,).
      translation_sd: m, of each component.
      memory_seconds: after which the noise's correlation is 1/e; 0 is white noise.
    """
    turn_key, move_key = jax.random.split(key)
    dtype = rotations.dtype
    turns = stationary(jax.random.normal(turn_key, (*rotations.shape[:-1], 3), dtype), fps, memory_seconds)
    moves = stationary(jax.random.normal(move_key, translation.shape, translation.dtype), fps, memory_seconds)
    sd = jnp.broadcast_to(jnp.asarray(rotation_sd, dtype), rotations.shape[1:-1])
    turned = rotation.multiply(rotations, rotation.exp(sd[None, :, None] * turns))
    return rotation.normalize(turned), translation + jnp.asarray(translation_sd, translation.dtype) * moves


def stationary(white: jax.Array, fps: float | jax.Array, memory: float | jax.Array) -> jax.Array:
    """Unit noise (T, ...) whose correlation falls to 1/e in `memory` seconds, from white unit noise (T, ...)."""
    decay = correlation(fps, memory).astype(white.dtype)
    fresh = jnp.sqrt(1.0 - decay**2)

    def advance(x: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = decay * x + fresh * now
        return x, x

    _, later = jax.lax.scan(advance, white[0], white[1:])
    return jnp.concatenate([white[:1], later])


def correlation(fps: float | jax.Array, memory: float | jax.Array) -> jax.Array:
    """Of the noise in neighbouring frames: exp(−1 / (fps memory)), 0 without memory."""
    frames = jnp.asarray(fps * memory, jnp.result_type(float))
    return jnp.where(frames > 0.0, jnp.exp(-1.0 / jnp.where(frames > 0.0, frames, 1.0)), 0.0)


def time_covariance(num_frames: int, fps: float | jax.Array, memory: float | jax.Array) -> jax.Array:
    """Covariance (T, T) of unit noise at the frames of a clip."""
    apart = jnp.abs(jnp.arange(num_frames)[:, None] - jnp.arange(num_frames)[None])
    return jnp.where(apart == 0, 1.0, correlation(fps, memory) ** apart)
