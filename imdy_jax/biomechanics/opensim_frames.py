"""Frames of a version 4 OpenSim model: bodies, and the offset frames fixed to them, found by path or by name."""

import posixpath

import numpy as np

from imdy_jax.biomechanics.opensim_xml import Node

GROUND = "ground"


class Frames:
    """All frames of a model by their path, such as /bodyset/tibia_r or /jointset/knee_r/femur_r_offset."""

    def __init__(self, model: Node):
        self._bodies = {f"/{GROUND}": GROUND}
        self._offsets: dict[str, Node] = {}
        self._collect(model.child("Ground"), f"/{GROUND}")
        for body in model.objects("BodySet"):
            self._bodies[f"/bodyset/{body.name}"] = body.name
            self._collect(body, f"/bodyset/{body.name}")
        for joint in model.objects("JointSet"):
            self._collect(joint, f"/jointset/{joint.name}")
        self._collect(model.child("components"), "")

    def of_socket(self, joint: Node, socket: str) -> tuple[str, np.ndarray]:
        """Name of the body to which a joint's socket goes, and the pose (3, 4) of the frame there in that body.

        Raises OpenSimFileError where there is no such frame.
        """
        return self._resolve(joint, socket, f"/jointset/{joint.name}")

    def _collect(self, owner: Node | None, path: str) -> None:
        for group in ("frames", "components"):
            held = owner.child(group) if owner is not None else None
            for node in held.children() if held is not None else ():
                if node.tag == "PhysicalOffsetFrame":
                    self._offsets[f"{path}/{node.name}"] = node
                    self._collect(node, f"{path}/{node.name}")

    def _resolve(self, node: Node, socket: str, path: str, depth: int = 0) -> tuple[str, np.ndarray]:
        """Follow a socket from frame to frame down to a body."""
        tags = (f"socket_{socket}", f"socket_{socket}_connectee_name", f"connector_{socket}_connectee_name")
        target = self._find(node, node.text(*tags), path)
        if target in self._bodies:
            return self._bodies[target], np.eye(3, 4)
        if depth > len(self._offsets):
            raise node.error(f"a circle of frames through {target!r}", "frames that end at a body", "correct the file")
        offset = self._offsets[target]
        body, base = self._resolve(offset, "parent", target, depth + 1)
        return body, compose(base, placement(offset, "translation", "orientation"))

    def _find(self, node: Node, text: str, path: str) -> str:
        """Path of the frame that a socket names: absolute, relative to its owner, or by its name alone."""
        known = [*self._bodies, *self._offsets]
        direct = posixpath.normpath(posixpath.join(path, text))
        if text and direct in known:
            return direct
        alike = [p for p in known if text and posixpath.basename(p) == posixpath.basename(text)]
        if len(alike) != 1:
            raise node.error(
                f"frame {text!r}, of which there are {len(alike)}", f"one of {', '.join(known)}", "correct the name"
            )
        return alike[0]


def placement(node: Node, translation: str, orientation: str) -> np.ndarray:
    """Pose (3, 4) of a translation in m and body-fixed x-y-z angles in rad; both are zero where not given."""
    x, y, z = node.numbers(orientation, 3, (0.0, 0.0, 0.0))
    turns = [_turn(0, x), _turn(1, y), _turn(2, z)]
    rotation = turns[0] @ turns[1] @ turns[2]
    return np.concatenate([rotation, node.numbers(translation, 3, (0.0, 0.0, 0.0))[:, None]], axis=1)


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Pose (3, 4) of a frame whose pose `inner` is given in the frame of pose `outer`."""
    return np.concatenate([outer[:, :3] @ inner[:, :3], outer[:, :3] @ inner[:, 3:] + outer[:, 3:]], axis=1)


def inverse(pose: np.ndarray) -> np.ndarray:
    """Pose (3, 4) of the outer frame in the inner one."""
    return np.concatenate([pose[:, :3].T, -pose[:, :3].T @ pose[:, 3:]], axis=1)


def _turn(axis: int, angle: float) -> np.ndarray:
    rotation = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    rotation[i, i] = rotation[j, j] = np.cos(angle)
    rotation[j, i] = np.sin(angle)
    rotation[i, j] = -rotation[j, i]
    return rotation
