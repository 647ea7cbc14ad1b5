"""Kinematic tree: the topology is built once in NumPy, so that jitted code sees only constants.

Index constants of jitted code are int32 throughout the library: JAX 0.10 fails where the same function is traced with
int64 constants first in single precision and then in double.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.skeleton import PARENTS


class KinematicTree(NamedTuple):
    """parents[i] < i is the parent of body i (-1 for the root)."""

    parents: tuple[int, ...]
    levels: tuple[tuple[int, ...], ...]  # bodies by depth, the root alone in levels[0]
    ancestors: np.ndarray  # (B, B) float; [i, j] = 1 where j is i or an ancestor of i


@lru_cache
def build_tree(parents: tuple[int, ...] = PARENTS) -> KinematicTree:
    """Levels and ancestor mask of a tree given by parents; raises ValueError unless parents[i] < i."""
    if not parents or parents[0] != -1 or any(not 0 <= p < i for i, p in enumerate(parents) if i):
        raise ValueError(f"parents must be topologically sorted with a single root, found {parents}")
    ancestors = np.eye(len(parents))
    depth = [0] * len(parents)
    for i, parent in enumerate(parents[1:], start=1):
        ancestors[i] += ancestors[parent]
        depth[i] = depth[parent] + 1
    levels = tuple(tuple(i for i, d in enumerate(depth) if d == level) for level in range(max(depth) + 1))
    return KinematicTree(parents, levels, ancestors)


def descend(tree: KinematicTree, compose: Callable[[jax.Array, jax.Array], jax.Array], local: jax.Array) -> jax.Array:
    """world[i] = compose(world[parent(i)], local[i]) from the root to the leaves; local (B, ...), level by level."""
    world = [local[:1]]
    order = list(tree.levels[0])
    for level in tree.levels[1:]:
        upper = world[-1]
        rank = [tree.levels[len(world) - 1].index(tree.parents[i]) for i in level]
        world.append(compose(upper[np.array(rank, np.int32)], local[np.array(level, np.int32)]))
        order.extend(level)
    return jnp.concatenate(world)[np.argsort(order).astype(np.int32)]


def ancestor_sum(tree: KinematicTree, x: jax.Array) -> jax.Array:
    """Sum of x over each body and its ancestors, (B, ...) → (B, ...): motion accumulates down the tree."""
    return _mask_product(tree.ancestors, x)


def subtree_sum(tree: KinematicTree, x: jax.Array) -> jax.Array:
    """Sum of x over each body and its descendants, (B, ...) → (B, ...): forces accumulate up the tree."""
    return _mask_product(tree.ancestors.T, x)


def _mask_product(mask: np.ndarray, x: jax.Array) -> jax.Array:
    # HIGHEST: on GPUs the default would round to TF32.
    return jnp.tensordot(jnp.asarray(mask, x.dtype), x, axes=1, precision=jax.lax.Precision.HIGHEST)
