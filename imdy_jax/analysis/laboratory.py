"""What is told from markers alone, against a laboratory's force plates and the joint moments that follow from them.

The truth about forces is the plates'; about joint moments it is OpenSim's inverse dynamics of the laboratory's own
model and kinematics, under the plates' forces. The estimates know the markers and the person's sex and mass. They are
made at the solver's frame rate and compared at the laboratory's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
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
from imdy_jax.biomechanics.marker_fit import FittedPerson, fit_motion, fit_person
from imdy_jax.biomechanics.opensim_gait import sagittal_moments
from imdy_jax.biomechanics.opensim_storage import Markers, read_markers
from imdy_jax.body.person import Body
from imdy_jax.dataset.blocks import map_frames
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.dynamics.pieces import estimate_in_pieces
from imdy_jax.humanoid import GRAVITY, Humanoid, from_body
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.filters import Filter
from imdy_jax.skeleton import LEFT_FOOT, NUM_BODIES, RIGHT_FOOT, SAGITTAL, joint_index

MODEL, PLATES = "OpenSim's kinematics", "forces of the plates"
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


class Recording(NamedTuple):
    """A trial with the motion that was fitted to its markers."""

    person: str  # the folders of their model
    truth: Reference
    body: Body
    clip: Clip  # at the markers' rate, where the laboratory has it
    start: float  # s, of its first frame


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


def recordings(trials: list[Trial], sex: str) -> Iterator[Recording | str]:
    """Each trial with its person, fitted to all marker files that lie together, and motion; or why it is left out."""
    files, fitted = people(trials), dict[Path, FittedPerson]()
    for trial in trials:
        try:
            truth, markers = reference(trial), read_markers(str(trial.markers))
            if trial.model not in fitted:
                fitted[trial.model] = fit_person(list(_readable(files[trial.model])), sex, truth.mass)
            one = fitted[trial.model]
            motion = fit_motion(markers, one, trial.name, belt=tuple(truth.belt))
            person = "-".join(trial.model.absolute().parts[-3:-1])
            yield Recording(person, truth, one.body, motion.clip, float(markers.time[0]))
        except ValueError as error:
            yield f"{trial.name}: {error}"


def _readable(files: list[Path]) -> Iterator[Markers]:
    """What the marker files hold, but for those that cannot be read: their own trials tell why."""
    for file in files:
        try:
            yield read_markers(file)
        except ValueError:
            continue


def told_by(solution: Solution, start: float, time: np.ndarray) -> dict[str, Said]:
    """What a solution says at times (T,), s, by method; its first frame is at `start`. After its end it is NaN."""
    at = start + np.arange(len(solution.score)) / solution.fps

    def said(force: np.ndarray, torque: np.ndarray) -> Said:
        feet = np.stack([np.asarray(force)[:, list(foot)].sum(axis=1) for foot in (LEFT_FOOT, RIGHT_FOOT)], axis=1)
        over = lambda x: CubicSpline(at, x, extrapolate=False)(time)  # noqa: E731
        return Said(opensim.to_y_up(over(feet)), over(_sagittal(torque, solution.mass)).T.reshape(2, 3, -1))

    found, given, predicted = solution.found, solution.reduced, solution.predicted
    if given is None or predicted is None:
        return {ANALYTIC: said(found.force, found.torque)}
    return {
        RAW: said(predicted.force, predicted.torque),
        CORRECTED: said(given.given.force, given.given.torque),
        REDUCED: said(found.force, found.torque),
    }


def under_plates(clip: Clip, body: Body, truth: Reference, start: float, smoothing: Filter) -> Said:
    """The joint moments of a fitted motion, at its own rate and place, under the forces that the plates have measured.

    What they miss is the body's and the pose's fault, and not that of forces told from the motion.
    """
    humanoid, time = from_body(body), start + np.arange(clip.num_frames) / clip.fps
    free = estimate_in_pieces(clip, body, smoothing, None)
    force, moment = (
        np.stack([np.interp(time, truth.estimate.time, x) for x in array.reshape(len(array), -1).T], axis=1)
        for array in (truth.measured.force, truth.measured.moment)
    )
    force, moment = force.reshape(-1, 2, 3), moment.reshape(-1, 2, 3)
    along = truth.belt * (time - time[0])[:, None, None]  # the motion is told as it would be over ground
    moment = moment - np.cross(along, force)
    loads = opensim.to_z_up(force), opensim.to_z_up(moment)
    torque = map_frames(_torques, humanoid, (free.q, free.v, free.a, *loads))
    curves = CubicSpline(time, _sagittal(torque, truth.mass), extrapolate=False)(truth.estimate.time)
    return Said(truth.measured.force, curves.T.reshape(2, 3, -1))


@jax.jit
def _torques(humanoid: Humanoid, frames: tuple) -> jax.Array:
    """Joint torques (T, 23, 3) of T frames of q, v, a, and force and moment about the origin on each foot (2, 3)."""

    def one(q: jax.Array, v: jax.Array, a: jax.Array, force: jax.Array, moment: jax.Array) -> jax.Array:
        ankles = jnp.array([LEFT_FOOT[0], RIGHT_FOOT[0]])
        moment = moment - jnp.cross(forward_kinematics(humanoid, q).position[ankles], force)
        wrench = jnp.zeros((NUM_BODIES, 6), q.dtype).at[ankles].set(jnp.concatenate([force, moment], axis=-1))
        return inverse_dynamics(humanoid, q, v, a, wrench)[0]

    return jax.vmap(one)(*frames)


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


def people(trials: list[Trial]) -> dict[Path, list[Path]]:
    """Marker files of each person, by the model of theirs: all that lie with the trials', static ones, too."""
    found: dict[Path, list[Path]] = {}
    for trial in trials:
        if trial.markers is not None:
            found[trial.model] = sorted(trial.markers.parent.glob("*.trc"))
    return found


def _sagittal(torque: np.ndarray, mass: float) -> np.ndarray:
    """Internal moments (T, 6), N·m/kg: SAGITTAL of the left and then of the right side; torque (T, 23, 3) N·m."""
    return np.stack([
        sign * np.asarray(torque)[:, joint_index(f"{side}_{joint}") - 1, 0] / mass
        for side in ("left", "right")
        for joint, _, sign in SAGITTAL
    ], axis=1)  # fmt: skip
