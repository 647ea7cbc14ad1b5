"""How a motion is put before the solver: as surface markers, as joints, or as joints with their rotations (SMPL).

Whatever the representation, a motion is one array (frames, points, channels): the points' positions in the world, m,
and in "smpl" each joint's rotation after them, a quaternion in its parent, the root's in the world. The paper compares
the three in its Table 5 and chooses markers, which laboratories have too. In "segments", beyond the paper, each joint
also has the inertia of the segment that it carries (segments.py), so that the motion says what moves.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax import rotation
from imdy_jax.body.markers import MARKER_NAMES
from imdy_jax.dataset.record import Subject, body_points
from imdy_jax.skeleton import JOINT_NAMES, NUM_BODIES
from imdy_jax.solver.segments import CHANNELS, as_channels

Name = Literal["markers", "joints", "smpl", "segments"]

PELVIS_NAMES = ("left_asis", "right_asis", "left_psis", "right_psis")
PELVIS = tuple(MARKER_NAMES.index(name) for name in PELVIS_NAMES)
_LEFT_FRONT, _RIGHT_FRONT, _LEFT_BACK, _RIGHT_BACK = PELVIS
HIPS = tuple(JOINT_NAMES.index(name) for name in ("left_hip", "right_hip", "spine1"))


class Representation(NamedTuple):
    """What the points of a motion are, and which of them tell where the pelvis faces."""

    points: tuple[str, ...]
    rotations: bool  # a quaternion follows each position
    anchors: tuple[int, ...]  # the points that the heading frame comes from
    spare: int  # of these, how many may be missing
    axes: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]  # points, mask → pelvis's left, forward (3,)
    inertia: bool = False  # what each segment weighs follows its rotation, the same in every frame; none may be missing

    @property
    def shape(self) -> tuple[int, int]:
        """(points, channels) of one frame of a motion."""
        return len(self.points), (7 if self.rotations else 3) + (CHANNELS if self.inertia else 0)

    @property
    def coordinates(self) -> int:
        """Numbers by which the network sees a point in one frame: its position, and its rotation in six."""
        return 9 if self.rotations else 3


def represent(name: Name, subject: Subject, q: np.ndarray) -> np.ndarray:
    """The motion (T, points, channels), float32, of a recorded person with coordinates q (T, 99)."""
    joints, markers = body_points(subject, q)
    if name == "markers":
        return markers.astype(np.float32)
    rotations = np.asarray(q)[:, 3:].reshape(-1, NUM_BODIES, 4)
    parts = [joints, rotations] if REPRESENTATIONS[name].rotations else [joints]
    if REPRESENTATIONS[name].inertia:
        channels = np.asarray(as_channels(subject.humanoid))
        parts.append(np.broadcast_to(channels, (len(joints), *channels.shape)))
    return np.concatenate(parts, axis=-1).astype(np.float32)


def pelvis_heading(kind: Representation, points: jax.Array, mask: jax.Array) -> jax.Array:
    """Turn about the vertical (4,) to where the pelvis faces, from points (N, 3) of one frame that are there (N,).

    With the pelvis's left axis x and forward axis f it is the turn closest to the pelvis's rotation, as
    rotation.heading defines it: the angle of x + f turned by 90°, seen from above.
    """
    left, forward = kind.axes(points, mask)
    angle = jnp.arctan2(left[1] + forward[0], left[0] - forward[1])
    zero = jnp.zeros_like(angle)
    return jnp.stack([jnp.cos(angle / 2), zero, zero, jnp.sin(angle / 2)])


def floor_point(kind: Representation, points: jax.Array, mask: jax.Array) -> jax.Array:
    """Point of the floor (3,) below the middle of the anchors."""
    anchors = jnp.array(kind.anchors)
    there = mask[anchors][:, None]
    middle = jnp.sum(jnp.where(there, points[anchors], 0.0), axis=0) / jnp.maximum(jnp.sum(there), 1)
    return middle * jnp.array([1.0, 1.0, 0.0], points.dtype)


def in_frame(motion: jax.Array, heading: jax.Array, origin: jax.Array) -> jax.Array:
    """A motion (F, N, channels) in the frame of a heading (4,) at an origin (3,), with the same channels."""
    position = rotation.inverse_rotate(heading, motion[..., :3] - origin)
    if motion.shape[-1] == 3:
        return position
    turned = motion[..., 3:7].at[:, 0].set(rotation.multiply(rotation.conjugate(heading), motion[:, 0, 3:7]))
    return jnp.concatenate([position, turned, motion[..., 7:]], axis=-1)


def coordinates(motion: jax.Array) -> jax.Array:
    """What the network sees of a motion (..., channels): positions, and rotations in six numbers each."""
    if motion.shape[-1] == 3:
        return motion
    return jnp.concatenate([motion[..., :3], rotation.to_6d(motion[..., 3:7])], axis=-1)


def reflected(motion: np.ndarray, about: np.ndarray) -> np.ndarray:
    """Frames (F, N, channels) turned about one frame (1, N, channels): 2·about − x, and its like on the rotations."""
    position = 2 * about[..., :3] - motion[..., :3]
    if motion.shape[-1] == 3:
        return position
    back = rotation.multiply(rotation.conjugate(motion[..., 3:7]), about[..., 3:7])
    return np.concatenate([position, np.asarray(rotation.multiply(about[..., 3:7], back)), motion[..., 7:]], axis=-1)


def _marker_axes(markers: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Right to left, mean of the front and the back pair, and back to front, mean of both sides: three are enough."""
    left = _mean_axis(markers, mask, (_RIGHT_FRONT, _RIGHT_BACK), (_LEFT_FRONT, _LEFT_BACK))
    forward = _mean_axis(markers, mask, (_LEFT_BACK, _RIGHT_BACK), (_LEFT_FRONT, _RIGHT_FRONT))
    return left, forward


def _joint_axes(joints: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """From the right hip to the left, and across that and the line from the hips to the lowest joint of the spine."""
    left_hip, right_hip, spine = (joints[k] for k in HIPS)
    left = left_hip - right_hip
    forward = jnp.cross(left, spine - (left_hip + right_hip) / 2)
    return _unit(left), _unit(forward)


def _mean_axis(markers: jax.Array, mask: jax.Array, start: tuple[int, int], end: tuple[int, int]) -> jax.Array:
    """Unit vector (3,), mean of the start → end pairs of which both markers are there."""
    both = mask[jnp.array(start)] & mask[jnp.array(end)]
    pairs = markers[jnp.array(end)] - markers[jnp.array(start)]
    return _unit(jnp.sum(jnp.where(both[:, None], pairs, 0.0), axis=0))


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-6)


REPRESENTATIONS: dict[str, Representation] = {
    "markers": Representation(MARKER_NAMES, False, PELVIS, 1, _marker_axes),
    "joints": Representation(JOINT_NAMES, False, HIPS, 0, _joint_axes),
    "smpl": Representation(JOINT_NAMES, True, HIPS, 0, _joint_axes),
    "segments": Representation(JOINT_NAMES, True, HIPS, 0, _joint_axes, inertia=True),
}
