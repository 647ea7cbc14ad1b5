"""Where the joints of a person of given sex, stature and shape vector lie: published proportions, SMPL's rest pose.

Lengths come from de Leva (1996), J. Biomech. 29:1223, table 4, as fractions of the stature of his samples; the
directions of the bones from SMPL's mean template (the offsets of PHC's neutral humanoid, left and right averaged), so
that a pose of SMPL's joint angles means the same on this body. de Leva's lengths were measured along the segments of
people lying down; in a vertical chain from sole to vertex they miss the stature by -2 to +1 %, which one common factor
on legs, trunk and head makes good.
"""

from typing import Any, NamedTuple

import numpy as np

from imdy_jax.body.person import array_module
from imdy_jax.skeleton import MIRROR, NUM_BODIES, joint_index

SEXES = ("female", "male", "neutral")

# de Leva's samples, m: stature, then lengths: VERT-CERV, CERV-MIDH, MIDS-MIDH, SJC-EJC, EJC-WJC, WJC-MET3, HJC-KJC,
# KJC-AJC.
_DE_LEVA_LENGTH = {
    "female": (1.735, 0.2437, 0.6148, 0.4979, 0.2751, 0.2643, 0.0780, 0.3685, 0.4386),
    "male": (1.741, 0.2429, 0.6033, 0.5155, 0.2817, 0.2689, 0.0862, 0.4222, 0.4403),
}
_IN_CHAIN = np.array([True, True, True, False, False, False, True, True])
# ANSUR II means over the mean stature (Gordon et al. 2014; 1,986 women of 1628.5 mm, 4,082 men of 1756.2 mm).
_ACROMION = {"female": 0.1122, "male": 0.1184}  # half the biacromial breadth, 365.3 and 415.7 mm
_FOOT = {"female": 0.1512, "male": 0.1544}  # foot length, 246.2 and 271.2 mm
_ANKLE_HEIGHT = 0.0406  # of the lateral malleolus, 69.6 mm, both sexes
_BALL = 0.74  # ball-of-foot length over foot length, 194.8 / 263.0 mm, both sexes
# The shoulder's centre lies the humeral head's radius inside the acromion: 24 mm (Iannotti et al. 1992) at 1.76 m.
_HUMERAL_HEAD = 0.0137
_HIP = 0.0491  # half the distance of the hip centres: 83.5 mm in the model of a 1.70 m man (Rajagopal et al. 2016)
_ANKLE = 0.25  # heel to ankle over heel to toe, and the height of the ball over the ankle's: our choice
_BALL_HEIGHT = 0.4

# Offsets from the parent in SMPL's mean template, left side, m (x left, y up, z forward).
_SMPL_OFFSET = {
    "left_hip": (0.0686, -0.0910, -0.0056), "left_knee": (0.0363, -0.3789, -0.0067),
    "left_ankle": (-0.0147, -0.3982, -0.0430), "spine1": (0.0, 0.1090, -0.0267), "spine2": (0.0, 0.1352, 0.0011),
    "spine3": (0.0, 0.0529, 0.0254), "neck": (0.0, 0.2139, -0.0429), "head": (0.0, 0.0650, 0.0513),
    "left_collar": (0.0803, 0.1203, -0.0364), "left_shoulder": (0.0935, 0.0316, -0.0090),
    "left_elbow": (0.2567, -0.0131, -0.0245), "left_wrist": (0.2523, 0.0084, -0.0034),
    "left_hand": (0.0843, -0.0072, -0.0126),
}  # fmt: skip
_SMPL_TRUNK = 0.6020  # m, hip to neck joint, vertical, in that template
_SMPL_HEAD = 0.2380  # m, VERT-CERV of its stature, 1.70 m, after de Leva

# The shape vector: what each component lengthens, and by how much (natural logarithm) per unit. A unit is about one
# standard deviation of such proportions among adults; a pair is lengthened and shortened against one another.
SHAPE = (
    ("leg length", 0.030),
    ("thigh against shank", 0.030),
    ("arm length", 0.030),
    ("upper arm against forearm", 0.030),
    ("shoulder breadth", 0.040),
    ("hip breadth", 0.040),
    ("head size", 0.030),
    ("hand and foot size", 0.040),
    ("trunk mass against limb mass", 0.060),
    ("leg mass against arm mass", 0.060),
)
NUM_SHAPE = len(SHAPE)


