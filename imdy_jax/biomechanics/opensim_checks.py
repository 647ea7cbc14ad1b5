"""What to look at before believing an inverse dynamics: joints and plates that deserve doubt."""

import numpy as np

from imdy_jax.biomechanics.opensim_frames import GROUND
from imdy_jax.biomechanics.opensim_joints import TURNING
from imdy_jax.biomechanics.opensim_kinematics import body_poses
from imdy_jax.biomechanics.opensim_loads import ExternalLoads, sample
from imdy_jax.biomechanics.opensim_model import Model
from imdy_jax.biomechanics.opensim_motion import CoordinateMotion

FOOT = 0.35  # m, between the origin of a foot's segment and any point on its sole


def misjudged_joints(model: Model) -> list[str]:
    """Names of the joints at which kinematics="exact" and "opensim" differ."""
    names = []
    for joint in (link.joint for link in model.links):
        turning = [name for axis in joint.axes[:3] for name in set(axis.coordinates)]
        if joint.kind in TURNING or len(turning) > len(set(turning)):
            names.append(joint.name)
    return names


def misplaced_loads(model: Model, track: CoordinateMotion, loads: ExternalLoads) -> list[str]:
    """A sentence for each force on a body that is far from the point where it acts: the wrong foot, as a rule."""
    pose, samples = body_poses(model, track.q), sample(loads, track.time)
    sentences = []
    for k, force in enumerate(loads.forces):
        size = np.linalg.norm(samples.force[:, k], axis=1)
        if not force.point or force.point_frame != GROUND or force.body == GROUND or not size.any():
            continue
        distance = np.linalg.norm(samples.point[:, k, None] - pose[:, :, :, 3], axis=-1)[:, 1:]
        mean = np.average(distance, axis=0, weights=size)
        found = mean[model.body_names.index(force.body) - 1]
        if found > FOOT:
            nearest = model.body_names[1 + int(np.argmin(mean))]
            sentences.append(f"{force.name} acts {found:.2f} m from {force.body}; {nearest} is the nearest body")
    return sentences
