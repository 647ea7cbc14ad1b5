"""Least squares over a sequence of frames whose terms each see a few frames in a row: banded normal equations.

Solved by block Cholesky factorisation from the first frame to the last and back (the Thomas algorithm), in time and
memory that grow with the number of frames only.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

WINDOW = 4  # frames that one term may see
_GROUP = WINDOW - 1  # frames per block: then only neighbouring blocks are coupled


class NormalEquations(NamedTuple):
    """Σ JᵀJ x = −Σ Jᵀr of T frames with n unknowns each."""

    blocks: jax.Array  # (T, WINDOW, n, n): [t, d] couples frame t + d, its rows, with frame t
    right: jax.Array  # (T, n)


def no_terms(frames: int, unknowns: int, dtype: jnp.dtype) -> NormalEquations:
    """The equations before anything is known."""
    return NormalEquations(jnp.zeros((frames, WINDOW, unknowns, unknowns), dtype), jnp.zeros((frames, unknowns), dtype))


def add_terms(equations: NormalEquations, jacobian: jax.Array, residual: jax.Array) -> NormalEquations:
    """With the terms ½ |r + J x|² of K windows added: r (K, m), J (K, m, w, n); window k sees frames k to k + w − 1."""
    (blocks, right), (count, rows, width, unknowns) = equations, jacobian.shape
    flat = jacobian.reshape(count, rows, -1)
    product = lambda a, b: jnp.einsum("tmi,tmj->tij", a, b, precision=jax.lax.Precision.HIGHEST)  # noqa: E731
    gram = product(flat, flat).reshape(count, width, unknowns, width, unknowns)
    slope = product(flat, residual[..., None]).reshape(count, width, unknowns)
    for early in range(width):
        right = right.at[early : early + count].add(-slope[:, early])
        for late in range(early, width):
            blocks = blocks.at[early : early + count, late - early].add(gram[:, late, :, early])
    return NormalEquations(blocks, right)


def solve(equations: NormalEquations) -> jax.Array:
    """x (T, n); not a number where the equations are not positive definite."""
    frames, unknowns = equations.right.shape
    groups = -(-frames // _GROUP)
    spare = _GROUP * groups - frames
    blocks = jnp.pad(equations.blocks, ((0, spare), (0, 0), (0, 0), (0, 0)))
    blocks = blocks.at[frames:, 0].add(jnp.eye(unknowns, dtype=blocks.dtype)[None])
    right = jnp.pad(equations.right, ((0, spare), (0, 0))).reshape(groups, -1)
    blocks = blocks.reshape(groups, _GROUP, *blocks.shape[1:])
    return _solve_tridiagonal(*jax.vmap(_group)(blocks), right).reshape(-1, unknowns)[:frames]


def _group(blocks: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of the frames of one group (3, 4, n, n): their coupling among themselves, and of the next group with them."""
    zero = jnp.zeros_like(blocks[0, 0])
    pair = lambda late, early: blocks[early, late - early] if late - early < WINDOW else zero  # noqa: E731
    inside = [[pair(i, j) if i >= j else pair(j, i).T for j in range(_GROUP)] for i in range(_GROUP)]
    return jnp.block(inside), jnp.block([[pair(_GROUP + i, j) for j in range(_GROUP)] for i in range(_GROUP)])


def _solve_tridiagonal(diagonal: jax.Array, below: jax.Array, right: jax.Array) -> jax.Array:
    """diagonal (N, n, n), below (N, n, n): row block i + 1, column block i; right (N, n)."""

    def eliminate(carry: tuple, row: tuple) -> tuple[tuple, tuple]:
        lower, z, coupling = carry
        middle, following, wanted = row
        across = solve_triangular(lower, coupling.T, lower=True).T
        lower = jnp.linalg.cholesky(middle - jnp.matmul(across, across.T, precision=jax.lax.Precision.HIGHEST))
        z = solve_triangular(lower, wanted - jnp.matmul(across, z, precision=jax.lax.Precision.HIGHEST), lower=True)
        return (lower, z, following), (lower, across, z)

    start = jnp.eye(diagonal.shape[1], dtype=diagonal.dtype), jnp.zeros_like(right[0]), jnp.zeros_like(below[0])
    _, (lower, across, z) = jax.lax.scan(eliminate, start, (diagonal, below, right))

    def substitute(x: jax.Array, row: tuple) -> tuple[jax.Array, jax.Array]:
        lower, across, z = row
        z = z - jnp.matmul(across.T, x, precision=jax.lax.Precision.HIGHEST)
        x = solve_triangular(lower, z, lower=True, trans=1)
        return x, x

    across = jnp.concatenate([across[1:], jnp.zeros_like(across[:1])])
    return jax.lax.scan(substitute, jnp.zeros_like(right[0]), (lower, across, z), reverse=True)[1]
