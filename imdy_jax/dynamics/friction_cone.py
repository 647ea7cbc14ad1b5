"""Forces in friction cones that explain a sequence of wrenches at least cost: a convex quadratic programme.

Accelerated projected gradient (FISTA, Beck & Teboulle 2009) with adaptive restart (O'Donoghue & Candès 2015) over all
frames at once. It is our own because jaxopt, which had it, is no longer maintained, and optax has projections but no
solver that accelerates and restarts; interior-point and active-set solvers neither batch nor stay small under jit.
The solution is differentiated implicitly, by the fixed-point equation of the projected step, in both modes: neither
memory nor accuracy depend on the number of iterations.

Inside, arrays have the frames last and products are sums: XLA vectorises over the frames then, and on a CPU small
matrix products for each frame would take several times as long.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

_HIGHEST = jax.lax.Precision.HIGHEST
_TINY = 1e-30  # keeps the square root differentiable at the cone's axis; far below any force squared
_LINEAR_TOLERANCE = {"float32": 1e-5, "float64": 1e-10}  # of the conjugate gradients behind the derivative
_LINEAR_ITERATIONS = 5000


class ConeProblem(NamedTuple):
    """½ Σ_t |Σ_i A_ti f_ti − w_t|² + ½ effort Σ (|g|² − saving (axis·g)²) + ½ coupling Σ_t |f_{t+1} − f_t|².

    To be minimised over the P forces f = free g at each of T frames, each within its cone |(f_x, f_y)| ≤ friction f_z.
    """

    columns: jax.Array  # (T, P, 6, 3) A: wrench per unit of force
    wanted: jax.Array  # (T, 6) w
    free: jax.Array  # (T, P) in [0, 1]: the effort of a force grows with its inverse square
    axis: jax.Array  # (T, P, 3) direction, of length at most one, in which effort is saved
    friction: jax.Array  # () coefficient; no derivative is taken by it
    effort: jax.Array  # () > 0, which makes the solution unique
    saving: jax.Array  # () in [0, 1)
    coupling: jax.Array  # () ≥ 0


class _Scaled(NamedTuple):
    """The problem in x, f = free unit x: each variable by its own curvature, so that all are equally stiff."""

    unit: jax.Array  # (3, P, T) the same in x and y, so that cones remain cones
    friction: jax.Array  # (1, P, T) of the cones in x
    limit: jax.Array  # (1, 1, T) bounds on the curvature of each frame


class _Iterate(NamedTuple):
    x: jax.Array  # (3, P, T)
    ahead: jax.Array  # where momentum has carried x
    momentum: jax.Array
    change: jax.Array  # largest of the last step
    taken: jax.Array  # iterations


def solve(
    problem: ConeProblem, iterations: int | jax.Array, tolerance: float | jax.Array, start: jax.Array | None = None
) -> jax.Array:
    """The forces f (T, P, 3), once none changes by more than the tolerance, or after so many iterations.

    start: forces (T, P, 3) to begin with; by default none.
    """
    problem = _frames_last(problem)
    scaled = jax.tree.map(jax.lax.stop_gradient, _scale(problem))  # f does not depend on the scale
    start = jnp.zeros_like(scaled.unit) if start is None else _unscaled(problem, scaled, start.T)
    return _force(problem, scaled, _minimise(problem, scaled, iterations, tolerance, start)).T


def _frames_last(problem: ConeProblem) -> ConeProblem:
    """columns (W, 3, P, T), wanted (W, T), free (1, P, T) and axis (3, P, T) from here on."""
    columns = jnp.transpose(problem.columns, (2, 3, 1, 0))
    return problem._replace(columns=columns, wanted=problem.wanted.T, free=problem.free.T[None], axis=problem.axis.T)


@jax.custom_jvp
def _minimise(
    problem: ConeProblem, scaled: _Scaled, iterations: int | jax.Array, tolerance: float | jax.Array, begin: jax.Array
):
    """x (3, P, T), from `begin` on."""

    def iterate(state: _Iterate) -> _Iterate:
        x = _project(state.ahead - _slope(problem, scaled, state.ahead) / scaled.limit, scaled.friction)
        step = x - state.x
        # Momentum that points uphill starts afresh.
        uphill = jnp.sum(_folded(jnp.add, scaled.limit * (state.ahead - x) * step)) > 0.0
        momentum = jnp.where(uphill, 1.0, state.momentum)
        following = (1.0 + jnp.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        change = jnp.max(_folded(jnp.maximum, jnp.abs(_force(problem, scaled, step))))
        return _Iterate(x, x + (momentum - 1.0) / following * step, following, change, state.taken + 1)

    unfinished = lambda state: (state.taken < iterations) & (state.change > tolerance)  # noqa: E731
    one = jnp.ones((), scaled.unit.dtype)
    start = _Iterate(begin, begin, one, jnp.inf * one, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(unfinished, iterate, start).x


@_minimise.defjvp
def _minimise_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """With D the derivative of the projection and H the Hessian, dx = D (dx − (H dx + d slope) / limit).

    dx = D^½ z turns it into a symmetric positive system for z, and conjugate gradients solve that.
    """
    (problem, scaled, iterations, tolerance, begin), change = primals, tangents[0]
    x = _minimise(problem, scaled, iterations, tolerance, begin)
    root = _projection_root(x - _slope(problem, scaled, x) / scaled.limit, scaled.friction)
    disturbed = jax.jvp(lambda p: _slope(p, scaled, x), (problem,), (change,))[1]
    still = problem._replace(wanted=jnp.zeros_like(problem.wanted))  # its slope is the Hessian's product

    def system(z: jax.Array) -> jax.Array:
        inner = root(z)
        return scaled.limit * (z - root(inner)) + root(_slope(still, scaled, inner))

    return x, root(jax.lax.custom_linear_solve(system, -root(disturbed), _conjugate_gradients, symmetric=True))


def _conjugate_gradients(system: Callable[[jax.Array], jax.Array], wanted: jax.Array) -> jax.Array:
    """z of system(z) = wanted. jax.scipy.sparse.linalg.cg is not differentiable in reverse within jit (JAX 0.10)."""
    enough = _LINEAR_TOLERANCE[wanted.dtype.name] ** 2 * jnp.sum(wanted**2)

    def iterate(state: tuple) -> tuple:
        z, residual, direction, square, count = state
        bent = system(direction)
        length = square / jnp.sum(direction * bent)
        residual = residual - length * bent
        following = jnp.sum(residual**2)
        direction = residual + following / square * direction
        return z + length * state[2], residual, direction, following, count + 1

    unfinished = lambda state: (state[3] > enough) & (state[4] < _LINEAR_ITERATIONS)  # noqa: E731
    start = (jnp.zeros_like(wanted), wanted, wanted, jnp.sum(wanted**2), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(unfinished, iterate, start)[0]


def project(x: jax.Array, friction: jax.Array | float) -> jax.Array:
    """The nearest points (..., 3) of the friction cone about z."""
    return jnp.moveaxis(_project(jnp.moveaxis(x, -1, 0), friction), 0, -1)


def _project(x: jax.Array, friction: jax.Array | float) -> jax.Array:
    """As project, of points (3, ...)."""
    flat, up = x[:2], x[2:]
    across = _across(x)
    height = jnp.maximum((up + friction * across) / (1.0 + friction**2), 0.0)
    on_cone = jnp.concatenate([friction * height * flat / across, height])
    return jnp.where(across <= friction * up, x, on_cone)


def _projection_root(x: jax.Array, friction: jax.Array):
    """The square root of the derivative of the projection at x (3, ...), as a linear map of (3, ...).

    On the cone's surface the derivative keeps what lies along the generator, and shrinks what goes round the cone.
    """
    flat, up = x[:2], x[2:]
    across = _across(x)
    height = jnp.maximum((up + friction * across) / (1.0 + friction**2), 0.0)
    generator = jnp.concatenate([friction * flat / across, jnp.ones_like(up)]) / jnp.sqrt(1.0 + friction**2)
    round_it = jnp.concatenate([-flat[1:], flat[:1], jnp.zeros_like(up)]) / across
    shrink = jnp.sqrt(friction * height / across)
    inside, pulls = across <= friction * up, height <= 0.0

    def apply(y: jax.Array) -> jax.Array:
        along = jnp.sum(generator * y, axis=0, keepdims=True) * generator
        around = shrink * jnp.sum(round_it * y, axis=0, keepdims=True) * round_it
        return jnp.where(inside, y, jnp.where(pulls, 0.0, along + around))

    return apply


def _across(x: jax.Array) -> jax.Array:
    """Length (1, ...) of the horizontal part of (3, ...)."""
    return jnp.sqrt(x[:1] ** 2 + x[1:2] ** 2 + _TINY)


def _force(problem: ConeProblem, scaled: _Scaled, x: jax.Array) -> jax.Array:
    return problem.free * scaled.unit * x


def _unscaled(problem: ConeProblem, scaled: _Scaled, force: jax.Array) -> jax.Array:
    """The inverse of _force; zero where nothing can be borne."""
    factor = problem.free * scaled.unit
    return jnp.where(factor > 0.0, force / jnp.where(factor > 0.0, factor, 1.0), 0.0)


def _slope(problem: ConeProblem, scaled: _Scaled, x: jax.Array) -> jax.Array:
    """Gradient of the cost by x."""
    force, columns = _force(problem, scaled, x), problem.columns
    excess = jnp.sum(columns * force[None], axis=(1, 2)) - problem.wanted
    steps, end = jnp.diff(force, axis=-1), jnp.zeros_like(force[..., :1])
    bend = jnp.concatenate([end, steps], axis=-1) - jnp.concatenate([steps, end], axis=-1)
    by_force = sum(column * left[None, None] for column, left in zip(columns, excess, strict=True))
    g = scaled.unit * x
    saved = problem.saving * problem.axis * jnp.sum(problem.axis * g, axis=0, keepdims=True)
    return scaled.unit * (problem.free * (by_force + problem.coupling * bend) + problem.effort * (g - saved))


def _folded(reduce: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """All of (3, P, T) but the frames: (T,)."""
    x = x.reshape(-1, x.shape[-1])
    while len(x) > 1:
        half = len(x) // 2
        x = jnp.concatenate([reduce(x[:half], x[half : 2 * half]), x[2 * half :]])
    return x[0]


def _scale(problem: ConeProblem) -> _Scaled:
    square = jnp.sum(problem.columns**2, axis=0) * problem.free**2
    flat = jnp.mean(square[:2], axis=0, keepdims=True)
    unit = 1.0 / jnp.sqrt(jnp.concatenate([flat, flat, square[2:]]) + problem.effort)
    factor = problem.free * unit
    columns = problem.columns * factor[None]
    largest = _largest_eigenvalue(jnp.einsum("wxpt,vxpt->twv", columns, columns, precision=_HIGHEST))
    effort = problem.effort * jnp.max(unit**2, axis=(0, 1)) + 4.0 * problem.coupling * jnp.max(factor) ** 2
    return _Scaled(unit, problem.friction * unit[2:] / unit[:1], (largest + effort)[None, None])


def _largest_eigenvalue(gram: jax.Array) -> jax.Array:
    """An upper bound for symmetric positive matrices (T, 6, 6), at most 12 % high: the trace of the 16th power."""
    size = jnp.maximum(jnp.trace(gram, axis1=1, axis2=2), 1e-12)  # zero in flight
    power = gram / size[:, None, None]
    for _ in range(4):
        power = jnp.matmul(power, power, precision=_HIGHEST)
    return size * jnp.trace(power, axis1=1, axis2=2) ** (1 / 16)
