"""Velocities and accelerations of a sampled trajectory, differenced on the rotation group in float64 on the host.

Between two samples the tangent log(q_t⁻¹ q_{t+1})/dt is the mean angular velocity, the same vector in both frames;
the velocity at a sample is the mean of the tangents on either side and the acceleration their difference over dt:
exact for constant-rate rotation, second order otherwise. float32 would lose the second difference to rounding.
"""

import numpy as np
from scipy.spatial.transform import Rotation


def tangents(q: np.ndarray, fps: float) -> np.ndarray:
    """Mean velocity (T-1, 75) between neighbouring frames of q (T, 99), in the layout of v."""
    q = np.asarray(q, np.float64)
    turned = Rotation.from_quat(q[:, 3:].reshape(-1, 4), scalar_first=True).as_matrix().reshape(len(q), 24, 3, 3)
    step = np.einsum("tkji,tkjl->tkil", turned[:-1], turned[1:])
    spin = Rotation.from_matrix(step.reshape(-1, 3, 3)).as_rotvec().reshape(len(q) - 1, 72)
    return np.concatenate([np.diff(q[:, :3], axis=0), spin], axis=1) * fps


def velocities(q: np.ndarray, fps: float) -> np.ndarray:
    """v (T, 75) of a trajectory q (T, 99) sampled at fps; one-sided at both ends."""
    mean = tangents(q, fps)
    padded = np.concatenate([mean[:1], mean, mean[-1:]])
    return (padded[1:] + padded[:-1]) / 2


def accelerations(q: np.ndarray, fps: float) -> np.ndarray:
    """v̇ (T, 75) of a trajectory q (T, 99) sampled at fps; the ends repeat their neighbours."""
    inner = np.diff(tangents(q, fps), axis=0) * fps
    return np.concatenate([inner[:1], inner, inner[-1:]])
