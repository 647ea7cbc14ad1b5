"""The figure of the default body: modelled once at the neutral person's size, then fitted to each person.

The model is drawn by eye; its breadths, depths and girths are about ANSUR II's means (Gordon et al. 2014), slimmed to
the neutral person's mass. A person's skin is the model's, moved by one linear map per segment about its joint and
blended by the skinning weights; girths follow from the segments' masses.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from imdy_jax.body import proportions, surface
from imdy_jax.body.inertia import segment_inertia
from imdy_jax.body.markers import marker_sites
from imdy_jax.body.person import array_module
from imdy_jax.body.proportions import Lengths
from imdy_jax.body.skinning import skin_weights
from imdy_jax.body.surface import Ellipsoid, Loft
from imdy_jax.skeleton import MIRROR, NUM_BODIES, joint_index

STATURE, MASS = 1.695, 66.5  # m and kg, of the model

_X, _Y, _Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


class SecondMoments(NamedTuple):
    """The segments as solids of uniform density, in rest axes."""

    mass: np.ndarray  # (24,) kg
    centre: np.ndarray  # (24, 3) m, from the origin
    second: np.ndarray  # (24, 3, 3) kg·m², ∫ x xᵀ dm about the centre


class Figure(NamedTuple):
    """The model: a closed surface around the joints of the neutral person."""

    size: Lengths
    joints: np.ndarray  # (24, 3) m
    vertices: np.ndarray  # (V, 3) m
    faces: np.ndarray  # (F, 3) counter-clockwise from outside
    skin: np.ndarray  # (V, 24) rows sum to 1
    solids: SecondMoments
    marker_corners: np.ndarray  # (66, 3) vertices around each marker
    marker_shares: np.ndarray  # (66, 3) and their shares, which sum to 1


@lru_cache
def figure() -> Figure:
    """The model, made at first use (about half a second)."""
    size = proportions.lengths("neutral", STATURE, np.zeros(proportions.NUM_SHAPE))
    joints = proportions.joint_positions(size)
    sole = joints[joint_index("left_ankle"), 1] - size.ankle_height
    vertices, faces = surface.mesh(_solids(joints, sole), sole, _grid(sole))
    skin = skin_weights(vertices, joints)
    parts = [(vertices, faces, skin), *_fingers(joints)]
    offset = np.cumsum([0] + [len(v) for v, _, _ in parts[:-1]])
    vertices, skin = (np.concatenate([part[i] for part in parts]) for i in (0, 2))
    faces = np.concatenate([f + o for (_, f, _), o in zip(parts, offset, strict=True)])
    solid = segment_inertia(vertices, faces, skin, joints, MASS)
    second = np.trace(solid.inertia, axis1=1, axis2=2)[:, None, None] / 2 * np.eye(3) - solid.inertia
    solids = SecondMoments(solid.mass, joints + solid.com, second)
    return Figure(size, joints, vertices, faces, skin, solids, *marker_sites(joints, vertices, faces, skin))


def _grid(sole: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates of the mesh's grid, m: finer across the hands, the feet and the head."""
    x = _steps(0.012, [(0.20, 0.024), (0.66, 0.038), (0.83, 0.017)])
    legs, trunk = [(sole + 0.08, 0.0145), (-0.2, 0.044)], [(0.0, 0.028), (0.33, 0.031)]
    y = _steps(sole - 0.02, [*legs, *trunk, (0.46, 0.0155), (0.78, 0.02)])
    z = _steps(-0.2, [(0.2, 0.02)])
    return x, y, z


def _steps(start: float, stretches: list[tuple[float, float]]) -> np.ndarray:
    """Coordinates from `start` through stretches (end, step)."""
    places = [start]
    for end, step in stretches:
        count = max(1, round((end - places[-1]) / step))
        places.extend(np.linspace(places[-1], end, count + 1)[1:])
    return np.array(places)


def _solids(joints: np.ndarray, sole: float) -> list:
    """The left half and the midline of the body, from the middle outward, so that each melts into the one before."""
    at = lambda name: joints[joint_index(name)]  # noqa: E731
    return [
        *_trunk(),
        *_head(),
        *_leg(at("left_hip"), at("left_knee"), at("left_ankle")),
        *_foot(at("left_ankle"), at("left_foot"), sole),
        *_arm(at("left_shoulder"), at("left_elbow"), at("left_wrist"), at("left_hand")),
    ]


