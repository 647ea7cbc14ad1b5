"""What the policy sees, in the heading frame of the root: itself, its shape, and how far the reference is (PHC)."""

import jax
import jax.numpy as jnp

from envs.reference import Bodies
from imdy_jax import rotation
from imdy_jax.humanoid import NUM_BETAS
from imdy_jax.skeleton import NUM_BODIES

SELF_SIZE = 1 + 3 * (NUM_BODIES - 1) + (6 + 3 + 3) * NUM_BODIES
REFERENCE_SIZE = (3 + 6 + 3 + 3 + 3 + 6) * NUM_BODIES
OBSERVATION_SIZE = SELF_SIZE + NUM_BETAS + REFERENCE_SIZE


def observe(bodies: Bodies, reference: Bodies, betas: jax.Array) -> jax.Array:
    """Observation (944,): own state (358), shape (10), and the reference of the next frame against it (576)."""
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
    return jnp.concatenate([x.reshape(-1) for x in (*own, betas, *goal)])


def _rotation_6d(turn: jax.Array, rotations: jax.Array) -> jax.Array:
    return rotation.to_6d(rotation.multiply(turn, rotations))
