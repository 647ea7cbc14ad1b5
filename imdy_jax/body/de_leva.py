"""Inertial parameters of the body's segments from de Leva (1996), J. Biomech. 29:1223, table 4.

Where SMPL cuts one of his segments into several (trunk, head and neck, hand, foot), the pieces are those of the body's
own skin at uniform density, carried by the one affine map (the symmetric one) that takes the mass, the centre of mass
and the second moments of the skin's whole segment to de Leva's. So the pieces add up to his segment exactly, and every
piece remains a solid: its inertia is positive definite and obeys the triangle inequality.
"""

from typing import Any, NamedTuple

import numpy as np

from imdy_jax.body import proportions
from imdy_jax.body.figure import SecondMoments
from imdy_jax.body.person import array_module
from imdy_jax.body.proportions import Lengths
from imdy_jax.skeleton import MIRROR, PARENTS, joint_index

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


_MEANS = 16  # convergence is quadratic once the two are alike


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


def segment_table(sex: str, betas: Any) -> Any:
    """de Leva's figures as fractions (8, 5), rows as in SEGMENTS, masses shifted by the shape vector, sum one."""
    xp, table = array_module(betas), proportions.by_sex(sex, _DE_LEVA) / 100
    trunk, leg = proportions.shape_factors(betas)[-2:]
    arms, legs = leg**-0.5, leg**0.5
    mass = table[:, 0] * xp.stack([xp.ones_like(leg), trunk, arms, arms, arms, legs, legs, legs])
    share = mass / xp.sum(mass * np.array([s.sides for s in SEGMENTS.values()]))
    return xp.concatenate([share[:, None], table[:, 1:]], axis=1)


def segment_inertias(size: Lengths, joints: Any, mass: Any, table: Any, solids: SecondMoments) -> tuple[Any, Any, Any]:
    """Masses (24,) kg, centres (24, 3) m from the origin and inertias (24, 3, 3) about them, kg·m²."""
    xp = array_module(size, joints, mass, table)
    members, pieces, wholes = [], [], []
    for (name, segment), row in zip(SEGMENTS.items(), table, strict=True):
        for mirrored in range(segment.sides):
            at = [joint_index(m) for m in segment.members]
            at = [MIRROR[k] for k in at] if mirrored else at
            own = SecondMoments(*(x[np.array(at, np.int32)] for x in solids))
            first, last = _ends(xp, name, size, joints, at[0])
            centre = first + row[1] * (last - first)
            if name in ("head", "trunk", "foot"):  # whose ends do not lie on an axis of the segment
                across = own.mass @ own.centre / own.mass.sum() - centre
                along = (last - first) / xp.linalg.norm(last - first)
                centre = centre + across - xp.dot(across, along) * along
            second = _second_moments(xp, row[2:] * getattr(size, name), last - first, segment.sagittal)
            members.extend(at)
            pieces.append(own)
            wholes.append(SecondMoments(mass * row[0], centre, mass * row[0] * second))
    order = np.argsort(members).astype(np.int32)
    masses, centres, inertias = (x[order] for x in _carry(xp, pieces, wholes))
    return masses, centres, inertias


def _ends(xp: Any, name: str, size: Lengths, joints: Any, k: int) -> tuple[Any, Any]:
    """The two ends, m, of de Leva's segment whose first member is k; a limb's are its joint and the next."""
    neck, hip = joints[joint_index("neck")], joints[joint_index("left_hip")]
    if name == "head":
        return neck + size.head * np.array(_UP), neck
    if name == "trunk":
        return neck, xp.stack([0.0 * hip[0], hip[1], neck[2]])
    if name == "foot":
        heel = joints[k] - proportions.heel(size) * np.array(_FORWARD)
        return heel, heel + size.foot * np.array(_FORWARD)
    return joints[k], joints[PARENTS.index(k)]


def _second_moments(xp: Any, gyration: Any, line: Any, sagittal: tuple[float, float, float]) -> Any:
    """∫ x xᵀ dm per unit mass (3, 3) from radii of gyration (3,), m: sagittal, transverse, longitudinal axis."""
    along = line / xp.linalg.norm(line)
    first = np.array(sagittal) - xp.dot(np.array(sagittal), along) * along
    first = first / xp.linalg.norm(first)
    axes = xp.stack([first, xp.cross(along, first), along], axis=1)
    square = gyration**2
    return (axes * (square.sum() / 2 - square)[None]) @ axes.T


def _carry(xp: Any, pieces: list[SecondMoments], wholes: list[SecondMoments]) -> tuple[Any, Any, Any]:
    """Masses, centres and inertias of all pieces after the affine maps to wholes of given mass, centre and moments."""
    scales = [whole.mass / own.mass.sum() for own, whole in zip(pieces, wholes, strict=True)]
    arms = [own.centre - (own.mass @ own.centre / own.mass.sum())[None] for own in pieces]
    before = [
        scale * (own.second.sum(axis=0) + xp.einsum("n,ni,nj->ij", own.mass, arm, arm))
        for own, scale, arm in zip(pieces, scales, arms, strict=True)
    ]
    maps = _stretch(xp, xp.stack(before), xp.stack([whole.second for whole in wholes]))
    group = np.repeat(np.arange(len(pieces), dtype=np.int32), [len(arm) for arm in arms])
    scale, stretch, centre = xp.stack(scales)[group], maps[group], xp.stack([whole.centre for whole in wholes])[group]
    moved = scale[:, None, None] * (stretch @ xp.concatenate([own.second for own in pieces]) @ stretch)
    inertia = xp.trace(moved, axis1=1, axis2=2)[:, None, None] * np.eye(3)[None] - moved
    arm = xp.einsum("nij,nj->ni", stretch, xp.concatenate(arms))
    return scale * xp.concatenate([own.mass for own in pieces]), centre + arm, inertia


def _stretch(xp: Any, before: Any, after: Any) -> Any:
    """The symmetric positive X with X before X = after, of symmetric positive matrices (N, 3, 3).

    It is the geometric mean of before⁻¹ and after, the common limit of their arithmetic and harmonic means, which has
    a derivative where an eigenvalue occurs twice, too.
    """
    size = lambda x: xp.trace(x, axis1=1, axis2=2)[:, None, None]  # noqa: E731
    a, b = xp.linalg.inv(before), after
    balance = xp.sqrt(size(b) / size(a))
    a, b = a * balance, b / balance
    for _ in range(_MEANS):
        a, b = (a + b) / 2, 2 * a @ xp.linalg.inv(a + b) @ b
    return (a + b) / 2
