"""Motion in a mirror, the plane x = 0: left and right change places (imdy_jax.motion.resample.mirror).

A policy that has learnt a motion has learnt its mirror image, too, on a body that is symmetric: it is shown the
reflection of what is there, and does the reflection of what it would do.
"""

import jax
import numpy as np

from envs.reference import Bodies
from imdy_jax.skeleton import MIRROR, NUM_JOINTS

_SIDES = np.array(MIRROR)
_POINT = np.array([-1.0, 1.0, 1.0], np.float32)  # of positions and velocities
_TURN = -_POINT  # of angular velocities and rotation vectors, in the world and in a body's axes alike
_ROTATION = np.array([1.0, 1.0, -1.0, -1.0], np.float32)


def reflected(bodies: Bodies) -> Bodies:
    """Bodies (..., 24, ·) in the mirror."""
    return Bodies(
        rotation=bodies.rotation[..., _SIDES, :] * _ROTATION,
        position=reflected_points(bodies.position),
        angular=bodies.angular[..., _SIDES, :] * _TURN,
        linear=reflected_points(bodies.linear),
    )


def reflected_points(points: jax.Array) -> jax.Array:
    """Joint positions (..., 24, 3) in the mirror, or velocities."""
    return points[..., _SIDES, :] * _POINT


def reflected_action(action: jax.Array) -> jax.Array:
    """Action (..., 69), a rotation vector in child axes for each joint, in the mirror."""
    turns = action.reshape(*action.shape[:-1], NUM_JOINTS, 3)[..., _SIDES[1:] - 1, :] * _TURN
    return turns.reshape(action.shape)
