"""Vectors and rotations by components, for dynamics over a batch that lies along the last axis.

XLA on the CPU makes one loop of each result, so that a product of whole vectors and quaternions is computed once for
each of its components and cannot use the processor's vector units; components that are arrays of their own avoid both.
"""

from functools import partial
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import struct

from imdy_jax import rotation
from imdy_jax.tree import build_tree, descend


@struct.dataclass
class Vector:
    """Three components of the same shape, (24, N) throughout this package: one row for each body."""

    x: jax.Array
    y: jax.Array
    z: jax.Array

    @classmethod
    def of(cls, x: jax.Array) -> Self:
        """(24, 3, N) → components."""
        return cls(x[:, 0], x[:, 1], x[:, 2])

    def array(self) -> jax.Array:
        """Components → (24, 3, N)."""
        return jnp.stack([self.x, self.y, self.z], axis=1)

    def __add__(self, other: Self) -> Self:
        return type(self)(self.x + other.x, self.y + other.y, self.z + other.z)

    def __sub__(self, other: Self) -> Self:
        return type(self)(self.x - other.x, self.y - other.y, self.z - other.z)

    def scaled(self, factor: jax.Array) -> Self:
        return type(self)(factor * self.x, factor * self.y, factor * self.z)

    def dot(self, other: Self) -> jax.Array:
        return self.x * other.x + self.y * other.y + self.z * other.z

    def cross(self, other: Self) -> Self:
        return type(self)(
            self.y * other.z - self.z * other.y,
            self.z * other.x - self.x * other.z,
            self.x * other.y - self.y * other.x,
        )


class Matrix(NamedTuple):
    """A 3 × 3 matrix by its rows, or by its columns where it is transposed."""

    x: Vector
    y: Vector
    z: Vector

    def __matmul__(self, vector: Vector) -> Vector:
        return Vector(self.x.dot(vector), self.y.dot(vector), self.z.dot(vector))

    @property
    def T(self) -> "Matrix":
        rows = (self.x, self.y, self.z)
        return Matrix(*(Vector(*(getattr(row, axis) for row in rows)) for axis in "xyz"))


def world_rotations(local: jax.Array) -> Matrix:
    """Rotation matrices of the bodies in the world from quaternions (24, 4, N), each in its parent's axes."""
    compose = jax.vmap(partial(descend, build_tree(), rotation.multiply), in_axes=-1, out_axes=-1)
    w, x, y, z = jnp.moveaxis(compose(local), 1, 0)
    x2, y2, z2 = x + x, y + y, z + z
    wx, wy, wz, xx, xy, xz, yy, yz, zz = w * x2, w * y2, w * z2, x * x2, x * y2, x * z2, y * y2, y * z2, z * z2
    return Matrix(
        Vector(1 - (yy + zz), xy - wz, xz + wy),
        Vector(xy + wz, 1 - (xx + zz), yz - wx),
        Vector(xz - wy, yz + wx, 1 - (xx + yy)),
    )
