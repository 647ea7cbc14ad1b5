"""Residual reduction: the whole body moved as little as lets contact forces explain how it moves.

In flight no force can mend what poses get wrong, and a low-pass smears every landing over the flight before it. What
remains at the root after the smallest correction (correction.py), r, is what the motion would have to accelerate less:

    u″ = −M_root⁻¹ r

Of the displacements u of the pelvis, joints unchanged, that is followed which minimises Σ |u / size|² + Σ |(u″ +
M_root⁻¹ r) / tolerance|² and is nowhere beyond a limit; then forces are corrected anew, a few times. OpenSim's residual
reduction (Delp et al. 2007) has the same aim. Which points can bear load, and how much, is judged by the motion as it
was given: a foot moved up by a centimetre still stands.

Where a frame still lacks more than is allowed the body may be moved further, in more passes. A motion that is not
explained even so, as that of somebody who stands on a box that nobody told of, is moved no further than the limit.

The limit of turning is narrow: what feet lack to spin the body, before a jump with a turn, would ask for turns of a
third of a radian, which the flight after it does not survive.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from scipy.linalg import solveh_banded
from scipy.spatial.transform import Rotation

from imdy_jax.analysis.correction import Corrected, Correction, correct_points
from imdy_jax.dynamics.differentiate import accelerations, velocities
from imdy_jax.dynamics.estimate import Estimate
from imdy_jax.dynamics.mass_matrix import mass_matrix
from imdy_jax.dynamics.pieces import Pieces, in_pieces
from imdy_jax.humanoid import GRAVITY, Humanoid

_TURN = 3.0  # 1/m: a radian about the pelvis counts as a third of a metre
_SPRINGS, _ROUNDS = np.logspace(-6, 3, 10), 20  # of the largest stiffness; solutions with each at most


@dataclass(frozen=True)
class Reduction:
    """How the root's residual is reduced."""

    passes: int = 3  # 0: the motion stays as it is
    iterations: int = 200  # of each pass, which begins with the forces of the one before
    size: float = 0.004  # m that the pelvis is moved as willingly as
    tolerance: float = 0.02  # m/s² that may remain
    limit: float = 0.02  # m that it is moved along an axis at most
    turn: float = 0.02  # rad that it is turned about an axis at most
    enough: float = 0.01  # of the weight: where no frame's force lacks more, that was it; else
    further: int = 13  # passes at most, and
    far: float = 0.1  # m at most, if with these the forces lack no more than that in the mean

    def __post_init__(self) -> None:
        least = min(self.size, self.tolerance, self.limit, self.turn)
        if min(self.passes, self.further, self.enough) < 0 or not least > 0 or self.far < self.limit:
            raise ValueError(
                f"reduction: found {self}, expected passes, further and enough ≥ 0, size, tolerance, limit and turn "
                "above zero, and far no less than limit; change --config.reduction"
            )


class _Pass(NamedTuple):
    found: Estimate
    points: np.ndarray  # as Corrected has them
    moved: np.ndarray  # (T, 6) m and rad


class Reduced(NamedTuple):
    """A motion of T frames with its dynamics, and how it was changed for them."""

    found: Estimate  # NumPy
    given: Estimate  # the same of the motion as it was, with what no contact explains
    shift: np.ndarray  # (T, 3) m of the pelvis, world axes
    turn: np.ndarray  # (T, 3) rad of the whole body about it, a rotation vector in the pelvis's given axes


def reduce_residual(
    humanoid: Humanoid, motion: Estimate, force: np.ndarray, fps: float, settings: Reduction = Reduction(),
    correction: Correction = Correction(), pieces: Pieces = Pieces(),
) -> Reduced:  # fmt: skip
    """The dynamics nearest to predicted forces (T, 24, 3), N, of the motion moved so that they explain it.

    Arguments are those of `correct`. Of the passes with a limit that is kept which leaves the least force at the root.
    """
    first = correct_points(humanoid, motion, force, fps, correction, pieces)
    enough = settings.enough * GRAVITY * float(humanoid.total_mass)
    quick = replace(correction, iterations=settings.iterations)

    def one_more(last: _Pass, limit: float) -> _Pass:
        inertia = in_pieces(partial(_root_inertia, humanoid), last.found.q, fps, pieces).astype(float)
        moved = _moved(last.moved, inertia, np.asarray(last.found.residual, float), fps, settings, limit)
        before = Corrected(first.found, last.points)
        again = correct_points(humanoid, _displaced(motion, moved, fps), force, fps, quick, pieces, before)
        return _Pass(again.found, again.points, moved)

    last = near = _Pass(first.found, first.points, np.zeros((len(motion.q), 6)))
    for _ in range(settings.passes):
        last = one_more(last, settings.limit)
        near = min(near, last, key=_lacking)
    far = near
    for _ in range(settings.further if settings.passes else 0):
        if _forces(far.found).max() <= enough:
            break
        last = one_more(last, settings.far)
        far = min(far, last, key=_lacking)
    kept = far if _lacking(far) <= enough else near
    return Reduced(kept.found, first.found, kept.moved[:, :3], kept.moved[:, 3:])


