"""External loads: which measured force acts on which body, by OpenSim's XML file or by the columns' names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.biomechanics.opensim_frames import GROUND
from imdy_jax.biomechanics.opensim_functions import natural_spline
from imdy_jax.biomechanics.opensim_model import Model
from imdy_jax.biomechanics.opensim_storage import Storage, read_storage
from imdy_jax.biomechanics.opensim_xml import Node, OpenSimFileError, read_document
from imdy_jax.dynamics import dalembert

SPLINE_DEGREE = 3  # between the rows of the measured forces, as OpenSim has it


@dataclass(frozen=True)
class ExternalForce:
    """A force, the point it acts at and a moment, each three columns of the data whose names begin so; or ""."""

    name: str
    body: str
    force: str = ""
    point: str = ""  # where empty, the force acts at the body's origin
    moment: str = ""
    force_frame: str = GROUND  # the body in whose axes force and moment are
    point_frame: str = GROUND  # the body in whose frame the point is


@dataclass(frozen=True)
class ExternalLoads:
    """Forces, and the data that holds their columns."""

    forces: tuple[ExternalForce, ...]
    data: Storage


class Samples(NamedTuple):
    """K external forces at T times, in their own frames."""

    force: np.ndarray  # (T, K, 3) N
    point: np.ndarray  # (T, K, 3) m, zero where none is named
    moment: np.ndarray  # (T, K, 3) N·m about the point


class Routing(NamedTuple):
    """Of each of the K forces, as indices into the bodies; hashable."""

    body: tuple[int, ...]
    force_frame: tuple[int, ...]
    point_frame: tuple[int, ...]


def read_external_loads(path: str | Path, data: Storage | str | Path | None = None) -> ExternalLoads:
    """Read an `<ExternalLoads>` file.

    data: the measured forces, or their file; None for the file that the XML names, beside the XML or as it stands.
    Forces that are switched off are left out. Raises OpenSimFileError where the XML or its data file cannot be read,
    or where a force names neither force nor moment columns.
    """
    element, _ = read_document(path, "ExternalLoads")
    node = Node(path, element)
    forces = tuple(
        _force(n) for n in node.objects(".") if n.flag("appliesForce", True) and not n.flag("isDisabled", False)
    )
    if not isinstance(data, Storage):
        data = read_storage(data if data is not None else _data_file(node))
    return ExternalLoads(forces, data)


def loads_on(data: Storage, bodies: Mapping[str, str]) -> ExternalLoads:
    """External loads told by the names of their columns.

    bodies: for each plate or foot, what its columns' names begin with, and the body it acts on. With "ground_force" the
    force is ground_force_v{x,y,z}, its point ground_force_p{x,y,z}, and its moment ground_torque_{x,y,z} or
    ground_force_m{x,y,z}. Raises OpenSimFileError where force and point are not there under such names.
    """
    return ExternalLoads(tuple(_by_columns(data, prefix.rstrip("_"), body) for prefix, body in bodies.items()), data)


def sample(loads: ExternalLoads, time: np.ndarray) -> Samples:
    """The forces at the given times (T,), s, by natural cubic splines through the rows of the data.

    Raises OpenSimFileError where the data do not span the times, hold NaN, or lack the columns.
    """
    data = loads.data
    source, slack = data.source or data.name, 1.5 * float(np.max(np.diff(data.time), initial=0.0))
    if time.min() < data.time[0] - slack or time.max() > data.time[-1] + slack:
        raise OpenSimFileError(
            source, "time", f"{data.time[0]:g} to {data.time[-1]:g} s", f"all of {time.min():g} to {time.max():g} s",
            "take the forces that belong to the motion",
        )  # fmt: skip
    columns = [_triple(data, prefix) for f in loads.forces for prefix in (f.force, f.point, f.moment)]
    values = np.stack([*columns, np.zeros((len(data.time), 3))], axis=1)
    if not np.isfinite(values).all():
        row = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))[0]
        raise OpenSimFileError(source, "values", f"NaN at {data.time[row]:g} s", "finite numbers", "fill the gaps")
    if len(data.time) > SPLINE_DEGREE:
        values = natural_spline(data.time, values, SPLINE_DEGREE)(time)
    else:
        values = (
            natural_spline(data.time, values, 1)(time) if len(data.time) > 1 else np.repeat(values, len(time), axis=0)
        )
    by_force = values[:, :-1].reshape(len(time), len(loads.forces), 3, 3)
    return Samples(by_force[:, :, 0], by_force[:, :, 1], by_force[:, :, 2])


def route(loads: ExternalLoads, model: Model) -> Routing:
    """Where the forces act; raises OpenSimFileError for bodies that the model has not."""
    named = [(f.body, f.force_frame, f.point_frame if f.point else f.body) for f in loads.forces]
    for names in named:
        for name in names:
            if name not in model.body_names:
                raise OpenSimFileError(
                    model.path, "bodies", f"no {name!r}", f"one of {', '.join(model.body_names)}", "correct the loads"
                )
    index = [[model.body_names.index(name) for name in names] for names in named]
    return Routing(*(tuple(column) for column in np.array(index, int).reshape(-1, 3).T.tolist()))


def load(routing: Routing, samples: Samples, pose: jax.Array) -> jax.Array:
    """The forces at one time (leaves (K, 3)) as a load (B, 3, 4) on bodies with poses (B, 3, 4)."""
    body, force_frame, point_frame = (np.array(index, np.int32) for index in routing)
    turn = lambda frame, x: jnp.einsum("kij,kj->ki", pose[frame, :, :3], x, precision=jax.lax.Precision.HIGHEST)  # noqa: E731
    force, moment = turn(force_frame, samples.force), turn(force_frame, samples.moment)
    arm = turn(point_frame, samples.point) + pose[point_frame, :, 3] - pose[body, :, 3]
    each = dalembert.load(pose[body], force, moment + jnp.cross(arm, force))
    return jnp.zeros_like(pose).at[body].add(each)


def _force(node: Node) -> ExternalForce:
    if node.tag != "ExternalForce":
        raise node.error(f"<{node.tag}>", "<ExternalForce>", "leave out other kinds of force")
    columns = [node.text(f"{kind}_identifier") for kind in ("force", "point", "torque")]
    force, point, moment = ("" if text in ("Unassigned", "Unknown") else text for text in columns)
    if not force and not moment:
        raise node.error("neither force_identifier nor torque_identifier", "one at least", "name the columns")
    frames = [node.text(f"{kind}_expressed_in_body").split("/")[-1] or GROUND for kind in ("force", "point")]
    return ExternalForce(node.name, node.text("applied_to_body").split("/")[-1], force, point, moment, *frames)


def _data_file(node: Node) -> Path:
    named = Path(node.text("datafile"))
    for place in (node.path.parent / named, node.path.parent / named.name, named):
        if place.is_file():
            return place
    raise node.error(f"datafile {str(named)!r}", "a file beside the XML", "name the file of the forces as an argument")


def _by_columns(data: Storage, prefix: str, body: str) -> ExternalForce:
    kinds = [
        [f"{prefix}_v", f"{prefix}_F"],
        [f"{prefix}_p", f"{prefix}_P"],
        [_torque(prefix), f"{prefix}_m", f"{prefix}_M"],
    ]
    found = [next((stem for stem in stems if _has(data, stem)), "") for stems in kinds]
    if not found[0] or not found[1]:
        raise OpenSimFileError(
            data.source or data.name, "columns", f"no {prefix}_v{{x,y,z}} and {prefix}_p{{x,y,z}}",
            f"them among {', '.join(data.columns)}", "give what the columns' names begin with",
        )  # fmt: skip
    return ExternalForce(prefix, body, *found)


def _torque(prefix: str) -> str:
    """ground_force_r → ground_torque_r_"""
    return re.sub("force", "torque", prefix) + "_"


def _has(data: Storage, stem: str) -> bool:
    return all(f"{stem}{axis}" in data.columns for axis in "xyz")


def _triple(data: Storage, prefix: str) -> np.ndarray:
    """Three columns (T, 3): prefix + x, y, z, or the three whose names begin so; zeros for an empty prefix."""
    if not prefix:
        return np.zeros((len(data.time), 3))
    names = [f"{prefix}{axis}" for axis in "xyz"]
    if not _has(data, prefix):
        names = [column for column in data.columns if column.startswith(prefix)]
    if len(names) != 3:
        raise OpenSimFileError(
            data.source or data.name, "columns", f"{len(names)} that begin with {prefix!r}", "three: x, y and z",
            "correct the identifiers of the external loads",
        )  # fmt: skip
    return np.stack([data[name] for name in names], axis=1)
