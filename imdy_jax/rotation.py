"""SO(3) by unit quaternions, w first, body-to-world. Every function broadcasts over leading dimensions.

exp and log use Taylor branches near the singular points with safe denominators on the untaken branch, so that
values and gradients stay finite at zero rotation; log takes the short way round (|log q| ≤ π).
"""

import jax
import jax.numpy as jnp

IDENTITY = (1.0, 0.0, 0.0, 0.0)
# SMPL's rest axes are x left, y up, z forward; this rotation stands that frame up in a z-up world, facing -y.
UPRIGHT = (0.7071067811865476, 0.7071067811865476, 0.0, 0.0)


def multiply(a: jax.Array, b: jax.Array) -> jax.Array:
    """Hamilton product a∘b, (..., 4): rotate by b first, then by a."""
    aw, ax, ay, az = jnp.moveaxis(a, -1, 0)
    bw, bx, by, bz = jnp.moveaxis(b, -1, 0)
    return jnp.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def conjugate(q: jax.Array) -> jax.Array:
    """Inverse of a unit quaternion, (..., 4)."""
    return jnp.concatenate([q[..., :1], -q[..., 1:]], axis=-1)


def normalize(q: jax.Array) -> jax.Array:
    """Unit quaternion along q, (..., 4)."""
    return q / jnp.linalg.norm(q, axis=-1, keepdims=True)


def rotate(q: jax.Array, x: jax.Array) -> jax.Array:
    """Vector x (..., 3) rotated by q (..., 4)."""
    w, u = q[..., :1], q[..., 1:]
    t = 2.0 * jnp.cross(u, x)
    return x + w * t + jnp.cross(u, t)


def inverse_rotate(q: jax.Array, x: jax.Array) -> jax.Array:
    """Vector x (..., 3) rotated by the inverse of q (..., 4)."""
    return rotate(conjugate(q), x)


def to_matrix(q: jax.Array) -> jax.Array:
    """Rotation matrix (..., 3, 3) of a unit quaternion (..., 4)."""
    w, x, y, z = jnp.moveaxis(q, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def to_6d(q: jax.Array) -> jax.Array:
    """First two columns of the rotation matrix, (..., 6): continuous (Zhou et al. 2019)."""
    matrix = to_matrix(q)
    return jnp.concatenate([matrix[..., :, 0], matrix[..., :, 1]], axis=-1)


def exp(phi: jax.Array) -> jax.Array:
    """Quaternion (..., 4) of the rotation vector phi (..., 3), rad."""
    square = jnp.sum(phi * phi, axis=-1, keepdims=True)
    small = square < 1e-8
    angle = jnp.sqrt(jnp.where(small, 1.0, square))
    w = jnp.where(small, 1.0 - square / 8.0, jnp.cos(angle / 2.0))
    scale = jnp.where(small, 0.5 - square / 48.0, jnp.sin(angle / 2.0) / angle)
    return jnp.concatenate([w, scale * phi], axis=-1)


def log(q: jax.Array) -> jax.Array:
    """Rotation vector (..., 3), rad, of a unit quaternion (..., 4), the short way round."""
    q = jnp.where(q[..., :1] < 0.0, -q, q)
    w, u = q[..., :1], q[..., 1:]
    square = jnp.sum(u * u, axis=-1, keepdims=True)
    small = square < 1e-8
    sine = jnp.sqrt(jnp.where(small, 1.0, square))
    # 2·asin(s)/s for small s; atan2 elsewhere is accurate up to π.
    scale = jnp.where(small, 2.0 + square / 3.0, 2.0 * jnp.arctan2(sine, w) / sine)
    return scale * u


def between(a: jax.Array, b: jax.Array) -> jax.Array:
    """Rotation vector (..., 3), rad, in a's frame, that takes a to b: log(a⁻¹∘b)."""
    return log(multiply(conjugate(a), b))


def heading(q: jax.Array) -> jax.Array:
    """Rotation about the vertical (..., 4) closest to q∘UPRIGHT⁻¹: where a body with SMPL axes faces.

    The twist of the swing–twist decomposition; identity for a body that stands upright facing -y. Undefined only
    for a body exactly upside down, where it returns the identity.
    """
    w, x, y, z = jnp.moveaxis(q, -1, 0)
    # q∘UPRIGHT⁻¹ times √2, with its x and y parts left out
    zero = jnp.zeros_like(w)
    twist = jnp.stack([w + x, zero, zero, z + y], axis=-1)
    square = jnp.sum(twist * twist, axis=-1, keepdims=True)
    defined = square > 1e-12
    unit = twist / jnp.sqrt(jnp.where(defined, square, 1.0))
    return jnp.where(defined, unit, jnp.broadcast_to(jnp.asarray(IDENTITY, q.dtype), q.shape))