def _trunk() -> list:
    # height, half-breadth, half-depth, centre's z
    rows = np.array([
        (-0.135, 0.098, 0.070, -0.012), (-0.09, 0.145, 0.105, -0.020), (-0.03, 0.150, 0.113, -0.022),
        (0.04, 0.145, 0.103, -0.010), (0.10, 0.138, 0.097, 0.002), (0.16, 0.135, 0.095, 0.004),
        (0.22, 0.139, 0.099, -0.002), (0.29, 0.151, 0.106, -0.014), (0.35, 0.156, 0.103, -0.026),
        (0.40, 0.142, 0.085, -0.034), (0.44, 0.105, 0.066, -0.040), (0.47, 0.062, 0.056, -0.040),
    ])  # fmt: skip
    centres = np.stack([np.zeros(len(rows)), rows[:, 0], rows[:, 3]], axis=1)
    return [
        Loft(centres, rows[:, 1:3], _X, 0.02, 2.3),
        Ellipsoid((0.068, -0.075, -0.072), (0.075, 0.088, 0.064), 0.05),  # buttock
        Ellipsoid((0.106, -0.105, -0.016), (0.068, 0.120, 0.080), 0.06),  # hip
        Ellipsoid((0.075, 0.29, 0.045), (0.065, 0.05, 0.035), 0.05),  # chest muscle
        Ellipsoid((0.095, 0.31, -0.085), (0.06, 0.09, 0.04), 0.06),  # shoulder blade
        _tube([(0.02, 0.485, -0.045), (0.10, 0.437, -0.045), (0.165, 0.415, -0.045)], [0.045, 0.04, 0.04], _Z, 0.05),
    ]


def _head() -> list:
    return [
        _tube([(0, 0.42, -0.05), (0, 0.50, -0.035), (0, 0.59, -0.012)], [0.064, 0.056, 0.055], _X, 0.05),
        Ellipsoid((0, 0.637, -0.004), (0.0745, 0.099, 0.095), 0.03),  # skull
        _tube([(0, 0.61, 0.025), (0, 0.565, 0.040), (0, 0.535, 0.056)],
              [(0.060, 0.058), (0.049, 0.045), (0.030, 0.027)], _X, 0.04),  # face and jaw
        Ellipsoid((0, 0.597, 0.092), (0.014, 0.026, 0.019), 0.02),  # nose
        Ellipsoid((0.073, 0.610, -0.010), (0.012, 0.030, 0.019), 0.01),  # ear
    ]  # fmt: skip


def _leg(hip: np.ndarray, knee: np.ndarray, ankle: np.ndarray) -> list:
    thigh = [hip + t * (knee - hip) for t in (0.06, 0.2, 0.45, 0.7, 0.9, 1.0)]
    thigh = [p + (0, 0, dz) for p, dz in zip(thigh, (0, 0, 0.008, 0.008, 0.003, 0), strict=True)]
    shank = [knee + t * (ankle - knee) for t in (0.0, 0.12, 0.3, 0.5, 0.75, 0.92, 1.0)]
    shank = [p + (0, 0, dz) for p, dz in zip(shank, (0, -0.004, -0.010, -0.006, 0.0, 0.0, 0.0), strict=True)]
    return [
        _tube(thigh, [0.088, 0.088, 0.077, 0.061, 0.049, 0.044], _X, 0.05),
        _tube(shank, [(0.046, 0.049), (0.049, 0.052), (0.053, 0.058), (0.047, 0.051), (0.034, 0.038), (0.030, 0.034),
                      (0.031, 0.035)], _X, 0.02),
    ]  # fmt: skip


def _foot(ankle: np.ndarray, ball: np.ndarray, sole: float) -> list:
    back, tip = ankle[2] - 0.065, ankle[2] + 0.195
    place = lambda x, y, z: (x, sole + y, z)  # noqa: E731
    middle = ball[0] + 0.001
    return [
        _tube([place(ankle[0] + 0.004, 0.030, back + 0.034), place(ankle[0] + 0.008, 0.026, back + 0.09),
               place(middle, 0.020, ball[2]), place(middle, 0.012, tip - 0.020)],
              [(0.034, 0.036), (0.034, 0.034), (0.048, 0.024), (0.038, 0.016)], _X, 0.02, 2.4),
        _tube([ankle + (0.002, -0.005, -0.004), place(ankle[0] + 0.004, 0.044, ankle[2] + 0.055),
               place(middle - 0.008, 0.026, ball[2])], [(0.034, 0.034), (0.033, 0.026), (0.034, 0.018)], _X, 0.03),
    ]  # fmt: skip


def _arm(shoulder: np.ndarray, elbow: np.ndarray, wrist: np.ndarray, hand: np.ndarray) -> list:
    upper = [shoulder + t * (elbow - shoulder) for t in (-0.05, 0.15, 0.4, 0.6, 0.85, 1.0)]
    fore = [elbow + t * (wrist - elbow) for t in (0.0, 0.15, 0.3, 0.6, 0.85, 1.0)]
    palm = [wrist + t * (hand - wrist) for t in (0.0, 0.35, 0.8, 1.1)]
    return [
        _tube(upper, [0.056, 0.055, 0.048, 0.045, 0.039, 0.034], _Z, 0.05),
        _tube(
            fore,
            [(0.034, 0.034), (0.041, 0.039), (0.041, 0.039), (0.034, 0.031), (0.028, 0.022), (0.026, 0.018)],
            _Z,
            0.02,
        ),
        _tube(palm, [(0.029, 0.019), (0.036, 0.017), (0.042, 0.014), (0.041, 0.011)], _Z, 0.015, 2.4),
        _tube([wrist + (0.018, -0.006, 0.018), wrist + (0.045, -0.010, 0.040)], [0.016, 0.013], _Z, 0.02),
    ]


