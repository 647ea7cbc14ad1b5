"""Small OpenSim models and recordings in the formats that OpenSim writes, made by the tests themselves."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

SPATIAL_AXES = {
    "rotation1": "0 0 1", "rotation2": "1 0 0", "rotation3": "0 1 0",
    "translation1": "1 0 0", "translation2": "0 1 0", "translation3": "0 0 1",
}  # fmt: skip


class BodySpec(NamedTuple):
    name: str
    mass: float = 2.0
    com: tuple[float, ...] = (0.1, -0.2, 0.05)
    inertia: tuple[float, ...] = (0.02, 0.03, 0.04, 0.001, 0.002, 0.003)


class JointSpec(NamedTuple):
    """`parent` and `child` are bodies; the poses are translation and x-y-z angles of the joint's frame on each."""

    kind: str
    name: str
    parent: str
    child: str
    coordinates: tuple[str, ...] = ()
    on_parent: tuple[tuple[float, ...], tuple[float, ...]] = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    on_child: tuple[tuple[float, ...], tuple[float, ...]] = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    functions: dict[str, tuple[str, str]] = {}  # of a custom joint: slot → coordinates, function  # noqa: RUF012
    reverse: bool = False


def words(numbers) -> str:
    return " ".join(repr(float(x)) for x in np.ravel(numbers))


def linear(*coefficients: float) -> str:
    return f"<LinearFunction><coefficients>{words(coefficients)}</coefficients></LinearFunction>"


def points(tag: str, x, y, extra: str = "") -> str:
    return f"<{tag}>{extra}<x>{words(x)}</x><y>{words(y)}</y></{tag}>"


def polynomial(*coefficients: float) -> str:
    """Highest power first."""
    return f"<PolynomialFunction><coefficients>{words(coefficients)}</coefficients></PolynomialFunction>"


def scaled(function: str, scale: float) -> str:
    return f"<MultiplierFunction><function>{function}</function><scale>{scale}</scale></MultiplierFunction>"


def coupler(dependent: str, independent: str, function: str) -> str:
    return (
        f'<CoordinateCouplerConstraint name="{dependent}_couple"><isEnforced>true</isEnforced>'
        f"<coupled_coordinates_function>{function}</coupled_coordinates_function>"
        f"<independent_coordinate_names>{independent}</independent_coordinate_names>"
        f"<dependent_coordinate_name>{dependent}</dependent_coordinate_name></CoordinateCouplerConstraint>"
    )


def _spatial_transform(joint: JointSpec) -> str:
    if joint.kind != "CustomJoint":
        return ""
    axes = "".join(
        f'<TransformAxis name="{slot}"><coordinates>{names}</coordinates><axis>{SPATIAL_AXES[slot]}</axis>'
        f"<function>{function}</function></TransformAxis>"
        for slot, (names, function) in joint.functions.items()
    )
    return f"<SpatialTransform>{axes}</SpatialTransform>"


def _document(content: str, version: int) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<OpenSimDocument Version="{version}">{content}</OpenSimDocument>\n'


def version_4(bodies: list[BodySpec], joints: list[JointSpec], constraints: str = "") -> str:
    """A model as OpenSim 4 writes it: a JointSet that connects frames."""
    text = ""
    for body in bodies:
        text += (
            f'<Body name="{body.name}"><mass>{body.mass}</mass><mass_center>{words(body.com)}</mass_center>'
            f"<inertia>{words(body.inertia)}</inertia></Body>"
        )
    hung = ""
    for joint in joints:
        frames = ""
        for body, (translation, orientation) in ((joint.parent, joint.on_parent), (joint.child, joint.on_child)):
            path = "/ground" if body == "ground" else f"/bodyset/{body}"
            frames += (
                f'<PhysicalOffsetFrame name="{body}_offset"><socket_parent>{path}</socket_parent>'
                f"<translation>{words(translation)}</translation><orientation>{words(orientation)}</orientation>"
                "</PhysicalOffsetFrame>"
            )
        coordinates = "".join(f'<Coordinate name="{name}"/>' for name in joint.coordinates)
        hung += (
            f'<{joint.kind} name="{joint.name}"><socket_parent_frame>{joint.parent}_offset</socket_parent_frame>'
            f"<socket_child_frame>{joint.child}_offset</socket_child_frame><coordinates>{coordinates}</coordinates>"
            f"<frames>{frames}</frames>{_spatial_transform(joint)}</{joint.kind}>"
        )
    return _document(
        '<Model name="small"><Ground name="ground"/><gravity>0 -9.80665 0</gravity>'
        f"<BodySet><objects>{text}</objects></BodySet><JointSet><objects>{hung}</objects></JointSet>"
        f"<ConstraintSet><objects>{constraints}</objects></ConstraintSet></Model>",
        40000,
    )


def version_3(bodies: list[BodySpec], joints: list[JointSpec], motions: dict[str, str] | None = None) -> str:
    """The same as OpenSim 3 writes it: each body holds its joint. motions: stated kinds of coordinates."""
    text = '<Body name="ground"><mass>0</mass><Joint/></Body>'
    for body, joint in zip(bodies, joints, strict=True):
        inertia = "".join(
            f"<inertia_{ij}>{value!r}</inertia_{ij}>"
            for ij, value in zip(("xx", "yy", "zz", "xy", "xz", "yz"), body.inertia, strict=True)
        )
        kinds = {name: (motions or {}).get(name, "rotational") for name in joint.coordinates}
        coordinates = "".join(
            f'<Coordinate name="{name}"><motion_type>{kind}</motion_type></Coordinate>' for name, kind in kinds.items()
        )
        text += (
            f'<Body name="{body.name}"><mass>{body.mass}</mass><mass_center>{words(body.com)}</mass_center>{inertia}'
            f'<Joint><{joint.kind} name="{joint.name}"><parent_body>{joint.parent}</parent_body>'
            f"<location_in_parent>{words(joint.on_parent[0])}</location_in_parent>"
            f"<orientation_in_parent>{words(joint.on_parent[1])}</orientation_in_parent>"
            f"<location>{words(joint.on_child[0])}</location><orientation>{words(joint.on_child[1])}</orientation>"
            f"<CoordinateSet><objects>{coordinates}</objects></CoordinateSet>"
            f"<reverse>{str(joint.reverse).lower()}</reverse>{_spatial_transform(joint)}</{joint.kind}></Joint></Body>"
        )
    gravity = "<gravity>0 -9.80665 0</gravity>"
    return _document(f'<Model name="small">{gravity}<BodySet><objects>{text}</objects></BodySet></Model>', 30000)


def external_loads(forces: list[dict[str, str]], datafile: str, version: int = 40000) -> str:
    """An external-loads document; each force by its elements, `name` apart."""
    text = ""
    for force in forces:
        inside = "".join(f"<{tag}>{value}</{tag}>" for tag, value in force.items() if tag != "name")
        text += f'<ExternalForce name="{force["name"]}">{inside}</ExternalForce>'
    return _document(
        f'<ExternalLoads name="loads"><objects>{text}</objects><datafile>{datafile}</datafile></ExternalLoads>', version
    )


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
