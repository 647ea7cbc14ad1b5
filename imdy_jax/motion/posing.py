"""A clip on a body: joint frames, centre of mass and the height of the surface, over all frames at once (float64)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial.transform import Rotation

from imdy_jax.body.person import Body
from imdy_jax.motion.clip import Clip
from imdy_jax.skeleton import NUM_BODIES, PARENTS

CHUNK_FRAMES = 512


class Posed(NamedTuple):
    """Segment frames of T frames, world axes."""

    R_world: np.ndarray  # (T, 24, 3, 3)
    p_world: np.ndarray  # (T, 24, 3) m, joints


def pose(clip: Clip, body: Body) -> Posed:
    """Segment frames of every frame of the clip played by the body."""
    rotations = to_matrices(np.asarray(clip.rotations, float))
    joints = np.asarray(body.joints, float)
    return forward_kinematics(rotations, np.asarray(clip.translation, float) + joints[0], joints)


def forward_kinematics(rotations: np.ndarray, root: np.ndarray, joints: np.ndarray) -> Posed:
    """Segment frames from joint rotations (T, 24, 3, 3), root positions (T, 3) and rest joints (24, 3)."""
    R_world, p_world = np.empty_like(rotations), np.empty((len(rotations), NUM_BODIES, 3))
    R_world[:, 0], p_world[:, 0] = rotations[:, 0], root
    for k in range(1, NUM_BODIES):
        parent = PARENTS[k]
        R_world[:, k] = R_world[:, parent] @ rotations[:, k]
        p_world[:, k] = p_world[:, parent] + R_world[:, parent] @ (joints[k] - joints[parent])
    return Posed(R_world, p_world)


def centre_of_mass(posed: Posed, body: Body) -> np.ndarray:
    """Whole-body centre of mass (T, 3), m."""
    mass, com = np.asarray(body.mass, float), np.asarray(body.com, float)
    centres = posed.p_world + np.einsum("tkij,kj->tki", posed.R_world, com)
    return np.einsum("k,tki->ti", mass, centres) / mass.sum()


def surface_points(posed: Posed, body: Body, vertices: np.ndarray) -> np.ndarray:
    """World positions (T, P, 3), m, of the surface vertices with the given indices (P,): linear blend skinning."""
    return np.stack([_skinned_coordinate(posed, body, vertices, axis) for axis in range(3)], axis=-1)


def lowest_height(posed: Posed, body: Body) -> np.ndarray:
    """Height (T,), m, of the lowest point of the surface in each frame."""
    return lowest_and_below(posed, body, 0.0)[0]


def lowest_and_below(posed: Posed, body: Body, height: float) -> tuple[np.ndarray, np.ndarray]:
    """lowest_height (T,), and the indices of the vertices that come below a height (m) in any frame."""
    lowest, below = [], np.zeros(len(body.vertices), bool)
    for heights in _heights(posed, body):
        lowest.append(heights.min(axis=1))
        below |= heights.min(axis=0) < height
    return np.concatenate(lowest), np.flatnonzero(below)


def vertices_below(posed: Posed, body: Body, height: float) -> np.ndarray:
    """Indices of the vertices that come below a height (m) in any frame."""
    return lowest_and_below(posed, body, height)[1]


def segment_vertices(body: Body, segments: tuple[int, ...]) -> np.ndarray:
    """Indices of the vertices that follow the given segments more than any other."""
    return np.flatnonzero(np.isin(np.argmax(np.asarray(body.skin), axis=1), segments))


def _heights(posed: Posed, body: Body) -> Iterator[np.ndarray]:
    """Heights (t, V), m, of the whole surface, a few hundred frames at a time: a long clip on a fine mesh is large."""
    vertices = np.arange(len(body.vertices))
    for start in range(0, len(posed.p_world), CHUNK_FRAMES):
        part = Posed(*(x[start : start + CHUNK_FRAMES] for x in posed))
        yield _skinned_coordinate(part, body, vertices, 2)


def _skinned_coordinate(posed: Posed, body: Body, vertices: np.ndarray, axis: int) -> np.ndarray:
    """One world coordinate (T, P) as one sparse matrix product: weights times (row of R_world, position)."""
    weights = np.asarray(body.skin, float)[vertices]
    point, segment = np.nonzero(weights)
    weight = weights[point, segment, None]
    local = np.asarray(body.vertices, float)[vertices][point] - np.asarray(body.joints, float)[segment]
    values, columns = np.concatenate([weight * local, weight], axis=1), 4 * segment[:, None] + np.arange(4)
    begins = 4 * np.searchsorted(point, np.arange(len(vertices) + 1))
    basis = csr_array((values.ravel(), columns.ravel(), begins), shape=(len(vertices), 4 * NUM_BODIES))
    frames = np.concatenate([posed.R_world[:, :, axis, :], posed.p_world[:, :, axis, None]], axis=-1)
    return (basis @ frames.reshape(len(frames), -1).T).T


def to_matrices(quaternions: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of quaternions (..., 4), w first."""
    flat = Rotation.from_quat(quaternions.reshape(-1, 4), scalar_first=True)
    return flat.as_matrix().reshape(*quaternions.shape[:-1], 3, 3)


def to_quaternions(matrices: np.ndarray) -> np.ndarray:
    """Quaternions (..., 4), w first, of rotation matrices (..., 3, 3)."""
    flat = Rotation.from_matrix(matrices.reshape(-1, 3, 3))
    return flat.as_quat(scalar_first=True).reshape(*matrices.shape[:-2], 4)


def from_rotation_vectors(vectors: np.ndarray) -> np.ndarray:
    """Quaternions (..., 4), w first, of rotation vectors (..., 3), rad."""
    flat = Rotation.from_rotvec(vectors.reshape(-1, 3))
    return flat.as_quat(scalar_first=True).reshape(*vectors.shape[:-1], 4)
