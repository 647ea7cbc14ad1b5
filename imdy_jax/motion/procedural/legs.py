"""Legs that reach their feet: sole geometry, planted feet that roll from heel to toe, and two-bone inverse kinematics.

Stage axes are SMPL's rest axes with the floor at y = 0: x to the left, y up, z forward. Arrays run over T frames.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from imdy_jax.body.person import Body
from imdy_jax.motion.posing import segment_vertices
from imdy_jax.skeleton import LEFT_FOOT, RIGHT_FOOT, joint_index

SIDES = ("left", "right")
HEEL_INSET = 0.2  # of the heel's length behind the ankle: a rounded heel rolls about a point before its end
MIN_KNEE = np.deg2rad(3.0)  # flexion of a knee as straight as people walk and stand


class OutOfReachError(ValueError):
    """A foot further from the hip than the leg is long."""


class Leg(NamedTuple):
    """Rest geometry of one leg, m, stage axes; vectors from joint to joint."""

    hip: np.ndarray  # (3,) from the pelvis joint
    thigh: np.ndarray  # (3,) hip to knee
    shank: np.ndarray  # (3,) knee to ankle
    ankle_height: float  # of the ankle above the floor when the foot is flat
    heel: np.ndarray  # (3,) ankle to the point about which the heel rolls
    ball: np.ndarray  # (3,) ankle to the toe joint
    toe_tip: float  # m, from the ankle forward to the tip of the toes


class FootPath(NamedTuple):
    """Where one foot is."""

    ankle: np.ndarray  # (T, 3) m
    R_foot: np.ndarray  # (T, 3, 3)
    R_toes: np.ndarray  # (T, 3, 3)


def leg(body: Body, side: str) -> Leg:
    """Rest geometry of the left or right leg of a body."""
    joints, vertices = np.asarray(body.joints, float), np.asarray(body.vertices, float)
    hip, knee, ankle, ball = (joints[joint_index(f"{side}_{name}")] for name in ("hip", "knee", "ankle", "foot"))
    sole = vertices[segment_vertices(body, LEFT_FOOT if side == "left" else RIGHT_FOOT)] - ankle
    bottom, back = sole[:, 1].min(), sole[:, 2].min()
    heel = np.array([ball[0] - ankle[0], bottom, back * (1.0 - HEEL_INSET)])
    return Leg(hip - joints[0], knee - hip, ankle - knee, -float(bottom), heel, ball - ankle, float(sole[:, 2].max()))


def rotation_about(axis: str, angle: np.ndarray) -> np.ndarray:
    """Rotation matrices (T, 3, 3) about a stage axis "x", "y" or "z" by angles (T,), rad."""
    return Rotation.from_rotvec(np.atleast_1d(angle)[:, None] * np.eye(3)["xyz".index(axis)]).as_matrix()


def plant(
    leg: Leg, position: np.ndarray, yaw: np.ndarray, pitch: np.ndarray, toes: np.ndarray | None = None
) -> FootPath:
    """A foot on its footprint that rolls without sliding: toes up about the heel, heel up about the toe joint.

    position (T, 2): x and z of the ankle when the foot is flat; yaw (T,) to the left and pitch (T,) toes up, rad.
    toes (T,): pitch of the toes; by default they stay flat on the floor while the heel is up.
    """
    turn, tilt = rotation_about("y", yaw), rotation_about("x", -pitch)
    pivot = np.where(pitch[:, None] > 0, leg.heel, leg.ball)
    moved = pivot - np.einsum("tij,tj->ti", tilt, pivot)
    flat = np.stack([position[:, 0], np.full(len(pitch), leg.ankle_height), position[:, 1]], axis=1)
    toe_pitch = np.maximum(pitch, 0.0) if toes is None else toes
    return FootPath(flat + np.einsum("tij,tj->ti", turn, moved), turn @ tilt, turn @ rotation_about("x", -toe_pitch))


def reach(leg: Leg, knee_flexion: np.ndarray | float) -> np.ndarray:
    """Distance (m) from hip to ankle with the knee flexed by an angle (rad) from the straight leg."""
    along, across, offset = _knee_terms(leg)
    scalar = offset + np.hypot(along, across) * np.cos(knee_flexion)
    return np.sqrt(leg.thigh @ leg.thigh + leg.shank @ leg.shank + 2.0 * scalar)


def straight_knee(leg: Leg) -> float:
    """Flexion (rad) from the rest pose at which the leg is straight: minus the bend of the rest pose."""
    along, across, _ = _knee_terms(leg)
    return float(np.arctan2(across, along))


def _knee_terms(leg: Leg) -> tuple[float, float, float]:
    """thigh · Rx(θ) shank = along·cos θ + across·sin θ + offset."""
    u, s = leg.thigh, leg.shank
    return u[1] * s[1] + u[2] * s[2], u[2] * s[1] - u[1] * s[2], u[0] * s[0]


def solve_leg(leg: Leg, hip: np.ndarray, ankle: np.ndarray, lateral: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thigh and shank orientations (T, 3, 3) that take the ankle (T, 3) from the hip (T, 3); the knee is a hinge.

    The distance fixes the knee's flexion (law of cosines); of the rotations that then point the leg at the ankle,
    the one whose knee axis is closest to `lateral` (T, 3) is taken, so the knee bends forwards.
    Raises OutOfReachError naming the frame in which the ankle is furthest out of reach.
    """
    along, across, offset = _knee_terms(leg)
    target = ankle - hip
    square = np.sum(target**2, axis=1)
    cosine = (square - leg.thigh @ leg.thigh - leg.shank @ leg.shank - 2 * offset) / (2 * np.hypot(along, across))
    if np.any(np.abs(cosine) > 1):
        frame = int(np.argmax(np.abs(cosine)))
        raise OutOfReachError(
            f"leg: ankle at {np.sqrt(square[frame]):.3f} m from the hip in frame {frame}, expected at most "
            f"{reach(leg, 0.0):.3f} m; lower the pelvis or shorten the step"
        )
    R_knee = rotation_about("x", straight_knee(leg) + np.arccos(cosine))
    pointing = leg.thigh + R_knee @ leg.shank
    axis = np.broadcast_to([1.0, 0.0, 0.0], pointing.shape)
    R_thigh = _frame(target, lateral) @ np.swapaxes(_frame(pointing, axis), 1, 2)
    return R_thigh, R_thigh @ R_knee


