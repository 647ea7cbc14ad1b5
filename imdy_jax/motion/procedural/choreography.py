"""From a score (feet, pelvis, posture, centre of pressure) to a clip that a person in balance can play.

Stage axes are SMPL's rest axes with the floor at y = 0: x to the left, y up, z forward. Arrays run over T frames.
"""

import dataclasses

import numpy as np

from imdy_jax.body.person import Body
from imdy_jax.motion.filters import continuous
from imdy_jax.motion.posing import Posed, centre_of_mass, forward_kinematics, to_matrices, to_quaternions
from imdy_jax.motion.procedural.legs import SIDES, FootPath, leg, rotation_about, solve_leg
from imdy_jax.motion.procedural.pressure import FLIGHT, com_over_pressure, press
from imdy_jax.rotation import UPRIGHT
from imdy_jax.skeleton import NUM_BODIES, joint_index

BALANCE_STEPS = 300
BALANCE_TOLERANCE = 1e-8  # m
PRESSURE_STEPS = 4  # each leaves about a tenth of the error
ARM_DROP = np.deg2rad(76.0)  # from SMPL's horizontal rest arm to a hanging one that clears the hip
ELBOW_FLEXION = np.deg2rad(15.0)  # of a relaxed arm
SPINE = ("spine1", "spine2", "spine3")


@dataclasses.dataclass(frozen=True)
class Score:
    """What the body is to do. Axes of `com` named in `balance` are met by moving the pelvis; others are ignored.

    With `pressure`, the horizontal path of `com` is only a start: it is corrected until the whole body's centre of
    pressure, its limbs' inertia included, follows `pressure`.
    """

    pelvis: np.ndarray  # (T, 3) m; where `balance` moves it, the start of the search
    R_pelvis: np.ndarray  # (T, 3, 3)
    com: np.ndarray  # (T, 3) m, whole-body centre of mass
    balance: tuple[int, ...]  # stage axes, of 0 (left), 1 (up), 2 (forward)
    feet: tuple[FootPath, FootPath]  # left, right
    posture: dict[str, np.ndarray]  # joint → rotation in its parent (T, 3, 3); other joints stay at rest
    fps: float
    pressure: np.ndarray | None = None  # (T, 2) m, x and z


