"""Time inverse dynamics and its gradient beside its peers, in one run: `python experiments/benchmark.py dynamics`.

Contenders take turns, round by round, so that what else the machine does falls on all of them; times are processor
time of all threads together, which is what one core would take, and are not disturbed by other programs' turns.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from dynamics_benchmark.contenders import Contender, Ready, every
from dynamics_benchmark.hinges import States, random_states
from dynamics_benchmark.limits import limits
from dynamics_benchmark.timing import clock, time_limit
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.humanoid import Humanoid, from_body
from imdy_jax.report import Progress, Table, show

OURS, REFERENCE = "imdy_jax batched", "pinocchio, spherical"
CHECKED = 64  # states on which a contender has to agree at most
AGREEMENT = {"float32": 1e-4, "float64": 1e-9}  # of the largest torque


@dataclass
class Row:
    """A contender and what was measured of it: µs per evaluation by batch, processor time and wall clock."""

    contender: Contender
    processor: dict[int, float] = field(default_factory=dict)
    wall: dict[int, float] = field(default_factory=dict)
    ready: Ready | None = None  # the last one
    remark: str = ""


def dynamics(
    batches: tuple[int, ...] = (1, 64, 4096, 65536), only: tuple[str, ...] = (), rounds: int = 7,
    patience: int = 240, json: str = "runs/benchmark/dynamics.json",
) -> None:  # fmt: skip
    """Benchmark inverse dynamics.

    Args:
      batches: states per call, ascending.
      only: peers to run: imdy_jax, pinocchio, MuJoCo, mjx, jaxsim, adam; by default all.
      rounds: measurements of each contender; the middle one counts.
      patience: s that a contender may take to compile, or for its calls at one batch, as the last batch foretells.
      json: where to write the table; that of the limits goes beside it.
    """
    with jax.enable_x64(True):
        humanoid = jax.tree.map(lambda x: np.asarray(x, np.float64), from_body(anthropometric_body()))
        states = random_states(max(*batches, CHECKED))
        torque, _ = jax.jit(jax.vmap(inverse_dynamics, in_axes=(None, 0, 0, 0)))(
            humanoid, *(x[:CHECKED] for x in (states.q, states.v, states.a))
        )
        ball, hinge = np.asarray(torque).reshape(-1, 69), states.hinge_torque(np.asarray(torque))
        rows, absent = _contenders(humanoid, states, only)
    with Progress(len(batches) * len(rows), "timing", "contenders") as progress:
        for n in batches:
            slow: dict[str, str] = {}  # what takes its torques too long is not asked for more
            for row in rows:
                row.remark = row.remark or slow.get(row.contender.name, "")
                if row.wall and n * 1e-6 * (rounds + 1) * list(row.wall.values())[-1] > patience:
                    row.remark = f"left out at batch {n}: {rounds + 1} calls would take more than {patience} s"
                if not row.remark and n >= row.contender.least:
                    _prepare(row, n, patience, hinge if row.contender.hinges else ball)
                    if row.remark.startswith("not ready"):
                        slow[row.contender.name] = row.remark
                progress.advance(1, row=row.contender.name)
            _take_turns([row for row in rows if not row.remark and n >= row.contender.least], n, rounds)
    show(_table(rows, absent, batches), json)
    own = [(r.contender, min(r.processor.values())) for r in rows if r.contender.name == OURS and r.processor]
    if own:
        show(limits(own), json.removesuffix(".json") + "_limits.json")


def _contenders(humanoid: Humanoid, states: States, only: tuple[str, ...]) -> tuple[list[Row], list[tuple[str, str]]]:
    rows, absent = [], []
    for name, make in every(humanoid, states):
        if only and name not in only:
            continue
        try:
            rows += [Row(contender) for contender in make()]
        except ImportError as error:
            absent.append((name, f"not installed ({error})"))
    return rows, absent


def _prepare(row: Row, n: int, patience: int, expected: np.ndarray) -> None:
    """Compile and run once; whatever goes wrong is the row's remark."""
    try:
        with time_limit(patience):
            row.ready = row.contender.prepare(n)
            answer = row.ready.run()
        if row.contender.torques:
            found = row.contender.torques(answer)[:CHECKED]
            error = np.abs(found - expected[: len(found)]).max() / np.abs(expected).max()
            if not error < AGREEMENT[row.contender.precision]:
                row.remark = f"torques differ by {error:.1e} of the largest"
    except TimeoutError:
        row.remark = f"not ready within {patience} s at batch {n}"
    except Exception as error:  # a peer may fail in any way; the table says how
        row.remark = f"{type(error).__name__}: {error}".splitlines()[0][:70]


def _take_turns(rows: list[Row], n: int, rounds: int) -> None:
    """Time the contenders one after the other, several times over."""
    times: dict[int, list[tuple[float, float]]] = {i: [] for i in range(len(rows))}
    for _ in range(rounds):
        for i, row in enumerate(rows):
            assert row.ready is not None
            times[i].append(clock(row.ready.run, n))
    for i, row in enumerate(rows):
        row.processor[n], row.wall[n] = (float(x) for x in np.median(times[i], axis=0))


def _table(rows: list[Row], absent: list[tuple[str, str]], batches: tuple[int, ...]) -> Table:
    main = 4096 if 4096 in batches else batches[-1]
    base = {r.contender.result: r.processor.get(main) for r in rows if r.contender.name == REFERENCE}
    lines: list[tuple[Any, ...]] = []
    for row in rows:
        name, result, precision = row.contender[:3]
        ready, own, reference = row.ready or Ready(lambda: None), row.processor.get(main), base.get(result)
        ratio = reference / own if own and reference else None
        memory = None if ready.memory is None else ready.memory / 2**20
        times = (row.processor.get(n) for n in batches)
        lines.append((name, result, precision, *times, ratio, row.wall.get(main), ready.compiling, memory, row.remark))
    blank = (None,) * (len(batches) + 4)
    lines += [(name, "", "", *blank, reason) for name, reason in absent]
    columns = (
        "what", "result", "precision", *(f"µs at {n:,}" for n in batches), "times as fast", f"wall µs at {main:,}",
        "compiling s", "MB", "remark",
    )  # fmt: skip
    notes = (
        f"µs of processor time per evaluation, all threads together; times as fast as {REFERENCE}, at {main:,}.",
        "Gradient: of a scalar product of the torques by q, v and a, the torques not included; pinocchio's are whole",
        "Jacobians, called from Python as mj_inverse is. MB and compiling: of the largest batch that was run.",
    )
    return Table("Inverse dynamics, 75 degrees of freedom", columns, tuple(lines), notes)
