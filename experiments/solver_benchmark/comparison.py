"""Time ImDyS beside the same network in PyTorch, in one run: `python experiments/benchmark.py solver`.

The motions are built-in ones, with the torques and forces that analytic dynamics finds. Entrants take turns, round by
round, so that what else the machine does falls on all of them.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from dynamics_benchmark.timing import clock, peak_memory

from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.dataset.record import make_subject
from imdy_jax.dynamics.pieces import estimate_in_pieces
from imdy_jax.humanoid import from_body
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.report import Table, show
from imdy_jax.run import machine
from imdy_jax.solver.data import WindowBatches
from imdy_jax.solver.fit import FitConfig, start
from imdy_jax.solver.model import num_parameters
from imdy_jax.solver.pack import Sequence, pack
from imdy_jax.solver.representation import represent
from solver_benchmark.entrants import ENTRANTS, Entrant, Task

FPS = 30.0
PEER = "PyTorch eager"
WORK = ("training, steps", "inference, frames")


@dataclass
class Row:
    """An entrant and what was measured of it, for each of WORK."""

    entrant: Entrant | None = None
    first: list[float] = field(default_factory=list)  # s of the call that compiles
    memory: list[float | None] = field(default_factory=list)  # MB
    times: list[list[tuple[float, float]]] = field(default_factory=lambda: [[], []])  # µs: processor, wall
    remark: str = ""


def solver(
    config: FitConfig = FitConfig(constant=True), motions: tuple[str, ...] = ("walk", "squat", "lunge", "turn"),
    rounds: int = 7, only: tuple[str, ...] = (), json: str = "runs/benchmark/solver.json",
) -> None:  # fmt: skip
    """Benchmark the solver.

    Args:
      config: of the fit; of markers, with the supervised losses alone, which the peer has.
      motions: built-in ones to learn from; the first is solved.
      rounds: measurements of each entrant; the middle one counts.
      only: entrants to run: imdy_jax, "PyTorch eager", "PyTorch compiled", the same ", N threads"; by default all.
      json: where to write the table.
    """
    if config.model.representation != "markers" or config.weights.forward or config.weights.plausible:
        raise ValueError("config: the peer has markers and the supervised losses alone; leave the others off")
    enable_compilation_cache()
    with tempfile.TemporaryDirectory() as folder:
        task = make_task(config, motions, Path(folder))
        rows = {name: Row() for name in ENTRANTS if not only or name in only}
        for name, row in rows.items():
            _prepare(name, row, task)
        ready = [row for row in rows.values() if row.entrant is not None and not row.remark]
        for _ in range(rounds):
            for row in ready:
                assert row.entrant is not None
                for k, (call, count) in enumerate(zip(row.entrant, (1, len(task.motion)), strict=True)):
                    row.times[k].append(clock(call, count, 0.5))
    show(_table(rows, task, rounds), json)


def make_task(config: FitConfig, motions: tuple[str, ...], folder: Path) -> Task:
    """Built-in motions with their dynamics, packed into a folder."""
    body = anthropometric_body()
    humanoid = from_body(body)
    subject, mass = make_subject(humanoid, body), float(humanoid.total_mass)

    def sequences() -> Iterator[Sequence]:
        for name in motions:
            found = estimate_in_pieces(procedural_clip(name, body, FPS), body)
            middle = lambda x: 0.5 * (x[1:] + x[:-1])  # noqa: E731
            markers = represent("markers", subject, found.q)
            yield Sequence(name, name, "", mass, markers, middle(found.torque) / FPS, middle(found.force))

    data = pack(sequences(), "benchmark", 1.0 / FPS, folder)
    batches = WindowBatches(data, list(range(len(data))), config.model.window, config.batch_size, config.seed)
    return Task(config, batches, np.array(data[0].motion), FPS, mass)


def _prepare(name: str, row: Row, task: Task) -> None:
    """Build it and call it once; whatever goes wrong is the row's remark."""
    try:
        row.entrant = ENTRANTS[name](task)
        for call in row.entrant:
            begun = time.perf_counter()
            row.memory.append(peak_memory(call))
            row.first.append(time.perf_counter() - begun)
    except ImportError as error:
        row.remark = f"not installed ({error})"
    except Exception as error:  # a compiler may fail in any way; the table says how
        row.remark = f"{type(error).__name__}: {error}".splitlines()[0][:90]


def _table(rows: dict[str, Row], task: Task, rounds: int) -> Table:
    lines: list[tuple] = []
    middle = {name: [np.median(t, axis=0) if t else None for t in row.times] for name, row in rows.items()}
    for k, work in enumerate(WORK):
        base = middle[PEER][k] if PEER in middle else None
        for name, row in rows.items():
            own = middle[name][k]
            if own is None:
                lines.append((name, work, *[None] * 6, row.remark))
                continue
            ratios = (None, None) if base is None else tuple(float(x) for x in (base / own)[::-1])
            lines.append((name, work, row.first[k], 1e6 / own[1], 1e6 / own[0], *ratios, row.memory[k], row.remark))
    columns = (
        "what", "result", "first s", "per s", "per s of processor time", f"times as fast as {PEER}", "by processor",
        "MB", "remark",
    )  # fmt: skip
    size, frames = num_parameters(start(task.config).variables), len(task.motion)
    notes = (
        f"ImDyS of {size:,} parameters; batches of {task.batches.batch_size} windows, reading them included.",
        f"Medians of {rounds} rounds; inference on a motion of {frames} frames. First: the call that compiles.",
        "MB: by which that call raised the memory, its compiler included. PyTorch in one thread where none are named.",
        machine(),
    )
    return Table("ImDyS beside PyTorch", columns, tuple(lines), notes)
