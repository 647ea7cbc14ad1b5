"""The simulated world behind one protocol: a pure step of N humanoids, whichever engine computes it."""

from typing import Any, NamedTuple, Protocol

import jax
from flax import struct

from envs.effort import exceeds_effort, limit_target
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


class Outcome(NamedTuple):
    """What an engine makes of one control step: arrays, on the host or in JAX, or their shapes."""

    q: Any  # (N, 99)
    v: Any  # (N, S, 75)
    warmstart: Any  # (N, 75)
    torque: Any  # (N, S, 23, 3)
    wrench: Any  # (N, S, 24, 6) or None
    converged: Any  # (N, S) bool


class Physics(Protocol):
    """N humanoids on a floor at z = 0 under stable PD.

    step is pure and may be called inside jit. Its three parts may be called one by one: `hold` and `settle`, which are
    the same for all engines, inside jit, and `run` between them outside. What is compiled then holds nothing of the
    engine, and serves other people as well.
    """

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

    def run(self, state: PhysicsState, held: jax.Array) -> Outcome:
        """What the engine makes of one control step towards a target (N, 23, 4) of `hold`; not inside jit."""
        ...


def hold(humanoid: Humanoid, state: PhysicsState, target: jax.Array) -> jax.Array:
    """The PD target (N, 23, 4) as far as the joints' effort goes, of N humanoids (leaves stacked)."""
    return jax.vmap(limit_target)(humanoid, state.q, state.v, target)


def settle(humanoid: Humanoid, out: Outcome) -> tuple[PhysicsState, Substeps]:
    """The state after a control step, and what happened within it, of N humanoids (leaves stacked)."""
    clipped = jax.vmap(jax.vmap(exceeds_effort, in_axes=(None, 0)))(humanoid, out.torque)
    after = PhysicsState(q=out.q, v=out.v[:, -1], warmstart=out.warmstart)
    return after, Substeps(out.v, out.torque, out.wrench, clipped, out.converged)
