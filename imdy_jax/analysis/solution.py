"""What the floor and the joints do in a motion, by analytic dynamics or by a fitted solver."""

from typing import NamedTuple

import numpy as np

from imdy_jax.analysis.correction import Correction
from imdy_jax.analysis.plausibility import IMPLAUSIBLE, Limits, Measures, measure, score, stature
from imdy_jax.analysis.residual_reduction import Reduced, Reduction, reduce_residual
from imdy_jax.analysis.track import Resultant, follow, resultant
from imdy_jax.analysis.work import Work, external_power, work
from imdy_jax.body.person import Body
from imdy_jax.dataset.record import Subject, make_subject
from imdy_jax.dynamics.contact_sequence import SoftContact
from imdy_jax.dynamics.estimate import Estimate
from imdy_jax.dynamics.pieces import Pieces, estimate_in_pieces
from imdy_jax.humanoid import GRAVITY, from_body
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.filters import Filter
from imdy_jax.skeleton import LEFT_FOOT, NUM_BODIES, RIGHT_FOOT
from imdy_jax.solver import infer
from imdy_jax.solver.infer import Solver
from imdy_jax.solver.intervals import Intervals
from imdy_jax.solver.representation import represent

_BEARING = 0.03  # of body weight: a segment in contact bears more
SUMMARY = (
    "s", "peak torque N·m", "vertical force / weight", "implausible %", "residual force % of weight",
    "frames above 1 %", "moved at most mm",
)  # fmt: skip


class Predicted(NamedTuple):
    """What ImDyS says, before it is corrected; at the frames, the means of the steps on either side."""

    torque: np.ndarray  # (T, 23, 3) N·m, child axes
    force: np.ndarray  # (T, 24, 3) N, world axes
    intervals: Intervals | None  # error bars of both, where the solver has them


class Solution(NamedTuple):
    """Dynamics of a motion of T frames."""

    name: str
    fps: float
    mass: float  # kg
    found: Estimate  # NumPy
    predicted: Predicted | None  # None by analytic dynamics
    reduced: Reduced | None  # how the motion was moved for `found`; None by analytic dynamics
    feet: tuple[Resultant, Resultant]  # left, right
    whole: Resultant
    contact: np.ndarray  # (T, 24) bool, the segment bears load
    work: Work  # (23,) J
    floor_work: Work  # () J
    measures: Measures
    score: np.ndarray  # (T,) plausibility


def solve(
    clip: Clip, body: Body, smoothing: Filter, solver: Solver | None = None, limits: Limits = Limits(),
    correction: Correction = Correction(), reduction: Reduction = Reduction(), pieces: Pieces = Pieces(),
) -> Solution:  # fmt: skip
    """The dynamics of a motion made by a person.

    With a solver its contact forces are taken, corrected as little as the equation of motion demands, and the motion is
    moved as little as they demand; without, forces are shared by contact alone. Plausibility is judged before anything
    is moved. Raises ValueError where the motion is too short, or not at the solver's frame rate.
    """
    humanoid, predicted, reduced = from_body(body), None, None
    shared = SoftContact() if solver is None else None  # a solver tells the forces
    found = judged = estimate_in_pieces(clip, body, smoothing, shared, pieces)
    if solver is not None:
        predicted = predict(solver, make_subject(humanoid, body), found, clip.fps)
        reduced = reduce_residual(humanoid, found, predicted.force, clip.fps, reduction, correction, pieces)
        found, judged = reduced.found, reduced.given
    track, wrench = follow(humanoid, found.q, found.v), np.asarray(found.wrench, float)
    weight = float(humanoid.total_mass) * GRAVITY
    measures = measure(humanoid, judged, _given(clip, body), clip.fps, stature(body.vertices))
    return Solution(
        clip.name, clip.fps, float(humanoid.total_mass), found, predicted, reduced,
        (resultant(track, wrench, LEFT_FOOT), resultant(track, wrench, RIGHT_FOOT)),
        resultant(track, wrench, range(NUM_BODIES)), wrench[..., 2] > _BEARING * weight,
        work(np.asarray(found.power), clip.fps), work(external_power(track, wrench), clip.fps),
        measures, score(measures, limits),
    )  # fmt: skip


def predict(solver: Solver, subject: Subject, found: Estimate, fps: float) -> Predicted:
    """ImDyS on a smooth motion (its q is used), as markers, joints or SMPL, whatever it was fitted to."""
    motion = represent(solver.config.representation, subject, found.q)
    told = infer.estimate(solver, motion, fps, float(np.sum(subject.humanoid.mass)))
    bars = told.intervals and Intervals(*(np.stack([_at_frames(x) for x in half]) for half in told.intervals))
    return Predicted(_at_frames(told.torque), _at_frames(told.contact_force), bars)


def summary(solution: Solution) -> tuple[float, ...]:
    """What SUMMARY names, as means over the motion but for peaks."""
    weight = solution.mass * GRAVITY
    residual = 100.0 * np.linalg.norm(solution.found.residual[:, :3], axis=1) / weight
    shift = solution.reduced.shift if solution.reduced else np.zeros((1, 3))
    return (
        (len(solution.score) - 1) / solution.fps,
        float(np.abs(solution.found.torque).max()),
        float(solution.whole.force[:, 2].mean()) / weight,
        100.0 * float(np.mean(solution.score < IMPLAUSIBLE)),
        float(residual.mean()),
        100.0 * float(np.mean(residual > 1.0)),
        1000.0 * float(np.linalg.norm(shift, axis=1).max()),
    )


def _given(clip: Clip, body: Body) -> np.ndarray:
    """q (T, 99) of the clip, as clip.generalized_positions, in NumPy: JAX would compile it for each length."""
    position = np.asarray(clip.translation) + np.asarray(body.joints[0])
    return np.concatenate([position, np.asarray(clip.rotations).reshape(clip.num_frames, -1)], axis=1)


def _at_frames(steps: np.ndarray) -> np.ndarray:
    """Values of T steps → of the T + 1 frames between and beside them."""
    padded = np.concatenate([steps[:1], steps, steps[-1:]])
    return 0.5 * (padded[1:] + padded[:-1])
