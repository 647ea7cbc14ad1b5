"""The simulated world behind one protocol: a pure step of N humanoids, whichever engine computes it."""

from typing import Protocol

import jax
from flax import struct

from imdy_jax.humanoid import Humanoid
from imdy_jax.mjcf import TO_SMPL
from imdy_jax.skeleton import NUM_JOINTS, joint_index

CHEST = joint_index("spine3")  # what a push acts on
CHEST_ROW = 1 + int(TO_SMPL.body_index[CHEST])  # of the bodies of the MuJoCo model; the world is the first


@struct.dataclass
class PhysicsState:
    """Everything the engine carries from step to step, for N humanoids (SMPL's joint order, see humanoid.Humanoid)."""

    q: jax.Array  # (N, 99)
    v: jax.Array  # (N, 75)
    warmstart: jax.Array  # (N, 75) the constraint solver's last acceleration: part of the state for exact replay


@struct.dataclass
class Substeps:
    """What happened within one control step, per physics substep; S substeps, world axes unless said."""

    v: jax.Array  # (N, S, 75) velocity after each substep
    torque: jax.Array  # (N, S, 23, 3) N·m net torque across each joint, child axes, implicit damping part included
    wrench: jax.Array | None  # (N, S, 24, 6) contact force (N), then moment (N·m) about the segment's joint, on the
    # segment; None unless the engine was asked to record
    clipped: jax.Array  # (N, S, 23) bool, the net torque exceeded the joint's effort limit
    converged: jax.Array  # (N, S) bool, the constraint solver met its tolerance


def joint_velocity(v: jax.Array) -> jax.Array:
    """Joint part of v (..., 75) as (..., 23, 3), rad/s, child axes."""
    return v[..., 6:].reshape(*v.shape[:-1], NUM_JOINTS, 3)


class Physics(Protocol):
    """N humanoids on a floor at z = 0 under stable PD; step is pure and may be called inside jit."""

    num_envs: int
    timestep: float  # s, of one substep
    substeps: int  # per control step
    humanoid: Humanoid  # leaves stacked (N, ...)
    devices: list[jax.Device]  # that can share the step, each with its rows

    def reset(self, q: jax.Array, v: jax.Array) -> PhysicsState:
        """State at q (N, 99), v (N, 75) with a cold constraint solver."""
        ...

    def step(
        self, state: PhysicsState, target: jax.Array, push: jax.Array | None = None
    ) -> tuple[PhysicsState, Substeps]:
        """Hold the PD target (N, 23, 4), child in parent, for one control step.

        push (N, 3) N, world axes: a force on the chest at its centre of mass; it is part of the chest's wrench.
        """
        ...