def sagittal_angles(leg: Leg, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pitch of the thigh (forward) and flexion of the knee, (2, T), rad, for an ankle at target (T, 3) from the hip.

    Also by how much (T,), m, the target is beyond the reach of a knee flexed by MIN_KNEE; out of reach it is straight.
    """
    along, across, offset = _knee_terms(leg)
    square = np.sum(target**2, axis=1)
    cosine = (square - leg.thigh @ leg.thigh - leg.shank @ leg.shank - 2 * offset) / (2 * np.hypot(along, across))
    knee = np.arccos(np.clip(cosine, -1.0, 1.0))
    thigh = np.arctan2(target[:, 2], -target[:, 1]) + _thigh_to_line(leg, knee)
    return np.stack([thigh, knee]), np.maximum(np.sqrt(square) - reach(leg, MIN_KNEE), 0.0)


def sagittal_ankle(leg: Leg, angles: np.ndarray, lateral: np.ndarray) -> np.ndarray:
    """Inverse of sagittal_angles: ankle (T, 3) from the hip at thigh and knee angles (2, T), `lateral` (T,) m left."""
    thigh, knee = angles
    length = np.sqrt(np.maximum(reach(leg, knee) ** 2 - lateral**2, 0.0))
    line = thigh - _thigh_to_line(leg, knee)
    return np.stack([lateral, -length * np.cos(line), length * np.sin(line)], axis=1)


def _thigh_to_line(leg: Leg, knee: np.ndarray) -> np.ndarray:
    """Angle (T,), rad, between the thigh and the line from hip to ankle."""
    upper, lower = np.linalg.norm(leg.thigh[1:]), np.linalg.norm(leg.shank[1:])
    return np.arctan2(lower * np.sin(knee), upper + lower * np.cos(knee))


def _frame(direction: np.ndarray, lateral: np.ndarray) -> np.ndarray:
    """Orthonormal frames (T, 3, 3) with the first column along a direction, the second close to `lateral`."""
    first = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    second = lateral - np.sum(lateral * first, axis=1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], axis=2)
