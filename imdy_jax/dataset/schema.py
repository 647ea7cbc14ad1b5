"""What a dataset holds: every array with its axes, unit and frame, and checks that all of it is there and finite."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from imdy_jax.humanoid import NUM_BETAS, SOLID_BODY
from imdy_jax.skeleton import NUM_BODIES, NUM_JOINTS, NUM_Q, NUM_V

SCHEMA_VERSION = 4  # raise it when an older dataset can no longer be read

# Length of each named axis; None where the sequence or the body model decides.
AXES = {
    "step": None,  # T control steps
    "frame": None,  # T + 1: the state before each control step, and the last one
    "substep": None,  # physics substeps per control step
    "coordinate": NUM_Q,
    "dof": NUM_V,
    "joint": NUM_JOINTS,  # SMPL's joints 1 to 23
    "segment": NUM_BODIES,
    "marker": 66,
    "solid": len(SOLID_BODY),
    "coefficient": None,  # shape vector of the body model
    "beta": NUM_BETAS,
    "end": 2,
    "xyz": 3,
    "row": 3,
    "column": 3,
    "wxyz": 4,
    "force_moment": 6,
}
_KINDS = {"real": ("float32", "float64"), "view": ("float32",), "flag": ("bool",)}


class Field(NamedTuple):
    """One array. kind: "real" has the simulator's precision, "view" is derived and float32, "flag" is bool."""

    axes: tuple[str, ...]
    kind: str
    unit: str
    meaning: str


SEQUENCE_FIELDS = {
    "q": Field(
        ("frame", "coordinate"), "real", "m, 1",
        "root position (world), root quaternion, 23 joint quaternions (w first, child in parent)",
    ),
    "v": Field(
        ("frame", "dof"), "real", "m/s, rad/s",
        "root linear velocity (world), root angular velocity (root axes), joint angular velocities (child axes)",
    ),
    "betas": Field(("frame", "beta"), "real", "1", "the subject's shape vector, the same in every frame"),
    "target": Field(("step", "joint", "wxyz"), "real", "1", "PD target, child in parent, held for one control step"),
    "substep_v": Field(("step", "substep", "dof"), "real", "m/s, rad/s", "velocity after each substep, as in v"),
    "torque": Field(("step", "substep", "joint", "xyz"), "real", "N·m", "net torque across the joint, child axes"),
    "wrench": Field(
        ("step", "substep", "segment", "force_moment"), "real", "N, N·m",
        "contact force and its moment about the segment's joint, on the segment, world axes",
    ),
    "clipped": Field(("step", "substep", "joint"), "flag", "", "the net torque exceeded the joint's effort limit"),
    "converged": Field(("step", "substep"), "flag", "", "the constraint solver met its tolerance"),
    "angular_momentum": Field(
        ("step", "joint", "xyz"), "view", "N·m·s", "sum of torque · timestep over the control step, child axes"
    ),
    "contact_force": Field(
        ("step", "segment", "xyz"), "view", "N", "mean contact force over the control step, on the segment, world axes"
    ),
    "markers": Field(("frame", "marker", "xyz"), "view", "m", "the anatomical surface markers, world"),
}  # fmt: skip

SUBJECT_FIELDS = {
    "offset": Field(("segment", "xyz"), "real", "m", "joint position in the parent's axes; row 0 is zero"),
    "mass": Field(("segment",), "real", "kg", "mass of each segment"),
    "com": Field(("segment", "xyz"), "real", "m", "centre of mass from the segment's joint, segment axes"),
    "inertia": Field(("segment", "row", "column"), "real", "kg·m²", "about the centre of mass, segment axes"),
    "solid_ends": Field(("solid", "end", "xyz"), "real", "m", "ends of the contact capsules, axes of their segment"),
    "solid_radius": Field(("solid",), "real", "m", "radius of the contact capsules"),
    "stiffness": Field(("joint",), "real", "N·m/rad", "PD stiffness"),
    "damping": Field(("joint",), "real", "N·m·s/rad", "PD damping"),
    "effort": Field(("joint",), "real", "N·m", "limit on what spring and damper ask for together"),
    "armature": Field(("joint",), "real", "kg·m²", "rotor inertia of each joint axis"),
    "betas": Field(("beta",), "real", "1", "shape vector that the policy sees, zero-padded"),
    "shape": Field(("coefficient",), "real", "1", "whole shape vector of the body model"),
    "marker_rest": Field(("marker", "xyz"), "real", "m", "markers in the rest pose, from the pelvis joint, rest axes"),
    "marker_skin": Field(("marker", "segment"), "real", "1", "skinning weights of the markers"),
}


class DatasetError(ValueError):
    """Something is wrong with a dataset; the message names the file, the field, what was found and what to do."""


def check_arrays(arrays: Mapping[str, np.ndarray], fields: Mapping[str, Field], where: str) -> None:
    """Raise DatasetError unless `arrays` hold every field with its axes and type, and every number is finite."""
    sizes = dict(AXES)
    for name, field in fields.items():
        if name not in arrays:
            raise DatasetError(f"{where}: field {name} is missing, expected {_expected(field)}; record it again")
        array = arrays[name]
        if str(array.dtype) not in _KINDS[field.kind]:
            raise DatasetError(
                f"{where}: field {name} has type {array.dtype}, expected {' or '.join(_KINDS[field.kind])}; "
                "record it again"
            )
        _check_shape(array, field, name, sizes, where)
        if field.kind != "flag":
            _check_finite(array, field, name, where)


def _check_shape(array: np.ndarray, field: Field, name: str, sizes: dict[str, int | None], where: str) -> None:
    fits = array.ndim == len(field.axes) and array.size > 0
    if fits:
        for axis, length in zip(field.axes, array.shape, strict=True):
            if axis in ("step", "frame"):
                axis, length = "step", length - (axis == "frame")
            if sizes[axis] is None:
                sizes[axis] = length
            fits &= sizes[axis] == length
    if not fits:
        known = {axis: sizes[axis] for axis in field.axes if sizes.get(axis) is not None}
        if "frame" in field.axes and sizes["step"] is not None:
            known["frame"] = sizes["step"] + 1
        raise DatasetError(
            f"{where}: field {name} has shape {array.shape}, expected {_expected(field)} with {known}; record it again"
        )


def _check_finite(array: np.ndarray, field: Field, name: str, where: str) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        first = np.argwhere(~finite)[0]
        place = ", ".join(f"{axis} {index}" for axis, index in zip(field.axes, first, strict=True))
        raise DatasetError(
            f"{where}: field {name} holds {np.count_nonzero(~finite)} values that are not finite, the first at {place} "
            f"({array[tuple(first)]}), expected finite {field.unit or 'numbers'}; leave the sequence out or record it "
            "again"
        )


def _expected(field: Field) -> str:
    return f"({', '.join(field.axes)}) of {' or '.join(_KINDS[field.kind])}"