def _tube(centres, radii, axis, blend: float, power: float = 2.0) -> Loft:
    radii = np.array(radii, float)
    return Loft(
        np.array(centres, float), radii if radii.ndim == 2 else np.stack([radii, radii], axis=1), axis, blend, power
    )


# Fingers: base behind the knuckle joint, across the palm, length, radius, drift across along the length; m.
_FINGERS = {
    "index": (0.006, 0.0255, 0.088, 0.0085, 0.02),
    "middle": (0.004, 0.0060, 0.099, 0.0088, 0.0),
    "ring": (0.006, -0.0140, 0.090, 0.0083, -0.02),
    "little": (0.014, -0.0320, 0.071, 0.0072, -0.03),
}


def _fingers(joints: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Vertices, faces and weights of the five fingers of both hands; the thumb goes with the palm."""
    wrist, hand = joints[joint_index("left_wrist")], joints[joint_index("left_hand")]
    parts = []
    for back, across, length, radius, drift in _FINGERS.values():
        start = hand + (-back - 0.01, 0.0, across)
        parts.append(("left_hand", start, start + (length + 0.01 + back, 0.0, drift * length), radius))
    base = wrist + (0.030, -0.008, 0.030)
    parts.append(("left_wrist", base, base + (0.062, -0.016, 0.028), 0.0095))
    finished = []
    for segment, start, end, radius in parts:
        share = np.array([0.0, 0.0, 0.35, 0.7, 0.88, 0.97, 1.0])
        path = start + share[:, None] * (end - start)
        vertices, faces = surface.tube(path, radius * np.array([1.0, 1.0, 1.0, 0.9, 0.8, 0.5, 0.0]))
        for side, k in ((1.0, joint_index(segment)), (-1.0, MIRROR[joint_index(segment)])):
            weights = np.zeros((len(vertices), NUM_BODIES))
            weights[:, k] = 1.0
            finished.append((vertices * (side, 1, 1), faces if side > 0 else faces[:, ::-1], weights))
    return finished


def fit(size: Lengths, joints: Any, girth: Any) -> tuple[Any, SecondMoments]:
    """Skin (V, 3), m, and the solids of the segments of a person with given lengths, joints (24, 3) and girths (24,).

    Girths are relative to the model's. Head, hands and feet keep their proportions: their girth is not used.
    """
    model, xp = figure(), array_module(size, joints, girth)
    maps = _segment_maps(xp, model, size, joints, girth)
    shift = joints - xp.einsum("kij,kj->ki", maps, model.joints)
    blended = (model.skin @ maps.reshape(NUM_BODIES, 9)).reshape(-1, 3, 3)
    vertices = xp.einsum("vij,vj->vi", blended, model.vertices) + model.skin @ shift
    solids = SecondMoments(
        model.solids.mass * xp.linalg.det(maps),
        xp.einsum("kij,kj->ki", maps, model.solids.centre) + shift,
        maps @ model.solids.second @ maps.swapaxes(1, 2),
    )
    return vertices, solids


def _segment_maps(xp: Any, model: Figure, size: Lengths, joints: Any, girth: Any) -> Any:
    """Linear map (24, 3, 3) of each segment about its joint that takes the model's skin to the person's."""
    ratio = Lengths(*(new / old for new, old in zip(size, model.size, strict=True)))
    crown = model.vertices[:, 1].max() - model.joints[joint_index("head"), 1]
    head = (joints[joint_index("neck"), 1] + size.head - joints[joint_index("head"), 1]) / crown
    trunk = girth[joint_index("pelvis")]
    scales = {
        "pelvis": (xp.sqrt(trunk * ratio.hip), ratio.trunk, trunk),
        "spine1": (trunk, ratio.trunk, trunk),
        "spine2": (trunk, ratio.trunk, trunk),
        "spine3": (xp.sqrt(trunk * ratio.shoulder), ratio.trunk, trunk),
        "left_collar": (xp.sqrt(trunk * ratio.shoulder), ratio.trunk, trunk),
        "neck": (xp.sqrt(head * trunk), ratio.head, xp.sqrt(head * trunk)),
        "head": (head, head, head),
        "left_ankle": (ratio.foot, ratio.ankle_height, ratio.foot),
        "left_foot": (ratio.foot, ratio.ankle_height, ratio.foot),
        "left_wrist": (ratio.hand, ratio.hand, ratio.hand),
        "left_hand": (ratio.hand, ratio.hand, ratio.hand),
    }
    maps = {name: xp.diag(xp.stack(scale)) for name, scale in scales.items()}
    for name, child, length in (
        ("left_hip", "left_knee", ratio.thigh),
        ("left_knee", "left_ankle", ratio.shank),
        ("left_shoulder", "left_elbow", ratio.upper_arm),
        ("left_elbow", "left_wrist", ratio.forearm),
    ):
        bone = model.joints[joint_index(child)] - model.joints[joint_index(name)]
        along = np.outer(bone, bone) / np.dot(bone, bone)
        maps[name] = girth[joint_index(name)] * (np.eye(3) - along) + length * along
    flip = np.array([-1.0, 1.0, 1.0])
    return proportions.by_segment(xp, maps, lambda m: m * np.outer(flip, flip))
