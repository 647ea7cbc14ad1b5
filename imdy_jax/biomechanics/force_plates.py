"""Measured ground reaction forces, told apart by foot, to compare estimates with."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from imdy_jax.biomechanics.ground_reaction import SIDES, Reactions
from imdy_jax.biomechanics.opensim_loads import ExternalForce, ExternalLoads, loads_on, sample
from imdy_jax.biomechanics.opensim_storage import Storage
from imdy_jax.biomechanics.opensim_xml import OpenSimFileError

LOADED = 10.0  # N, less on a plate is noise
_BEARING = 0.03  # of body weight on both feet: double support
_EDGE = 0.05  # s at both ends of a motion, where filters and derivatives guess
_LATE = 0.15  # s, contact that kinematics see for longer before or after a plate does is a step beside the plate


class Trial(NamedTuple):
    """The files of one recording."""

    name: str
    model: Path  # .osim, scaled to the person
    motion: Path  # .mot, its coordinates
    forces: Path  # .mot, of the plates
    markers: Path | None = None  # .trc


class Measured(NamedTuple):
    """Forces of the plates under the left and the right foot, OpenSim's world axes."""

    force: np.ndarray  # (T, 2, 3) N
    moment: np.ndarray  # (T, 2, 3) N·m about the world's origin
    valid: np.ndarray  # (T,) bool: whatever touches the ground does so on a plate


def measured_reactions(data: Storage, estimate: Reactions) -> Measured:
    """The plates' forces at the times of an estimate.

    Each stretch of load on a plate goes to the foot whose estimated centre of pressure is nearer, for most of it.
    Frames are valid from the first to the last load on any plate, the ends of the motion apart, unless a foot rests
    on the ground and its plate has nothing to say, at the motion's ends or for longer than kinematics can be mistaken.
    Raises OpenSimFileError where there are no columns of plates.
    """
    samples = sample(plate_loads(data), estimate.time)
    force, moment = np.zeros((2, len(estimate.time), len(SIDES), 3))
    turning = samples.moment + np.cross(samples.point, samples.force)
    for k in range(samples.force.shape[1]):
        away = np.linalg.norm((estimate.pressure_centre - samples.point[:, k, None])[..., [0, 2]], axis=-1)
        for stretch in _runs(samples.force[:, k, 1] > LOADED):
            foot = int(np.mean(away[stretch, 1] < away[stretch, 0]) > 0.5)
            force[stretch, foot] += samples.force[stretch, k]
            moment[stretch, foot] += turning[stretch, k]
    return Measured(force, moment, _valid(estimate, force[..., 1] > LOADED))


def loads_under_feet(time: np.ndarray, measured: Measured) -> ExternalLoads:
    """What the plates have measured at times (T,), s, as external forces on the feet of OpenSim's gait models."""
    columns, values = list[str](), list[np.ndarray]()
    for foot, side in enumerate(SIDES):
        for mark, vectors in (("v", measured.force), ("p", 0.0 * measured.force), ("m", measured.moment)):
            columns += [f"{side}_{mark}{axis}" for axis in "xyz"]
            values.append(vectors[:, foot])
    data = Storage("force plates", time, tuple(columns), np.concatenate(values, axis=1))
    return loads_on(data, {side: f"calcn_{side}" for side in SIDES})


class Errors(NamedTuple):
    """Root mean squares over the valid frames, % of body weight: forward, upward and to the right of the person."""

    together: np.ndarray  # (3,) both feet's force
    needed: np.ndarray  # (3,) the force that the kinematics need, before it is shared
    foot: np.ndarray  # (2, 3) each foot's force
    double: np.ndarray  # (2, 3) the same in double support; nan where there is none
    unexplained: float  # length of the force that no admissible contact supplies


