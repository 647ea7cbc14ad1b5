"""Body: one person in the rest pose, whichever source the numbers come from."""

import jax
import jax.numpy as jnp
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
    local = points[:, None, :] - joints[None]
    posed = rotation.rotate(R_world[None], local) + p_world[None]
    return jnp.einsum("pk,pkx->px", weights, posed, precision=jax.lax.Precision.HIGHEST)
