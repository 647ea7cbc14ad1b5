"""What the solver sees of a motion and what it is asked for, in the heading frame of the person.

A window holds frames t-w … t+w+1 of the markers. Its heading frame stands upright on the floor below the pelvis at
frame t and faces where the pelvis faces then, so that moving a motion along the floor or turning it about the vertical
changes nothing the network sees; heights above the floor are kept. The frame comes from the four pelvis markers alone.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from imdy_jax import rotation
from imdy_jax.body.markers import MARKER_NAMES

PELVIS_NAMES = ("left_asis", "right_asis", "left_psis", "right_psis")
_LEFT_FRONT, _RIGHT_FRONT, _LEFT_BACK, _RIGHT_BACK = (MARKER_NAMES.index(name) for name in PELVIS_NAMES)
PELVIS = (_LEFT_FRONT, _RIGHT_FRONT, _LEFT_BACK, _RIGHT_BACK)


class Features(NamedTuple):
    """Input of the network for one window; masked markers have zero tokens."""

    tokens: jax.Array  # (M, 12w+12) positions (m), then velocities (m/s), frame by frame, heading frame
    mask: jax.Array  # (M,) bool, the marker is there in every frame of the window
    heading: jax.Array  # (4,) heading frame to world, a turn about the vertical


class Targets(NamedTuple):
    """What the network estimates for one window, per kg of the subject."""

    angular_momentum: jax.Array  # (23, 3) N·m·s/kg, τ_am: sum of torque · dt over the step t → t+1, child axes
    contact_force: jax.Array  # (2, 24, 3) N/kg, λ: mean over the step t → t+1 and over t+1 → t+2, heading frame


def window_features(markers: jax.Array, dt: float | jax.Array) -> Features:
    """Tokens of one window.

    Args:
      markers: (2w+2, M, 3) m, world, M markers in the order of MARKER_NAMES; a missing one is NaN.
      dt: s between frames.
    """
    num_frames, num_markers, _ = markers.shape
    mask = jnp.all(jnp.isfinite(markers), axis=(0, 2))
    markers = jnp.where(mask[:, None], markers, 0.0)
    now = markers[num_frames // 2 - 1]
    heading = pelvis_heading(now, mask)
    local = rotation.inverse_rotate(heading, markers - _floor_point(now, mask))
    tokens = jnp.concatenate([local, finite_difference(local, dt)])
    tokens = jnp.moveaxis(tokens, 0, 1).reshape(num_markers, 6 * num_frames)
    return Features(jnp.where(mask[:, None], tokens, 0.0), mask, heading)


def window_targets(
    angular_momentum: jax.Array, contact_force: jax.Array, mass: jax.Array, heading: jax.Array
) -> Targets:
    """Targets of one window from what was recorded.

    Args:
      angular_momentum: (23, 3) N·m·s of the step t → t+1, child axes.
      contact_force: (2, 24, 3) N, mean over the step t → t+1 and over t+1 → t+2, on each segment, world.
      mass: () kg, the subject's own.
      heading: (4,) of the window.
    """
    return Targets(angular_momentum / mass, rotation.inverse_rotate(heading, contact_force) / mass)


def pelvis_heading(markers: jax.Array, mask: jax.Array) -> jax.Array:
    """Turn about the vertical (4,) to where the pelvis faces, from markers (M, 3) of one frame.

    With the pelvis's left axis x (right to left, mean of the front and the back pair) and forward axis f (back to
    front, mean of both sides) it is the turn closest to the pelvis's rotation, as rotation.heading defines it: the
    angle of x + f turned by 90°, seen from above. Three of the four markers are enough.
    """
    left = _mean_axis(markers, mask, (_RIGHT_FRONT, _RIGHT_BACK), (_LEFT_FRONT, _LEFT_BACK))
    forward = _mean_axis(markers, mask, (_LEFT_BACK, _RIGHT_BACK), (_LEFT_FRONT, _RIGHT_FRONT))
    angle = jnp.arctan2(left[1] + forward[0], left[0] - forward[1])
    zero = jnp.zeros_like(angle)
    return jnp.stack([jnp.cos(angle / 2), zero, zero, jnp.sin(angle / 2)])


def finite_difference(positions: jax.Array, dt: float | jax.Array) -> jax.Array:
    """Velocities (F, ..., 3), m/s: frame i to i+1; the last frame repeats the one before."""
    velocity = jnp.diff(positions, axis=0) / dt
    return jnp.concatenate([velocity, velocity[-1:]])


def _mean_axis(markers: jax.Array, mask: jax.Array, start: tuple[int, int], end: tuple[int, int]) -> jax.Array:
    """Unit vector (3,), mean of the start → end pairs of which both markers are there."""
    both = mask[jnp.array(start)] & mask[jnp.array(end)]
    pairs = markers[jnp.array(end)] - markers[jnp.array(start)]
    axis = jnp.sum(jnp.where(both[:, None], pairs, 0.0), axis=0)
    return axis / jnp.maximum(jnp.linalg.norm(axis), 1e-6)


def _floor_point(markers: jax.Array, mask: jax.Array) -> jax.Array:
    """Point of the floor (3,) below the middle of the pelvis markers."""
    there = mask[jnp.array(PELVIS)][:, None]
    middle = jnp.sum(jnp.where(there, markers[jnp.array(PELVIS)], 0.0), axis=0) / jnp.maximum(jnp.sum(there), 1)
    return middle * jnp.array([1.0, 1.0, 0.0], markers.dtype)
