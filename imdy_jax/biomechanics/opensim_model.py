"""OpenSim models (`.osim`, formats 2 to 4) as plain data: bodies and joints from the ground outwards, couplers."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imdy_jax.biomechanics.opensim_frames import GROUND, Frames
from imdy_jax.biomechanics.opensim_functions import Function, read_function
from imdy_jax.biomechanics.opensim_joints import Coordinate, Joint, read_joint, read_nested_joint
from imdy_jax.biomechanics.opensim_xml import Node, OpenSimFileError, read_document


class Body(NamedTuple):
    """A rigid body, in its own axes."""

    name: str
    mass: float  # kg
    com: np.ndarray  # (3,) m
    inertia: np.ndarray  # (3, 3) kg·m² about the centre of mass


class Coupler(NamedTuple):
    """The dependent coordinate is a function of the independent ones."""

    name: str
    dependent: str
    independent: tuple[str, ...]
    function: Function


class Link(NamedTuple):
    """A joint and which way round it hangs in the tree."""

    joint: Joint
    reversed: bool  # the joint's child is the nearer to the ground

    @property
    def inboard(self) -> str:
        return self.joint.child if self.reversed else self.joint.parent

    @property
    def outboard(self) -> str:
        return self.joint.parent if self.reversed else self.joint.child

    @property
    def on_inboard(self) -> np.ndarray:
        """(3, 4) pose of the joint's frame on the inboard body."""
        return self.joint.on_child if self.reversed else self.joint.on_parent

    @property
    def on_outboard(self) -> np.ndarray:
        """(3, 4) pose of the joint's frame on the outboard body."""
        return self.joint.on_parent if self.reversed else self.joint.on_child


@dataclass(frozen=True)
class Model:
    """An OpenSim model: what its inverse dynamics needs. World axes are OpenSim's own: y up.

    links[k] joins bodies[k + 1] to a body before it; bodies[0] is the ground. Muscles and other forces are not read.
    """

    path: Path
    name: str
    gravity: np.ndarray  # (3,) m/s²
    bodies: tuple[Body, ...]
    links: tuple[Link, ...]
    couplers: tuple[Coupler, ...]
    other_constraints: tuple[str, ...]  # of kinds that are not known; inverse dynamics ignores constraints

    @property
    def coordinates(self) -> tuple[Coordinate, ...]:
        return tuple(c for link in self.links for c in link.joint.coordinates)

    @property
    def body_names(self) -> tuple[str, ...]:
        return tuple(body.name for body in self.bodies)

    @property
    def mass(self) -> float:
        """kg."""
        return float(sum(body.mass for body in self.bodies))


def read_model(path: str | Path) -> Model:
    """Read a model.

    Raises OpenSimFileError for a file that is missing, malformed or of an unknown version, for a joint or function
    that is not known (it names those that are), and for bodies that no chain of joints, or more than one, ties to the
    ground.
    """
    element, _ = read_document(path, "Model")
    model = Node(path, element)
    found = [body for body in model.objects("BodySet") if body.name != GROUND]
    joints = _joints(model, found)
    _check_names(model, [b.name for b in found], [c.name for joint in joints for c in joint.coordinates])
    links = _tree(model, joints, [body.name for body in found])
    bodies = {body.name: _body(body) for body in found}
    if not any(body.mass for body in bodies.values()):
        raise model.error("bodies of no mass at all", "some mass", "scale the model to the person")
    constraints = [c for c in model.objects("ConstraintSet") if c.flag("isEnforced", True) and _enabled(c)]
    known = [c for c in constraints if c.tag == "CoordinateCouplerConstraint"]
    ground = Body(GROUND, 0.0, np.zeros(3), np.zeros((3, 3)))
    return Model(
        path=Path(path),
        name=model.name,
        gravity=model.numbers("gravity", 3, (0.0, -9.80665, 0.0)),
        bodies=(ground, *(bodies[link.outboard] for link in links)),
        links=links,
        couplers=tuple(_coupler(c, {c.name for joint in joints for c in joint.coordinates}) for c in known),
        other_constraints=tuple(f"{c.tag} {c.name}" for c in constraints if c not in known),
    )


def _joints(model: Node, bodies: list[Node]) -> list[Joint]:
    """Joints in the file's order: of its JointSet, or in older formats one inside each body."""
    listed = model.objects("JointSet")
    if listed:
        frames = Frames(model)
        return [read_joint(node, frames) for node in listed]
    nested = []
    for body in bodies:
        held = body.child("Joint")
        nested += [read_nested_joint(node, body) for node in (held.children() if held is not None else ())]
    return nested


def _tree(model: Node, joints: list[Joint], bodies: list[str]) -> tuple[Link, ...]:
    """Joints ordered from the ground outwards, in the file's order as far as that allows."""
    reached, links, waiting = {GROUND}, [], list(joints)
    while waiting:
        for i, joint in enumerate(waiting):
            near = [side for side in (joint.parent, joint.child) if side in reached]
            if len(near) == 2:
                raise model.error(
                    f"joint {joint.name!r} that closes a loop between {joint.parent} and {joint.child}",
                    "a tree of bodies", "replace the joint that closes the loop by a constraint",
                )  # fmt: skip
            if near:
                links.append(Link(waiting.pop(i), near[0] == joint.child))
                reached.add(links[-1].outboard)
                break
        else:
            break
    lost = sorted({*bodies, *(side for joint in waiting for side in (joint.parent, joint.child))} - reached)
    if lost:
        raise model.error(
            f"no joints from {', '.join(lost)} to {GROUND}", "one chain of joints from each body", "correct the joints"
        )
    return tuple(links)


def _body(node: Node) -> Body:
    if node.child("inertia") is not None:
        moments = node.numbers("inertia", 6)
    else:
        moments = np.concatenate(
            [node.numbers(f"inertia_{ij}", 1, (0.0,)) for ij in ("xx", "yy", "zz", "xy", "xz", "yz")]
        )
    xx, yy, zz, xy, xz, yz = moments
    inertia = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    mass = float(node.numbers("mass", 1)[0])
    if mass < 0.0:
        raise node.error(f"mass {mass:g} kg", "zero or more", "correct the mass")
    return Body(node.name, mass, node.numbers("mass_center", 3, (0.0, 0.0, 0.0)), inertia)


def _enabled(node: Node) -> bool:
    """Older formats say it the other way round."""
    return not node.flag("isDisabled", False)


def _coupler(node: Node, known: set[str]) -> Coupler:
    independent = tuple(node.text("independent_coordinate_names").split())
    dependent, scale = node.text("dependent_coordinate_name"), float(node.numbers("scale_factor", 1, (1.0,))[0])
    unknown = sorted({dependent, *independent} - known)
    if unknown:
        raise node.error(f"coordinates {', '.join(unknown)}", "coordinates of the model", "correct the names")
    slopes, offset, curve = read_function(node.required("coupled_coordinates_function"), len(independent))
    if curve is not None:
        curve = curve._replace(coefficients=curve.coefficients * scale)
    return Coupler(node.name, dependent, independent, Function(tuple(s * scale for s in slopes), offset * scale, curve))


def _check_names(model: Node, *groups: list[str]) -> None:
    for names in groups:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise OpenSimFileError(
                model.path, model.place, f"more than one {', '.join(twice)}", "a name for each", "rename one"
            )
