"""Frame-by-frame computation in float64, in blocks of one fixed size, so that every length runs the same program."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

BLOCK = 32  # frames per call: enough to vectorise, small enough for the caches and for short sequences


def map_frames(function: Callable[..., Any], constants: Any, frames: Any) -> Any:
    """function(constants, frame) over the leading axis of `frames`, in float64, as a tree of NumPy arrays.

    Computed on the CPU: accelerators lack float64 or are slow at it. Threads may call it side by side, as long as
    function calls nothing of LAPACK: from two threads, factorisations hang XLA's CPU client (jaxlib 0.10.2).

    Args:
      function: jitted, and vmapped over the leading axis of its second argument.
      constants: pytree of arrays, the same for all frames.
      frames: pytree of arrays (T, ...).
    """
    count = len(jax.tree.leaves(frames)[0])
    padding = -count % BLOCK
    padded = jax.tree.map(lambda x: np.concatenate([_double(x), np.repeat(_double(x[-1:]), padding, axis=0)]), frames)
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        constants = jax.tree.map(_double, constants)
        blocks = [
            jax.device_get(function(constants, jax.tree.map(lambda x, i=start: x[i : i + BLOCK], padded)))
            for start in range(0, count + padding, BLOCK)
        ]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *blocks)


def _double(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return x.astype(np.float64) if x.dtype.kind == "f" else x
