"""Choice between two states of N environments."""

from typing import TypeVar

import jax
import jax.numpy as jnp

Tree = TypeVar("Tree")


def select(where: jax.Array, yes: Tree, no: Tree) -> Tree:
    """Leaf by leaf: yes for the environments marked in where (N,) bool, no for the others; leaves (N, ...)."""
    pick = lambda a, b: jnp.where(where.reshape(-1, *([1] * (a.ndim - 1))), a, b)  # noqa: E731
    return jax.tree.map(pick, yes, no)
