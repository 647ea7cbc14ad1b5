"""Inertial parameters of the body's segments from de Leva (1996), J. Biomech. 29:1223, table 4.

Where SMPL cuts one of his segments into several (trunk, head and neck, hand, foot), the pieces are those of the body's
own skin at uniform density, carried by the one affine map (the symmetric one) that takes the mass, the centre of mass
and the second moments of the skin's whole segment to de Leva's. So the pieces add up to his segment exactly, and every
piece remains a solid: its inertia is positive definite and obeys the triangle inequality.
"""

from typing import NamedTuple

import numpy as np

from imdy_jax.body import proportions
from imdy_jax.body.figure import SecondMoments
from imdy_jax.body.proportions import Lengths
from imdy_jax.skeleton import MIRROR, NUM_BODIES, PARENTS, joint_index

# de Leva's table 4: mass, % of the body's; centre of mass, % of the length from the first end; radii of gyration about
# the sagittal, transverse and longitudinal axes, % of the length. Ends: head and neck VERT-CERV, trunk CERV-MIDH, upper
# arm SJC-EJC, forearm EJC-WJC, hand WJC-MET3, thigh HJC-KJC, shank KJC-AJC, foot HEEL-TTIP.
_DE_LEVA = {
    "female": np.array([
        (6.68, 48.41, 27.1, 29.5, 26.1), (42.57, 49.64, 30.7, 29.2, 14.7), (2.55, 57.54, 27.8, 26.0, 14.8),
        (1.38, 45.59, 26.1, 25.7, 9.4), (0.56, 74.74, 53.1, 45.4, 33.5), (14.78, 36.12, 36.9, 36.4, 16.2),
        (4.81, 43.52, 26.7, 26.3, 9.2), (1.29, 40.14, 29.9, 27.9, 13.9),
    ]),
    "male": np.array([
        (6.94, 50.02, 30.3, 31.5, 26.1), (43.46, 51.38, 32.8, 30.6, 16.9), (2.71, 57.72, 28.5, 26.9, 15.8),
        (1.62, 45.74, 27.6, 26.5, 12.1), (0.61, 79.00, 62.8, 51.3, 40.1), (14.16, 40.95, 32.9, 32.9, 14.9),
        (4.33, 43.95, 25.1, 24.6, 10.2), (1.37, 44.15, 25.7, 24.5, 12.4),
    ]),
}  # fmt: skip


class Segment(NamedTuple):
    """One of de Leva's segments."""

    members: tuple[str, ...]  # SMPL's segments that it comprises, left side
    sagittal: tuple[float, float, float]  # axis in the rest pose
    sides: int  # one, or left and right


_FORWARD, _UP = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)
# The sagittal axis points forward in the anatomical position. In SMPL's T-pose the palm faces down, so the hand's is
# vertical; the foot's is normal to the sole (in de Leva's source the foot lies in line with the shank).
SEGMENTS = {
    "head": Segment(("neck", "head"), _FORWARD, 1),
    "trunk": Segment(("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar"), _FORWARD, 1),
    "upper_arm": Segment(("left_shoulder",), _FORWARD, 2),
    "forearm": Segment(("left_elbow",), _FORWARD, 2),
    "hand": Segment(("left_wrist", "left_hand"), _UP, 2),
    "thigh": Segment(("left_hip",), _FORWARD, 2),
    "shank": Segment(("left_knee",), _FORWARD, 2),
    "foot": Segment(("left_ankle", "left_foot"), _UP, 2),
}


def segment_table(sex: str, betas: np.ndarray) -> np.ndarray:
    """de Leva's figures as fractions (8, 5), rows as in SEGMENTS, masses shifted by the shape vector, sum one."""
    table = proportions.by_sex(sex, _DE_LEVA) / 100
    trunk, leg = proportions.shape_factors(betas)[-2:]
    arms, legs = leg**-0.5, leg**0.5
    table[:, 0] *= np.array([1.0, trunk, arms, arms, arms, legs, legs, legs])
    table[:, 0] /= table[:, 0] @ [s.sides for s in SEGMENTS.values()]
    return table


def segment_inertias(
    size: Lengths, joints: np.ndarray, mass: float, table: np.ndarray, solids: SecondMoments
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masses (24,) kg, centres (24, 3) m from the origin and inertias (24, 3, 3) about them, kg·m²."""
    masses, centres, inertias = np.zeros(NUM_BODIES), np.zeros((NUM_BODIES, 3)), np.zeros((NUM_BODIES, 3, 3))
    for (name, segment), row in zip(SEGMENTS.items(), table, strict=True):
        for mirrored in range(segment.sides):
            members = [joint_index(m) for m in segment.members]
            members = [MIRROR[k] for k in members] if mirrored else members
            pieces = SecondMoments(solids.mass[members], solids.centre[members], solids.second[members])
            first, last = _ends(name, size, joints, members[0])
            centre = first + row[1] * (last - first)
            if name in ("head", "trunk", "foot"):  # whose ends do not lie on an axis of the segment
                across = pieces.mass @ pieces.centre / pieces.mass.sum() - centre
                along = (last - first) / np.linalg.norm(last - first)
                centre = centre + across - np.dot(across, along) * along
            second = _second_moments(row[2:] * getattr(size, name), last - first, segment.sagittal)
            moved = _carry(pieces, mass * row[0], centre, mass * row[0] * second)
            masses[members], centres[members], inertias[members] = moved
    return masses, centres, inertias


def _ends(name: str, size: Lengths, joints: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The two ends, m, of de Leva's segment whose first member is k; a limb's are its joint and the next."""
    neck, hip = joints[joint_index("neck")], joints[joint_index("left_hip")]
    if name == "head":
        return neck + (0.0, size.head, 0.0), neck
    if name == "trunk":
        return neck, np.array([0.0, hip[1], neck[2]])
    if name == "foot":
        heel = joints[k] + (0.0, 0.0, -proportions.heel(size))
        return heel, heel + (0.0, 0.0, size.foot)
    return joints[k], joints[PARENTS.index(k)]


def _second_moments(gyration: np.ndarray, line: np.ndarray, sagittal: tuple[float, float, float]) -> np.ndarray:
    """∫ x xᵀ dm per unit mass (3, 3) from radii of gyration (3,), m: sagittal, transverse, longitudinal axis."""
    along = line / np.linalg.norm(line)
    first = np.array(sagittal) - np.dot(sagittal, along) * along
    first /= np.linalg.norm(first)
    axes = np.stack([first, np.cross(along, first), along], axis=1)
    square = gyration**2
    return axes @ np.diag(square.sum() / 2 - square) @ axes.T


def _carry(pieces: SecondMoments, mass: float, centre: np.ndarray, second: np.ndarray):
    """Masses, centres and inertias of the pieces after the affine map to a whole of given mass, centre, moments."""
    scale = mass / pieces.mass.sum()
    arm = pieces.centre - pieces.mass @ pieces.centre / pieces.mass.sum()
    whole = scale * (pieces.second.sum(axis=0) + np.einsum("n,ni,nj->ij", pieces.mass, arm, arm))
    root, inverse = _roots(whole)
    stretch = inverse @ _roots(root @ second @ root)[0] @ inverse
    moved = scale * stretch @ pieces.second @ stretch
    inertia = np.trace(moved, axis1=1, axis2=2)[:, None, None] * np.eye(3) - moved
    return scale * pieces.mass, centre + arm @ stretch, inertia


def _roots(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Square root of a symmetric positive matrix, and its inverse."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T