class Lengths(NamedTuple):
    """The lengths of a person that place the joints, m: numbers, or traced ones."""

    stature: Any
    head: Any  # vertex to neck joint
    trunk: Any  # neck joint to the line between the hips
    shoulder_height: Any  # above the line between the hips
    upper_arm: Any
    forearm: Any
    hand: Any  # wrist to third knuckle
    thigh: Any
    shank: Any
    foot: Any  # heel to toe tip
    shoulder: Any  # midline to shoulder joint
    hip: Any  # midline to hip joint
    ankle_height: Any  # above the sole


def shape_factors(betas: Any) -> Any:
    """Factors (NUM_SHAPE,) of the shape vector; exactly 1 at zero."""
    return array_module(betas).exp(betas * np.array([spread for _, spread in SHAPE]))


def lengths(sex: str, stature: Any, betas: Any) -> Lengths:
    """Lengths of a person, m, whose vertical chain adds up to the stature exactly."""
    xp = array_module(stature, betas)
    leg, thigh, arm, upper_arm, shoulder, hip, head, extremity, _, _ = shape_factors(betas)
    fraction = by_sex(sex, {s: np.array(row[1:]) / row[0] for s, row in _DE_LEVA_LENGTH.items()})
    factor = [head, 1.0, 1.0, arm * upper_arm**0.5, arm * upper_arm**-0.5, extremity]
    factor += [leg * thigh**0.5, leg * thigh**-0.5]
    along = stature * fraction * xp.stack([xp.asarray(f) for f in factor])
    ankle_height = _ANKLE_HEIGHT * stature
    chain = along[0] + along[1] - along[6] * _direction("left_knee")[1] - along[7] * _direction("left_ankle")[1]
    along = xp.where(_IN_CHAIN, along * (stature - ankle_height) / chain, along)
    foot = by_sex(sex, _FOOT) * stature * extremity
    breadth = (by_sex(sex, _ACROMION) - _HUMERAL_HEAD) * stature * shoulder
    places = (stature, *along, foot, breadth, _HIP * stature * hip, ankle_height)
    return Lengths(*places)


def joint_positions(size: Lengths) -> Any:
    """Rest positions (24, 3), m, pelvis joint at the origin, T-pose, x left, y up, z forward."""
    xp = array_module(size)
    trunk, head = size.trunk / _SMPL_TRUNK, size.head / _SMPL_HEAD
    at = {"pelvis": np.zeros(3)}
    for child, parent in (("spine1", "pelvis"), ("spine2", "spine1"), ("spine3", "spine2"), ("neck", "spine3")):
        at[child] = at[parent] + trunk * np.array(_SMPL_OFFSET[child])
    at["head"] = at["neck"] + head * np.array(_SMPL_OFFSET["head"])
    at["left_hip"] = xp.stack([size.hip, *trunk * np.array(_SMPL_OFFSET["left_hip"][1:])])
    collar, beyond = np.array(_SMPL_OFFSET["left_collar"]), np.array(_SMPL_OFFSET["left_shoulder"])
    height = at["left_hip"][1] + size.shoulder_height - at["spine3"][1]
    reach = xp.stack([size.shoulder, height, trunk * (collar + beyond)[2]])
    at["left_collar"] = at["spine3"] + reach * collar / (collar + beyond)
    at["left_shoulder"] = at["spine3"] + reach
    for child, parent, length in (
        ("left_elbow", "left_shoulder", size.upper_arm),
        ("left_wrist", "left_elbow", size.forearm),
        ("left_hand", "left_wrist", size.hand),
        ("left_knee", "left_hip", size.thigh),
        ("left_ankle", "left_knee", size.shank),
    ):
        at[child] = at[parent] + length * _direction(child)
    forward = (_BALL - _ANKLE) * size.foot
    at["left_foot"] = at["left_ankle"] + xp.stack([0.15 * forward, (_BALL_HEIGHT - 1) * size.ankle_height, forward])
    return by_segment(xp, at, lambda place: place * np.array([-1, 1, 1]))


def by_segment(xp: Any, given: dict[str, Any], mirrored: Any = lambda x: x) -> Any:
    """Values of the segments (24, ...) from those of the midline and the left side; `mirrored` makes the right's."""
    left = {joint_index(name): value for name, value in given.items()}
    return xp.stack([left[k] if k in left else mirrored(left[MIRROR[k]]) for k in range(NUM_BODIES)])


def heel(size: Lengths) -> Any:
    """Distance of the heel behind the ankle joint, m."""
    return _ANKLE * size.foot


def _direction(child: str) -> np.ndarray:
    offset = np.array(_SMPL_OFFSET[child])
    return offset / np.linalg.norm(offset)


def by_sex(sex: str, table: dict):
    """The figure of a sex; neutral is the mean of both."""
    return table[sex] if sex in table else (table["female"] + table["male"]) / 2
