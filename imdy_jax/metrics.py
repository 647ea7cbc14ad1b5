"""Errors of estimated dynamics, each with its unit and its source."""

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.skeleton import LEFT_FOOT, RIGHT_FOOT

# Torques and contact forces


def mean_per_joint_error(recorded: jax.Array, estimated: jax.Array, mass: jax.Array | float) -> jax.Array:
    """mPJE, equation 6 of Liu et al. (ImDy, ICLR 2025): mean over joints of the error's length, over body mass.

    Args:
      recorded, estimated: (..., J, 3), J joints or segments, in the same frame.
      mass: (...) the subject's own mass, kg.

    Returns:
      (...) in the arrays' unit per kg: N·m·s/kg of angular momenta, N/kg of forces.
    """
    return jnp.mean(jnp.linalg.norm(recorded - estimated, axis=-1), axis=-1) / mass


def foot_force_error(recorded: jax.Array, estimated: jax.Array, mass: jax.Array | float) -> tuple[jax.Array, jax.Array]:
    """mPJE of the left and the right foot (...), N/kg: a foot's force is that of its ankle plus that of its toes.

    Args:
      recorded, estimated: (..., 24, 3) N, contact force on each segment, in the same frame.
      mass: (...) the subject's own mass, kg.
    """
    error = recorded - estimated
    foot = lambda segments: jnp.linalg.norm(jnp.sum(error[..., segments, :], axis=-2), axis=-1) / mass  # noqa: E731
    return foot(LEFT_FOOT), foot(RIGHT_FOOT)


def joint_position_error(position: np.ndarray, reference: np.ndarray) -> float:
    """Global MPJPE, m: mean over frames and joints of the distance; positions (T, J, 3)."""
    return float(np.mean(np.linalg.norm(position - reference, axis=-1)))


def root_relative_error(position: np.ndarray, reference: np.ndarray) -> float:
    """MPJPE after moving both roots (joint 0) to the origin, m."""
    return joint_position_error(position - position[:, :1], reference - reference[:, :1])


def velocity_error(position: np.ndarray, reference: np.ndarray) -> float:
    """Mean distance of the first differences, m/frame; nan with fewer than two frames."""
    return _difference_error(position, reference, order=1)


def acceleration_error(position: np.ndarray, reference: np.ndarray) -> float:
    """Mean distance of the second differences, m/frame²; nan with fewer than three frames."""
    return _difference_error(position, reference, order=2)


def _difference_error(position: np.ndarray, reference: np.ndarray, order: int) -> float:
    if len(position) <= order:
        return float("nan")
    return joint_position_error(np.diff(position, n=order, axis=0), np.diff(reference, n=order, axis=0))
