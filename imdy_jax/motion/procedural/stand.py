"""Standing: where the feet, the pelvis and the pressure are, and a score for whatever is done from there."""

from typing import NamedTuple

import numpy as np

from imdy_jax.body.person import Body
from imdy_jax.motion.posing import centre_of_mass
from imdy_jax.motion.procedural.choreography import Score, play, relaxed_arms
from imdy_jax.motion.procedural.legs import SIDES, FootPath, leg, plant, reach
from imdy_jax.motion.procedural.pressure import GRAVITY, com_over_pressure
from imdy_jax.skeleton import joint_index

# Flexion of the knees of a person who stands ready to move; more where the limbs' proportions ask for it.
STAND_KNEES = tuple(np.deg2rad([12.0, 20.0, 28.0, 36.0]))


class Stand(NamedTuple):
    """A body at ease, stage axes; the flat feet's ankles are at z = 0."""

    body: Body
    width: float  # m, half the distance between the ankles
    height: float  # m, of the pelvis joint
    centre: np.ndarray  # (2,) x and z from a foot's ankle (left foot) to the middle of its sole
    ball: float  # m, from the ankle forward to the toe joint
    toes: float  # m, from the ankle forward to the middle of the toes
    leg_length: float  # m, hip to knee to ankle
    com_height: float  # m


def stand(body: Body, knee: float = STAND_KNEES[0]) -> Stand:
    """The standing pose of a body, feet as far apart as in its rest pose, with the knees flexed by an angle (rad)."""
    joints, bones = np.asarray(body.joints, float), leg(body, "left")
    width = float(joints[joint_index("left_ankle"), 0] - joints[0, 0])
    lateral = width - bones.hip[0]
    height = float(bones.ankle_height + np.sqrt(reach(bones, knee) ** 2 - lateral**2) - bones.hip[1])
    pose = Stand(
        body=body,
        width=width,
        height=height,
        centre=0.5 * (bones.heel + bones.ball)[[0, 2]],
        ball=float(bones.ball[2]),
        toes=0.5 * (float(bones.ball[2]) + bones.toe_tip),
        leg_length=float(body.leg_length),
        com_height=height,  # near enough for a body at rest, whose own centre of mass then replaces it
    )
    at_rest = balanced(pose, np.array([[0.0, pose.centre[1]]] * 2), 1.0, feet_in_place(pose, np.zeros(2)))
    return pose._replace(com_height=float(centre_of_mass(play(at_rest, body), body)[0, 1]))


def feet_in_place(pose: Stand, pitch: np.ndarray, toes: np.ndarray | None = None) -> tuple[FootPath, FootPath]:
    """Both feet where they stand; pitch (T,), rad, toes up: negative lifts the heels."""
    paths = []
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        position = np.tile([sign * pose.width, 0.0], (len(pitch), 1))
        paths.append(plant(leg(pose.body, side), position, np.zeros(len(pitch)), pitch, toes))
    return paths[0], paths[1]


def balanced(
    pose: Stand,
    pressure: np.ndarray,
    fps: float,
    feet: tuple[FootPath, FootPath],
    posture: dict[str, np.ndarray] | None = None,
    rise: np.ndarray | float = 0.0,
    R_pelvis: np.ndarray | None = None,
) -> Score:
    """Score of a body whose centre of pressure follows `pressure` (T, 2: x and z), with arms hanging unless said.

    rise (T,), m: of the pelvis above its height in standing.
    """
    frames = len(pressure)
    level = np.full(frames, pose.com_height)
    com = com_over_pressure(GRAVITY * pressure, level, np.full(frames, GRAVITY), fps)
    com = np.stack([com[:, 0], level, com[:, 1]], axis=1)
    pelvis = com.copy()
    pelvis[:, 1] = pose.height + rise
    return Score(
        pelvis=pelvis,
        R_pelvis=np.tile(np.eye(3), (frames, 1, 1)) if R_pelvis is None else R_pelvis,
        com=com,
        balance=(0, 2),
        feet=feet,
        posture=relaxed_arms(frames) | (posture or {}),
        fps=fps,
        pressure=pressure,
    )
