"""What the equation of motion asks for in each step, from recorded motion: what contact forces have to explain.

Summed over the body, M(q) v̇ + b(q, v) = [0₆; τ] + Σ_b J_bᵀ W_b says that the forces f_b, acting at the points x_b, are
the one force and moment that the motion of the whole body takes (Newton, Euler), and that a joint's torque is what the
motion of all that hangs on it takes, less what those forces do there. All of it is linear in the forces:

    Σ_b f_b = F        Σ_b (x_b − c) × f_b = N        τ_j = τ_free,j − R_jᵀ Σ_{b beyond j} (x_b − p_j) × f_b

F, N (about the centre of mass c) and τ_free are inverse dynamics of the recorded q, v and v̇ at every substep. A force
on a segment says not where it acts, so x_b is where the segment's recorded load meets the floor (the segment's joint
where it bears none), and what moment the load has about x_b, which is about the vertical, is added as it was recorded.

What is kept is linear in time, moments about the world's origin, so that a step of any rate is the mean of its parts.
Where a force changes while the body turns within a step, means do not commute: tests/test_solver_balance.py bounds it.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax import rotation
from imdy_jax.dataset.blocks import map_frames
from imdy_jax.dynamics.contact_sequence import needed_wrench
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.humanoid import Humanoid
from imdy_jax.skeleton import NUM_BODIES, NUM_JOINTS
from imdy_jax.solver.rates import substep_poses

SHAPES = {
    "wanted": (6,), "centre": (3,), "torque": (NUM_JOINTS, 3), "moment": (NUM_BODIES, 3), "joint": (NUM_BODIES, 3),
    "rotation": (NUM_BODIES, 4),
}  # fmt: skip
SIZE = sum(int(np.prod(shape)) for shape in SHAPES.values())  # numbers of one step


class Balance(NamedTuple):
    """Means over a step, world axes unless told otherwise. Leading axes are allowed."""

    wanted: jax.Array  # (6,) N, and N·m about the world's origin: what the motion takes from outside
    centre: jax.Array  # (3,) m, centre of mass
    torque: jax.Array  # (23, 3) N·m if nothing touched the body, child axes
    moment: jax.Array  # (24, 3) N·m of each segment's recorded load about the world's origin
    joint: jax.Array  # (24, 3) m
    rotation: jax.Array  # (24, 4) body-to-world; of any length, as a mean is


def as_rows(balance: Balance) -> jax.Array:
    """All numbers of a balance in one row (..., SIZE)."""
    flat = [x.reshape(*x.shape[: x.ndim - len(shape)], -1) for x, shape in zip(balance, SHAPES.values(), strict=True)]
    return jnp.concatenate(flat, axis=-1)


def from_rows(rows: jax.Array) -> Balance:
    """The inverse of as_rows."""
    ends = np.cumsum([int(np.prod(shape)) for shape in SHAPES.values()])[:-1]
    parts = jnp.split(rows, ends, axis=-1)
    return Balance(*(x.reshape(*x.shape[:-1], *shape) for x, shape in zip(parts, SHAPES.values(), strict=True)))


def recorded_balance(
    humanoid: Humanoid, timestep: float, parts: int, q: np.ndarray, v: np.ndarray, substep_v: np.ndarray,
    wrench: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """The rows (T·parts, SIZE) of a recorded sequence, computed in float64.

    Args:
      humanoid: the subject.
      timestep: s, of a substep.
      parts: into which each control step is divided.
      q, v: (T+1, 99) and (T+1, 75) at the control steps.
      substep_v: (T, S, 75) after each substep.
      wrench: (T, S, 24, 6) during it, as a record has it.
    """
    rows = map_frames(_steps, (humanoid, np.float64(timestep)), (q[:-1], v[:-1], substep_v, wrench))
    means = rows.reshape(len(rows) * parts, -1, SIZE).mean(axis=1)
    turned = means[:, -NUM_BODIES * 4 :].reshape(-1, NUM_BODIES, 4)
    same = np.sum(turned[1:] * turned[:-1], axis=-1) >= 0
    sign = np.cumprod(np.where(same, 1.0, -1.0), axis=0)  # a quaternion and its opposite have no mean
    turned[1:] *= sign[..., None]
    return means


@jax.jit
def _steps(constants: tuple[Humanoid, jax.Array], steps: tuple[jax.Array, ...]) -> jax.Array:
    """Rows (T, S, SIZE) at the substeps of control steps: q (T, 99), v (T, 75), substep_v (T, S, 75), wrench."""
    humanoid, timestep = constants
    at_substep = jax.vmap(partial(_at_substep, humanoid))

    def one(q: jax.Array, v: jax.Array, after: jax.Array, wrench: jax.Array) -> jax.Array:
        before = jnp.concatenate([v[None], after[:-1]])
        return at_substep(substep_poses(timestep, q, after), before, (after - before) / timestep, wrench)

    return jax.vmap(one)(*steps)


def _at_substep(humanoid: Humanoid, q: jax.Array, v: jax.Array, a: jax.Array, wrench: jax.Array) -> jax.Array:
    pose = forward_kinematics(humanoid, q)
    mass = humanoid.mass[:, None]
    middle = pose.position + rotation.rotate(pose.rotation, humanoid.com)
    torque, residual = inverse_dynamics(humanoid, q, v, a)
    wanted = needed_wrench(q[None], residual[None], jnp.zeros((1, 3), q.dtype))[0]
    moment = wrench[:, 3:] + jnp.cross(pose.position, wrench[:, :3])
    centre = jnp.sum(mass * middle, axis=0) / jnp.sum(mass)
    return as_rows(Balance(wanted, centre, torque, moment, pose.position, pose.rotation))
