"""The motions to imitate as one table of frames: poses, velocities and feed-forward torques of every clip."""

from typing import NamedTuple

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
    feedforward: jax.Array  # (F, 23, 3) N·m, child axes
    start: jax.Array  # (C,) int
    length: jax.Array  # (C,) int

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


def build_table(humanoids: Humanoid, trajectories: list[np.ndarray], fps: float) -> ReferenceTable:
    """Table of C trajectories q (T_c, 99) at fps, the c-th for subject c of the stacked humanoids (C, ...)."""
    parts = [_reference(jax.tree.map(lambda x, c=c: x[c], humanoids), q, fps) for c, q in enumerate(trajectories)]
    length = np.array([len(q) for q in trajectories])
    start = np.concatenate([[0], np.cumsum(length)[:-1]])
    q, v, a, bodies, torque = jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)
    return ReferenceTable(q, v, a, bodies, torque, jnp.asarray(start), jnp.asarray(length))


def _reference(humanoid: Humanoid, q: np.ndarray, fps: float) -> tuple:
    """q, v, v̇, bodies and feed-forward torque of one trajectory, padded while computing so that few lengths compile."""
    q = np.asarray(q)
    smooth = lowpass(q, fps, FEEDFORWARD_CUTOFF)
    rate = jnp.asarray(velocities(q, fps))
    smooth_rate, smooth_acceleration = velocities(smooth, fps), accelerations(smooth, fps)
    pad = -len(q) % 64
    padded = [np.pad(x, ((0, pad), (0, 0)), mode="edge") for x in (q, rate, smooth, smooth_rate, smooth_acceleration)]
    bodies, torque = _analyse(humanoid, *(jnp.asarray(x, humanoid.mass.dtype) for x in padded))
    keep = lambda x: x[: len(q)]  # noqa: E731
    dtype = humanoid.mass.dtype
    smoothed = jnp.asarray(smooth_acceleration, dtype)
    return jnp.asarray(q, dtype), jnp.asarray(rate, dtype), smoothed, jax.tree.map(keep, bodies), keep(torque)


@jax.jit
def _analyse(humanoid: Humanoid, q: jax.Array, v: jax.Array, smooth_q: jax.Array, smooth_v: jax.Array, a: jax.Array):
    bodies = jax.vmap(body_state, in_axes=(None, 0, 0))(humanoid, q, v)
    torque, _ = jax.vmap(supported_torque, in_axes=(None, 0, 0, 0))(humanoid, smooth_q, smooth_v, a)
    return bodies, torque
