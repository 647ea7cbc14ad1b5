"""Movements of one foot at a time: side step, turn, march, lunge, half kneel.

The weight goes over the standing foot before the other one leaves the floor, and the body leans ahead of it.
"""

import dataclasses

import numpy as np
from scipy.optimize import brentq

from imdy_jax.motion.posing import segment_vertices, surface_points
from imdy_jax.motion.procedural.choreography import Score, ease, hold, play, still_frame
from imdy_jax.motion.procedural.legs import SIDES, FootPath, leg, plant, rotation_about
from imdy_jax.motion.procedural.stand import Stand, balanced
from imdy_jax.skeleton import joint_index

RAD = np.pi / 180.0
LEFT, RIGHT = 0, 1
HEEL_UP = 20.0 * RAD  # from this pitch the toes carry all the weight of a foot


@dataclasses.dataclass(frozen=True)
class Step:
    """One foot leaves its print at `start` and rests on the next one at `end`, s."""

    side: int  # LEFT or RIGHT
    start: float
    end: float
    x: float  # m, print: ankle of the flat foot
    z: float
    yaw: float = 0.0  # rad, to the left
    lift: float = 0.08  # m


def stepping_feet(
    pose: Stand, time: np.ndarray, steps: tuple[Step, ...], pitch: tuple[np.ndarray, np.ndarray]
) -> tuple[FootPath, FootPath]:
    """Feet that follow the steps; pitch (T,) of the left and right foot, rad, toes up."""
    paths = []
    for side in (LEFT, RIGHT):
        prints, lift = _prints(pose, time, steps, side)
        path = plant(leg(pose.body, SIDES[side]), prints[:, :2], prints[:, 2], pitch[side])
        paths.append(path._replace(ankle=path.ankle + lift[:, None] * np.array([0.0, 1.0, 0.0])))
    return paths[0], paths[1]


def _prints(pose: Stand, time: np.ndarray, steps: tuple[Step, ...], side: int) -> tuple[np.ndarray, np.ndarray]:
    """Print (x, z, yaw) of one foot (T, 3), moving during its steps, and its lift above the floor (T,)."""
    here = np.array([pose.width * (1.0 - 2.0 * side), 0.0, 0.0])
    path, lift = np.tile(here, (len(time), 1)), np.zeros(len(time))
    for step in (step for step in steps if step.side == side):
        there = np.array([step.x, step.z, step.yaw])
        path += ease(time, step.start, step.end)[:, None] * (there - here)
        s = np.clip((time - step.start) / (step.end - step.start), 0.0, 1.0)
        lift += step.lift * 64.0 * (s * (1.0 - s)) ** 3  # C2 at both ends, steeper than the way forward
        here = there
    return path, lift


def load_left(time: np.ndarray, steps: tuple[Step, ...], shift: float = 0.6) -> np.ndarray:
    """Share (T,) of the weight on the left foot: none while it steps, all while the right one does, else half.

    shift: s, in which the weight leaves the middle before the first step and comes back after the last.
    """
    share, level, free = np.full(len(time), 0.5), 0.5, steps[0].start - shift
    for step in steps:
        share += (step.side - level) * ease(time, free, step.start)
        level, free = float(step.side), step.end
    return share + (0.5 - level) * ease(time, free, free + shift)


