"""The motions to imitate as one table of frames: poses, velocities and feed-forward torques of every clip."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from imdy_jax.dynamics.contact import supported_torque
from imdy_jax.dynamics.differentiate import accelerations, velocities
from imdy_jax.dynamics.kinematics import body_velocities, forward_kinematics
from imdy_jax.humanoid import Humanoid
from imdy_jax.motion.filters import lowpass

FEEDFORWARD_CUTOFF = 6.0  # Hz: accelerations for the feed-forward torque come from the reference low-passed here
_BLOCK = 64  # frames that are analysed in one call


class Bodies(NamedTuple):
    """State of all bodies of one humanoid, world axes."""

    rotation: jax.Array  # (24, 4)
    position: jax.Array  # (24, 3) m
    angular: jax.Array  # (24, 3) rad/s
    linear: jax.Array  # (24, 3) m/s


@struct.dataclass
class ReferenceTable:
    """F frames of all clips, one after the other; clip c occupies start[c] … start[c] + length[c] − 1."""

    q: jax.Array  # (F, 99)
    v: jax.Array  # (F, 75)
    a: jax.Array  # (F, 75) v̇ of the low-passed motion
    bodies: Bodies  # leaves (F, 24, ...)
    feedforward: jax.Array | None  # (F, 23, 3) N·m, child axes; None where nobody asks for it
    start: jax.Array  # (C,) int
    length: jax.Array  # (C,) int
    mirrored: jax.Array | None = None  # (C,) bool: clips that a policy follows in a mirror; None: no clip is

    @property
    def num_clips(self) -> int:
        return self.start.shape[0]

    def row(self, clip: jax.Array, frame: jax.Array) -> jax.Array:
        """Row of a frame of a clip; past its end the clip holds its last frame."""
        return self.start[clip] + jnp.clip(frame, 0, self.length[clip] - 1)

    def at(self, clip: jax.Array, frame: jax.Array) -> Bodies:
        """Bodies (N, 24, ...) at frame (N,) of clip (N,)."""
        row = self.row(clip, frame)
        return jax.tree.map(lambda x: x[row], self.bodies)


def body_state(humanoid: Humanoid, q: jax.Array, v: jax.Array) -> Bodies:
    """Pose and motion of every body at q (99,), v (75,)."""
    pose = forward_kinematics(humanoid, q)
    motion = body_velocities(humanoid, pose, v)
    return Bodies(pose.rotation, pose.position, motion.angular, motion.linear)


def build_table(
    humanoids: Humanoid, trajectories: list[np.ndarray], fps: float, feedforward: bool = True
) -> ReferenceTable:
    """Table of C trajectories q (T_c, 99) at fps, the c-th for subject c of the stacked humanoids (C, ...).

    feedforward: with it, which takes most of the time.
    """
    people = jax.tree.map(np.asarray, humanoids)
    parts = [
        _reference(jax.tree.map(lambda x, c=c: x[c], people), np.asarray(q), fps, feedforward)
        for c, q in enumerate(trajectories)
    ]
    length = np.array([len(q) for q in trajectories])
    start = np.concatenate([[0], np.cumsum(length)[:-1]])
    # On the host: in JAX every number of clips, and every length, would compile programs of its own.
    q, v, a, bodies, torque = jax.tree.map(lambda *xs: jnp.asarray(np.concatenate(xs)), *parts)
    return ReferenceTable(q, v, a, bodies, torque, jnp.asarray(start), jnp.asarray(length))


def padded(table: ReferenceTable) -> ReferenceTable:
    """The table with more frames and clips, the last ones over again, in numbers of which there are few (standard)."""

    def grown(x: jax.Array) -> jax.Array:
        more = standard(len(x)) - len(x)
        return jnp.asarray(np.pad(np.asarray(x), [(0, more)] + [(0, 0)] * (x.ndim - 1), mode="edge"))

    return jax.tree.map(grown, table)


def standard(count: int) -> int:
    """The next of few sizes: four between a number and its double, so that at most a fourth is added."""
    step = 1 << max(count.bit_length() - 3, 0)
    return -(-count // step) * step


def _reference(humanoid: Humanoid, q: np.ndarray, fps: float, feedforward: bool) -> tuple:
    """q, v, v̇, bodies and feed-forward torque of one trajectory, in blocks, so that every length runs one program."""
    smooth, rate, dtype = lowpass(q, fps, FEEDFORWARD_CUTOFF), velocities(q, fps), humanoid.mass.dtype
    acceleration = accelerations(smooth, fps)
    bodies = _in_blocks(_bodies, humanoid, q, rate)
    torque = _in_blocks(_supported, humanoid, smooth, velocities(smooth, fps), acceleration) if feedforward else None
    return q.astype(dtype), rate.astype(dtype), acceleration.astype(dtype), bodies, torque


def _in_blocks(function: Callable[..., Any], humanoid: Humanoid, *frames: np.ndarray) -> Any:
    """function(humanoid, *frames) of frames (T, ...), _BLOCK at a time, in NumPy."""
    count = len(frames[0])
    padded = [np.pad(x, ((0, -count % _BLOCK), (0, 0)), mode="edge").astype(humanoid.mass.dtype) for x in frames]
    done = [
        jax.tree.map(np.asarray, function(humanoid, *(x[first : first + _BLOCK] for x in padded)))
        for first in range(0, count, _BLOCK)
    ]
    return jax.tree.map(lambda *xs: np.concatenate(xs)[:count], *done)


@jax.jit
def _bodies(humanoid: Humanoid, q: jax.Array, v: jax.Array) -> Bodies:
    return jax.vmap(body_state, in_axes=(None, 0, 0))(humanoid, q, v)


@jax.jit
def _supported(humanoid: Humanoid, q: jax.Array, v: jax.Array, a: jax.Array) -> jax.Array:
    return jax.vmap(supported_torque, in_axes=(None, 0, 0, 0))(humanoid, q, v, a)[0]