def _forces(found: Estimate) -> np.ndarray:
    """Sizes (T,), N, of the force at the root."""
    return np.linalg.norm(found.residual[:, :3], axis=1)


def _lacking(one: _Pass) -> float:
    return float(_forces(one.found).mean())


@jax.jit
def _root_inertia(humanoid: Humanoid, q: jax.Array) -> jax.Array:
    """(T, 6, 6) of the body as one."""
    return jax.vmap(lambda q: mass_matrix(humanoid, q)[:6, :6])(q)


def _moved(
    before: np.ndarray, inertia: np.ndarray, residual: np.ndarray, fps: float, settings: Reduction, limit: float
) -> np.ndarray:
    """Displacements (T, 6), m and rad, after `before`, of which residual (T, 6) was left; inertia (T, 6, 6).

    The body is shifted after it has been turned, by what its centre of mass lacks then, so that a turn that is held at
    its limit is not missed where it falls.
    """
    turn = before[:, 3:]
    wanted = -np.linalg.solve(inertia, residual[..., None])[:, 3:, 0]
    turned = _TURN * _accelerated(turn / _TURN, wanted / _TURN, fps, settings, settings.turn / _TURN)
    turning = np.zeros_like(turn)
    turning[1:-1] = np.diff(turned - turn, 2, axis=0) * fps**2
    force = residual[:, :3] + np.einsum("tij,tj->ti", inertia[:, :3, 3:], turning)
    wanted = -np.linalg.solve(inertia[:, :3, :3], force[..., None])[..., 0]
    return np.hstack([_accelerated(before[:, :3], wanted, fps, settings, limit), turned])


def _accelerated(
    before: np.ndarray, wanted: np.ndarray, fps: float, settings: Reduction, limit: float
) -> np.ndarray:  # fmt: skip
    """Displacements (T, 3), m, that accelerate by what is wanted more than those before.

    Normal equations of the least squares, five diagonals. Where their solution goes too far a stiff spring holds it at
    the limit, until those that are held are those that push (a semismooth Newton method).
    """
    count = len(before)
    stiff, free = 1.0 / settings.tolerance**2, 1.0 / settings.size**2
    bands = np.zeros((3, count))
    bands[2] += free
    second = np.array([1.0, -2.0, 1.0]) * fps**2
    change = np.diff(before, 2, axis=0) * fps**2 + wanted[1:-1]
    right = np.zeros_like(before)
    for i in range(3):
        right[i : count - 2 + i] += stiff * second[i] * change
        for j in range(i, 3):
            bands[2 - (j - i), j : count - 2 + j] += stiff * second[i] * second[j]
    return np.stack([_held(bands, b, limit) for b in right.T], axis=1)


def _held(bands: np.ndarray, right: np.ndarray, limit: float) -> np.ndarray:
    """Solution (T,) of the banded equations, held within ±limit."""
    pushing = np.zeros(len(right), int)
    for spring in _SPRINGS * bands[2].max():  # from soft to stiff: a stiff one at once may go round in circles
        for _ in range(_ROUNDS):
            held = bands.copy()
            held[2] += spring * np.abs(pushing)
            moved = solveh_banded(held, right + spring * limit * pushing)
            beyond = np.where(np.abs(moved) > limit, np.sign(moved), 0).astype(int)
            if (beyond == pushing).all():
                break
            pushing = beyond
    return np.clip(moved, -limit, limit)


def _displaced(motion: Estimate, moved: np.ndarray, fps: float) -> Estimate:
    """The motion with its pelvis moved by (T, 6); joints turn as they did."""
    q, v, a = (np.array(x, float) for x in (motion.q, motion.v, motion.a))
    q[:, :3] += moved[:, :3]
    turned = Rotation.from_quat(q[:, 3:7], scalar_first=True) * Rotation.from_rotvec(moved[:, 3:])
    q[:, 3:7] = turned.as_quat(scalar_first=True)
    v[:, :6], a[:, :6] = velocities(q, fps)[:, :6], accelerations(q, fps)[:, :6]
    kind = np.asarray(motion.q).dtype
    return replace(motion, q=q.astype(kind), v=v.astype(kind), a=a.astype(kind))