def stepping_pressure(
    pose: Stand, time: np.ndarray, steps: tuple[Step, ...], load: np.ndarray, pitch: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Pressure (T, 2) shared between both feet by the load (T,) on the left one.

    Each foot carries it under its middle, or under its toes while the heel is up.
    """
    points = []
    for side, sign in ((LEFT, 1.0), (RIGHT, -1.0)):
        prints, _ = _prints(pose, time, steps, side)
        ahead = pose.centre[1] + (pose.toes - pose.centre[1]) * ease(-pitch[side], 0.0, HEEL_UP)
        offset = np.stack([np.full(len(time), sign * pose.centre[0]), 0.0 * time, ahead], axis=1)
        moved = np.einsum("tij,tj->ti", rotation_about("y", prints[:, 2]), offset)
        points.append(prints[:, :2] + moved[:, [0, 2]])
    return load[:, None] * points[LEFT] + (1.0 - load[:, None]) * points[RIGHT]


def _step_score(
    pose: Stand,
    time: np.ndarray,
    fps: float,
    steps: tuple[Step, ...],
    drop: np.ndarray,
    load: np.ndarray | None = None,
    pitch: tuple[np.ndarray, np.ndarray] | None = None,
    heading: np.ndarray | None = None,
) -> Score:
    """Score of a body that steps; drop (T,) of the pelvis as a share of leg length, heading (T,) of the pelvis, rad."""
    load = load_left(time, steps) if load is None else load
    pitch = (0.0 * time, 0.0 * time) if pitch is None else pitch
    return balanced(
        pose, stepping_pressure(pose, time, steps, load, pitch), fps, stepping_feet(pose, time, steps, pitch),
        rise=-drop * pose.leg_length, R_pelvis=None if heading is None else rotation_about("y", heading),
    )  # fmt: skip


def _while_stepping(time: np.ndarray, steps: tuple[Step, ...]) -> np.ndarray:
    """1 from the first step to the last (T,), with the shifts of weight before and after."""
    return hold(time, (steps[0].start - 0.6, steps[0].start), (steps[-1].end, steps[-1].end + 0.6))


def side_step(pose: Stand, time: np.ndarray, fps: float) -> Score:
    """A step to the left, feet together, a step back to the right, feet together."""
    far, wide = 0.25 * pose.leg_length, pose.width
    steps = (
        Step(LEFT, 0.8, 1.4, wide + far, 0.0),
        Step(RIGHT, 2.0, 2.6, -wide + far, 0.0),
        Step(RIGHT, 3.3, 3.9, -wide, 0.0),
        Step(LEFT, 4.5, 5.1, wide, 0.0),
    )
    return _step_score(pose, time, fps, steps, 0.075 * _while_stepping(time, steps))


def turn(pose: Stand, time: np.ndarray, fps: float) -> Score:
    """A quarter turn to the left on the spot in four steps, the pelvis turning smoothly above them."""
    steps = []
    for side, start, degrees in ((LEFT, 0.8, 45.0), (RIGHT, 1.8, 45.0), (LEFT, 2.8, 90.0), (RIGHT, 3.8, 90.0)):
        yaw, sign = degrees * RAD, 1.0 - 2.0 * side
        steps.append(
            Step(side, start, start + 0.55, sign * pose.width * np.cos(yaw), -sign * pose.width * np.sin(yaw), yaw)
        )
    heading = 45.0 * RAD * (ease(time, 0.7, 2.4) + ease(time, 2.7, 4.4))
    return _step_score(pose, time, fps, tuple(steps), 0.03 * _while_stepping(time, tuple(steps)), heading=heading)


def march(pose: Stand, time: np.ndarray, fps: float) -> Score:
    """Four high steps on the spot."""
    steps = tuple(
        Step(side, 0.8 + 1.1 * i, 1.5 + 1.1 * i, pose.width * (1.0 - 2.0 * side), 0.0, lift=0.25 * pose.leg_length)
        for i, side in enumerate((LEFT, RIGHT, LEFT, RIGHT))
    )
    return _step_score(pose, time, fps, steps, 0.02 * _while_stepping(time, steps))


def lunge(pose: Stand, time: np.ndarray, fps: float) -> Score:
    """The right foot steps forward, the body goes down between the feet and comes up, the foot steps back."""
    steps = (Step(RIGHT, 0.9, 1.5, -pose.width, 0.55 * pose.leg_length), Step(RIGHT, 4.6, 5.2, -pose.width, 0.0))
    apart, deep = hold(time, (0.2, 1.3), (4.8, 5.8)), hold(time, (1.8, 2.8), (3.2, 4.2))
    heel = -(25.0 * hold(time, (1.1, 1.8), (4.3, 5.0)) + 30.0 * deep) * RAD
    load = load_left(time, steps) - 0.5 * hold(time, (1.4, 1.8), (4.2, 4.6))
    return _step_score(pose, time, fps, steps, 0.13 * apart + 0.2 * deep, load, (heel, 0.0 * heel))


def kneel(pose: Stand, time: np.ndarray, fps: float) -> Score:
    """The right foot steps back onto its toes, its knee goes down to the floor and up again, feet together."""
    steps = (Step(RIGHT, 0.9, 1.5, -pose.width, -0.72 * pose.leg_length), Step(RIGHT, 5.2, 5.8, -pose.width, 0.0))
    apart, down = hold(time, (0.2, 1.3), (5.4, 6.4)), hold(time, (1.8, 3.0), (3.8, 5.0))
    heel = -(40.0 * hold(time, (0.9, 1.5), (5.3, 5.8)) + 35.0 * down) * RAD
    load = load_left(time, steps) - 0.5 * hold(time, (1.5, 2.0), (4.7, 5.2))

    def at_depth(depth: float) -> Score:
        return _step_score(pose, time, fps, steps, 0.22 * apart + depth * down, load, (0.0 * heel, heel))

    lowest = int(np.argmax(down))
    depth = brentq(lambda depth: _knee_height(pose, at_depth(depth), lowest), 0.15, 0.45, xtol=1e-5)
    return at_depth(depth)


def _knee_height(pose: Stand, score: Score, frame: int) -> float:
    """Height (m) of the lowest point of the right thigh and shank in one frame, the body at rest over its pressure."""
    still = still_frame(score, frame)
    posed = play(still, pose.body)
    knee = segment_vertices(pose.body, (joint_index("right_hip"), joint_index("right_knee")))
    return float(surface_points(posed, pose.body, knee)[0, :, 1].min())
