"""Gait analysis of OpenSim's inverse dynamics: sagittal moments, foot contact, and what the plates did not see.

For models that name their coordinates as OpenSim's gait models do: hip_flexion_r, knee_angle_r, ankle_angle_r and _l.
"""

from typing import NamedTuple

import numpy as np

from imdy_jax.biomechanics.opensim_loads import ExternalLoads, sample
from imdy_jax.biomechanics.opensim_model import Model
from imdy_jax.biomechanics.opensim_motion import CoordinateMotion
from imdy_jax.biomechanics.opensim_storage import Storage
from imdy_jax.biomechanics.opensim_xml import OpenSimFileError

SIDES = {"left": "_l", "right": "_r"}
# Joint, what a positive moment does (as in imdy_jax/view/plots.py), and its coordinate. Coordinates of OpenSim's gait
# models are positive in hip flexion and in dorsiflexion; those of knees in flexion or extension, as the model has it.
SAGITTAL = (
    ("hip", "extension", "hip_flexion"),
    ("knee", "extension", "knee_angle"),
    ("ankle", "plantar flexion", "ankle_angle"),
)
CONTACT = 20.0  # N, vertical force from which a foot counts as loaded: the usual threshold of force plates
UNEXPLAINED = 0.25  # of body weight: a vertical residual beyond it means that a loaded foot is off the plates


class Gait(NamedTuple):
    """A walk or run in the terms of gait analysis; left first."""

    time: np.ndarray  # (T,) s
    moments: np.ndarray  # (2, 3, T) N·m/kg: hip and knee extension, plantar flexion, internal
    force: np.ndarray  # (2, T) vertical force on each foot, body weights
    contact: np.ndarray  # (2, T) whether the foot is loaded
    residual: np.ndarray  # (T,) vertical force at the root that nothing supplies, body weights


def gait(model: Model, track: CoordinateMotion, forces: Storage, loads: ExternalLoads | None = None) -> Gait:
    """Gait of the coordinates `track` and their generalised forces at the same times.

    Raises OpenSimFileError where the model or the forces lack a coordinate of SAGITTAL.
    """
    weight = model.mass * float(np.linalg.norm(model.gravity))
    up = -model.gravity / np.linalg.norm(model.gravity)
    vertical = np.stack([_vertical(model, loads, track.time, suffix, up) for suffix in SIDES.values()])
    return Gait(
        time=track.time,
        moments=sagittal_moments(model, track, forces),
        force=vertical / weight,
        contact=vertical > CONTACT,
        residual=root_force(model, forces) @ up / weight,
    )


def sagittal_moments(model: Model, track: CoordinateMotion, forces: Storage) -> np.ndarray:
    """Internal moments (2, 3, T), N·m/kg: left and right; extension of hip and knee, plantar flexion of the ankle.

    Which way a knee's coordinate counts is seen from its motion: a knee bends one way only.
    """
    names = [c.name for c in model.coordinates]
    curves = []
    for suffix in SIDES.values():
        for joint, _, stem in SAGITTAL:
            name = stem + suffix
            if name not in names:
                raise OpenSimFileError(
                    model.path, "coordinates", f"no {name!r}", "the names of OpenSim's gait models", "rename it"
                )
            flexed = track.q[:, names.index(name)].mean() if joint == "knee" else 1.0
            curves.append(-np.sign(flexed) * forces[f"{name}_moment"] / model.mass)
    return np.reshape(curves, (2, 3, -1))


def root_force(model: Model, forces: Storage) -> np.ndarray:
    """Force (T, 3) N, world axes, that the joint between the ground and the first body would have to supply.

    It vanishes where motion, masses and measured forces agree; zero along axes on which that joint does not move.
    """
    root = model.links[0].joint
    total = np.zeros((len(forces.time), 3))
    for axis in root.axes[3:]:
        for name, slope in zip(axis.coordinates, axis.function.slopes, strict=False):
            total += slope * forces[f"{name}_force"][:, None] * (root.on_parent[:, :3] @ axis.direction)[None, :]
    return total


def contact_events(time: np.ndarray, contact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times of initial contact and of toe-off, s, of one foot: where contact (T,) begins and where it ends."""
    change = np.diff(contact.astype(int))
    return time[1:][change > 0], time[1:][change < 0]


def _vertical(model: Model, loads: ExternalLoads | None, time: np.ndarray, suffix: str, up: np.ndarray) -> np.ndarray:
    """Vertical force (T,) N, on the bodies of one side; of forces given in world axes."""
    if loads is None:
        return np.zeros(len(time))
    own = [k for k, force in enumerate(loads.forces) if force.body.endswith(suffix) and force.force_frame == "ground"]
    return sample(loads, time).force[:, own].sum(axis=1) @ up
