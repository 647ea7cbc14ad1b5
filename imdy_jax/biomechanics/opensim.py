"""OpenSim: its files, and inverse dynamics of its models that agrees with its own tool.

    model = read_model("subject.osim")
    motion = read_storage("walk_ik.mot")
    loads = read_external_loads("walk_grf.xml")  # or loads_on(read_storage("grf.mot"), {"ground_force": "calcn_r"})
    forces = inverse_dynamics(model, motion, loads)
    write_storage("walk_id.sto", forces)

What it does is what OpenSim's InverseDynamicsTool does (Delp et al., IEEE Trans. Biomed. Eng. 54, 2007), with the
model's own forces excluded: muscles, springs, contact. World axes are OpenSim's, y up.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.biomechanics.opensim_checks import misjudged_joints, misplaced_loads
from imdy_jax.biomechanics.opensim_joints import TURNING
from imdy_jax.biomechanics.opensim_kinematics import (
    Mechanism,
    ball_turns,
    body_poses,
    build_mechanism,
    poses,
    simbody_excess,
)
from imdy_jax.biomechanics.opensim_loads import (
    ExternalForce,
    ExternalLoads,
    Routing,
    Samples,
    load,
    loads_on,
    read_external_loads,
    route,
    sample,
)
from imdy_jax.biomechanics.opensim_model import Model, read_model
from imdy_jax.biomechanics.opensim_motion import CoordinateMotion, coordinate_motion
from imdy_jax.biomechanics.opensim_storage import Markers, Storage, read_markers, read_storage, write_storage
from imdy_jax.biomechanics.opensim_tables import evaluate
from imdy_jax.biomechanics.opensim_xml import OpenSimFileError
from imdy_jax.dataset.blocks import map_frames
from imdy_jax.dynamics import dalembert

__all__ = [
    "CoordinateMotion", "ExternalForce", "ExternalLoads", "Kinematics", "Markers", "Mechanism", "Model",
    "OpenSimFileError", "Samples", "Storage", "body_poses", "build_mechanism", "coordinate_motion", "force_label",
    "generalized_forces", "inverse_dynamics", "loads_on", "misjudged_joints", "misplaced_loads", "poses",
    "read_external_loads", "read_markers", "read_model", "read_storage", "route", "sample", "to_y_up", "to_z_up",
    "write_storage",
]  # fmt: skip


Kinematics = Literal["exact", "opensim"]


def inverse_dynamics(
    model: Model,
    motion: Storage,
    loads: ExternalLoads | None = None,
    cutoff: float | None = 6.0,
    time: np.ndarray | None = None,
    couplers: bool = False,
    kinematics: Kinematics = "opensim",
) -> Storage:
    """Generalised forces that explain a motion, in float64 on the CPU.

    Args:
      motion: coordinates over time; `coordinate_motion` says how they are filtered and differentiated.
      loads: external forces; None for a motion that nothing touches.
      cutoff: of the low-pass on the coordinates, Hz; None for none.
      time: (T,) s, when to evaluate; None for the rows of the motion.
      couplers: whether dependent coordinates follow the model's couplers. False is OpenSim's way: constraints are
        ignored, and a coordinate that the motion has not stays at its default. True moves it with the others, whose
        forces then include its own.
      kinematics: "opensim" repeats two errors of OpenSim (seen in 4.4 and 4.6), for its results' sake: custom joints in
        which one coordinate drives several rotations are accelerated by `simbody_excess` too much (at the knee of
        Rajagopal et al. 2016 this moves a walk's moments by up to 1 N·m), and the rates of the three angles of a ball
        or free joint are taken for its angular velocity, which is warned of. "exact" does neither.
        `misjudged_joints` names the joints at which the two differ.

    Returns:
      Columns named as OpenSim names them: hip_flexion_r_moment in N·m for a rotational coordinate, pelvis_tx_force in
      N for a translational one. They act on the child; those of the coordinates between ground and pelvis are the
      residual, which vanishes where motion, masses and forces agree. A ball joint's three are moments about the axes of
      its frame on the parent.

    Raises:
      OpenSimFileError: the motion or the loads do not fit the model, or hold NaN.
      ValueError: an unknown kinematics.
    """
    _check(model, kinematics)
    track = coordinate_motion(model, motion, cutoff, time)
    loads = loads or ExternalLoads((), Storage("none", track.time, (), np.zeros((len(track.time), 0))))
    routing, samples = route(loads, model), sample(loads, track.time)
    frames = _over_frames(routing, couplers, kinematics)
    values = map_frames(frames, build_mechanism(model), (track.q, track.v, track.a, samples))
    columns = tuple(force_label(model, c.name) for c in model.coordinates)
    return Storage("Inverse Dynamics Generalized Forces", track.time, columns, values)


def to_z_up(x: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) in OpenSim's world (x ahead, y up, z to the right) in a world with z up (x ahead, y left)."""
    return np.stack([x[..., 0], -x[..., 2], x[..., 1]], axis=-1)


def to_y_up(x: np.ndarray) -> np.ndarray:
    """The inverse of to_z_up: vectors (..., 3) in our world, z up, in OpenSim's: x stays, up is y, z is our −y."""
    return np.stack([x[..., 0], x[..., 2], -x[..., 1]], axis=-1)


def force_label(model: Model, coordinate: str) -> str:
    """Column of a coordinate's generalised force."""
    kinds = {c.name: c.motion for c in model.coordinates}
    return f"{coordinate}_{'moment' if kinds[coordinate] == 'rotational' else 'force'}"


def generalized_forces(
    mechanism: Mechanism, q: jax.Array, v: jax.Array, a: jax.Array, routing: Routing, samples: Samples,
    couplers: bool = False, kinematics: Kinematics = "opensim",
) -> jax.Array:  # fmt: skip
    """Generalised forces (n,) at coordinates q with derivatives v, a (n,), under external forces (leaves (K, 3)).

    Differentiable in all of its arrays. The arguments are those of `inverse_dynamics`, of one frame.
    """
    tie = (lambda x: evaluate(mechanism.couplers, x)) if couplers else (lambda x: x)
    excess = simbody_excess(mechanism, q, v) if kinematics == "opensim" else jnp.zeros(())

    def displaced(delta: jax.Array, further: jax.Array | float = 0.0) -> jax.Array:
        plain, turn = ball_turns(mechanism, delta)
        return poses(mechanism, tie(q + plain), turn + further)

    def motion(t: jax.Array) -> jax.Array:
        delta, half_square = t * v + 0.5 * t * t * a, 0.5 * t * t
        return displaced(delta, half_square * excess) if kinematics == "opensim" else poses(mechanism, tie(q + delta))

    return dalembert.generalized_forces(
        motion=motion,
        displaced=displaced,
        size=q.shape[0],
        second_moment=jax.vmap(dalembert.second_moment)(mechanism.mass, mechanism.com, mechanism.inertia),
        gravity=jnp.asarray(mechanism.gravity),
        load=load(routing, samples, poses(mechanism, tie(q))),
    )


def _check(model: Model, kinematics: str) -> None:
    if kinematics not in get_args(Kinematics):
        known = ", ".join(get_args(Kinematics))
        raise ValueError(f"kinematics: found {kinematics!r}, expected one of {known}; name one of these")
    balls = [link.joint.name for link in model.links if link.joint.kind in TURNING]
    if balls and kinematics == "opensim":
        message = f"{model.path}: OpenSim's angular velocities at {', '.join(balls)} are wrong; see `kinematics`"
        warnings.warn(message, stacklevel=3)


@lru_cache
def _over_frames(routing: Routing, couplers: bool, kinematics: Kinematics) -> Callable[[Mechanism, tuple], jax.Array]:
    def one(mechanism: Mechanism, frame: tuple[jax.Array, jax.Array, jax.Array, Samples]) -> jax.Array:
        q, v, a, samples = frame
        return generalized_forces(mechanism, q, v, a, routing, samples, couplers, kinematics)

    return jax.jit(jax.vmap(one, in_axes=(None, 0)))
