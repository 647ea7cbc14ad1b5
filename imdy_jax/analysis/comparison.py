"""A learnt solver against analytic dynamics, on recorded sequences whose torques and forces are known.

All are told the recorded motion alone. The solver by itself sees it as recorded; analytic dynamics, and the solver with
the smallest correction, without and with residual reduction, see it low-passed, as `solution.solve` does. What those
say at frames is compared, as the mean of the two frames of a step, with what was recorded of the step.
"""

from typing import NamedTuple

import numpy as np

from imdy_jax.analysis.correction import Correction
from imdy_jax.analysis.residual_reduction import Reduction, reduce_residual
from imdy_jax.analysis.solution import predict
from imdy_jax.dataset.record import Record
from imdy_jax.dynamics.estimate import Estimate
from imdy_jax.dynamics.pieces import Pieces, poses_in_pieces
from imdy_jax.humanoid import GRAVITY
from imdy_jax.motion.filters import Butterworth
from imdy_jax.report import Table
from imdy_jax.skeleton import NUM_BODIES
from imdy_jax.solver import infer
from imdy_jax.solver.evaluate import Dynamics
from imdy_jax.solver.infer import Solver
from imdy_jax.solver.pack import Sequence
from imdy_jax.solver.representation import Name, represent
from imdy_jax.solver.scores import inside, paper_errors, score, whole_body_errors
from imdy_jax.solver.tables import QUANTITIES, interval

RAW, CORRECTED, REDUCED, ANALYTIC = "ImDyS", "ImDyS corrected", "ImDyS reduced", "analytic"
BAR = 1.0  # % of body weight that a root residual is to stay below
_INTERVAL = "95 %: by bootstrap over clips."


class Compared(NamedTuple):
    """What a method says of the T steps of a sequence."""

    said: Dynamics
    residual: np.ndarray  # (T,) % of body weight: root force that the motion needs and nothing said supplies


Methods = dict[str, dict[str, Compared]]  # by the method's name, then the sequence's


def as_sequence(record: Record, clip: str, representation: Name) -> Sequence:
    """A record as the scores take it, its motion in a representation; clip: what it is a copy of."""
    mass, subject = float(np.sum(record.subject.humanoid.mass)), record.subject
    recorded = np.asarray(record.angular_momentum), np.asarray(record.contact_force)
    return Sequence(record.id, clip, subject.digest, mass, represent(representation, subject, record.q), *recorded)


def compare(
    solver: Solver, record: Record, sequence: Sequence, cutoffs: tuple[float, ...] = (6.0,),
    correction: Correction = Correction(), reduction: Reduction = Reduction(), pieces: Pieces = Pieces(),
) -> dict[str, Compared]:  # fmt: skip
    """What each method says of a recorded sequence (as_sequence), by its name.

    cutoffs: Hz, of the low-pass on the motion; each makes three methods.

    Raises ValueError where the motion is too short, not at the solver's frame rate, or a cut-off is out of range.
    """
    fps, humanoid = record.provenance.control_rate, record.subject.humanoid
    told = infer.estimate(solver, sequence.motion, fps, sequence.mass)
    missed = np.linalg.norm(np.sum(sequence.contact_force - told.contact_force, axis=1), axis=-1)
    found = {RAW: Compared(Dynamics(told.angular_momentum, told.contact_force), _percent(missed, sequence.mass))}
    q = np.asarray(record.q)
    poses = q[:, :3], q[:, 3:].reshape(len(q), NUM_BODIES, 4)
    for cutoff in cutoffs:
        analytic = poses_in_pieces(humanoid, *poses, fps, Butterworth(cutoff), pieces=pieces)
        predicted = predict(solver, record.subject, analytic, fps)
        reduced = reduce_residual(humanoid, analytic, predicted.force, fps, reduction, correction, pieces)
        for name, one in ((CORRECTED, reduced.given), (REDUCED, reduced.found), (ANALYTIC, analytic)):
            found[f"{name}, {cutoff:g} Hz"] = _of_steps(one, fps, sequence.mass)
    return found


def comparison_table(sequences: list[Sequence], methods: Methods, window: int) -> Table:
    """The paper's errors of each method and its root residuals, over the same steps."""
    rows = []
    for name, compared in methods.items():
        said = {key: one.said for key, one in compared.items()}
        errors = score(sequences, said, window, whole_body_errors)
        residual = np.concatenate([x.residual[inside(len(x.residual), window)] for x in compared.values()])
        over = 100.0 * float(np.mean(residual > BAR))
        figures = *map(float, errors.mean[:4]), float(_percent(errors.mean[4], 1.0))
        worst = float(residual.mean()), float(np.quantile(residual, 0.95)), over
        rows.append((name, *figures, *worst, errors.steps, interval(errors, 0), interval(errors, 1)))
    columns = ("method", *QUANTITIES, "whole body %", "residual %", "95th", f"above {BAR:g} % of weight", "steps",
               "95 % of τ", "95 % of λ")  # fmt: skip
    notes = (
        "whole body: error of all contact forces together, % of body weight;",
        "residual: root force that the method's own motion needs and its forces do not supply, % of body weight: mean,",
        f"95th percentile, and share of the steps (%) above {BAR:g} %. Of {RAW} alone it is that of the whole body.",
        _INTERVAL,
    )
    clips = len({s.clip for s in sequences})
    return Table(f"{len(sequences)} recorded sequences that are new to the solver (clips: {clips})", columns,
                 tuple(rows), notes)  # fmt: skip


def difference_table(sequences: list[Sequence], methods: Methods, window: int) -> Table:
    """Errors of the solver less those of analytic dynamics at the same steps: below zero the solver is nearer."""
    rows: list[tuple] = []
    for name in (n for n in methods if n.startswith(ANALYTIC)):
        other = {key: one.said for key, one in methods[name].items()}

        def less(sequence: Sequence, said: Dynamics, other: dict[str, Dynamics] = other) -> np.ndarray:
            return paper_errors(sequence, said) - paper_errors(sequence, other[sequence.name])

        for mine in (RAW, *(name.replace(ANALYTIC, each) for each in (CORRECTED, REDUCED))):
            found = score(sequences, {key: one.said for key, one in methods[mine].items()}, window, less)
            told = [x for k in range(len(QUANTITIES)) for x in (float(found.mean[k]), interval(found, k))]
            rows.append((f"{mine} less {name}", *told))
    columns = ("difference", *(x for k, name in enumerate(QUANTITIES) for x in (name, "95 %" + " " * k)))
    return Table("The solver less analytic dynamics, at the same steps", columns, tuple(rows), (_INTERVAL,))


def _of_steps(found: Estimate, fps: float, mass: float) -> Compared:
    """An estimate at T + 1 frames as means over the T steps between them."""
    torque, force, residual = (_means(x) for x in (found.torque, found.force, _length(found.residual)))
    return Compared(Dynamics(torque / fps, force), _percent(residual, mass))


def _means(x: np.ndarray) -> np.ndarray:
    return 0.5 * (np.asarray(x)[1:] + np.asarray(x)[:-1])


def _length(residual: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.asarray(residual)[:, :3], axis=-1)


def _percent(force: np.ndarray, mass: float) -> np.ndarray:
    """N → % of the weight of a mass, kg."""
    return 100.0 * force / (mass * GRAVITY)
