"""Body: one person in the rest pose, whichever source the numbers come from."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from imdy_jax import rotation


@struct.dataclass
class Body:
    """A person in SMPL's rest pose and rest axes: x to the person's left, y up, z forward; metres and kilograms.

    Segment k hangs on joint k (SMPL's order) and its axes coincide with the rest axes when unposed.
    """

    joints: jax.Array  # (24, 3) rest positions of the joints
    mass: jax.Array  # (24,) kg
    com: jax.Array  # (24, 3) centre of mass of each segment, from its own joint
    inertia: jax.Array  # (24, 3, 3) kg·m², about the centre of mass, segment axes
    vertices: jax.Array  # (V, 3) rest surface
    faces: jax.Array  # (F, 3) int, counter-clockwise seen from outside
    skin: jax.Array  # (V, 24) skinning weights, rows sum to 1
    markers: jax.Array  # (66, 3) rest positions of the anatomical markers (body/markers.py names them)
    marker_skin: jax.Array  # (66, 24) skinning weights of the markers
    betas: jax.Array  # (B,) shape vector of the source model
    sex: str = struct.field(pytree_node=False)  # "female", "male" or "neutral"
    source: str = struct.field(pytree_node=False)  # "anthropometric" or the model file's name

    @property
    def leg_length(self) -> jax.Array:
        """Hip to knee to ankle, m, mean of both sides: the scale by which a translation is fitted to a person."""
        thigh = jnp.linalg.norm(self.joints[4:6] - self.joints[1:3], axis=-1)
        shank = jnp.linalg.norm(self.joints[7:9] - self.joints[4:6], axis=-1)
        return jnp.mean(thigh + shank)


def skin_points(
    points: jax.Array, weights: jax.Array, joints: jax.Array, R_world: jax.Array, p_world: jax.Array
) -> jax.Array:
    """Linear blend skinning: rest points (P, 3) with weights (P, 24) → world points (P, 3), m.

    joints (24, 3) rest; R_world (24, 4) segment quaternions and p_world (24, 3) joint positions in the world.
    """
    # The motions of the segments are blended and not the points that each would move: a few numbers per point.
    origin = p_world - rotation.rotate(R_world, joints)
    motions = jnp.concatenate([rotation.to_matrix(R_world), origin[:, :, None]], axis=-1).reshape(-1, 12)
    blended = jnp.matmul(weights, motions, precision=jax.lax.Precision.HIGHEST).reshape(-1, 3, 4)
    return jnp.sum(blended[:, :, :3] * points[:, None, :], axis=-1) + blended[:, :, 3]


def array_module(*trees: Any) -> Any:
    """jax.numpy where a leaf is being traced, else NumPy.

    Bodies are made on the host, in float64 and without compiling; by the same code within JAX, so that whatever is
    computed from a body can be differentiated by its shape.
    """
    return jnp if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees)) else np