def errors(estimate: Reactions, measured: Measured, weight: float) -> Errors:
    """How far an estimate is from the plates; weight of the body, N."""
    axes = np.stack([estimate.heading, [0.0, 1.0, 0.0], np.cross(estimate.heading, [0.0, 1.0, 0.0])], axis=1)
    valid, each = measured.valid, (estimate.force - measured.force) @ axes / weight * 100.0
    needed = (estimate.needed - measured.force.sum(axis=1)) @ axes / weight * 100.0
    both = valid & (measured.force[..., 1] > _BEARING * weight).all(axis=1)
    left = float(_rms(np.linalg.norm(estimate.unexplained[valid, :3], axis=1)) / weight * 100.0)
    return Errors(_rms(each.sum(axis=1)[valid]), _rms(needed[valid]), _rms(each[valid]), _rms(each[both]), left)


def find_trials(*folders: str | Path) -> list[Trial]:
    """Recordings in folders and their subfolders: name_ik.mot with name_grf.mot, and a model beside or above them.

    Their markers, name.trc, are found there too, where there are any; also coordinates.sto with grf.mot and
    markers.trc, named for their folder. Of several models the one whose name begins with "optimized" counts, as
    AddBiomechanics has it. Raises ValueError where there is no recording, or where the model is missing or in doubt.
    """
    trials = []
    for motion in sorted(file for folder in folders for file in Path(folder).rglob("*")):
        if motion.name.lower().endswith("_ik.mot"):
            name = motion.name[: -len("_ik.mot")]
            named, files = name, (f"{name}_grf.mot", f"{name}.trc")
        elif motion.name == "coordinates.sto":
            named, files = motion.parent.name, ("grf.mot", "markers.trc")
        else:
            continue
        for top in (motion.parent, motion.parent.parent):
            forces, models = sorted(top.rglob(files[0])), sorted(top.rglob("*.osim"))
            if forces and models:
                break
        if not forces:
            continue
        chosen = [m for m in models if m.name.startswith("optimized")] or models
        if len(chosen) != 1:
            raise ValueError(
                f"{motion}: model: found {len(models)} beside it, expected one; keep the one it was made with"
            )
        markers = sorted(top.rglob(files[1]))
        trials.append(Trial(named, chosen[0], motion, forces[0], markers[0] if markers else None))
    if not trials:
        where = ", ".join(map(str, folders))
        raise ValueError(f"{where}: found no pair name_ik.mot and name_grf.mot; name the folder of the recordings")
    return trials


def plate_loads(data: Storage) -> ExternalLoads:
    """The plates of a file of forces: every triple of columns that ends in _vx, _vy, _vz with its point and moment."""
    prefixes = [column[: -len("_vx")] for column in data.columns if column.endswith("_vx")]
    if not prefixes:
        raise OpenSimFileError(
            data.source or data.name, "columns", ", ".join(data.columns[:6]), "columns such as ground_force_1_vx",
            "export the forces with OpenSim's names",
        )  # fmt: skip
    forces: list[ExternalForce] = [f for p in prefixes for f in loads_on(data, {p: "ground"}).forces]
    return ExternalLoads(tuple(forces), data)


def _valid(estimate: Reactions, loaded: np.ndarray) -> np.ndarray:
    time, count = estimate.time, len(estimate.time)
    valid = (time > time[0] + _EDGE) & (time < time[-1] - _EDGE)
    some = np.flatnonzero(loaded.any(axis=1))
    valid &= (np.arange(count) >= some[0]) & (np.arange(count) <= some[-1]) if len(some) else False
    for foot in range(len(SIDES)):
        for run in _runs(estimate.resting[:, foot] & ~loaded[:, foot]):
            if run.start == 0 or run.stop == count or time[run.stop - 1] - time[run.start] > _LATE:
                valid[run] = False
    return valid


def _rms(x: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(x**2, axis=0)) if len(x) else np.full(x.shape[1:], np.nan)


def _runs(mask: np.ndarray) -> list[slice]:
    """Stretches of True in mask (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return [slice(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
