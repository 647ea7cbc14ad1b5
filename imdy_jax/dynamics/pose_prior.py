"""What a noisy motion tells of itself: how far each coordinate is off, for how long, and how the joints jerk.

The 75 coordinates of a motion are taken for a smooth signal, whose third differences are independent Gaussian vectors
of covariance `jerk`, plus noise that is white or correlated in time (AR(1)). In the basis in which the smoothing
spline is diagonal (Demmler & Reinsch 1975) every frequency is a problem of its own: the upper half of them tells the
noise, and the jerk follows by expectation maximisation. Its covariance is a full matrix, since joints move together,
drawn towards its diagonal, since a clip does not suffice for 75 × 75 numbers. So nothing is set for a noise level.
"""

from typing import NamedTuple

import numpy as np

from imdy_jax.dynamics.differentiate import tangents
from imdy_jax.skeleton import NUM_V

MIN_FRAMES = 12
_ORDER = 3  # of the differences: forces, so accelerations, change at random
_CORRELATIONS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9)  # to choose from
_SHRINKAGE = 20.0  # frames' worth of belief that coordinates are independent
_ITERATIONS = 40  # of expectation maximisation
_LEAST_VARIANCE = 1e-13  # rad² or m²


class PosePrior(NamedTuple):
    """Of the coordinates in the layout of v: rotations in the joint's own axes, the root's position in the world."""

    noise_sd: np.ndarray  # (75,) rad, the first three m
    correlation: np.ndarray  # () of the noise in neighbouring frames
    jerk: np.ndarray  # (75, 75) covariance of the third differences, rad and m per frame³


class _Spectrum(NamedTuple):
    """A motion in a basis in which its noise is white, of K components."""

    y: np.ndarray  # (K, 75)
    roughness: np.ndarray  # (K,) mean square third difference per square amplitude
    loudness: np.ndarray  # (K,) by which the noise was divided


def learn_prior(q: np.ndarray, fps: float) -> tuple[PosePrior, np.ndarray]:
    """The prior of a motion q (T, 99), and the correction (T, 75) that makes it most likely: an optimal smoother.

    The correction moves each frame in its own tangent space, as kinematics.integrate does with dt = 1. Host, float64.
    Raises ValueError for fewer than MIN_FRAMES frames.
    """
    if len(q) < MIN_FRAMES:
        raise ValueError(f"motion: found {len(q)} frames, expected at least {MIN_FRAMES}; use a longer clip")
    x = np.concatenate([np.zeros((1, NUM_V)), np.cumsum(tangents(q, fps) / fps, axis=0)])
    differences = np.diff(np.eye(len(q)), n=_ORDER, axis=0)
    roughness, basis = np.linalg.eigh(differences.T @ differences)
    roughness, basis = roughness[_ORDER:], basis[:, _ORDER:]  # the first ones are the smoothest of all: parabolas
    _, correlation, noise, jerk, spectrum = max(
        (_independent(basis.T @ x, roughness, correlation) for correlation in _CORRELATIONS), key=lambda fit: fit[0]
    )
    smooth, covariance = _together(spectrum, noise, jerk)
    correction = basis @ ((smooth - spectrum.y) * np.sqrt(spectrum.loudness)[:, None])
    return PosePrior(np.sqrt(noise), np.asarray(correlation), covariance), correction


def _independent(z: np.ndarray, roughness: np.ndarray, correlation: float) -> tuple:
    """Log-likelihood, correlation, noise and jerk variances (75,) each, spectrum: the coordinates as independent."""
    cosine = 1.0 - np.minimum(roughness, 4.0**_ORDER) ** (1 / _ORDER) / 2.0
    loudness = (1.0 - correlation**2) / (1.0 - 2.0 * correlation * cosine + correlation**2)
    y, rough = z / np.sqrt(loudness)[:, None], (roughness * loudness)[:, None]
    noise = np.mean(y[len(y) // 2 :] ** 2, axis=0) + _LEAST_VARIANCE
    jerk = 1e-3 * np.mean(rough * y**2, axis=0) + 1e-3 * _LEAST_VARIANCE
    for _ in range(_ITERATIONS):
        kept = jerk / (jerk + noise * rough)
        jerk = np.mean(rough * ((kept * y) ** 2 + kept * noise), axis=0)
    variance = jerk / rough + noise
    likelihood = -0.5 * np.sum(np.log(variance) + y**2 / variance) - 0.5 * z.shape[1] * np.sum(np.log(loudness))
    return likelihood, correlation, noise, jerk, _Spectrum(y, rough[:, 0], loudness)


def _together(spectrum: _Spectrum, noise: np.ndarray, jerk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most likely signal (K, 75) and the covariance of its jerk (75, 75), started from independent variances."""
    sd, rough, count = np.sqrt(noise), spectrum.roughness[:, None], len(spectrum.y)
    covariance = np.diag(jerk)
    for _ in range(_ITERATIONS):
        # In units of the noise, and along the axes of the jerk, the coordinates are independent.
        power, axes = np.linalg.eigh(covariance / np.outer(sd, sd))
        kept = np.maximum(power, 0.0) / (np.maximum(power, 0.0) + rough)
        smooth = kept * (spectrum.y / sd @ axes)
        seen = (smooth * rough).T @ smooth + np.diag(np.sum(rough * kept, axis=0))
        seen = axes @ seen @ axes.T * np.outer(sd, sd)
        covariance = (seen + np.diag(np.diag(seen)) * _SHRINKAGE / count) / (count + _SHRINKAGE)
    return smooth @ axes.T * sd, covariance
