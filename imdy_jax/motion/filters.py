"""Zero-phase low-pass filtering of trajectories, on the host."""

import numpy as np
from scipy.signal import butter, sosfiltfilt

FILTER_ORDER = 4  # of the filter run forward; backward and forward together double it


def lowpass(q: np.ndarray, fps: float, cutoff: float) -> np.ndarray:
    """Trajectory q (T, 99) low-passed at cutoff (Hz): zero-phase Butterworth on positions and on quaternions.

    Quaternions are made continuous in sign, filtered as vectors and normalised, which is exact to second order in
    the angle turned within the filter's memory. A cut-off at or above half the frame rate returns q unchanged.
    """
    if cutoff >= fps / 2:
        return np.array(q)
    position, quaternions = q[:, :3], continuous(q[:, 3:].reshape(len(q), -1, 4))
    sos = butter(FILTER_ORDER, cutoff, fs=fps, output="sos")
    pad = min(3 * (2 * len(sos) + 1), len(q) - 1)
    smooth = sosfiltfilt(sos, np.concatenate([position, quaternions.reshape(len(q), -1)], axis=1), axis=0, padlen=pad)
    turned = smooth[:, 3:].reshape(quaternions.shape)
    turned = turned / np.linalg.norm(turned, axis=-1, keepdims=True)
    return np.concatenate([smooth[:, :3], turned.reshape(len(q), -1)], axis=1)


def continuous(quaternions: np.ndarray) -> np.ndarray:
    """Quaternions (T, K, 4) with signs chosen so that neighbours in time are on the same side."""
    dots = np.sum(quaternions[1:] * quaternions[:-1], axis=-1)
    signs = np.concatenate([np.ones((1, quaternions.shape[1])), np.cumprod(np.where(dots < 0, -1.0, 1.0), axis=0)])
    return quaternions * signs[..., None]
