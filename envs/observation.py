"""What the policy sees, in the heading frame of the root: itself, its shape, and how far the reference is (PHC)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from envs.mirror import reflected, reflected_points
from envs.recovery import Recovery, waiting
from envs.reference import Bodies, ReferenceTable
from envs.select import select
from envs.switching import Placed, put_bodies, put_points
from imdy_jax import rotation
from imdy_jax.humanoid import NUM_BETAS
from imdy_jax.skeleton import NUM_BODIES, joint_index

SELF_SIZE = 1 + 3 * (NUM_BODIES - 1) + (6 + 3 + 3) * NUM_BODIES
REFERENCE_SIZE = (3 + 6 + 3 + 3 + 3 + 6) * NUM_BODIES
# Where these will be, seen from where one is, tells a jump from a squat before it is too late.
FORESEEN = np.array([joint_index(name) for name in (
    "pelvis", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_foot", "right_foot",
    "head", "left_wrist", "right_wrist",
)])  # fmt: skip


def observation_size(moments: int) -> int:
    """Numbers in an observation that foresees so many moments."""
    return SELF_SIZE + NUM_BETAS + REFERENCE_SIZE + 3 * len(FORESEEN) * moments


def observe(bodies: Bodies, reference: Bodies, betas: jax.Array, later: jax.Array) -> jax.Array:
    """Observation: own state (358), shape (10), the reference of the next frame against it (576), and later moments.

    later (K, 24, 3) m: the reference's joint positions further on, of which FORESEEN are seen (PHC's future variant).
    """
    turn = rotation.conjugate(rotation.heading(bodies.rotation[0]))
    root = bodies.position[0]
    own_position = rotation.rotate(turn, bodies.position - root)
    own = [bodies.position[0, 2:], own_position[1:], _rotation_6d(turn, bodies.rotation)]
    own += [rotation.rotate(turn, bodies.linear), rotation.rotate(turn, bodies.angular)]

    gap = rotation.multiply(reference.rotation, rotation.conjugate(bodies.rotation))
    gap_in_heading = rotation.multiply(rotation.multiply(turn, gap), rotation.conjugate(turn))
    ahead = rotation.rotate(turn, reference.position - root)
    goal = [ahead - own_position, rotation.to_6d(gap_in_heading)]
    goal += [rotation.rotate(turn, reference.linear - bodies.linear)]
    goal += [rotation.rotate(turn, reference.angular - bodies.angular)]
    goal += [ahead, _rotation_6d(turn, reference.rotation)]
    foreseen = rotation.rotate(turn, later[:, FORESEEN] - root)
    return jnp.concatenate([x.reshape(-1) for x in (*own, betas, *goal, foreseen)])


def observe_all(
    table: ReferenceTable, betas: jax.Array, bodies: Bodies, clip: jax.Array, frame: jax.Array, ahead: tuple[int, ...],
    recovery: Recovery | None, placed: Placed | None, sight: float,
) -> jax.Array:  # fmt: skip
    """Observations (N, O) of bodies (N, 24, ...), shaped by betas (N, 10), at frame (N,) of clip (N,), of moments so
    many control steps ahead of the next one. Who recovers sees its reference wait, and at most sight (m) away.
    Who follows in a mirror sees everything there.
    """
    goal = put_bodies(placed, table.at(clip, frame + 1))
    further = 1 + jnp.asarray(ahead, jnp.int32)
    later = put_points(placed, table.bodies.position[table.row(clip[:, None], frame[:, None] + further)])
    if recovery is not None:
        rest = partial(waiting, moments=len(further), sight=sight)
        waits = jax.vmap(rest)(bodies, put_bodies(placed, table.at(clip, frame)))
        goal, later = select(recovery.active, waits, (goal, later))
    if table.mirrored is not None:
        there = reflected(bodies), reflected(goal), reflected_points(later)
        bodies, goal, later = select(table.mirrored[clip], there, (bodies, goal, later))
    return jax.vmap(observe)(bodies, goal, betas, later).astype(jnp.float32)


def _rotation_6d(turn: jax.Array, rotations: jax.Array) -> jax.Array:
    return rotation.to_6d(rotation.multiply(turn, rotations))
