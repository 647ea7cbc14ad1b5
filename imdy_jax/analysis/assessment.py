"""Does plausibility find what is wrong? Artefacts planted into built-in motions, and the area under the ROC.

Figure 10 of Liu et al. (ImDy, ICLR 2025) shows the like, with a learnt discriminator and a generated motion; where a
solver has one, it is asked beside physics.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from imdy_jax.analysis.artefacts import ARTEFACTS
from imdy_jax.analysis.plausibility import IMPLAUSIBLE, Limits, Measures, measure, score, stature
from imdy_jax.body.person import Body
from imdy_jax.dataset.record import make_subject
from imdy_jax.dynamics.pieces import estimate_in_pieces
from imdy_jax.humanoid import from_body
from imdy_jax.motion.clip import from_generalized_positions, generalized_positions
from imdy_jax.motion.filters import Butterworth, Filter
from imdy_jax.motion.procedural import CLIPS, procedural_clip
from imdy_jax.report import Table
from imdy_jax.solver.infer import Solver, plausibility
from imdy_jax.solver.representation import represent


@dataclass(frozen=True)
class AssessmentStudy:
    """What is planted where."""

    clips: tuple[str, ...] = CLIPS  # built-in motions
    fps: float = 30.0
    seed: int = 0


class Assessed(NamedTuple):
    """A motion of T frames, and how it was judged."""

    clip: str
    artefact: str
    q: np.ndarray  # (T, 99) as it was given
    wrong: np.ndarray  # (T,) bool, planted
    measures: Measures
    score: np.ndarray  # (T,)
    learnt: np.ndarray | None = None  # (T,) what a solver's discriminator holds of it


def assess(
    body: Body, config: AssessmentStudy, limits: Limits, smoothing: Filter, advance: Callable[[], None],
    solver: Solver | None = None,
) -> list[Assessed]:  # fmt: skip
    """Every artefact in every clip once, at a place and of a size that the seed draws.

    solver: whose discriminator is asked, too; raises ValueError where it has none.
    """
    draw, found = np.random.default_rng(config.seed), []
    for name in config.clips:
        clean = np.asarray(generalized_positions(procedural_clip(name, body, config.fps), body), float)
        for kind, plant in ARTEFACTS.items():
            q, wrong = plant(clean, config.fps, draw)
            measures = judge(body, q, config.fps, smoothing)
            learnt = None if solver is None else learnt_plausibility(solver, body, q, config.fps)
            found.append(Assessed(name, kind, q, wrong, measures, score(measures, limits), learnt))
            advance()
    return found


def judge(body: Body, q: np.ndarray, fps: float, smoothing: Filter = Butterworth()) -> Measures:
    """Measures of a motion q (T, 99) of a person, from its dynamics."""
    found = estimate_in_pieces(from_generalized_positions(q, body, fps, "motion"), body, smoothing)
    return measure(from_body(body), found, q, fps, stature(body.vertices))


def learnt_plausibility(solver: Solver, body: Body, q: np.ndarray, fps: float) -> np.ndarray:
    """Of each frame of a motion q (T, 99) the lesser of what a solver's discriminator holds of the steps beside it."""
    motion = represent(solver.config.representation, make_subject(from_body(body), body), q)
    steps = plausibility(solver, motion, fps)
    return np.minimum(np.append(steps, steps[-1]), np.insert(steps, 0, steps[0]))


def roc_area(wrong: np.ndarray, suspicion: np.ndarray) -> float:
    """Area under the receiver operating characteristic: how probably a wrong frame is more suspicious than a sound one.

    wrong (N,) bool, suspicion (N,); ties count one half (Mann & Whitney 1947). Raises ValueError where all are alike.
    """
    wrong = np.asarray(wrong, bool)
    count, others = int(wrong.sum()), int((~wrong).sum())
    if not count or not others:
        raise ValueError(f"ROC: found {count} wrong and {others} sound frames, expected some of both; plant some")
    ranks = rankdata(suspicion)
    return float((ranks[wrong].sum() - count * (count + 1) / 2) / (count * others))


def assessment_table(found: list[Assessed]) -> Table:
    """One row per kind of artefact, and one for all: ROC areas of the score and of each measure alone."""
    kinds = {kind: [each for each in found if each.artefact == kind] for kind in ARTEFACTS}
    rows = tuple(_row(kind, some) for kind, some in (kinds | {"all": found}).items() if some)
    by_solver = ("AUC discriminator",) if found[0].learnt is not None else ()
    columns = ("artefact", "motions", "frames", "AUC", "found %", "false %", *(f"AUC {f}" for f in Measures._fields))
    return Table(
        f"Planted artefacts found by the plausibility score in {len(found)} motions",
        (*columns, *by_solver),
        rows,
        (
            f"found, false: planted and other frames with a score below {IMPLAUSIBLE:g}",
            "AUC: area under the ROC over all frames, of the score and of each of its measures alone",
        ),
    )


def _row(kind: str, found: list[Assessed]) -> tuple:
    wrong, judged = (np.concatenate([getattr(each, name) for each in found]) for name in ("wrong", "score"))
    flagged = judged < IMPLAUSIBLE
    alone = [np.concatenate([getattr(each.measures, name) for each in found]) for name in Measures._fields]
    if found[0].learnt is not None:
        alone.append(-np.concatenate([each.learnt for each in found]))
    return (
        kind, len(found), int(wrong.sum()), roc_area(wrong, -judged), 100.0 * float(flagged[wrong].mean()),
        100.0 * float(flagged[~wrong].mean()), *(roc_area(wrong, x) for x in alone),
    )  # fmt: skip
