"""What is told from markers alone, against a laboratory's force plates and the joint moments that follow from them.

The truth about forces is the plates'; about joint moments it is OpenSim's inverse dynamics of the laboratory's own model
and kinematics, under the plates' forces. The estimates know the markers and the person's sex and mass. They are made at
the solver's frame rate and compared at the laboratory's.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from imdy_jax.analysis.solution import Solution
from imdy_jax.biomechanics import opensim
from imdy_jax.biomechanics.force_plates import (
    Errors,
    Measured,
    Trial,
    errors,
    loads_under_feet,
    measured_reactions,
)
from imdy_jax.biomechanics.ground_reaction import Reactions, estimate_reactions
from imdy_jax.biomechanics.opensim_gait import sagittal_moments
from imdy_jax.humanoid import GRAVITY
from imdy_jax.report import Table
from imdy_jax.skeleton import LEFT_FOOT, RIGHT_FOOT, SAGITTAL, joint_index

MODEL = "OpenSim's kinematics"
ANALYTIC, RAW, CORRECTED, REDUCED = "analytic", "ImDyS", "ImDyS corrected", "ImDyS reduced"
BELT = 0.3  # m/s, from which the floor counts as a treadmill's belt
_PLATE_HZ, _MOMENT_HZ = 10.0, 6.0  # low-passes of the laboratory's kinematics


class Reference(NamedTuple):
    """A trial as the laboratory knows it; OpenSim's world axes, y up."""

    name: str
    mass: float  # kg
    estimate: Reactions  # by its kinematics
    measured: Measured
    moments: np.ndarray  # (2, 3, T) N·m/kg, SAGITTAL of left and right
    belt: np.ndarray  # (3,) m/s


class Said(NamedTuple):
    """What a method says of a trial at the reference's T times."""

    force: np.ndarray  # (T, 2, 3) N under left and right foot
    moments: np.ndarray | None  # (2, 3, T) N·m/kg


class Scores(NamedTuple):
    """Of a method on a trial, over the frames in which all that touches the ground does so on a plate."""

    errors: Errors  # % of weight
    length: np.ndarray  # (2,) N/kg, mean length of the error of each foot's force: the paper's mPJE
    moment: np.ndarray  # (3,) N·m/kg, rms
    correlation: np.ndarray  # (3,)


def reference(trial: Trial) -> Reference:
    """Read a trial, and have OpenSim's inverse dynamics repeated on it."""
    model, motion = opensim.read_model(trial.model), opensim.read_storage(trial.motion)
    track = opensim.coordinate_motion(model, motion, _PLATE_HZ)
    estimate = estimate_reactions(model, track)
    measured = measured_reactions(opensim.read_storage(trial.forces), estimate)
    loads = loads_under_feet(estimate.time, measured)
    forces = opensim.inverse_dynamics(model, motion, loads, _MOMENT_HZ)
    moments = sagittal_moments(model, track, forces)
    belt = estimate.belt if np.linalg.norm(estimate.belt) > BELT else np.zeros(3)
    return Reference(trial.name, model.mass, estimate, measured, moments, belt)


def told_by(solution: Solution, start: float, time: np.ndarray) -> dict[str, Said]:
    """What a solution says at times (T,), s, by method; its first frame is at `start`. After its end it is NaN."""
    at = start + np.arange(len(solution.score)) / solution.fps

    def said(force: np.ndarray, torque: np.ndarray) -> Said:
        feet = np.stack([np.asarray(force)[:, list(foot)].sum(axis=1) for foot in (LEFT_FOOT, RIGHT_FOOT)], axis=1)
        curves = [
            sign * np.asarray(torque)[:, joint_index(f"{side}_{joint}") - 1, 0] / solution.mass
            for side in ("left", "right")
            for joint, _, sign in SAGITTAL
        ]
        over = lambda x: CubicSpline(at, x, extrapolate=False)(time)  # noqa: E731
        return Said(opensim.to_y_up(over(feet)), over(np.stack(curves, axis=1)).T.reshape(2, 3, -1))

    found, given, predicted = solution.found, solution.reduced, solution.predicted
    if given is None or predicted is None:
        return {ANALYTIC: said(found.force, found.torque)}
    return {
        RAW: said(predicted.force, predicted.torque),
        CORRECTED: said(given.given.force, given.given.torque),
        REDUCED: said(found.force, found.torque),
    }


