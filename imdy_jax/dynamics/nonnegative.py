"""Non-negative least squares with six equations: the loads that many pushes share.

min over x ≥ 0 of |Σ xᵢ cᵢ − w|² + Σ kᵢ xᵢ² has one unknown per push but only six in its dual, the part y of w that is
left over: xᵢ = max(cᵢ·y, 0) / kᵢ and y + Σ xᵢ cᵢ = w. Newton's method finds y in about as many steps as there are
changes of who pushes.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

_ROWS = 6
_TINY = 1e-30
_STEPS = (1.0, 0.5, 0.2, 0.05)  # shares of a Newton step that are tried


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def nonnegative_least_squares(columns: jax.Array, wanted: jax.Array, cost: jax.Array, iterations: int) -> jax.Array:
    """argmin over x ≥ 0 of |Σ xᵢ columnsᵢ − wanted|² + Σ costᵢ xᵢ²; columns (P, 6), wanted (6,), cost (P,) > 0."""
    scale = 1.0 / jnp.sqrt(cost)
    rows = (columns * scale[:, None]).T
    left = _leftover(iterations)(rows, wanted)
    share = jnp.maximum(jnp.sum(rows * left[:, None], axis=0), 0.0)
    # Where Newton's method has not come to its end, shares may be far too large as a whole.
    borne = jnp.sum(rows * share[None], axis=1)
    return share * scale * jnp.sum(wanted * borne) / (jnp.sum(borne**2) + jnp.sum(share**2) + _TINY)


@nonnegative_least_squares.defjvp
def _jvp(iterations: int, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    share = nonnegative_least_squares(*primals, iterations)
    pushes = (share > 0).astype(share.dtype)

    def among_these(columns: jax.Array, wanted: jax.Array, cost: jax.Array) -> jax.Array:
        used = columns * pushes[:, None]
        left = jnp.linalg.solve(jnp.eye(_ROWS, dtype=cost.dtype) + (used / cost[:, None]).T @ used, wanted)
        return used @ left / cost

    return share, jax.jvp(among_these, primals, tangents)[1]


def _leftover(iterations: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The dual solution (6,) of rows (6, P), wanted (6,): batches under vmap run with the batch as the last axis."""

    @jax.custom_batching.custom_vmap
    def solve(rows: jax.Array, wanted: jax.Array) -> jax.Array:
        return _newton(rows[..., None], wanted[..., None], iterations)[..., 0]

    @solve.def_vmap
    def _(size: int, batched: list[bool], *arguments: jax.Array) -> tuple[jax.Array, bool]:
        full = [x if b else jnp.broadcast_to(x, (size, *x.shape)) for x, b in zip(arguments, batched, strict=True)]
        rows, wanted = (jnp.moveaxis(x, 0, -1) for x in full)
        return _newton(rows, wanted, iterations).T, True

    return solve


def _newton(rows: jax.Array, wanted: jax.Array, iterations: int) -> jax.Array:
    """Minimiser (6, N) of ½|y|² + ½ Σ max(rowsᵢ·y, 0)² − wanted·y for rows (6, P, N), wanted (6, N)."""
    push = lambda y: sum(rows[i] * y[i][None] for i in range(_ROWS))  # noqa: E731
    dot = lambda a, b: jnp.sum(a * b, axis=0)  # noqa: E731

    def iterate(y: jax.Array, _: None) -> tuple[jax.Array, None]:
        pushed = push(y)
        active = rows * (pushed > 0)[None]
        curvature = [[dot(active[i], rows[j]) + (i == j) for j in range(i + 1)] for i in range(_ROWS)]
        step = _solve(curvature, list(wanted)) - y
        change = push(step)
        along = [
            s * dot(y - wanted, step) + 0.5 * s * s * dot(step, step)
            + 0.5 * jnp.sum(jnp.maximum(pushed + s * change, 0.0) ** 2, axis=0)
            for s in _STEPS
        ]  # fmt: skip
        return y + jnp.asarray(_STEPS, y.dtype)[jnp.argmin(jnp.stack(along), axis=0)][None] * step, None

    return jax.lax.scan(iterate, wanted, None, length=iterations)[0]


def _solve(matrix: list[list[jax.Array]], right: list[jax.Array]) -> jax.Array:
    """Solutions (n, N) of N symmetric positive definite systems by Cholesky's method, lower triangles matrix[i][j]."""
    n = len(right)
    factor: list[list[jax.Array]] = []
    x: list[jax.Array] = []
    for i in range(n):
        row: list[jax.Array] = []
        for j in range(i + 1):
            left = matrix[i][j] - sum(a * b for a, b in zip(row, factor[j] if j < i else row, strict=False))
            row.append(jnp.sqrt(left) if i == j else left / factor[j][j])
        factor.append(row)
        x.append((right[i] - sum(row[k] * x[k] for k in range(i))) / row[i])
    for i in reversed(range(n)):
        x[i] = (x[i] - sum(factor[k][i] * x[k] for k in range(i + 1, n))) / factor[i][i]
    return jnp.stack(x)
