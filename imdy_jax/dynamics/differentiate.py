"""Velocities and accelerations of a sampled trajectory, differenced on the rotation group.

Between two samples the tangent log(q_t⁻¹ q_{t+1})/dt is the mean angular velocity, the same vector in both frames;
the velocity at a sample is the mean of the tangents on either side and the acceleration their difference over dt:
exact for constant-rate rotation, second order otherwise.

`motion` does it in JAX, differentiably, from a filter's steps; the other functions in NumPy, always in float64 and
without compiling for each length. Differencing float32 poses would lose the second difference to rounding.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from imdy_jax import rotation
from imdy_jax.motion.filters import Smoothed
from imdy_jax.skeleton import NUM_BODIES


def motion(smooth: Smoothed, fps: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """q (T, 99), v (T, 75) and v̇ (T, 75) of poses smoothed by filters.smooth_poses, at fps frames per second.

    One-sided velocities at both ends, where the accelerations repeat their neighbours'; T ≥ 3.
    """
    quaternions = smooth.value[:, 3:].reshape(-1, NUM_BODIES, 4)
    turn = smooth.step[:, 3:].reshape(-1, NUM_BODIES, 4)
    before = quaternions[:-1]
    # q_t⁻¹ q_{t+1} = |q_t|² + q_t⁻¹ (q_{t+1} − q_t): the small difference meets no rounding of the large values.
    relative = rotation.multiply(rotation.conjugate(before), turn)
    relative = relative.at[..., 0].add(jnp.sum(before * before, axis=-1))
    spin = rotation.log(rotation.normalize(relative)).reshape(len(turn), -1)
    mean = jnp.concatenate([smooth.step[:, :3], spin], axis=1) * fps
    position, unit = smooth.value[:, :3], rotation.normalize(quaternions).reshape(len(quaternions), -1)
    return jnp.concatenate([position, unit], axis=1), _velocities(jnp, mean), _accelerations(jnp, mean, fps)


def tangents(q: np.ndarray, fps: float) -> np.ndarray:
    """Mean velocity (T-1, 75) between neighbouring frames of q (T, 99), in the layout of v."""
    q = np.asarray(q, np.float64)
    turned = Rotation.from_quat(q[:, 3:].reshape(-1, 4), scalar_first=True).as_matrix().reshape(len(q), 24, 3, 3)
    step = np.einsum("tkji,tkjl->tkil", turned[:-1], turned[1:])
    spin = Rotation.from_matrix(step.reshape(-1, 3, 3)).as_rotvec().reshape(len(q) - 1, 72)
    return np.concatenate([np.diff(q[:, :3], axis=0), spin], axis=1) * fps


def velocities(q: np.ndarray, fps: float) -> np.ndarray:
    """v (T, 75) of a trajectory q (T, 99) sampled at fps; one-sided at both ends."""
    return _velocities(np, tangents(q, fps))


def accelerations(q: np.ndarray, fps: float) -> np.ndarray:
    """v̇ (T, 75) of a trajectory q (T, 99) sampled at fps; the ends repeat their neighbours."""
    return _accelerations(np, tangents(q, fps), fps)


def _velocities(xp, mean):
    padded = xp.concatenate([mean[:1], mean, mean[-1:]])
    return (padded[1:] + padded[:-1]) / 2


def _accelerations(xp, mean, fps: float):
    inner = xp.diff(mean, axis=0) * fps
    return xp.concatenate([inner[:1], inner, inner[-1:]])