def judge(truth: Reference, said: Said) -> Scores:
    """How far a method is from the plates, and from the moments under them."""
    valid = truth.measured.valid & np.isfinite(said.force).all(axis=(1, 2))
    found = truth.estimate._replace(force=said.force)
    by = errors(found, truth.measured._replace(valid=valid), truth.mass * GRAVITY)
    off = np.linalg.norm(said.force - truth.measured.force, axis=-1)[valid].mean(axis=0) / truth.mass
    if said.moments is None:
        return Scores(by, off, np.full(3, np.nan), np.full(3, np.nan))
    ours, theirs = (x[..., valid].transpose(1, 0, 2).reshape(3, -1) for x in (said.moments, truth.moments))
    rms = np.sqrt(np.mean((ours - theirs) ** 2, axis=1))
    return Scores(by, off, rms, np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(ours, theirs, strict=True)]))


def force_table(scores: dict[str, dict[str, Scores]]) -> Table:
    """Errors of the forces, of each trial by each method (trial → method → scores), and their means."""
    rows = []
    for trial, methods in (*scores.items(), ("mean", _means(scores))):
        for method, s in methods.items():
            together, foot = (100.0 * x / 100.0 for x in (s.errors.together, s.errors.foot.mean(axis=0)))
            rows.append((trial, method, *(round(float(x[i]), 1) for x in (together, foot) for i in (1, 0, 2)),
                         *(round(float(x), 2) for x in s.length)))  # fmt: skip
    ways = ("vertical", "fore–aft", "lateral")
    columns = ("trial", "method", *(f"{way} %" for way in ways), *(f"each foot {way} %" for way in ways),
               "left N/kg", "right N/kg")  # fmt: skip
    notes = (
        "rmse in % of body weight against unfiltered plates, both feet together and each; N/kg: mean length of the",
        "error of a foot's force. The paper's Table 3, of another laboratory's seventh subject (GroundLink): ImDyS 0.99",
        "and 1.15, GroundLinkNet 5.42 and 2.89, re-imitation 2.36 and 2.64.",
    )
    return Table("Ground reaction forces from markers, against force plates", columns, tuple(rows), notes)


def moment_table(scores: dict[str, dict[str, Scores]]) -> Table:
    """Errors of the sagittal moments, likewise."""
    rows = []
    for trial, methods in (*scores.items(), ("mean", _means(scores))):
        for method, s in methods.items():
            if np.isfinite(s.moment).all():
                cells = [round(float(x), 2) for pair in zip(s.moment, s.correlation, strict=True) for x in pair]
                rows.append((trial, method, *cells))
    columns = ("trial", "method", *(x for joint, what, _ in SAGITTAL for x in (f"{joint} {what}", f"r of {joint}")))
    notes = ("rms error in N·m/kg and correlation, both sides, against OpenSim's inverse dynamics under the plates",)
    return Table("Joint moments from markers, against inverse dynamics with force plates", columns, tuple(rows), notes)


def people(trials: list[Trial]) -> dict[Path, list[Path]]:
    """Marker files of each person, by the model of theirs: all that lie with the trials', static ones, too."""
    found: dict[Path, list[Path]] = {}
    for trial in trials:
        if trial.markers is not None:
            found[trial.model] = sorted(trial.markers.parent.glob("*.trc"))
    return found


def _means(scores: dict[str, dict[str, Scores]]) -> dict[str, Scores]:
    methods = dict.fromkeys(m for by in scores.values() for m in by)
    each = {m: [by[m] for by in scores.values() if m in by] for m in methods}
    return {m: _mean(them) for m, them in each.items()}


def _mean(scores: list[Scores]) -> Scores:
    by = Errors(*(np.nanmean(np.stack(x), axis=0) for x in zip(*(s.errors for s in scores), strict=True)))
    return Scores(by, *(np.mean(np.stack([s[k] for s in scores]), axis=0) for k in (1, 2, 3)))
