"""Contact at a record's frames, for what shows a pose and its forces together."""

import jax
import numpy as np

from imdy_jax.dataset.blocks import map_frames
from imdy_jax.dataset.record import Record, body_points
from imdy_jax.dynamics.kinematics import forward_kinematics, integrate


def wrench_at_frames(record: Record) -> np.ndarray:
    """Contact wrenches (T+1, 24, 6) on the segments: the mean over one control step about each frame.

    N, and N·m about the segments' joints as they are at the frame; world axes. `contact_force` is the mean behind each
    frame, half a control step late. At both ends half the mean is all there is.
    """
    steps, substeps = np.asarray(record.substep_v).shape[:2]
    constants = record.subject.humanoid, np.asarray(record.provenance.timestep)
    joints = map_frames(_substep_joints, constants, (np.asarray(record.q)[:-1], record.substep_v))
    given = np.asarray(record.wrench, float)
    moment = given[..., 3:] + np.cross(joints, given[..., :3])  # about the world's origin, so that they can be added up
    given = np.concatenate([given[..., :3], moment], axis=-1).reshape(steps * substeps, -1, 6)
    half, at = max(substeps // 2, 1), np.arange(steps + 1) * substeps
    mean = np.stack([given[max(k - half, 0) : k + half].mean(axis=0) for k in at])
    mean[..., 3:] -= np.cross(body_points(record.subject, np.asarray(record.q))[0], mean[..., :3])
    return mean


@jax.jit
def _substep_joints(constants: tuple, frames: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Where the joints are as each substep begins, (T, S, 24, 3) m."""
    humanoid, timestep = constants

    def advance(q: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        return integrate(q, v, timestep), forward_kinematics(humanoid, q).position

    return jax.vmap(lambda q, substep_v: jax.lax.scan(advance, q, substep_v)[1])(*frames)
