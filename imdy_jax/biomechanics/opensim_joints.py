"""Joints of an OpenSim model, all in one form: a rotation about three axes in turn, then a translation along three.

    child in parent:  x ↦ R(axis₀, f₀) R(axis₁, f₁) R(axis₂, f₂) x + f₃ axis₃ + f₄ axis₄ + f₅ axis₅

in which each f is a function of the joint's coordinates. Custom joints say so themselves; STANDARD is the same for the
others.
"""

from typing import NamedTuple

import numpy as np

from imdy_jax.biomechanics.opensim_frames import Frames, placement
from imdy_jax.biomechanics.opensim_functions import Function, read_function
from imdy_jax.biomechanics.opensim_xml import Node

SLOTS = ("rotation1", "rotation2", "rotation3", "translation1", "translation2", "translation3")
MOTIONS = ("rotational", "translational", "coupled")
# Which axes of the joint's frame its coordinates turn about, and then move along.
STANDARD = {
    "WeldJoint": ("", ""),
    "PinJoint": ("z", ""),
    "SliderJoint": ("", "x"),
    "UniversalJoint": ("xy", ""),
    "BallJoint": ("xyz", ""),
    "GimbalJoint": ("xyz", ""),
    "PlanarJoint": ("z", "xy"),
    "FreeJoint": ("xyz", "xyz"),
}
# Joints whose speeds are angular velocity in the parent's axes and not the rates of their three angles.
TURNING = ("BallJoint", "FreeJoint")


class Coordinate(NamedTuple):
    """A generalised coordinate."""

    name: str
    motion: str  # one of MOTIONS: rotational in rad, translational in m, coupled as its functions have it
    default: float


class Axis(NamedTuple):
    """Displacement along or about one axis."""

    direction: np.ndarray  # (3,) unit, in the joint's frame on the parent
    coordinates: tuple[str, ...]  # arguments of the function
    function: Function


class Joint(NamedTuple):
    """How the child moves on the parent. Poses (3, 4) are rotation and position, m."""

    name: str
    kind: str
    parent: str
    child: str
    on_parent: np.ndarray  # (3, 4) pose of the joint's frame on the parent, in the parent
    on_child: np.ndarray  # (3, 4) pose of the joint's frame on the child, in the child
    coordinates: tuple[Coordinate, ...]
    axes: tuple[Axis, ...]  # six, as in SLOTS; none for a joint without motion


def read_joint(node: Node, frames: Frames) -> Joint:
    """A joint of a version 4 model, which names the frames that it connects."""
    parent, child = (frames.of_socket(node, f"{side}_frame") for side in ("parent", "child"))
    coordinates = node.child("coordinates")
    return _joint(node, parent, child, [] if coordinates is None else list(coordinates.children()))


def read_nested_joint(node: Node, owner: Node) -> Joint:
    """The joint of a version 3 body `owner`, which holds its own two poses."""
    parent = (node.text("parent_body"), placement(node, "location_in_parent", "orientation_in_parent"))
    child = (owner.name, placement(node, "location", "orientation"))
    if node.flag("reverse", False):
        parent, child = child, parent
    return _joint(node, parent, child, node.objects("CoordinateSet"))


def _joint(node: Node, parent: tuple[str, np.ndarray], child: tuple[str, np.ndarray], coordinates: list[Node]) -> Joint:
    names = tuple(c.name for c in coordinates)
    if node.tag in STANDARD:
        axes = _standard_axes(node, names)
    elif node.tag == "CustomJoint":
        axes = _custom_axes(node, names)
    else:
        known = ", ".join([*STANDARD, "CustomJoint"])
        raise node.error(f"<{node.tag}>", f"one of {known}", "replace the joint by one of these")
    read = tuple(Coordinate(c.name, _motion(c, axes), c.numbers("default_value", 1, (0.0,))[0]) for c in coordinates)
    return Joint(node.name, node.tag, parent[0], child[0], parent[1], child[1], read, axes)


def _standard_axes(node: Node, names: tuple[str, ...]) -> tuple[Axis, ...]:
    turns, shifts = STANDARD[node.tag]
    if len(names) != len(turns) + len(shifts):
        raise node.error(f"{len(names)} coordinates", f"{len(turns) + len(shifts)}", "correct the file")
    if not names:
        return ()
    unit = dict(zip("xyz", np.eye(3), strict=True))
    used = iter(names)
    axes = []
    for letters in (turns, shifts):
        own = [Axis(unit[letter], (next(used),), Function((1.0,))) for letter in letters]
        axes += own + [Axis(unit["x"], (), Function())] * (3 - len(own))
    return tuple(axes)


def _custom_axes(node: Node, names: tuple[str, ...]) -> tuple[Axis, ...]:
    slots = {child.name: child for child in node.required("SpatialTransform").children()}
    return tuple(
        _custom_axis(slots[slot], names) if slot in slots else Axis(np.eye(3)[i % 3], (), Function())
        for i, slot in enumerate(SLOTS)
    )


def _custom_axis(node: Node, names: tuple[str, ...]) -> Axis:
    arguments = tuple(node.text("coordinates").split())
    unknown = sorted(set(arguments) - set(names))
    if unknown:
        raise node.error(
            f"coordinates {', '.join(unknown)}", f"those of the joint: {', '.join(names)}", "correct the names"
        )
    direction = node.numbers("axis", 3)
    length = float(np.linalg.norm(direction))
    if length < 1e-8:
        raise node.error("an axis of length zero", "a direction", "correct the axis")
    return Axis(direction / length, arguments, read_function(node, len(arguments)))


def _motion(node: Node, axes: tuple[Axis, ...]) -> str:
    """Version 3 says it; in version 4 a coordinate is what it moves one to one, and coupled where there is no such."""
    stated = node.text("motion_type").lower()
    if stated in MOTIONS:
        return stated
    motion = "coupled"
    for i, axis in enumerate(axes):
        plain = axis.function.curve is None and len(axis.function.slopes) == 1 and abs(axis.function.slopes[0]) == 1.0
        if plain and axis.coordinates == (node.name,):
            motion = MOTIONS[i // 3]
    return motion
