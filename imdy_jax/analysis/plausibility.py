"""How plausible each frame of a motion is, by the laws of motion alone.

Each measure has a limit at which it alone halves the score; together

    score = Π exp(−ln 2 (measure / limit)²)        1: nothing is amiss, below ½: implausible.
"""

from typing import NamedTuple

import numpy as np
from flax import struct

from imdy_jax.analysis.track import Track, follow, resultant
from imdy_jax.dynamics.estimate import Estimate
from imdy_jax.humanoid import GRAVITY, Humanoid
from imdy_jax.skeleton import NUM_BODIES

IMPLAUSIBLE = 0.5  # scores below this
_STEP = 1.0 / 30.0  # s, of the differences that jerk is taken from


@struct.dataclass
class Limits:
    """Values at which a measure alone halves the score; of the clean built-in motions only a landing exceeds one."""

    force: float = 0.25  # body weights
    moment: float = 0.15  # body weight times height
    skate: float = 0.25  # m/s
    gap: float = 0.05  # m
    depth: float = 0.06  # m
    effort: float = 1.0  # of the joint's limit
    jerk: float = 8000.0  # m/s³


class Measures(NamedTuple):
    """What is amiss with each of T frames, in the units of Limits; the fields are in their order."""

    force: np.ndarray  # (T,) size of the root force that nothing explains, over body weight
    moment: np.ndarray  # (T,) of the moment about the pelvis, over body weight times height
    skate: np.ndarray  # (T,) m/s, horizontal speed of what presses on the floor, weighted by load over body weight
    gap: np.ndarray  # (T,) m, height of the lowest point, weighted by the support needed over body weight
    depth: np.ndarray  # (T,) m below the floor
    effort: np.ndarray  # (T,) largest component of a joint torque over the joint's effort limit
    jerk: np.ndarray  # (T,) m/s³, of the joint whose position jerks most, before any smoothing


def measure(humanoid: Humanoid, found: Estimate, q: np.ndarray, fps: float, height: float) -> Measures:
    """Measures of a motion.

    Args:
      humanoid: the person, one subject.
      found: the motion's dynamics (NumPy or JAX), with whatever contact is assumed.
      q: (T, 99) the motion as it was given, before smoothing.
      fps: frames per second.
      height: stature, m.
    """
    weight = float(humanoid.total_mass) * GRAVITY
    residual, wrench = np.asarray(found.residual, float), np.asarray(found.wrench, float)
    track = follow(humanoid, np.asarray(found.q), np.asarray(found.v))
    needed = np.maximum(residual[:, 2] + wrench[..., 2].sum(axis=1), 0.0) / weight
    strength = np.abs(found.torque).max(axis=-1) / np.asarray(humanoid.effort)
    return Measures(
        force=np.linalg.norm(residual[:, :3], axis=1) / weight,
        moment=np.linalg.norm(residual[:, 3:], axis=1) / (weight * height),
        skate=_skate(track, wrench, weight),
        gap=np.maximum(track.clearance, 0.0) * np.minimum(needed, 1.0),
        depth=np.maximum(-track.clearance, 0.0),
        effort=strength.max(axis=1),
        jerk=_jerk(follow(humanoid, q, np.zeros_like(found.v)).position, fps),
    )


def score(measures: Measures, limits: Limits = Limits()) -> np.ndarray:
    """Plausibility (T,) in [0, 1]."""
    excess = [np.square(getattr(measures, name) / getattr(limits, name)) for name in Measures._fields]
    return np.exp2(-np.sum(excess, axis=0))


def stature(rest_vertices: np.ndarray) -> float:
    """Height, m, of a body's rest surface (V, 3), whose y is up."""
    return float(np.ptp(np.asarray(rest_vertices)[:, 1]))


def _skate(track: Track, wrench: np.ndarray, weight: float) -> np.ndarray:
    """Horizontal speed, at its own centre of pressure, of each segment under load."""
    total = np.zeros(len(wrench))
    for k in range(NUM_BODIES):
        load = np.maximum(wrench[:, k, 2], 0.0)
        if load.max(initial=0.0) == 0.0:
            continue
        arm = resultant(track, wrench, (k,)).point - track.position[:, k]
        moving = track.linear[:, k] + np.cross(track.angular[:, k], arm)
        total += load * np.linalg.norm(moving[:, :2], axis=1)
    return total / weight


def _jerk(position: np.ndarray, fps: float) -> np.ndarray:
    """Jerk (T,) of positions (T, 24, 3) by third differences about each frame.

    They span a tenth of a second at any frame rate: over less, the noise of recordings would count as jerk.
    """
    n = max(round(fps * _STEP), 1)
    if len(position) <= 3 * n:
        return np.zeros(len(position))
    a, b, c, d = (position[i * n : len(position) - (3 - i) * n] for i in range(4))
    between = np.linalg.norm(d - 3.0 * c + 3.0 * b - a, axis=-1).max(axis=1) * (fps / n) ** 3
    padded = np.pad(between, (2 * n, 2 * n), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, n + 1).max(axis=-1)
