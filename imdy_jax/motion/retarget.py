"""A motion of any other human skeleton put on SMPL's 24 joints.

Both skeletons are compared in their rest poses, upright and symmetric: the trunk and the feet keep the angle that they
have turned from rest, and each limb points where the recorded limb points, whatever the two rest poses are (arms out,
hanging, legs apart). About its own axis a limb is turned as the recorded one is, by the smallest rotation between the
two rest directions. A joint that the recorded skeleton lacks stays in line with its parent.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.errors import MotionFileError, require_finite, require_length
from imdy_jax.motion.filters import continuous
from imdy_jax.rotation import UPRIGHT
from imdy_jax.skeleton import JOINT_NAMES, NUM_BODIES, PARENTS, joint_index

# What other skeletons call the joint at which each segment begins; the first that is there and not taken is meant.
ALIASES: dict[str, tuple[str, ...]] = {
    "pelvis": ("hips", "hip", "root", "pelvis"),
    "hip": ("upleg", "femur", "thigh", "upperleg", "hip"),
    "knee": ("leg", "tibia", "shin", "calf", "lowerleg", "knee"),
    "ankle": ("foot", "ankle"),
    "foot": ("toebase", "toes", "toe"),
    "spine1": ("lowerback", "spine", "abdomen", "spine1"),
    "spine2": ("upperback", "spine", "spine1", "spine2", "chest"),
    "spine3": ("thorax", "spine2", "spine1", "spine3", "chest2", "upperchest"),
    "neck": ("lowerneck", "neck", "neck1"),
    "head": ("head",),
    "collar": ("clavicle", "collar", "shoulder"),
    "shoulder": ("humerus", "arm", "shldr", "upperarm", "shoulder"),
    "elbow": ("radius", "forearm", "lowerarm", "elbow"),
    "wrist": ("hand", "wrist"),
    "hand": ("fingers",),
}
SIDES = ("left", "right")
REQUIRED = tuple(f"{side}_{part}" for side in SIDES for part in ("hip", "knee", "ankle", "shoulder", "elbow"))
# The limbs, and the joint that each points to; what hangs on a limb is aligned with it.
POINTS_TO = {"hip": "knee", "knee": "ankle", "shoulder": "elbow", "elbow": "wrist"}
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "Acclaim's 0.45 inch": 0.0254 / 0.45}
LEAN = 0.02  # expected slope of a capture volume's floor, standard deviation
STANDING_SPEED, STANDING_TIME = 0.3, 0.1  # m/s, s: slower than this for as long, a foot stands
STANDING_NOISE = 0.02  # m, of the height of a joint of a standing foot
LEG = (0.55, 1.15)  # m, hip to ankle along the bones: by it a file's unit of length is known


class Recording(NamedTuple):
    """A motion of some skeleton. In the rest pose the axes of all joints are the world's; J joints, parents first."""

    names: tuple[str, ...]
    parents: tuple[int, ...]  # −1 for the root
    offsets: np.ndarray  # (J, 3) from the parent joint at rest, in the file's unit
    rotations: np.ndarray  # (T, J, 3, 3) child in parent
    root: np.ndarray  # (T, 3) position of the root, in the file's unit
    fps: float
    up: str  # "y" or "z"


def retarget(path: str | Path, recording: Recording, joints: Mapping[str, str] | None = None) -> Clip:
    """The recording as a Clip, z up, metres, with the recorded person's leg length.

    joints: SMPL joint name → name in the recording, for what is not found by itself.
    Raises MotionFileError where a joint that is needed is not found, the size is no person's, or a number is missing.
    """
    path = Path(path)
    require_length(path, "motion", len(recording.rotations))
    require_finite(path, "rotations", recording.rotations)
    require_finite(path, "root position", recording.root)
    require_finite(path, "offsets of the joints", recording.offsets)
    found = match_joints(path, recording.names, joints or {})
    rest = _positions(recording.parents, recording.offsets)
    _require_lengths(path, rest, found)
    leg = _leg_length(rest, found)
    metre = _metre(path, leg)
    body = np.asarray(anthropometric_body().joints, float)
    align = _alignment(body, rest, found, recording.up)

    turned, place = _pose(recording)
    upright = Rotation.from_quat(UPRIGHT, scalar_first=True).as_matrix() if recording.up == "y" else np.eye(3)
    feet = [found[joint] for joint in ("left_ankle", "right_ankle", "left_foot", "right_foot") if joint in found]
    upright = level(metre * place[:, feet] @ upright.T, recording.fps) @ upright
    world = np.empty((len(turned), NUM_BODIES, 3, 3))
    for k, name in enumerate(JOINT_NAMES):
        source = found.get(name)
        world[:, k] = world[:, PARENTS[k]] if source is None else upright @ turned[:, source] @ align[k]
    local = np.stack([world[:, 0], *(_within(world[:, PARENTS[k]], world[:, k]) for k in range(1, NUM_BODIES))], axis=1)

    hips = np.mean([place[:, found["left_hip"]], place[:, found["right_hip"]]], axis=0) * metre
    scale = leg * metre / _leg_length(body, {name: k for k, name in enumerate(JOINT_NAMES)})
    below = scale * (body[joint_index("left_hip")] + body[joint_index("right_hip")]) / 2.0
    quaternions = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_quat(scalar_first=True)
    return Clip(
        rotations=continuous(quaternions.reshape(-1, NUM_BODIES, 4)),
        translation=hips @ upright.T - world[:, 0] @ below,
        fps=recording.fps,
        name=path.stem,
        source=str(path),
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        leg_length=leg * metre,
    )


