"""Segment masses, centres of mass and inertia tensors of a body from its closed surface and skinning weights.

The volume beyond a joint is bounded by the surface that moves with the joint and by a cut through the joint. Where
the skin is shared between segments, take the surface beyond joint k with the weight W_k of all segments beyond it:
a stack of surfaces, one for each threshold, each of which ends in a loop around the joint. Close every loop by the
cone from the joint to the loop. The signed tetrahedra that join the *joint* to the surface's triangles then add up to
the volume beyond the joint, since the cone itself adds nothing when seen from its own apex:

    moments beyond joint k = Σ_faces W_k(face) · moments of the tetrahedron (joint k, face)

A segment is what lies beyond its joint less what lies beyond its children's. The sum over the segments telescopes to
the integral over the closed mesh, exactly, whatever the weights.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from imdy_jax.body.person import array_module
from imdy_jax.skeleton import JOINT_NAMES, PARENTS
from imdy_jax.tree import build_tree

# kg/m³ at resting lung volume. Between fresh and sea water: of 98 men with the lungs at functional residual capacity
# 7 % float in the one and 69 % in the other (Donoghue & Minnigerode 1977, J. Forensic Sci. 22:573).
DENSITY = 1010.0


class SegmentInertia(NamedTuple):
    """Inertial parameters of each segment, in rest axes."""

    mass: Any  # (B,) kg
    com: Any  # (B, 3) m, centre of mass from the segment's joint
    inertia: Any  # (B, 3, 3) kg·m² about the centre of mass


def segment_inertia(
    vertices: Any,
    faces: np.ndarray,
    skin: np.ndarray,
    joints: Any,
    mass: float | jax.Array | None = None,
    parents: tuple[int, ...] = PARENTS,
) -> SegmentInertia:
    """Inertial parameters of the segments of a skinned closed mesh of uniform density, in float64.

    vertices (V, 3) m; faces (F, 3) counter-clockwise seen from outside; skin (V, B), rows sum to 1; joints (B, 3) m;
    mass is the subject's total in kg, or None for DENSITY times the volume. Under a trace vertices, joints and mass
    may be JAX's, in their own precision, and nothing but the faces is checked. Raises ValueError where the surface is
    open or inside out, or where a segment's weights leave it no solid of its own.
    """
    xp = array_module(vertices, joints, mass)
    if xp is np:
        vertices, joints = np.asarray(vertices, np.float64), np.asarray(joints, np.float64)
    faces = np.asarray(faces)
    _check_closed(faces)
    weights = np.asarray(skin, np.float64)
    beyond = weights / weights.sum(axis=1, keepdims=True) @ build_tree(parents).ancestors
    share = beyond[faces].mean(axis=1)
    moments = xp.stack([_moments(xp, vertices, faces, share[:, k], joints[k]) for k in range(len(parents))])
    children = np.array([[float(parent == k) for parent in parents] for k in range(len(parents))])
    own = moments - xp.tensordot(xp.asarray(children, moments.dtype), moments, axes=1)
    volume = moments[0, 3, 3]
    if xp is np and volume <= 0.0:
        raise ValueError(f"body surface: encloses {volume:.3g} m³; its faces must turn counter-clockwise from outside")
    density = DENSITY if mass is None else mass / volume
    return _inertia_from_moments(xp, density * own, joints)


def _moments(xp: Any, vertices: Any, faces: np.ndarray, share: np.ndarray, apex: Any) -> Any:
    """Integral of x̃ x̃ᵀ, x̃ = (x, 1), about the world origin over the weighted tetrahedra (apex, face): (4, 4)."""
    touched = share != 0.0
    corners = vertices[faces[touched].astype(np.int32)] - apex[None, None]
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    volume = xp.asarray(share[touched], corners.dtype) * xp.einsum("fi,fi->f", a, xp.cross(b, c)) / 6.0
    total = a + b + c
    points = xp.stack([a, b, c, total], axis=1).reshape(-1, 3)
    second = (xp.repeat(volume, 4)[:, None] * points).T @ points / 20.0
    first = volume @ total / 4.0
    local = xp.block([[second, first[:, None]], [first[None], xp.sum(volume)]])
    shift = xp.block([[np.eye(3), apex[:, None]], [np.eye(4)[3:]]])
    return shift @ local @ shift.T


def _inertia_from_moments(xp: Any, moments: Any, joints: Any) -> SegmentInertia:
    mass = moments[:, 3, 3]
    centre = moments[:, :3, 3] / xp.where(mass > 0.0, mass, np.inf)[:, None]
    second = moments[:, :3, :3] - mass[:, None, None] * centre[:, :, None] * centre[:, None, :]
    second = (second + second.swapaxes(1, 2)) / 2.0
    # Second moments of a solid are positive definite; then its inertia is too, and obeys the triangle inequality.
    solid = (mass > 0.0) & (np.linalg.eigvalsh(second)[:, 0] > 0.0) if xp is np else np.ones(len(joints), bool)
    if not solid.all():
        k = int(np.argmin(solid))
        name = JOINT_NAMES[k] if len(joints) == len(JOINT_NAMES) else str(k)
        raise ValueError(
            f"body surface: segment {name} is no solid of its own (mass {mass[k]:.3g} kg); check the skinning weights "
            "and the joint regressor of the model file, or use a less extreme shape"
        )
    trace = xp.trace(second, axis1=1, axis2=2)
    return SegmentInertia(mass, centre - joints, trace[:, None, None] * np.eye(3)[None] - second)


def _check_closed(faces: np.ndarray) -> None:
    """Every edge must be walked as often one way as the other."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    low, high = edges.min(axis=1), edges.max(axis=1)
    key = low * (int(edges.max()) + 1) + high
    _, where = np.unique(key, return_inverse=True)
    balance = np.bincount(where, weights=np.where(edges[:, 0] == low, 1.0, -1.0))
    if np.any(balance != 0.0):
        count = int(np.count_nonzero(balance))
        raise ValueError(f"body surface: open or inconsistently oriented at {count} edges; expected a closed mesh")
