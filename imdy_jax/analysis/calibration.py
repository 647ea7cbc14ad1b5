"""Whether error bars hold what they promise: the share of true torques within them, on clips that set no parameter."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from imdy_jax.analysis.clean_motion import View
from imdy_jax.analysis.noise_study import clean_torques, gains
from imdy_jax.dynamics.noise import perturb
from imdy_jax.dynamics.propagation import filter_bias
from imdy_jax.motion.filters import Smoothed

LEVEL = 0.9
_MOST = 50.0  # of the weight of the filter's bias


class Sample(NamedTuple):
    """Torques of one scene, N·m, each (N, 23, 3)."""

    true: np.ndarray
    clean: np.ndarray  # estimated without noise
    noisy: np.ndarray  # estimated with it
    sd: np.ndarray  # predicted from the noisy poses alone
    bias: np.ndarray  # filter_bias of the noisy poses


class Coverage(NamedTuple):
    """Shares of torques within their interval, and what the intervals are like."""

    of_clean: float  # the noise-free estimate, within the closed form's interval: nothing fitted
    of_true: float  # the true torque, within the same interval
    held_out: float  # the true torque, with the filter's bias, its weight fitted on the other clips
    by_clip: tuple[float, float]  # least and most of held_out, over clips
    by_joint: tuple[float, float]  # and over joints
    weight: float  # of the filter's bias, mean
    width: float  # N·m, rms half-width of the last interval
    error: float  # N·m rms, of the estimate


def sample(
    seen: View, smooth: Smoothed, fps: float, frames: jax.Array, sd: float, memory: float, key: jax.Array
) -> Sample:
    """One noisy copy of a scene; sd of the rotation noise, rad."""
    rotations, position = perturb(key, seen.rotations, seen.position, fps, sd, 0.0, jnp.asarray(memory))
    noisy = seen._replace(rotations=rotations, position=position)
    squares = jnp.sum(gains(noisy, smooth, fps, frames, memory)[:, 1:], axis=1)
    bias = filter_bias(noisy.humanoid, smooth, noisy.position, noisy.rotations, fps, noisy.wrench, frames)
    clean, found = (clean_torques(x, smooth, fps, frames) for x in (seen, noisy))
    return Sample(*map(np.asarray, (seen.torque[frames], clean, found, sd * jnp.sqrt(squares), bias)))


def coverage(samples: list[Sample], clips: list[str]) -> Coverage:
    """Leave one clip out: the bias's weight for each clip comes from all the others, whoever performs them."""
    true, clean, noisy, sd, bias = (np.stack(x) for x in zip(*samples, strict=True))
    z = interval_factor()
    names, weights, widths, inside = np.asarray(clips), [], [], []
    error = noisy - true
    for name in sorted(set(clips)):
        others, own = names != name, names == name
        weight = fit_weight(error[others], sd[others], bias[others], z)
        half = half_widths(sd[own], bias[own], weight, z)
        weights.append(weight)
        inside.append(np.abs(error[own]) <= half)
        widths.append(np.mean(half**2))
    shares = [float(np.mean(clip)) for clip in inside]
    joints = np.concatenate(inside).mean(axis=(0, 1, 3))
    return Coverage(
        of_clean=float(np.mean(np.abs(noisy - clean) <= z * sd)),
        of_true=float(np.mean(np.abs(error) <= z * sd)),
        held_out=float(np.mean(np.concatenate(inside))),
        by_clip=(min(shares), max(shares)),
        by_joint=(float(joints.min()), float(joints.max())),
        weight=float(np.mean(weights)),
        width=float(np.sqrt(np.mean(widths))),
        error=float(np.sqrt(np.mean(error**2))),
    )


def interval_factor() -> float:
    """Standard deviations from the middle of an interval to its end."""
    return float(ndtri((1.0 + LEVEL) / 2.0))


def fit_weight(error: np.ndarray, sd: np.ndarray, bias: np.ndarray, z: float) -> float:
    """The least weight of the filter's bias with which the intervals hold LEVEL of the errors; by bisection."""
    low, high = 0.0, _MOST
    if np.mean(np.abs(error) <= z * sd) >= LEVEL:
        return 0.0
    for _ in range(40):
        middle = (low + high) / 2
        short = np.mean(np.abs(error) <= half_widths(sd, bias, middle, z)) < LEVEL
        low, high = (middle, high) if short else (low, middle)
    return high


def half_widths(sd: np.ndarray, bias: np.ndarray, weight: float, z: float) -> np.ndarray:
    """Half-widths of the intervals, N·m."""
    return z * np.sqrt(sd**2 + (weight * bias) ** 2)
