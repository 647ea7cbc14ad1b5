"""What is asked of a recorded sequence: every residual with its scale and its limits.

Residuals are made dimensionless by the subject's own weight and height. The limits of forces and moments are 1e-9 for
sequences simulated in float64 and 1e-3 for those in float32.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from imdy_jax.dataset.record import Subject
from imdy_jax.humanoid import GRAVITY, SOLID_BODY
from imdy_jax.tree import build_tree

WORST_FRAMES = 5  # listed per check
SCALES = {
    "force": "body weight",
    "moment": "body weight × height",
    "length": "height",
    "speed": "√(gravity × height)",
    "rate": "√(gravity / height), rad/s",
    "angle": "radian",
    "share": "the value itself",
}


class Check(NamedTuple):
    """A residual: what makes it dimensionless, and its limits by the precision of the simulation."""

    scale: str
    float64: float
    float32: float
    meaning: str


CHECKS = {
    "root_force": Check("force", 1e-9, 1e-3, "force that nothing supplies"),
    "root_moment": Check("moment", 1e-9, 1e-3, "moment about the pelvis that nothing supplies"),
    "joint_torque": Check("moment", 1e-9, 1e-3, "recorded torque against inverse dynamics"),
    "actuation": Check("moment", 1e-9, 1e-5, "recorded torque against the PD law"),
    "continuity_position": Check("length", 1e-9, 1e-5, "root at the end of a step against the next frame"),
    "continuity_rotation": Check("angle", 1e-9, 1e-5, "rotations at the end of a step against the next frame"),
    "continuity_speed": Check("speed", 1e-9, 1e-5, "root velocity at the end of a step against the next frame"),
    "continuity_spin": Check("rate", 1e-9, 1e-5, "angular velocities at the end of a step against the next frame"),
    "replay_force": Check("force", 1e-9, 1e-3, "force between the replayed and the recorded next frame"),
    "replay_moment": Check("moment", 1e-9, 1e-3, "moment between the replayed and the recorded next frame"),
    # Single precision leaves the lightest segments no accuracy of their own after an impact: told, but not judged.
    "replay_position": Check("length", 1e-6, np.inf, "root after forward dynamics against the next frame"),
    "replay_rotation": Check("angle", 1e-5, np.inf, "rotations after forward dynamics against the next frame"),
    "replay_speed": Check("speed", 1e-6, np.inf, "root velocity after forward dynamics against the next frame"),
    "replay_spin": Check("rate", 1e-4, np.inf, "angular velocities after forward dynamics against the next frame"),
    "contact_pull": Check("force", 1e-9, 1e-4, "the floor pulls"),
    "contact_slip": Check("force", 1e-9, 1e-4, "friction beyond the cone"),
    "contact_lift": Check("force", 1e-9, 1e-4, "force on a segment that does not touch the floor"),
    "contact_centre": Check("moment", 1e-9, 1e-4, "centre of pressure outside the touching solids"),
    "contact_twist": Check("moment", 1e-9, 1e-4, "moment about the vertical beyond what friction allows"),
    "angular_momentum": Check("share", 1e-6, 1e-6, "30 Hz view against the torques"),
    "contact_force": Check("share", 1e-6, 1e-6, "30 Hz view against the contact wrenches"),
    "markers": Check("share", 1e-6, 1e-6, "markers against the poses"),
    "betas": Check("share", 0.0, 0.0, "betas of the frames against the subject's"),
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """One check over a sequence, dimensionless (see CHECKS)."""

    median: float
    p99: float
    worst: float
    limit: float
    worst_frames: list[int]  # the worst first


def scales(subject: Subject) -> dict[str, float]:
    """What a residual of each kind is divided by: the subject's weight, height and the speeds of falling over it."""
    humanoid = subject.humanoid
    joints = build_tree().ancestors @ np.asarray(humanoid.offset, np.float64)
    upright = joints[np.array(SOLID_BODY), None, 1] + np.asarray(humanoid.solid_ends)[:, :, 1]
    radius = np.asarray(humanoid.solid_radius)[:, None]
    height = float(np.max(upright + radius) - np.min(upright - radius))
    weight = GRAVITY * float(np.sum(humanoid.mass, dtype=np.float64))
    return {
        "force": weight,
        "moment": weight * height,
        "length": height,
        "speed": (GRAVITY * height) ** 0.5,
        "rate": (GRAVITY / height) ** 0.5,
        "angle": 1.0,
        "share": 1.0,
    }


def make_figure(residual: np.ndarray, limit: float) -> Figure:
    """Figure of a dimensionless residual (T,), one value per control step or frame."""
    order = np.argsort(np.nan_to_num(-residual, nan=-np.inf), kind="stable")[:WORST_FRAMES]
    median, p99, worst = np.quantile(residual, (0.5, 0.99, 1.0)).tolist()
    return Figure(median, p99, worst, limit, order.tolist())


def excesses(figures: dict[str, Figure]) -> list[str]:
    """A line for each figure beyond its limit; NaN is beyond every limit."""
    return [
        f"{name} is {figure.worst:.3g} at frame {figure.worst_frames[0]}, limit {figure.limit:.0e} of "
        f"{SCALES[CHECKS[name].scale]}: {CHECKS[name].meaning}"
        for name, figure in figures.items()
        if not figure.worst <= figure.limit
    ]
