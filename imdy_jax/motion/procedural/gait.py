"""Walking: a published stride, repeated, with the trunk and the arms that go with it."""

import numpy as np

from imdy_jax.body.person import Body
from imdy_jax.motion.procedural.choreography import Score, arm, ease, hold, trunk
from imdy_jax.motion.procedural.gait_norms import FREE, GaitNorm, curve
from imdy_jax.motion.procedural.legs import FootPath, rotation_about
from imdy_jax.motion.procedural.stride import (
    BALL_LEAD,
    JOINING,
    TOUCH,
    Stride,
    ankle_path,
    fit_stride,
    foot_pitch,
    leg_phase,
    pelvis_path,
    pelvis_rotation,
)

TOE_LIFT = np.deg2rad(20.0)  # gives the toes the clearance of 10 to 15 mm that people walk with (Winter 1992)
TRUNK_LEAN = np.deg2rad(3.0)
TRUNK_TURN = 1.6  # of the pelvis's rotation, against it: the shoulders turn the other way
# Arm swing (Murray, Sepic & Barnard 1967): a shoulder arc of some 30 degrees at free speed, more of it backwards.
ARM_SWING, ARM_CENTRE, ELBOW_CENTRE, ELBOW_SWING = np.deg2rad([33.0, -4.0, 24.0, 9.0])


def walk(body: Body, norm: GaitNorm, time: np.ndarray, fps: float) -> Score:
    """Steady walking in a straight line at the norm's speed for this body, from a contact of the left foot."""
    stride = fit_stride(body, norm)
    phase = time / stride.period
    pelvis = pelvis_path(stride, phase)
    return Score(
        pelvis=pelvis,
        R_pelvis=pelvis_rotation(norm, phase),
        com=pelvis,
        balance=(0,),
        feet=(_foot(body, stride, "left", phase), _foot(body, stride, "right", phase)),
        posture=_upper_body(norm, phase),
        fps=fps,
    )


def _foot(body: Body, stride: Stride, side: str, phase: np.ndarray) -> FootPath:
    """One foot, from footprint to footprint; the toes stay flat under a rising heel and are drawn up in swing."""
    own = leg_phase(phase, side)
    count, cycle = np.divmod(own - TOUCH, 1.0)
    cycle = cycle + TOUCH
    ankle = ankle_path(body, stride, side, cycle)
    ankle[:, 2] += (count - (own - phase)) * stride.length
    pitch = foot_pitch(stride.norm, cycle)
    lift = stride.norm.foot_off - BALL_LEAD
    toes = np.where(pitch > 0, pitch, pitch * ease(cycle, lift, lift + 2 * JOINING))
    toes += TOE_LIFT * hold(cycle, (lift, 0.75), (0.82, 1.0))
    return FootPath(ankle, rotation_about("x", -pitch), rotation_about("x", -toes))


def _upper_body(norm: GaitNorm, phase: np.ndarray) -> dict[str, np.ndarray]:
    """Trunk upright and turned against the pelvis, face forward, each arm swinging with the other leg."""
    turn, drop = curve(norm.rotation, phase, odd=True), curve(norm.obliquity, phase, odd=True)
    lean = np.full(len(phase), TRUNK_LEAN)
    posture = trunk(lean, drop, TRUNK_TURN * turn)
    posture["neck"] = rotation_about("y", (1.0 - TRUNK_TURN) * turn) @ rotation_about("x", -lean)
    swing = 0.5 * ARM_SWING * norm.speed / FREE.speed
    for side in ("left", "right"):
        back = np.cos(2.0 * np.pi * leg_phase(phase, side))
        posture |= arm(side, ARM_CENTRE - swing * back, np.zeros(len(phase)), ELBOW_CENTRE - ELBOW_SWING * back)
    return posture
