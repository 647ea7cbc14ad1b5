"""Rollout: one imitated sequence as the simulator produced it."""

import jax
from flax import struct


@struct.dataclass
class Rollout:
    """T control steps of S physics substeps; frame t is the state before step t, frame T the last state.

    Layouts of q, v, torque and wrench are those of humanoid.Humanoid and of the physics' substeps.
    """

    q: jax.Array  # (T+1, 99)
    v: jax.Array  # (T+1, 75)
    target: jax.Array  # (T, 23, 4) PD target, child in parent
    substep_v: jax.Array  # (T, S, 75) velocity after each substep
    torque: jax.Array  # (T, S, 23, 3) N·m
    wrench: jax.Array  # (T, S, 24, 6) N, N·m about the segment's joint
    clipped: jax.Array  # (T, S, 23) bool
    converged: jax.Array  # (T, S) bool
    reference: jax.Array  # (T+1, 24, 3) m, joint positions of the motion being imitated
