"""Work of the joints and of the floor: what they put into the body, and what they take out of it.

A joint's power is its torque times its angular velocity, in whatever axes: positive where it speeds the body up or
lifts it (muscles shorten), negative where it brakes. What one axis of a ball joint gives and another takes at the same
time cancels. With that of external forces the powers of all joints are the rate of change of the body's energy.
"""

from typing import NamedTuple

import numpy as np

from imdy_jax.analysis.track import Track
from imdy_jax.report import Table
from imdy_jax.skeleton import JOINT_NAMES, joint_index

_SIDED = {"leg": ("hip", "knee", "ankle", "foot"), "arm": ("collar", "shoulder", "elbow", "wrist", "hand")}
# Joints of each part of the body, as places in arrays (..., 23).
PARTS: dict[str, tuple[int, ...]] = {
    f"{side} {part}": tuple(joint_index(f"{side}_{name}") - 1 for name in names)
    for part, names in _SIDED.items()
    for side in ("left", "right")
} | {
    "spine": tuple(joint_index(f"spine{i}") - 1 for i in (1, 2, 3)),
    "neck and head": tuple(joint_index(name) - 1 for name in ("neck", "head")),
}


class Work(NamedTuple):
    """Work over a time, J: of each joint (23,), or of anything else."""

    positive: np.ndarray  # ≥ 0, put into the body
    negative: np.ndarray  # ≤ 0, taken out of it

    @property
    def net(self) -> np.ndarray:
        return self.positive + self.negative


def joint_power(torque: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Power (T, 23), W, of torques (T, 23, 3), N·m in child axes, at v (T, 75)."""
    return np.sum(torque * np.asarray(v)[:, 6:].reshape(torque.shape), axis=-1)


def external_power(track: Track, wrench: np.ndarray) -> np.ndarray:
    """Power (T,), W, of external wrenches (T, 24, 6), N and N·m about the joints in world axes.

    The floor's is zero while feet rest on it; what it is in a recorded motion is the work of feet that slide or sink.
    """
    wrench = np.asarray(wrench, float)
    return np.sum(wrench[..., :3] * track.linear + wrench[..., 3:] * track.angular, axis=(1, 2))


def work(power: np.ndarray, fps: float) -> Work:
    """Positive and negative work of powers (T, ...), W, at fps frames per second; their sum is the net work."""
    return Work(*(np.trapezoid(part, dx=1.0 / fps, axis=0) for part in (np.maximum(power, 0), np.minimum(power, 0))))


def of_parts(joints: Work) -> dict[str, Work]:
    """Work of the joints (23,) → of the parts of the body, each the sum over its joints."""
    return {part: Work(*(each[list(of)].sum() for each in joints)) for part, of in PARTS.items()}


def work_table(joints: Work, mass: float, title: str) -> Table:
    """Work of the joints (23,) and of the parts of the body, in J and J/kg of body mass (kg)."""
    named = {name: Work(joints.positive[i], joints.negative[i]) for i, name in enumerate(JOINT_NAMES[1:])}
    total = {"all joints": Work(joints.positive.sum(), joints.negative.sum())}
    rows = [
        (name, *(float(x) for x in (*each, each.net)), *(float(x) / mass for x in (*each, each.net)))
        for name, each in (named | of_parts(joints) | total).items()
    ]
    columns = ("joint", *(f"{kind} {unit}" for unit in ("J", "J/kg") for kind in ("positive", "negative", "net")))
    return Table(title, columns, tuple(rows), ("positive: put into the body, negative: taken out of it",))
