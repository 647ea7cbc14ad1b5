"""Many motions solved side by side, one in each thread, and how fast that goes."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from imdy_jax.analysis.solution import Solution, summary
from imdy_jax.analysis.solution_files import written_row
from imdy_jax.compiling import compiling_seconds
from imdy_jax.dataset.background import in_background
from imdy_jax.motion.clip import Clip

THREADS = os.cpu_count() or 1


class Outcome(NamedTuple):
    """What became of a motion."""

    row: tuple | None = None  # name, SUMMARY, seconds of motion per second
    solution: Solution | None = None  # None where it is written already
    problem: str = ""  # why there is neither
    seconds: float = 0.0  # of motion, solved now
    compiling: float = 0.0  # s that making or fetching programs took
    at: tuple[float, float] = (0.0, 0.0)  # s of wall clock, and of this process's processor time, when it was solved


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


def clocks() -> tuple[float, float]:
    """s of wall clock, and of processor time of all threads."""
    return time.monotonic(), time.process_time()


def pace(outcomes: list[Outcome], begun: tuple[float, float]) -> tuple[str, ...]:
    """Notes on how fast motions were solved since the clocks stood at `begun`, in all and once all was compiled."""
    solved = sorted((o for o in outcomes if o.seconds), key=lambda o: o.at)
    last = max((k for k, o in enumerate(solved) if o.compiling), default=-1)
    notes = []
    for label, part, start in (
        ("all, with compiling", solved, begun),
        ("after the last compiling", solved[last + 1 :], solved[last].at if last >= 0 else begun),
    ):
        if part:
            motion = sum(o.seconds for o in part)
            wall, processor = (max(end - first, 1e-9) for end, first in zip(part[-1].at, start, strict=True))
            notes.append(
                f"{label}: {len(part)} motions, {motion:.1f} s; {motion / wall:.1f} s per s of wall clock, "
                f"{motion / processor:.1f} s per s of processor time"
            )
    return tuple(notes)


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
    return Outcome((solution.name, seconds, *others, rate), solution, "", seconds, compiling, clocks())
