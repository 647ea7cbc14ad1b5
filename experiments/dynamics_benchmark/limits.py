"""How far the batched inverse dynamics is from what a core of this machine could do, by operations and by bytes."""

import jax
import jax.numpy as jnp
import numpy as np

from dynamics_benchmark.contenders import Contender, compiled
from dynamics_benchmark.timing import clock
from imdy_jax.dynamics.batched import BLOCK
from imdy_jax.report import Table

NUMBERS = {"torques": 99 + 3 * 75, "gradient": 2 * 99 + 4 * 75 + 69}  # in and out, per evaluation


def limits(measured: list[tuple[Contender, float]]) -> Table:
    """Operations and bytes of contenders of ours, each with its measured µs per evaluation."""
    lines = []
    for precision in ("float32", "float64"):
        with jax.enable_x64(precision == "float64"):
            matrix, long = jnp.ones((1024, 1024), precision), jnp.ones(2**25, precision)
            product = compiled(lambda x: jnp.matmul(x, x, precision="highest"), (matrix,))
            copy = compiled(lambda x: -x, (long,))
        rate = 2 * 1024**3 / clock(product.run, 1, 1.0)[0]  # operations per µs
        width = 2 * long.nbytes / clock(copy.run, 1, 1.0)[0]  # bytes per µs
        for contender, own in measured:
            if contender.precision == precision:
                block = contender.prepare(BLOCK)
                written, executed = (np.nan if x is None else x / BLOCK for x in (block.operations, block.executed))
                size = np.dtype(precision).itemsize * NUMBERS[contender.result]
                bounds = written / rate, size / width
                lines.append((contender.result, precision, written, executed, size, *bounds, own, own / max(bounds)))
    columns = (
        "result", "precision", "operations", "executed", "bytes", "µs by operations", "µs by bytes", "µs measured",
        "times the limit",
    )  # fmt: skip
    notes = (
        "Per evaluation. Operations as written, mostly sums over the tree as products with a 24 × 24 mask; executed:",
        "with what XLA computes again. The limits are the rates of a large matrix product and of a copy, same process.",
    )
    return Table("How far from the machine's limit", columns, tuple(lines), notes)
