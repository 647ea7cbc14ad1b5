"""Many motions solved side by side, one in each thread, and how fast that goes."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from imdy_jax.analysis.solution import Solution, summary
from imdy_jax.analysis.solution_files import written_row
from imdy_jax.dataset.background import in_background
from imdy_jax.motion.clip import Clip
from imdy_jax.run import compiling_seconds

THREADS = os.cpu_count() or 1


class Outcome(NamedTuple):
    """What became of a motion."""

    row: tuple | None = None  # name, SUMMARY, seconds of motion per second
    solution: Solution | None = None  # None where it is written already
    problem: str = ""  # why there is neither
    seconds: float = 0.0  # of motion, solved now
    compiling: float = 0.0  # s that making or fetching programs took


def solve_all(
    motions: dict[str, Path | None],
    load: Callable[[str, Path | None], Clip],
    solve: Callable[[Clip], Solution],
    written: Path | None = None,
    threads: int = THREADS,
) -> Iterator[Outcome]:
    """The outcomes of motions (name → file, as list_motions has them), in their order.

    Args:
      motions: what to solve.
      load: a motion's clip; a ValueError is the motion's problem and no one else's. So of solve.
      solve: its dynamics.
      written: folder that may hold some of them already.
      threads: that solve side by side. At most three times as many motions are in memory.
    """
    return in_background(partial(_solve, load, solve, written), motions.items(), threads, ahead=2 * threads)


def pace(outcomes: list[Outcome], wall: float, threads: int = THREADS) -> tuple[str, ...]:
    """Notes on how fast motions were solved that took so many seconds of wall clock in all; none if none was."""
    motion, compiling = (sum(getattr(o, name) for o in outcomes) for name in ("seconds", "compiling"))
    if not motion:
        return ()
    warm = max(wall - compiling / threads, 1e-9)
    return (
        f"all: {motion:.1f} s of motion in {wall:.1f} s, {motion / wall:.1f} s per s, with files and what is drawn;",
        f"{motion / warm:.1f} s per s without compiling, {compiling:.1f} s in {threads} threads together",
    )


def _solve(
    load: Callable[[str, Path | None], Clip], solve: Callable[[Clip], Solution], written: Path | None,
    motion: tuple[str, Path | None],
) -> Outcome:  # fmt: skip
    begun, before = time.monotonic(), compiling_seconds()
    try:
        row = None if written is None else written_row(written, motion[0])
        if row is not None:
            return Outcome(row)
        solution = solve(load(*motion))
    except ValueError as error:
        return Outcome(problem=str(error))
    seconds, *others = summary(solution)
    compiling = compiling_seconds() - before
    rate = seconds / max(time.monotonic() - begun - compiling, 1e-9)
    return Outcome((solution.name, seconds, *others, rate), solution, "", seconds, compiling)
