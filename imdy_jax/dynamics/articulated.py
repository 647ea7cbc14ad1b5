"""Solving M(q) x = f without the mass matrix: articulated bodies, eliminated from the leaves to the root in O(bodies).

The elimination is Featherstone's (2008, ch. 7), written for a tree of ball joints. About body i's own joint and in
world axes, I (3, 3), H (3, 3) and the mass matrix Λ' (3, 3) say what moment and force the body and all that hangs on it
need for an angular acceleration α and a linear acceleration a of the joint; n and f are the moment and the force that
it gets from elsewhere:

    moment = I α + H a − n            force = Hᵀ α + Λ' a − f

The moment about the joint is known, it is the joint's torque, and α follows from a. What is left for the parent is a
point mass, as a ball joint transmits no more of the inertia than a force:

    α = I⁻¹ (n + τ) − I⁻¹ H a         Λ = Λ' − Hᵀ I⁻¹ H         φ = f − Hᵀ I⁻¹ (n + τ)

At a distance d from the parent's joint it adds d× Λ d×ᵀ, d× Λ and Λ to the parent's I, H and Λ', d × φ − τ to its n and
φ to its f. From the root back to the leaves, a_i = a_parent + α_parent × d then gives every α.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax import rotation
from imdy_jax.dynamics.kinematics import Pose
from imdy_jax.humanoid import Humanoid
from imdy_jax.skeleton import NUM_BODIES, PARENTS
from imdy_jax.tree import build_tree

_PARENT = np.array(PARENTS[1:], np.int32)
_UPPER = np.array((0, *PARENTS[1:]), np.int32)  # the root hangs on itself, without a lever
_LEVELS = tuple(np.array(level, np.int32) for level in build_tree().levels)
_ORDER = np.argsort(np.concatenate(_LEVELS)).astype(np.int32)
# For each level but the first, the place of each body's parent in the level above.
_ABOVE = tuple(
    np.searchsorted(upper, _PARENT[level - 1]).astype(np.int32) for upper, level in itertools.pairwise(_LEVELS)
)


def _children(above: np.ndarray, count: int) -> np.ndarray:
    """Places of the children of each of `count` bodies in the level below, (count, most), filled up with len(above)."""
    children = [np.flatnonzero(above == place) for place in range(count)]
    table = np.full((count, max(len(own) for own in children)), len(above), np.int32)
    for place, own in enumerate(children):
        table[place, : len(own)] = own
    return table


_CHILDREN = tuple(_children(above, len(upper)) for above, upper in zip(_ABOVE, _LEVELS[:-1], strict=True))


class _Load(NamedTuple):
    """Inertia and forces about the joints of k bodies, world axes (module docstring)."""

    angular: jax.Array  # (k, 3, 3) I
    mixed: jax.Array  # (k, 3, 3) H
    linear: jax.Array  # (k, 3, 3) Λ'
    moment: jax.Array  # (k, 3) n
    force: jax.Array  # (k, 3) f


class _Turn(NamedTuple):
    """How bodies turn when their joints accelerate: α = free − gain a."""

    free: jax.Array  # (k, 3)
    gain: jax.Array  # (k, 3, 3)


def solve_mass_matrix(humanoid: Humanoid, pose: Pose, force: jax.Array) -> jax.Array:
    """M(q)⁻¹ force: accelerations (75,) for generalised forces (75,), both in the layout of v.

    pose: of q, from kinematics.relative_pose; the root's position does not matter.
    """
    matrix = rotation.to_matrix(pose.rotation)
    torque = _apply(matrix, force[3:].reshape(NUM_BODIES, 3))
    lever = pose.position - pose.position[_UPPER]
    turns, mass, push = _to_root(_own_load(humanoid, matrix), lever, torque)
    linear = _apply(_inverse(mass), push + force[None, :3])
    angular = _to_leaves(turns, lever, linear)
    own_axes = _apply(_transposed(matrix), jnp.concatenate([angular[:1], angular[1:] - angular[_PARENT]]))
    return jnp.concatenate([linear[0], own_axes.reshape(-1)])


def _to_root(own: _Load, lever: jax.Array, torque: jax.Array) -> tuple[list[_Turn], jax.Array, jax.Array]:
    """Release all joints, the leaves first: how each level turns, and what is left at the root (1, 3, 3), (1, 3)."""
    turns: list[_Turn] = []
    received: _Load | None = None
    for depth in reversed(range(len(_LEVELS))):
        level = _LEVELS[depth]
        load = jax.tree.map(lambda x, level=level: x[level], own)
        if received is not None:
            load = jax.tree.map(jnp.add, load, received)
        turn, mass, push = _release(load, torque[level])
        turns.append(turn)
        if depth:
            passed_on = _at_parent(mass, push, lever[level], torque[level])
            received = _sum_children(passed_on, _CHILDREN[depth - 1])
    return turns[::-1], mass, push


def _to_leaves(turns: list[_Turn], lever: jax.Array, linear: jax.Array) -> jax.Array:
    """Angular accelerations (24, 3) of the bodies, world axes, for the linear one of the root (1, 3)."""
    angular = [turns[0].free - _apply(turns[0].gain, linear)]
    for level, above, turn in zip(_LEVELS[1:], _ABOVE, turns[1:], strict=True):
        linear = linear[above] + jnp.cross(angular[-1][above], lever[level])
        angular.append(turn.free - _apply(turn.gain, linear))
    return jnp.concatenate(angular)[_ORDER]


def _own_load(humanoid: Humanoid, matrix: jax.Array) -> _Load:
    """Each body by itself, with no forces on it."""
    centre = _apply(matrix, humanoid.com)
    mass, identity = humanoid.mass[:, None, None], jnp.eye(3, dtype=matrix.dtype)[None]
    turned = _product(_product(matrix, humanoid.inertia), _transposed(matrix))
    square = jnp.sum(centre * centre, axis=-1)[:, None, None] * identity
    about_joint = turned + mass * (square - centre[:, :, None] * centre[:, None, :])
    nothing = jnp.zeros_like(centre)
    return _Load(about_joint, mass * _cross_matrix(centre), mass * identity, nothing, nothing)


def _release(load: _Load, torque: jax.Array) -> tuple[_Turn, jax.Array, jax.Array]:
    """What is left of loads when their joints turn freely under a torque (k, 3): Λ (k, 3, 3) and φ (k, 3)."""
    inverse = _inverse(load.angular)
    turn = _Turn(_apply(inverse, load.moment + torque), _product(inverse, load.mixed))
    across = _transposed(load.mixed)
    return turn, load.linear - _product(across, turn.gain), load.force - _apply(across, turn.free)


def _at_parent(mass: jax.Array, push: jax.Array, lever: jax.Array, torque: jax.Array) -> _Load:
    """Loads about the parents' joints of point masses (k, 3, 3) at levers (k, 3), with their joints' torques."""
    arm = _cross_matrix(lever)
    mixed = _product(arm, mass)
    return _Load(_product(mixed, _transposed(arm)), mixed, mass, jnp.cross(lever, push) - torque, push)


def _sum_children(load: _Load, children: np.ndarray) -> _Load:
    """Sum over the children (places in load) of each body of a level; gathering is faster than scattering here."""
    packed = jnp.concatenate([x.reshape(len(x), -1) for x in load], axis=-1)
    padded = jnp.concatenate([packed, jnp.zeros_like(packed[:1])])
    total = sum((padded[column] for column in children.T[1:]), padded[children[:, 0]])
    angular, mixed, linear = (total[:, k : k + 9].reshape(-1, 3, 3) for k in (0, 9, 18))
    return _Load(angular, mixed, linear, total[:, 27:30], total[:, 30:])


def _inverse(A: jax.Array) -> jax.Array:
    """Inverse (k, 3, 3) of matrices by cross products of their rows."""
    x, y, z = A[:, 0], A[:, 1], A[:, 2]
    columns = jnp.stack([jnp.cross(y, z), jnp.cross(z, x), jnp.cross(x, y)], axis=-1)
    return columns / jnp.sum(x * columns[:, :, 0], axis=-1)[:, None, None]


def _cross_matrix(x: jax.Array) -> jax.Array:
    """Matrices (k, 3, 3) of x × · for x (k, 3)."""
    a, b, c = x[:, 0], x[:, 1], x[:, 2]
    rows = ((jnp.zeros_like(a), -c, b), (c, jnp.zeros_like(a), -a), (-b, a, jnp.zeros_like(a)))
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


# Products of 3 × 3 matrices as sums of three terms, which XLA fuses; a batched matmul of such small ones is slow.


def _product(A: jax.Array, B: jax.Array) -> jax.Array:
    return sum((A[:, :, k, None] * B[:, None, k, :] for k in (1, 2)), A[:, :, 0, None] * B[:, None, 0, :])


def _apply(A: jax.Array, x: jax.Array) -> jax.Array:
    return sum((A[:, :, k] * x[:, None, k] for k in (1, 2)), A[:, :, 0] * x[:, None, 0])


def _transposed(A: jax.Array) -> jax.Array:
    return jnp.swapaxes(A, -1, -2)
