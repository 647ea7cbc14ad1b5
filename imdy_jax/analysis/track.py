"""Where the segments of a motion are and how fast they move, and what acts on them there; NumPy, in float64."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.dataset.blocks import map_frames
from imdy_jax.dynamics.contact import contact_points
from imdy_jax.dynamics.kinematics import body_velocities, forward_kinematics
from imdy_jax.humanoid import Humanoid

_BEARING = 1e-3  # of the largest load: with less of it a centre of pressure is not defined


class Track(NamedTuple):
    """The 24 segments at T frames, at their joints; world axes."""

    rotation: np.ndarray  # (T, 24, 4) body-to-world
    position: np.ndarray  # (T, 24, 3) m
    angular: np.ndarray  # (T, 24, 3) rad/s
    linear: np.ndarray  # (T, 24, 3) m/s
    clearance: np.ndarray  # (T,) m, height of the lowest point that can touch the floor


class Resultant(NamedTuple):
    """What the floor does to some segments together, at T frames; world axes."""

    force: np.ndarray  # (T, 3) N
    point: np.ndarray  # (T, 3) m, the centre of pressure on the floor; below the segments' middle where none is borne
    moment: np.ndarray  # (T, 3) N·m about the point: the free moment, about z alone where load is borne


def follow(humanoid: Humanoid, q: np.ndarray, v: np.ndarray) -> Track:
    """The track of q (T, 99) moving at v (T, 75)."""
    return map_frames(_follow, humanoid, (q, v))


def resultant(track: Track, wrench: np.ndarray, segments: Sequence[int]) -> Resultant:
    """Force, point and free moment of the wrenches (T, 24, 6), N and N·m about the joints, on some of the segments.

    The three are worth exactly what the wrenches are.
    """
    return resultant_at(track.position, wrench, segments)


def resultant_at(joints: np.ndarray, wrench: np.ndarray, segments: Sequence[int]) -> Resultant:
    """As resultant, of segments whose joints are at (T, 24, 3), m."""
    chosen = np.array(segments)
    given, position = np.asarray(wrench, float)[:, chosen], joints[:, chosen]
    middle = position.mean(axis=1)
    force = given[..., :3].sum(axis=1)
    about_middle = (given[..., 3:] + np.cross(position - middle[:, None], given[..., :3])).sum(axis=1)
    load = force[:, 2]
    borne = load > _BEARING * max(float(load.max(initial=0.0)), 1.0)
    divisor = np.where(borne, load, 1.0)
    x = middle[:, 0] - (about_middle[:, 1] + middle[:, 2] * force[:, 0]) / divisor
    y = middle[:, 1] + (about_middle[:, 0] - middle[:, 2] * force[:, 1]) / divisor
    pressed = np.stack([x, y, np.zeros_like(x)], axis=1)
    point = np.where(borne[:, None], pressed, middle * (1.0, 1.0, 0.0))
    return Resultant(force, point, about_middle + np.cross(middle - point, force))


@jax.jit
def _follow(humanoid: Humanoid, frames: tuple[jax.Array, jax.Array]) -> Track:
    def one(q: jax.Array, v: jax.Array) -> Track:
        pose = forward_kinematics(humanoid, q)
        motion = body_velocities(humanoid, pose, v)
        _, height = contact_points(humanoid, pose)
        return Track(pose.rotation, pose.position, motion.angular, motion.linear, jnp.min(height))

    return jax.vmap(one)(*frames)
