"""Long motions in overlapping pieces: memory is bounded, and a few programs serve every length.

What a frame's dynamics depend on ends within a fraction of a second: the filter's memory, and that of the contact
forces. So each piece is computed with a margin on either side that is thrown away.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.body.person import Body
from imdy_jax.dynamics.contact_sequence import SoftContact
from imdy_jax.dynamics.estimate import Estimate, estimate_poses
from imdy_jax.humanoid import Humanoid, from_body
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.filters import Butterworth, Filter


@dataclass(frozen=True)
class Pieces:
    """How a motion is cut."""

    longest: float = 16.0  # s at a time, at most
    margin: float = 0.5  # s on either side of a piece that is computed and thrown away

    def __post_init__(self) -> None:
        if not (self.margin > 0.0 and self.longest >= 4.0 * self.margin):
            raise ValueError(
                f"pieces: found {self.longest:g} s with margins of {self.margin:g} s, expected margins above zero and "
                "pieces of four margins at least; lengthen the pieces"
            )


class Span(NamedTuple):
    """Frames start … stop − 1 are computed, and keep … drop − 1 of the motion taken from them."""

    start: int
    stop: int
    keep: int
    drop: int


def spans(count: int, fps: float, pieces: Pieces = Pieces()) -> list[Span]:
    """Pieces of a motion of `count` frames, all of one length: a power of two, or the motion's own where it is short.

    Inner ends lie a margin or more beyond what is kept.
    """
    margin = max(round(pieces.margin * fps), 1)
    size = 1 << int(np.log2(max(min(count, round(pieces.longest * fps)), 1)))
    if size < 4 * margin:
        size = min(count, 4 * margin)
    number = 1 if size == count else -(-(count - 2 * margin) // (size - 2 * margin))
    starts = np.linspace(0, count - size, number).round().astype(int).tolist()
    cuts = [0, *((a + size + b) // 2 for a, b in itertools.pairwise(starts)), count]
    return [Span(s, s + size, *cut) for s, cut in zip(starts, itertools.pairwise(cuts), strict=True)]


def in_pieces(function: Callable[[Any], Any], frames: Any, fps: float, pieces: Pieces = Pieces()) -> Any:
    """function(frames) computed piece by piece, as a tree of NumPy arrays (T, ...).

    Args:
      function: from a tree of arrays (P, ...) over P frames to another one.
      frames: tree of arrays (T, ...) over the whole motion.
    """
    parts = list(_computed(function, frames, spans(len(jax.tree.leaves(frames)[0]), fps, pieces)))
    return jax.tree.map(lambda *each: np.concatenate(each), *parts)


def estimate_in_pieces(
    clip: Clip,
    body: Body,
    smoothing: Filter = Butterworth(),
    contact: SoftContact | None = SoftContact(),
    pieces: Pieces = Pieces(),
) -> Estimate:
    """`estimate` of a motion of any length, in NumPy arrays.

    Contact forces differ by less than 0.5 % of body weight from those computed in one piece, joint torques by less than
    2 N·m: as far as the solver of the contact forces is from its end. Raises ValueError as `estimate` does.
    """
    position = np.asarray(clip.translation) + np.asarray(body.joints[0])
    return poses_in_pieces(from_body(body), position, np.asarray(clip.rotations), clip.fps, smoothing, contact, pieces)


def poses_in_pieces(
    humanoid: Humanoid,
    position: np.ndarray,
    rotations: np.ndarray,
    fps: float,
    smoothing: Filter = Butterworth(),
    contact: SoftContact | None = SoftContact(),
    pieces: Pieces = Pieces(),
) -> Estimate:
    """As estimate_in_pieces, for a humanoid with its pelvis joint at position (T, 3), m, and joint quaternions
    (T, 24, 4).
    """
    smoothing.check(len(position), fps)
    work = partial(_estimate, humanoid, fps, smoothing, contact)
    return in_pieces(work, (position, rotations), fps, pieces)


def _estimate(
    humanoid: Humanoid, fps: float, smoothing: Filter, contact: SoftContact | None, frames: tuple
) -> Estimate:
    position, rotations = (jnp.asarray(x) for x in frames)
    return estimate_poses(humanoid, position, rotations, fps, smoothing, contact)


def _computed(function: Callable[[Any], Any], frames: Any, cut: list[Span]) -> Iterator[Any]:
    for start, stop, keep, drop in cut:
        found = function(jax.tree.map(lambda x, a=start, b=stop: x[a:b], frames))
        yield jax.tree.map(lambda x, a=keep - start, b=drop - start: np.asarray(x)[a:b], found)
