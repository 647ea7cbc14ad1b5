"""How fast windows are read beside how fast the solver is fitted to them: whoever waits for whom."""

import time

import jax

from imdy_jax.report import Table
from imdy_jax.solver.data import WindowBatches, prefetch
from imdy_jax.solver.fit import FitConfig, fit_step, start
from imdy_jax.solver.objective import statistics


def throughput_table(config: FitConfig, batches: WindowBatches, steps: int = 10) -> Table:
    """Windows per second that are read, that are fitted from memory, and both at once as in fitting, in one run."""
    state = start(config, statistics(config.model, config.weights, batches))
    state, _ = fit_step(config, state, batches[0])  # compiles, and orders the first pass
    jax.block_until_ready(state)
    size = batches.batch_size // batches.part[1]
    rows: list[tuple[str, float]] = []

    begun = time.perf_counter()
    read = [batches[number] for number in range(1, steps + 1)]
    rows.append(("reading", time.perf_counter() - begun))

    begun = time.perf_counter()
    for windows in read:
        state, _ = fit_step(config, state, windows)
    jax.block_until_ready(state)
    rows.append(("fitting", time.perf_counter() - begun))

    begun = time.perf_counter()
    for windows in prefetch(batches, range(steps + 1, 2 * steps + 1)):
        state, _ = fit_step(config, state, windows)
    jax.block_until_ready(state)
    rows.append(("both at once", time.perf_counter() - begun))
    return Table(
        f"Throughput, {steps} batches of {size}",
        ("step", "windows/s", "ms per batch"),
        tuple((name, steps * size / seconds, 1e3 * seconds / steps) for name, seconds in rows),
        (f"Windows anywhere in {batches.hours:.2g} h of motion on disk; the system keeps in memory what it can.",),
    )
