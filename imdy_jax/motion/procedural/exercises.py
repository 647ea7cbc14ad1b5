"""Movements on both feet: squat, bow, reach, arm wave, trunk twist, sway, heel raise.

Each takes the standing body, times (T,) in s (negative before the movement) and the frame rate, and returns a score.
Angles at the extremes are typical of the exercise; paths between them are minimum jerk.
"""

import numpy as np

from imdy_jax.motion.procedural.choreography import ARM_DROP, ELBOW_FLEXION, Score, arm, hold, trunk
from imdy_jax.motion.procedural.legs import rotation_about
from imdy_jax.motion.procedural.stand import Stand, balanced, feet_in_place

RAD = np.pi / 180.0


def _middle(pose: Stand, time: np.ndarray) -> np.ndarray:
    """Pressure (T, 2) midway between the feet and between heel and ball."""
    return np.tile([0.0, pose.centre[1]], (len(time), 1))


def squat(pose: Stand, time: np.ndarray, fps: float) -> Score:
    """Down until the thighs are near the horizontal, arms forward (joint angles as in Schoenfeld 2010)."""
    depth = hold(time, (0.6, 2.0), (2.6, 4.0))
    posture = trunk(18 * RAD * depth, 0 * depth, 0 * depth)
    for side in ("left", "right"):
        posture |= arm(side, 80 * RAD * depth, 0 * depth, ELBOW_FLEXION + 0 * depth)
    posture["neck"] = rotation_about("x", -25 * RAD * depth)
    return balanced(
        pose, _middle(pose, time), fps, feet_in_place(pose, 0 * time), posture,
        rise=-0.36 * pose.leg_length * depth, R_pelvis=rotation_about("x", 25 * RAD * depth),
    )  # fmt: skip


def bow(pose: Stand, time: np.ndarray, fps: float) -> Score:
    """Hinge at the hips and come up again; the hips go back as the trunk goes forward."""
    depth = hold(time, (0.5, 1.9), (2.3, 3.7))
    posture = trunk(20 * RAD * depth, 0 * depth, 0 * depth)
    for side in ("left", "right"):
        posture |= arm(side, 45 * RAD * depth, 0 * depth, ELBOW_FLEXION + 0 * depth)
    return balanced(
        pose, _middle(pose, time), fps, feet_in_place(pose, 0 * time), posture,
        rise=-0.06 * pose.leg_length * depth, R_pelvis=rotation_about("x", 40 * RAD * depth),
    )  # fmt: skip


def reach(pose: Stand, time: np.ndarray, fps: float) -> Score:
    """The right hand reaches forward across the body at shoulder height."""
    out = hold(time, (0.5, 1.5), (2.1, 3.3))
    posture = trunk(12 * RAD * out, 0 * out, 25 * RAD * out)
    posture |= arm("right", 75 * RAD * out, 0 * out, ELBOW_FLEXION * (1 - out))
    posture["neck"] = rotation_about("y", -10 * RAD * out)
    return balanced(
        pose, _middle(pose, time), fps, feet_in_place(pose, 0 * time), posture,
        rise=-0.02 * pose.leg_length * out, R_pelvis=rotation_about("x", 8 * RAD * out),
    )  # fmt: skip


def arm_wave(pose: Stand, time: np.ndarray, fps: float) -> Score:
    """The right arm goes up to the side and the forearm waves once a second."""
    up = hold(time, (0.4, 1.4), (4.2, 5.2))
    wave = np.sin(2 * np.pi * (time - 1.4)) * hold(time, (1.2, 1.8), (3.6, 4.2))
    shoulder = rotation_about("z", ARM_DROP - 80 * RAD * up) @ rotation_about("x", -85 * RAD * up)
    elbow = rotation_about("y", ELBOW_FLEXION + 60 * RAD * up + 25 * RAD * wave)
    return balanced(
        pose,
        _middle(pose, time),
        fps,
        feet_in_place(pose, 0 * time),
        {"right_shoulder": shoulder, "right_elbow": elbow},
    )


def twist(pose: Stand, time: np.ndarray, fps: float) -> Score:
    """The trunk turns left, right and back, arms half raised to the sides, the face staying forward."""
    window = hold(time, (0.4, 1.4), (4.0, 5.0))
    turn = 35 * RAD * np.sin(2 * np.pi * (time - 0.9) / 3.6) * window
    posture = trunk(0 * turn, 0 * turn, turn)
    for side in ("left", "right"):
        posture |= arm(side, 0 * turn, 50 * RAD * window, ELBOW_FLEXION + 0 * turn)
    posture["neck"] = rotation_about("y", -0.8 * turn)
    return balanced(pose, _middle(pose, time), fps, feet_in_place(pose, 0 * time), posture)


def sway(pose: Stand, time: np.ndarray, fps: float) -> Score:
    """The pressure wanders slowly over the feet, sideways and to and fro, the body above it as an upright pendulum."""
    window = hold(time, (0.0, 1.2), (4.8, 6.0))
    sideways = 0.6 * pose.width * np.sin(2 * np.pi * 0.3 * (time - 0.9))
    forward = 0.3 * pose.ball * np.sin(2 * np.pi * 0.45 * (time - 0.9))
    pressure = _middle(pose, time) + window[:, None] * np.stack([sideways, forward], axis=1)
    return balanced(pose, pressure, fps, feet_in_place(pose, 0 * time), rise=-0.01 * pose.leg_length * window)


def heel_raise(pose: Stand, time: np.ndarray, fps: float) -> Score:
    """Up on the balls of both feet, twice; the pressure moves forward before the heels leave the floor."""
    up = hold(time, (0.9, 1.7), (2.1, 2.9)) + hold(time, (3.3, 4.1), (4.5, 5.3))
    forward = hold(time, (0.3, 1.1), (5.1, 5.9))
    pressure = _middle(pose, time)
    pressure[:, 1] += (pose.toes - pose.centre[1]) * forward
    feet = feet_in_place(pose, -28 * RAD * up)
    # Knees nearly as in standing: as the hips go forward of the ankles, the legs slant.
    slant = np.sqrt(pose.leg_length**2 - (pressure[:, 1] - feet[0].ankle[:, 2]) ** 2)
    rise = feet[0].ankle[:, 1] - feet[0].ankle[0, 1] + slant - slant[0] - 0.014 * pose.leg_length * forward
    return balanced(pose, pressure, fps, feet, rise=rise)
