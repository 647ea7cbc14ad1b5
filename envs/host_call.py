"""Calling a NumPy function from jitted code."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# The arguments of a callback are copied by the pool that runs programs: a program that runs on its only thread, as
# those do which were dispatched before their arguments were there, would wait for itself. This has to be said before
# JAX is first used.
jax.config.update("jax_cpu_enable_async_dispatch", False)


def host_call(function: Callable[..., Any], result: Any, *arrays: jax.Array) -> Any:
    """function(*arrays), run on the host with NumPy arrays, as a pure operation of a jitted program.

    result is the pytree of jax.ShapeDtypeStruct that the function returns, cast to these dtypes if need be.

    Bits travel instead of numbers: `jax.pure_callback` converts by the settings of the thread that makes the call,
    which does not see a caller's `jax.enable_x64`, and would silently round float64 to float32.
    """
    arguments = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays]
    bits_of_result = jax.tree.map(lambda x: jax.eval_shape(_to_bits, x), result)

    def on_host(*bits: jax.Array) -> Any:
        numbers = [np.asarray(b).view(x.dtype).reshape(x.shape) for b, x in zip(bits, arguments, strict=True)]
        return jax.tree.map(_numpy_bits, function(*numbers), result, bits_of_result)

    bits = jax.pure_callback(on_host, bits_of_result, *(_to_bits(x) for x in arrays))
    return jax.tree.map(_from_bits, bits, result)


def _to_bits(x: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(x, jnp.uint32) if jnp.issubdtype(x.dtype, jnp.floating) else x


def _from_bits(bits: jax.Array, x: jax.ShapeDtypeStruct) -> jax.Array:
    return jax.lax.bitcast_convert_type(bits, x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else bits


def _numpy_bits(number: np.ndarray, x: jax.ShapeDtypeStruct, bits: jax.ShapeDtypeStruct) -> np.ndarray:
    return np.ascontiguousarray(number, x.dtype).view(bits.dtype).reshape(bits.shape)
