"""What the policy sees, in the heading frame of the root: itself, its shape, and how far the reference is (PHC)."""

import jax
import jax.numpy as jnp
import numpy as np

from envs.reference import Bodies
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


def _rotation_6d(turn: jax.Array, rotations: jax.Array) -> jax.Array:
    return rotation.to_6d(rotation.multiply(turn, rotations))
