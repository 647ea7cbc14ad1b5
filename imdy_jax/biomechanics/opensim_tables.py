"""Functions of coordinates as arrays, evaluated together in JAX."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from imdy_jax.biomechanics.opensim_functions import Function

_EXACT = jax.lax.Precision.HIGHEST  # on GPUs the default would round to TF32


@struct.dataclass
class Functions:
    """M functions of n coordinates: offset + slopes · q, and curves of one coordinate each."""

    offset: jax.Array  # (M,)
    slopes: jax.Array  # (M, n)
    spread: jax.Array  # (M, F), 1 where function m is curve f
    start: jax.Array  # (F, K) where the pieces of each curve begin, infinity for those it has not
    origin: jax.Array  # (F, K)
    coefficients: jax.Array  # (F, K, D) lowest power first
    argument: tuple[int, ...] = struct.field(pytree_node=False)  # the coordinate of each curve


def tabulate(given: Sequence[tuple[tuple[str, ...], Function]], names: list[str]) -> Functions:
    """Functions with the names of their arguments, as arrays."""
    curves = [(i, names.index(arguments[0]), f.curve) for i, (arguments, f) in enumerate(given) if f.curve is not None]
    pieces = max((len(curve.start) for _, _, curve in curves), default=0)
    powers = max((curve.coefficients.shape[1] for _, _, curve in curves), default=0)
    slopes, spread = np.zeros((len(given), len(names))), np.zeros((len(given), len(curves)))
    start, origin = np.full((len(curves), pieces), np.inf), np.zeros((len(curves), pieces))
    coefficients = np.zeros((len(curves), pieces, powers))
    for i, (arguments, function) in enumerate(given):
        for name, slope in zip(arguments, function.slopes, strict=False):
            slopes[i, names.index(name)] += slope
    for f, (i, _, curve) in enumerate(curves):
        count = len(curve.start)
        spread[i, f] = 1.0
        start[f, :count], origin[f, :count] = curve.start, curve.origin
        coefficients[f, :count, : curve.coefficients.shape[1]] = curve.coefficients
    offset = np.array([function.offset for _, function in given])
    return Functions(offset, slopes, spread, start, origin, coefficients, tuple(source for _, source, _ in curves))


def evaluate(functions: Functions, q: jax.Array) -> jax.Array:
    """Values (M,) of the functions at q (n,)."""
    value = functions.offset + jnp.matmul(functions.slopes, q, precision=_EXACT)
    if not functions.argument:
        return value
    x = q[np.array(functions.argument, np.int32)][:, None]
    piece = jnp.sum(x >= functions.start, axis=1, keepdims=True) - 1
    step = x - jnp.take_along_axis(functions.origin, piece, axis=1)
    powers = jnp.take_along_axis(functions.coefficients, piece[..., None], axis=1)[:, 0]
    curve = jnp.zeros_like(step[:, 0])
    for d in reversed(range(powers.shape[1])):
        curve = curve * step[:, 0] + powers[:, d]
    return value + jnp.matmul(functions.spread, curve, precision=_EXACT)
