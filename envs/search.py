"""Ways through clips: searched for with many humanoids, refined, and searched for again beside what was found."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from envs.guide import Guide
from envs.imitation import ImitationEnv
from envs.planning import PlanConfig, Planner
from envs.refining import Feedback, RefineConfig, Refiner, Way
from envs.world import CONTROL_HZ, Cast, WorldConfig, playing_env
from imdy_jax.imitation.policy import Trained
from imdy_jax.report import Progress

logger = logging.getLogger(__name__)
_PAD = 256  # control steps: guides have a multiple of it, so that few lengths compile


@dataclass(frozen=True)
class SearchConfig:
    """How ways are sought."""

    passes: int = 2  # searches; each is beside the best way so far, where there is one
    closeness: float = 0.5  # spread of those that are, in units of the plan's
    plan: PlanConfig = field(default_factory=PlanConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)


class Found(NamedTuple):
    """What a search has found; way and feedback are there if its departures alone lead to the end again."""

    target: np.ndarray  # (T, 23, 4) PD targets of as many control steps as the clip takes, or a few more
    way: Way | None
    feedback: Feedback | None


class Searcher:
    """Search and refinement, compiled, for one subject: make_env(N) is its env with N humanoids (envs.world)."""

    def __init__(self, make_env: Callable[[int], ImitationEnv], config: SearchConfig, trained: Trained):
        self._config = config
        self._planner = Planner(make_env(config.plan.particles), config.plan, trained)
        self._refiner = Refiner(make_env, config.refine, trained)

    def seek(self, row: int, seed: int) -> Found | None:
        """The best way that was found through a row of the reference table; None where none was."""
        config = self._config
        best: Found | None = None
        for k in range(config.passes):
            guide = beside(best.way, best.feedback) if best and best.way and best.feedback else None
            plan = self._planner.plan(row, seed + k, guide, config.closeness if guide else 1.0)
            refined = None if plan is None else self._refiner.refine(row, plan, config.plan.lost)
            if refined and not (best and best.way and best.way.cost <= refined[0].cost):
                best = Found(refined[0].target, *refined)
            elif plan and not best:
                best = Found(plan.target, None, None)
        return best


def search(
    cast: Cast, world: WorldConfig, config: SearchConfig, trained: Trained, rows: Sequence[int], seed: int,
    record: bool = False,
) -> Iterator[tuple[int, Found | None, float]]:  # fmt: skip
    """Rows of the cast with what was found, and the seconds that it took; subject by subject.

    record: search in the physics of a recording, whose solver is stricter, so that a replay there repeats it exactly.
    """
    seconds = (cast.lengths - 1) / CONTROL_HZ
    with Progress(float(seconds[rows].sum()) if len(rows) else 0.0, "searching", "s of motion") as progress:
        for subject in np.unique(cast.subjects[rows]) if len(rows) else ():

            def env(size: int, who: int = subject) -> ImitationEnv:
                return playing_env(cast, world, np.full(size, who), record)

            begun = time.monotonic()
            searcher = Searcher(env, config, trained)
            for row in (row for row in rows if cast.subjects[row] == subject):
                found = searcher.seek(row, seed)
                if found is None:
                    logger.warning("no way found through %s", cast.clips[row].name)
                yield row, found, time.monotonic() - begun
                progress.advance(float(seconds[row]))
                begun = time.monotonic()


def beside(way: Way, feedback: Feedback) -> Guide:
    """A way of T steps as a guide by the clip's frames; past its end its last frame is held."""
    arrays = way.physics.q[:-1], way.physics.v[:-1], way.departure, feedback.answer
    missing = -len(way.departure) % _PAD
    return Guide(*(np.pad(x, ((0, missing), *[(0, 0)] * (x.ndim - 1)), mode="edge") for x in arrays))
