"""What the solver sees of a motion and what it is asked for, in the heading frame of the person.

A window holds frames t-w … t+w+1. Its heading frame stands upright on the floor below the pelvis at frame t and faces
where the pelvis faces then, so that moving a motion along the floor or turning it about the vertical changes nothing
the network sees; heights above the floor are kept.

At other rates than 30 frames per second the window is told as it would be seen at 30: with the position at t, the
velocity before t and the *rate* at which both change. That map is linear, one to one, and the identity at 30.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from imdy_jax import rotation
from imdy_jax.solver.representation import Representation, coordinates, floor_point, in_frame, pelvis_heading
from imdy_jax.solver.segments import FREE, free_dynamics

REFERENCE_FPS = 30.0  # of the paper


class Features(NamedTuple):
    """What the network sees of one window; points that are not there have zero states. Leading axes are allowed."""

    states: jax.Array  # (2w+2, N, 2C) position (m) and rotation, then velocities (1/s), heading frame, as at 30 Hz
    mask: jax.Array  # (N,) bool, the point is there in every frame of the window
    heading: jax.Array  # (4,) heading frame to world, a turn about the vertical
    step: jax.Array  # () log₂ of the time step over 1/30 s
    free: jax.Array | None = None  # (2w, N, FREE) of frames t-w+1 … t+w, where the motion tells inertia: segments.py


class Targets(NamedTuple):
    """What the network estimates for one window, per kg of the subject. τ_am of the paper is torque · dt."""

    torque: jax.Array  # (23, 3) N·m/kg, mean over the step t → t+1, child axes
    contact_force: jax.Array  # (2, 24, 3) N/kg, λ: mean over the step t → t+1 and over t+1 → t+2, heading frame


def window_features(kind: Representation, motion: jax.Array, dt: float | jax.Array) -> Features:
    """Features of one window.

    Args:
      kind: what the points are.
      motion: (2w+2, N, channels) world; a missing point is NaN.
      dt: s between frames.
    """
    now = motion.shape[0] // 2 - 1
    mask = jnp.all(jnp.isfinite(motion), axis=(0, 2))
    motion = jnp.where(mask[:, None], motion, 0.0)
    points = motion[now, :, :3]
    heading = pelvis_heading(kind, points, mask)
    placed = in_frame(motion, heading, floor_point(kind, points, mask))
    local = coordinates(placed)
    ratio = jnp.asarray(dt, local.dtype) * REFERENCE_FPS
    velocity = finite_difference(local, dt)
    parts = [_as_at_reference(local, now, ratio), _as_at_reference(velocity, max(now - 1, 0), ratio)]
    states = jnp.where(mask[:, None], jnp.concatenate(parts, axis=-1), 0.0)
    return Features(states, mask, heading, jnp.log2(ratio), free_dynamics(placed, dt) if kind.inertia else None)


def tokens(features: Features) -> jax.Array:
    """The network's input (..., N, 2C·(2w+2) + 1): the states of each point frame by frame, and the time step.

    Between them is what inverse dynamics says of each frame, where the motion tells inertia.
    """
    parts = [_by_point(features.states)]
    if features.free is not None:
        parts.append(_by_point(features.free))
    step = jnp.broadcast_to(features.step[..., None, None], (*parts[0].shape[:-1], 1))
    return jnp.where(features.mask[..., None], jnp.concatenate([*parts, step], axis=-1), 0.0)


def frames(kind: Representation, tokens: jax.Array, window: int) -> jax.Array:
    """The states (..., N, 2w+2, 2C) of each point, of which its token is made."""
    shape = 2 * window + 2, 2 * kind.coordinates
    return tokens[..., : shape[0] * shape[1]].reshape(*tokens.shape[:-1], *shape)


def free_frames(tokens: jax.Array, window: int) -> jax.Array:
    """What inverse dynamics says (..., N, 2w, FREE), of tokens of a motion that tells inertia."""
    return tokens[..., -1 - 2 * window * FREE : -1].reshape(*tokens.shape[:-1], 2 * window, FREE)


def history(features: Features) -> jax.Array:
    """What is known at frame t (..., N, C·(2w+1)): positions of t-w … t, and the velocities of the steps between."""
    now, size = features.states.shape[-3] // 2 - 1, features.states.shape[-1] // 2
    position, velocity = features.states[..., :size], features.states[..., size:]
    return jnp.concatenate(
        [_by_point(position[..., : now + 1, :, :]), _by_point(velocity[..., :now, :, :])], axis=-1
    )  # fmt: skip


def advance(features: Features) -> jax.Array:
    """How the next frame departs from going on as before (..., N, C): the change of velocity at t, per 1/30 s."""
    now, size = features.states.shape[-3] // 2 - 1, features.states.shape[-1] // 2
    velocity = features.states[..., size:]
    return velocity[..., now, :, :] - velocity[..., now - 1, :, :]


def window_targets(
    angular_momentum: jax.Array, contact_force: jax.Array, mass: jax.Array, heading: jax.Array, dt: jax.Array
) -> Targets:
    """Targets of one window from what was recorded.

    Args:
      angular_momentum: (23, 3) N·m·s of the step t → t+1, child axes.
      contact_force: (2, 24, 3) N, mean over the step t → t+1 and over t+1 → t+2, on each segment, world.
      mass: () kg, the subject's own.
      heading: (4,) of the window.
      dt: () s of a step.
    """
    return Targets(angular_momentum / (mass * dt), rotation.inverse_rotate(heading, contact_force) / mass)


def finite_difference(positions: jax.Array, dt: float | jax.Array) -> jax.Array:
    """Velocities (F, ..., 3), m/s: frame i to i+1; the last frame repeats the one before."""
    velocity = jnp.diff(positions, axis=0) / dt
    return jnp.concatenate([velocity, velocity[-1:]])


def _as_at_reference(x: jax.Array, centre: int, ratio: jax.Array) -> jax.Array:
    """Rows x (F, ...) moved apart from row `centre` as far as they would be with steps of 1/30 s."""
    return x[centre] + (x - x[centre]) / ratio


def _by_point(states: jax.Array) -> jax.Array:
    """(..., F, N, S) → (..., N, F·S)."""
    moved = jnp.moveaxis(states, -3, -2)
    return moved.reshape(*moved.shape[:-2], -1)
