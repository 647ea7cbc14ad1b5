"""Mass matrix M(q) of the humanoid by composite rigid bodies, all spatial quantities in world axes about the root."""

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax import rotation
from imdy_jax.dynamics.kinematics import Pose, relative_pose
from imdy_jax.humanoid import Humanoid
from imdy_jax.skeleton import NUM_BODIES, NUM_V
from imdy_jax.tree import build_tree, subtree_sum

_DOF_BODY = np.repeat(np.arange(NUM_BODIES, dtype=np.int32), [6] + [3] * (NUM_BODIES - 1))
# [i, j] = True where dof i moves the body of dof j: its body is j's or an ancestor of it.
_MOVES = build_tree().ancestors[_DOF_BODY][:, _DOF_BODY].T > 0


def mass_matrix(humanoid: Humanoid, q: jax.Array) -> jax.Array:
    """M(q) (75, 75), kg, kg·m, kg·m² in the layout of v; symmetric positive definite."""
    pose = relative_pose(humanoid, q)
    angular, linear = _dof_axes(pose)
    mass, first, second = _composite_inertia(humanoid, pose)
    mass, first, second = mass[_DOF_BODY], first[_DOF_BODY], second[_DOF_BODY]
    momentum = mass[:, None] * linear + jnp.cross(angular, first)
    spin = jnp.einsum("kij,kj->ki", second, angular, precision=jax.lax.Precision.HIGHEST) + jnp.cross(first, linear)
    product = jnp.matmul(
        jnp.concatenate([angular, linear], axis=-1),
        jnp.concatenate([spin, momentum], axis=-1).T,
        precision=jax.lax.Precision.HIGHEST,
    )
    return jnp.where(_MOVES, product, jnp.where(_MOVES.T, product.T, 0.0))


def _dof_axes(pose: Pose) -> tuple[jax.Array, jax.Array]:
    """Unit motion of each dof (75, 3) angular, (75, 3) linear of the point at the root."""
    dtype = pose.position.dtype
    axes = jnp.swapaxes(rotation.to_matrix(pose.rotation), -1, -2)  # [k, i] = body axis i in the world
    swing = jnp.cross(pose.position[:, None, :], axes)
    lift = jnp.eye(3, dtype=dtype)
    angular = jnp.concatenate([jnp.zeros((3, 3), dtype), axes.reshape(NUM_V - 3, 3)])
    return angular, jnp.concatenate([lift, swing.reshape(NUM_V - 3, 3)])


def _composite_inertia(humanoid: Humanoid, pose: Pose) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mass (24,), first moment (24, 3) and second moment (24, 3, 3) about the root of each subtree, world axes."""
    matrix = rotation.to_matrix(pose.rotation)
    centre = pose.position + rotation.rotate(pose.rotation, humanoid.com)
    turned = jnp.einsum("kij,kjl,kml->kim", matrix, humanoid.inertia, matrix, precision=jax.lax.Precision.HIGHEST)
    square = jnp.sum(centre * centre, axis=-1)[:, None, None] * jnp.eye(3, dtype=centre.dtype)[None]
    second = turned + humanoid.mass[:, None, None] * (square - centre[:, :, None] * centre[:, None, :])
    first = humanoid.mass[:, None] * centre
    packed = jnp.concatenate([humanoid.mass[:, None], first, second.reshape(-1, 9)], axis=-1)
    total = subtree_sum(build_tree(), packed)
    return total[:, 0], total[:, 1:4], total[:, 4:].reshape(-1, 3, 3)