def ease(time: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 before start, 1 after end, minimum jerk between (Flash & Hogan 1985): twice continuously differentiable."""
    s = np.clip((time - start) / (end - start), 0.0, 1.0)
    return s**3 * (10.0 - 15.0 * s + 6.0 * s**2)


def hold(time: np.ndarray, up: tuple[float, float], down: tuple[float, float]) -> np.ndarray:
    """0 to 1 within the interval `up`, back to 0 within `down`, s."""
    return ease(time, *up) - ease(time, *down)


def quintic(start: np.ndarray, end: np.ndarray, s: np.ndarray, duration: float) -> np.ndarray:
    """The polynomial (T, K) in s of [0, 1] with value, first and second time derivative (3, K) given at both ends."""
    powers = np.arange(6)
    rows = [
        [np.prod(powers - np.arange(d)[:, None], axis=0) * at ** np.maximum(powers - d, 0) for d in range(3)]
        for at in (0.0, 1.0)
    ]
    scale = duration ** np.arange(3)[:, None]
    coefficients = np.linalg.solve(np.concatenate(rows), np.concatenate([start * scale, end * scale]))
    return np.clip(s, 0.0, 1.0)[:, None] ** powers @ coefficients


def trunk(flexion: np.ndarray, lean_left: np.ndarray, turn_left: np.ndarray) -> dict[str, np.ndarray]:
    """Spine joints that share a trunk posture (rad, (T,)) equally."""
    parts = len(SPINE)
    rotation = (
        rotation_about("y", turn_left / parts)
        @ rotation_about("z", -lean_left / parts)
        @ rotation_about("x", flexion / parts)
    )
    return dict.fromkeys(SPINE, rotation)


def arm(side: str, flexion: np.ndarray, abduction: np.ndarray, elbow: np.ndarray) -> dict[str, np.ndarray]:
    """Shoulder and elbow of one arm, rad, (T,), from an arm that hangs beside the body.

    flexion swings the arm forward, abduction lifts it away from the body, elbow bends the forearm.
    """
    outward = 1.0 if side == "left" else -1.0
    shoulder = rotation_about("x", -flexion) @ rotation_about("z", outward * (abduction - ARM_DROP))
    return {f"{side}_shoulder": shoulder, f"{side}_elbow": rotation_about("y", -outward * elbow)}


def relaxed_arms(frames: int) -> dict[str, np.ndarray]:
    """Both arms hanging."""
    still = np.zeros(frames)
    return {k: v for side in SIDES for k, v in arm(side, still, still, still + ELBOW_FLEXION).items()}


def perform(score: Score, body: Body) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, 24, 4) and translation (T, 3) of a clip in the world (z up, facing -y) that plays the score.

    The pelvis is moved along the balance axes until the centre of mass is where the score wants it; the legs follow.
    Raises OutOfReachError where a foot is out of reach, ValueError where the balance is not found.
    """
    joints = np.asarray(body.joints, float)
    pelvis, local = _balance(score, body)
    for _ in range(PRESSURE_STEPS if score.pressure is not None else 0):
        now = press(forward_kinematics(local, pelvis, joints), body, score.fps)
        error = np.where(now.up[:, None] > FLIGHT, now.up[:, None] * score.pressure - now.moment, 0.0)
        com = score.com.copy()
        com[:, [0, 2]] += com_over_pressure(error, now.height, now.up, score.fps)
        score = dataclasses.replace(score, com=com, pelvis=pelvis)
        pelvis, local = _balance(score, body)
    upright = to_matrices(np.array(UPRIGHT))
    local[:, 0] = upright @ local[:, 0]
    return continuous(to_quaternions(local)), pelvis @ upright.T - joints[0]


def play(score: Score, body: Body) -> Posed:
    """Segment frames in stage axes with the centre of mass on its path, whatever the pressure."""
    pelvis, local = _balance(score, body)
    return forward_kinematics(local, pelvis, np.asarray(body.joints, float))


def still_frame(score: Score, frame: int) -> Score:
    """One frame of a score, as a body that rests with its centre of mass over its pressure."""
    cut = slice(frame, frame + 1)
    com = score.com[cut].copy()
    if score.pressure is not None:
        com[:, [0, 2]] = score.pressure[cut]
    left, right = (FootPath(*(x[cut] for x in foot)) for foot in score.feet)
    return dataclasses.replace(
        score,
        pelvis=score.pelvis[cut],
        R_pelvis=score.R_pelvis[cut],
        com=com,
        feet=(left, right),
        posture={joint: rotation[cut] for joint, rotation in score.posture.items()},
        pressure=None,
    )


def _balance(score: Score, body: Body) -> tuple[np.ndarray, np.ndarray]:
    """Pelvis (T, 3) and joint rotations (T, 24, 3, 3) with the centre of mass where the score wants it."""
    joints, axes = np.asarray(body.joints, float), list(score.balance)
    pelvis = score.pelvis.copy()
    for _ in range(BALANCE_STEPS):
        local = _joint_rotations(score, pelvis, body)
        error = (score.com - centre_of_mass(forward_kinematics(local, pelvis, joints), body))[:, axes]
        if np.max(np.abs(error), initial=0.0) < BALANCE_TOLERANCE:
            return pelvis, local
        pelvis[:, axes] += error
    raise ValueError(f"balance: centre of mass {np.max(np.abs(error)):.1e} m from its path, expected it met")


def _joint_rotations(score: Score, pelvis: np.ndarray, body: Body) -> np.ndarray:
    """Rotations of all joints in their parents (T, 24, 3, 3), legs by inverse kinematics."""
    local = np.tile(np.eye(3), (len(pelvis), NUM_BODIES, 1, 1))
    local[:, 0] = score.R_pelvis
    for joint, rotation in score.posture.items():
        local[:, joint_index(joint)] = rotation
    for side, foot in zip(SIDES, score.feet, strict=True):
        bones = leg(body, side)
        hip = pelvis + score.R_pelvis @ bones.hip
        lateral = score.R_pelvis[:, :, 0] + foot.R_foot[:, :, 0]
        R_thigh, R_shank = solve_leg(bones, hip, foot.ankle, lateral)
        chain = {"hip": R_thigh, "knee": R_shank, "ankle": foot.R_foot, "foot": foot.R_toes}
        parent = score.R_pelvis
        for joint, R_stage in chain.items():
            local[:, joint_index(f"{side}_{joint}")] = np.swapaxes(parent, 1, 2) @ R_stage
            parent = R_stage
    return local