def match_joints(path: Path, names: tuple[str, ...], given: Mapping[str, str]) -> dict[str, int]:
    """Index in names of each SMPL joint that has a counterpart; given: as in retarget."""
    if set(JOINT_NAMES) <= set(names):
        given = {joint: joint for joint in JOINT_NAMES} | dict(given)
    found: dict[str, int] = {}
    for joint, name in given.items():
        joint_index(joint)
        if name not in names:
            raise MotionFileError(path, f"joint {name!r}", f"joints {', '.join(names)}", "one of them", "check the map")
        found[joint] = names.index(name)
    known = {_side_and_part(name): k for k, name in reversed(list(enumerate(names)))}
    needed = ("pelvis", *REQUIRED)
    for joint in (*needed, *(joint for joint in JOINT_NAMES if joint not in needed)):  # who is needed chooses first
        side, _, part = joint.rpartition("_")
        options = [known.get((side, alias)) for alias in ALIASES[part]]
        free = [k for k in options if k is not None and k not in found.values()]
        if joint not in found and free:
            found[joint] = free[0]
    missing = [joint for joint in needed if joint not in found]
    if missing:
        raise MotionFileError(
            path, "joints", ", ".join(names), f"counterparts of {', '.join(missing)}",
            'name them: joints={"' + missing[0] + '": "…"}',
        )  # fmt: skip
    return found


def _side_and_part(name: str) -> tuple[str, str]:
    """("left", "upleg") of "mixamorig:LeftUpLeg", "lUpLeg", "l_upleg" or "UpLeg.L"; ("", "spine") of "Spine"."""
    name = name.rsplit(":", 1)[-1]
    ending = re.search(r"[._ ](l|r|left|right)$", name, re.IGNORECASE)
    if ending:
        name = ending[1] + name[: ending.start()]
    plain = re.sub("[^a-z0-9]", "", name.lower())
    for start, side in (("left", "left"), ("right", "right"), ("l", "left"), ("r", "right")):
        rest = plain.removeprefix(start)
        if rest != plain and any(rest in aliases for aliases in ALIASES.values()):
            return side, rest
    return "", plain


def level(feet: np.ndarray, fps: float) -> np.ndarray:
    """Rotation (3, 3) that makes the floor horizontal on which the joints of the feet (T, F, 3), m, z up, have stood.

    A capture volume's vertical may lean by a degree: some centimetres over the length of a walk. The lean is what
    explains the heights of the standing joints, each with a height of its own, against the expectation of none: where
    little ground was covered, nothing is changed.
    """
    speed = np.linalg.norm(np.gradient(feet, 1.0 / fps, axis=0), axis=-1)
    normal, pull = np.eye(2) / LEAN**2, np.zeros(2)
    for k in range(feet.shape[1]):
        stances = _runs(speed[:, k] < STANDING_SPEED, round(STANDING_TIME * fps))
        if len(stances) > 1:
            spots = np.array([feet[begin:end, k].mean(axis=0) for begin, end in stances])
            spots = spots - spots.mean(axis=0)
            normal += spots[:, :2].T @ spots[:, :2] / STANDING_NOISE**2
            pull += spots[:, :2].T @ spots[:, 2] / STANDING_NOISE**2
    slope = np.linalg.solve(normal, pull)
    return _least_rotation(np.array([-slope[0], -slope[1], 1.0]), np.array([0.0, 0.0, 1.0]))


