"""Clip: one recorded motion, before it meets a body."""

import hashlib
import re

import jax
import numpy as np
from flax import struct

from imdy_jax.body.person import Body, array_module
from imdy_jax.skeleton import NUM_BODIES

# Words in clips' names that tell of files, copies and takes.
_NO_ACTIVITY = frozenset(("amass", "filter", "humanoid", "level", "mirrored", "poses", "stageii", "video", "x"))
_GAIT = re.compile("(?<![a-z])(walk|gait|run|jog)", re.IGNORECASE)


@struct.dataclass
class Clip:
    """A motion sampled at a fixed rate. World: z up, right-handed, metres.

    Joint rotations are SMPL's: quaternions (w first) of each joint in its parent's rest axes, the root's in the world.
    """

    rotations: jax.Array  # (T, 24, 4)
    translation: jax.Array  # (T, 3) SMPL `trans`: the pelvis joint is at translation + joints[0] of the body
    fps: float = struct.field(pytree_node=False)
    name: str = struct.field(pytree_node=False)  # unique within a set: file stem or procedural name
    source: str = struct.field(pytree_node=False)  # path of the file, or "procedural"
    digest: str = struct.field(pytree_node=False)  # sha256 of the source file's bytes or of the procedural parameters
    sex: str = struct.field(pytree_node=False, default="neutral")
    betas: tuple[float, ...] = struct.field(pytree_node=False, default=())
    # Hip–knee–ankle length of the person recorded, m: a translation scales with it when another body plays the clip.
    leg_length: float = struct.field(pytree_node=False, default=0.78)

    @property
    def num_frames(self) -> int:
        return int(self.rotations.shape[0])

    @property
    def duration(self) -> float:
        """Seconds between the first and the last frame."""
        return (self.num_frames - 1) / self.fps


def is_gait(name: str) -> bool:
    """Whether a clip's name says that it shows walking or running."""
    return bool(_GAIT.search(name))


def family(name: str) -> str:
    """What a clip's name says is done, without numbers, marks of copies and the like: of repeated takes the same."""
    words = [word for word in re.findall("[a-z]+", name.lower()) if word not in _NO_ACTIVITY]
    return " ".join(words) or "unnamed"


def generalized_positions(clip: Clip, body: Body) -> jax.Array:
    """The clip as humanoid coordinates q (T, 99) of the person `body`."""
    xp = array_module(clip, body)  # compiles nothing for each length
    position = xp.asarray(clip.translation) + xp.asarray(body.joints)[0]
    return xp.concatenate([position, xp.asarray(clip.rotations).reshape(clip.num_frames, -1)], axis=-1)


def from_generalized_positions(q: jax.Array, body: Body, fps: float, name: str) -> Clip:
    """The clip of coordinates q (T, 99) of the person `body`: the inverse of generalized_positions."""
    q = np.asarray(q)
    return Clip(
        rotations=q[:, 3:].reshape(len(q), NUM_BODIES, 4),
        translation=q[:, :3] - np.asarray(body.joints[0]),
        fps=fps,
        name=name,
        source=name,
        digest=hashlib.sha256(q.tobytes()).hexdigest(),
        sex=body.sex,
        leg_length=float(body.leg_length),
    )
