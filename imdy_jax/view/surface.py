"""Surfaces to draw, and where they are: a person's skin, the humanoid's contact capsules, and arrows."""

from typing import NamedTuple

import jax
import numpy as np

from imdy_jax import rotation
from imdy_jax.body.person import Body
from imdy_jax.dataset.blocks import map_frames
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.humanoid import SOLID_BODY, Humanoid
from imdy_jax.skeleton import NUM_BODIES
from imdy_jax.tree import build_tree

Solid = tuple[np.ndarray, np.ndarray, np.ndarray]  # vertices (V, 3), outward normals (V, 3), faces (F, 3)


class Motion(NamedTuple):
    """World poses of one figure, NumPy."""

    rotations: np.ndarray  # (T, 24, 3, 3)
    positions: np.ndarray  # (T, 24, 3) m


class Surface(NamedTuple):
    """A closed surface in the rest pose, fixed to the 24 segments by skinning weights."""

    vertices: np.ndarray  # (V, 3) m, rest pose
    normals: np.ndarray  # (V, 3) outward
    faces: np.ndarray  # (F, 3) int, counter-clockwise seen from outside
    weights: np.ndarray  # (V, 24)
    joints: np.ndarray  # (24, 3) m, rest pose

    def pose(self, rotations: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World vertices and normals (V, 3) for segment rotations (24, 3, 3) and joint positions (24, 3)."""
        shift = positions - np.einsum("kij,kj->ki", rotations, self.joints)
        blend = self.weights @ np.concatenate([rotations.reshape(24, 9), shift], axis=1)
        turn = blend[:, :9].reshape(-1, 3, 3)
        normals = np.einsum("vij,vj->vi", turn, self.normals)
        return np.einsum("vij,vj->vi", turn, self.vertices) + blend[:, 9:], _unit(normals)


def world_motion(humanoid: Humanoid, q: np.ndarray) -> Motion:
    """World poses of q (T, 99)."""
    return Motion(*map_frames(_world_pose, humanoid, np.asarray(q)))


@jax.jit
def _world_pose(humanoid: Humanoid, q: jax.Array) -> tuple[jax.Array, jax.Array]:
    pose = jax.vmap(forward_kinematics, in_axes=(None, 0))(humanoid, q)
    return rotation.to_matrix(pose.rotation), pose.position


def skin_surface(body: Body) -> Surface:
    """The skin of a person."""
    vertices, faces = np.asarray(body.vertices, float), np.asarray(body.faces)
    normals = _vertex_normals(vertices, faces)
    return Surface(vertices, normals, faces, np.asarray(body.skin, float), np.asarray(body.joints, float))


def solid_surface(humanoid: Humanoid) -> Surface:
    """The capsules with which the humanoid touches the floor; joint offsets stand for the rest pose."""
    joints = build_tree().ancestors @ np.asarray(humanoid.offset, float)
    parts = [
        capsule(ends[0], ends[1], radius)
        for ends, radius in zip(humanoid.solid_ends, humanoid.solid_radius, strict=True)
    ]
    sizes = [len(vertices) for vertices, _, _ in parts]
    owner = np.repeat(SOLID_BODY, sizes)
    first = np.cumsum([0, *sizes[:-1]])
    return Surface(
        np.concatenate([vertices for vertices, _, _ in parts]) + joints[owner],
        np.concatenate([normals for _, normals, _ in parts]),
        np.concatenate([faces + start for (_, _, faces), start in zip(parts, first, strict=True)]),
        np.eye(NUM_BODIES)[owner],
        joints,
    )


def capsule(start: np.ndarray, end: np.ndarray, radius: float, rings: int = 6, sides: int = 16) -> Solid:
    """A capsule between two centres, m."""
    latitude = np.linspace(-np.pi / 2, np.pi / 2, 2 * rings)
    profile = np.stack([np.cos(latitude), np.sin(latitude)], axis=1)
    along = np.asarray(end, float) - np.asarray(start, float)
    length = np.linalg.norm(along)
    offset = np.where(np.arange(2 * rings) < rings, 0.0, length)
    points = np.stack([radius * profile[:, 0], radius * profile[:, 1] + offset], axis=1)
    return _revolve(np.asarray(start, float), along / max(length, 1e-9), points, profile, sides)


def arrow(start: np.ndarray, vector: np.ndarray, radius: float = 0.015, sides: int = 16) -> Solid:
    """An arrow from `start` that spans `vector`, m."""
    length = np.linalg.norm(vector)
    head = min(5.0 * radius, 0.6 * length)
    points = np.array([[0, 0], [radius, 0], [radius, length - head], [2.4 * radius, length - head], [0, length]])
    slope = np.array([head, 2.4 * radius]) / np.hypot(head, 2.4 * radius)
    profile = np.array([[0, -1], [1, 0], [1, 0], slope, slope])
    return _revolve(np.asarray(start, float), vector / max(length, 1e-9), points, profile, sides)


def _revolve(origin: np.ndarray, axis: np.ndarray, points: np.ndarray, profile: np.ndarray, sides: int) -> Solid:
    """Turn a profile of (radius, height) points, with (radial, axial) normals, about an axis through the origin."""
    helper = np.eye(3)[np.argmin(np.abs(axis))]
    x = _unit(np.cross(axis, helper))
    y = np.cross(axis, x)
    angle = np.arange(sides) * 2 * np.pi / sides
    around = np.cos(angle)[:, None] * x + np.sin(angle)[:, None] * y

    def sweep(p: np.ndarray) -> np.ndarray:
        return (p[:, :1, None] * around + p[:, 1:, None] * axis).reshape(-1, 3)

    ring, side = np.meshgrid(np.arange(len(points) - 1), np.arange(sides), indexing="ij")
    a, b = (ring * sides + side).ravel(), (ring * sides + (side + 1) % sides).ravel()
    faces = np.concatenate([np.stack([a, b, b + sides], axis=1), np.stack([a, b + sides, a + sides], axis=1)])
    return origin + sweep(points), sweep(profile), faces


def _vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    weighted = np.cross(b - a, c - a)  # as long as twice the area
    normals = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(normals, faces[:, i], weighted)
    return _unit(normals)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