def _runs(where: np.ndarray, shortest: int) -> list[tuple[int, int]]:
    """Beginnings and ends of the runs of True that are long enough."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2) if b - a >= shortest]


def _positions(parents: tuple[int, ...], offsets: np.ndarray) -> np.ndarray:
    """Rest positions (J, 3) from the root."""
    places = np.zeros_like(offsets)
    for k, parent in enumerate(parents):
        if parent >= 0:
            places[k] = places[parent] + offsets[k]
    return places


def _pose(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Rotations from rest (T, J, 3, 3) and positions (T, J, 3), world axes of the file."""
    turned, place = np.empty_like(recording.rotations), np.empty(recording.rotations.shape[:3])
    for k, parent in enumerate(recording.parents):
        own = recording.rotations[:, k]
        turned[:, k] = own if parent < 0 else turned[:, parent] @ own
        if parent < 0:
            place[:, k] = recording.root
        else:
            place[:, k] = place[:, parent] + turned[:, parent] @ recording.offsets[k]
    return turned, place


def _alignment(body: np.ndarray, rest: np.ndarray, found: dict[str, int], up: str) -> np.ndarray:
    """(24, 3, 3) from SMPL's rest axes to the file's, for each joint, so that the limbs of both are parallel."""
    left = rest[found["left_hip"]] - rest[found["right_hip"]]
    upward = np.array([0.0, 1.0, 0.0]) if up == "y" else np.array([0.0, 0.0, 1.0])
    left = left - upward * (upward @ left)
    left = left / np.linalg.norm(left)
    axes = np.stack([left, upward, np.cross(left, upward)], axis=1)
    align = np.tile(axes, (NUM_BODIES, 1, 1))
    for k, name in enumerate(JOINT_NAMES):
        side, _, part = name.rpartition("_")
        end = f"{side}_{POINTS_TO[part]}" if part in POINTS_TO else None
        if name in found and end in found:
            ours = axes @ (body[joint_index(end)] - body[k])
            align[k] = _least_rotation(ours, rest[found[end]] - rest[found[name]]) @ axes
        elif part in ("wrist", "hand") or (part == "elbow" and end not in found):
            align[k] = align[PARENTS[k]]
    return align


def _least_rotation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) of direction a into direction b."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis, cosine = np.cross(a, b), float(np.clip(a @ b, -1.0, 1.0))
    sine = np.linalg.norm(axis)
    if sine < 1e-9:
        axis, sine = np.cross(a, np.roll(a, 1)), 1.0 if cosine < 0 else 0.0
        axis = axis / np.linalg.norm(axis)
        return Rotation.from_rotvec((np.pi if cosine < 0 else 0.0) * axis).as_matrix()
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, cosine)).as_matrix()


def _require_lengths(path: Path, rest: np.ndarray, found: Mapping[str, int]) -> None:
    """Raise MotionFileError where two joints that a direction is taken from are in one place."""
    limbs = ((f"{side}_{a}", f"{side}_{b}") for side in SIDES for a, b in POINTS_TO.items())
    for a, b in (("left_hip", "right_hip"), *limbs):
        if a in found and b in found and np.allclose(rest[found[a]], rest[found[b]], rtol=0.0, atol=1e-9):
            raise MotionFileError(path, f"{a} and {b}", "one place at rest", "a distance", "export it with offsets")


def _leg_length(rest: np.ndarray, found: Mapping[str, int]) -> float:
    """Hip–knee–ankle length, mean of both sides, in the unit of rest."""
    length = 0.0
    for side in SIDES:
        hip, knee, ankle = (rest[found[f"{side}_{part}"]] for part in ("hip", "knee", "ankle"))
        length += (np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee)) / 2.0
    return float(length)


def _metre(path: Path, leg: float) -> float:
    """Metres per unit of the file, told by the length of a leg."""
    fitting = [unit for unit in UNITS.values() if LEG[0] <= leg * unit <= LEG[1]]
    if not fitting:
        raise MotionFileError(
            path, "length of a leg", f"{leg:g} units", f"{LEG[0]} to {LEG[1]} m in one of {', '.join(UNITS)}",
            "scale the skeleton of the file",
        )  # fmt: skip
    return fitting[0]


def _within(parent: np.ndarray, child: np.ndarray) -> np.ndarray:
    return np.swapaxes(parent, -1, -2) @ child
