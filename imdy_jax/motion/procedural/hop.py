"""A hop on the spot: crouch, push off, free flight under gravity, landing. Symmetric in time about the apex."""

import numpy as np

from imdy_jax.motion.procedural.choreography import Score, arm, ease, hold, quintic, trunk
from imdy_jax.motion.procedural.legs import FootPath
from imdy_jax.motion.procedural.pressure import GRAVITY
from imdy_jax.motion.procedural.stand import Stand, balanced, feet_in_place

RAD = np.pi / 180.0
FLIGHT = 0.26  # s
CROUCH, BOTTOM, LEAVE = 0.5, 1.25, 1.6  # s: start of the crouch, its lowest point, take-off
BOTTOM_ACCELERATION = 5.0  # m/s², upward, at the lowest point
HEEL = -42.0 * RAD  # pitch of the feet at take-off


def hop_times() -> tuple[float, float, float]:
    """Take-off, landing and end of the clip, s."""
    return LEAVE, LEAVE + FLIGHT, 2 * LEAVE + FLIGHT


def com_height(pose: Stand, time: np.ndarray) -> np.ndarray:
    """Height of the centre of mass (T,), m, with continuous acceleration: -g from take-off to landing."""
    apex = LEAVE + FLIGHT / 2
    before = np.minimum(time, 2 * apex - time)
    rest = np.array([[pose.com_height], [0.0], [0.0]])
    speed = GRAVITY * FLIGHT / 2
    bottom = np.array([[pose.com_height - 0.14 * pose.leg_length], [0.0], [BOTTOM_ACCELERATION]])
    leave = np.array([[pose.com_height + 0.02 * pose.leg_length], [speed], [-GRAVITY]])
    crouch = quintic(rest, bottom, (before - CROUCH) / (BOTTOM - CROUCH), BOTTOM - CROUCH)[:, 0]
    push = quintic(bottom, leave, (before - BOTTOM) / (LEAVE - BOTTOM), LEAVE - BOTTOM)[:, 0]
    since = np.maximum(before - LEAVE, 0.0)
    flight = leave[0] + speed * since - 0.5 * GRAVITY * since**2
    return np.where(before < BOTTOM, crouch, np.where(before < LEAVE, push, flight))


def hop(pose: Stand, time: np.ndarray, fps: float) -> Score:
    """Two-footed hop; the centre of mass goes over the toes before take-off and falls freely after it."""
    end = hop_times()[2]
    mirrored = lambda start, stop: hold(time, (start, stop), (end - stop, end - start))  # noqa: E731
    heel_up, forward, crouch = mirrored(BOTTOM, LEAVE), mirrored(CROUCH, BOTTOM), mirrored(CROUCH, BOTTOM)
    feet = feet_in_place(pose, HEEL * heel_up)
    s = np.clip((time - LEAVE) / FLIGHT, 0.0, 1.0)
    lift = 0.7 * GRAVITY * FLIGHT**2 / 8 * 64.0 * (s * (1.0 - s)) ** 3
    left, right = (FootPath(f.ankle + lift[:, None] * np.array([0.0, 1.0, 0.0]), f.R_foot, f.R_toes) for f in feet)
    lean = 20.0 * RAD * (crouch - ease(time, BOTTOM, LEAVE) + ease(time, end - LEAVE, end - BOTTOM))
    posture = trunk(lean, 0.0 * lean, 0.0 * lean)
    for side in ("left", "right"):
        posture |= arm(side, 0.0 * lean, 0.0 * lean, 0.3 + 0.0 * lean)
    ahead = pose.centre[1] + (pose.toes - pose.centre[1]) * forward
    score = balanced(pose, np.stack([0.0 * ahead, ahead], axis=1), fps, (left, right), posture)
    com = np.stack([0.0 * time, com_height(pose, time), ahead], axis=1)
    rise = com[:, 1] - com[0, 1]
    pelvis = score.pelvis + np.stack([0.0 * rise, rise, ahead - score.pelvis[:, 2]], axis=1)
    return Score(pelvis, score.R_pelvis, com, (0, 1, 2), (left, right), score.posture, fps)
