"""A hop on the spot: crouch, push off, free flight under gravity, landing. Symmetric in time about the apex."""

import dataclasses

import numpy as np

from imdy_jax.motion.procedural.choreography import Score, arm, ease, hold, quintic, trunk
from imdy_jax.motion.procedural.legs import FootPath
from imdy_jax.motion.procedural.pressure import GRAVITY
from imdy_jax.motion.procedural.stand import Stand, balanced, feet_in_place

RAD = np.pi / 180.0
FLIGHT = 0.26  # s
FORWARD, DIP, LEAVE = 0.8, 1.0, 1.5  # s: the weight starts forward, the countermovement starts, take-off
EXTENSION = 0.02  # of leg length, by which the centre of mass is higher at take-off than in standing
SETTLE = 0.025  # of leg length, by which the body sinks before the countermovement
HEEL = -42.0 * RAD  # pitch of the feet at take-off


def hop_times() -> tuple[float, float, float]:
    """Take-off, landing and end of the movement, s."""
    return LEAVE, LEAVE + FLIGHT, 2 * LEAVE + FLIGHT


def com_height(pose: Stand, time: np.ndarray) -> np.ndarray:
    """Height of the centre of mass (T,), m, with continuous acceleration: -g from take-off to landing.

    The polynomial from rest to the speed and acceleration of take-off dips on its way: the countermovement.
    """
    apex = LEAVE + FLIGHT / 2
    before = np.minimum(time, 2 * apex - time)
    speed = GRAVITY * FLIGHT / 2
    settled = pose.com_height - SETTLE * pose.leg_length
    rest = np.array([[settled], [0.0], [0.0]])
    leave = np.array([[pose.com_height + EXTENSION * pose.leg_length], [speed], [-GRAVITY]])
    push = quintic(rest, leave, (before - DIP) / (LEAVE - DIP), LEAVE - DIP)[:, 0]
    push += SETTLE * pose.leg_length * (1.0 - ease(before, 0.2, DIP))
    since = np.maximum(before - LEAVE, 0.0)
    return np.where(before < LEAVE, push, leave[0] + speed * since - 0.5 * GRAVITY * since**2)


def hop(pose: Stand, time: np.ndarray, fps: float) -> Score:
    """Two-footed hop; the centre of mass goes over the toes before take-off and falls freely after it."""
    end = hop_times()[2]
    mirrored = lambda start, stop: hold(time, (start, stop), (end - stop, end - start))  # noqa: E731
    heel_up, forward = mirrored(LEAVE - 0.25, LEAVE), mirrored(FORWARD, LEAVE - 0.05)
    feet = feet_in_place(pose, HEEL * heel_up)
    s = np.clip((time - LEAVE) / FLIGHT, 0.0, 1.0)
    lift = 0.7 * GRAVITY * FLIGHT**2 / 8 * 64.0 * (s * (1.0 - s)) ** 3
    left, right = (FootPath(f.ankle + lift[:, None] * np.array([0.0, 1.0, 0.0]), f.R_foot, f.R_toes) for f in feet)
    lean = 20.0 * RAD * (mirrored(DIP, DIP + 0.3) - mirrored(DIP + 0.3, LEAVE))
    posture = trunk(lean, 0.0 * lean, 0.0 * lean)
    for side in ("left", "right"):
        posture |= arm(side, 0.0 * lean, 0.0 * lean, 0.3 + 0.0 * lean)
    ahead = pose.centre[1] + (pose.toes - pose.centre[1]) * forward
    score = balanced(pose, np.stack([0.0 * ahead, ahead], axis=1), fps, (left, right), posture)
    com = np.stack([0.0 * time, com_height(pose, time), ahead], axis=1)
    rise = com[:, 1] - com[0, 1]
    pelvis = score.pelvis + np.stack([0.0 * rise, rise, ahead - score.pelvis[:, 2]], axis=1)
    return dataclasses.replace(score, pelvis=pelvis, com=com, balance=(0, 1, 2))
