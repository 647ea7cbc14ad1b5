"""Artefacts that recordings and motion generators have, planted into sound motions, in frames that are known."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from imdy_jax.skeleton import joint_index

_LIMBS = tuple(joint_index(f"{side}_{name}") for side in ("left", "right") for name in ("hip", "knee", "shoulder"))
_EDGE = 0.5  # s at both ends that stay as they are
_RAMP = 0.15  # s in which a floating phase begins and ends


class Planted(NamedTuple):
    """A motion with an artefact."""

    q: np.ndarray  # (T, 99)
    wrong: np.ndarray  # (T,) bool, the frames that it changed or moved


def glitch(q: np.ndarray, fps: float, draw: np.random.Generator) -> Planted:
    """For two to four frames the body is 6 to 15 cm elsewhere, or a hip, knee or shoulder is turned by 25° to 60°."""
    q = np.array(q, float)
    span = _span(len(q), fps, int(draw.integers(2, 5)), draw)
    way = draw.normal(size=3)
    way /= np.linalg.norm(way)
    if draw.random() < 0.5:
        q[span, :3] += draw.uniform(0.06, 0.15) * way
    else:
        first = 3 + 4 * int(draw.choice(_LIMBS))
        joint = slice(first, first + 4)
        turn = Rotation.from_rotvec(np.deg2rad(draw.uniform(25.0, 60.0)) * way)
        q[span, joint] = (Rotation.from_quat(q[span, joint], scalar_first=True) * turn).as_quat(scalar_first=True)
    return Planted(q, _mask(len(q), span))


def skate(q: np.ndarray, fps: float, draw: np.random.Generator) -> Planted:
    """Within 0.5 to 1 s the whole body is carried off by 0.2 to 0.5 m, smoothly, and goes on from there."""
    q = np.array(q, float)
    span = _span(len(q), fps, round(draw.uniform(0.5, 1.0) * fps), draw)
    part = np.clip((np.arange(len(q)) - span.start) / (span.stop - span.start), 0.0, 1.0)
    angle = draw.uniform(0.0, 2.0 * np.pi)
    q[:, :2] += (draw.uniform(0.2, 0.5) * _smooth(part))[:, None] * (np.cos(angle), np.sin(angle))
    return Planted(q, _mask(len(q), span))


def floating(q: np.ndarray, fps: float, draw: np.random.Generator) -> Planted:
    """For 0.6 to 1.2 s the whole body is 5 to 12 cm higher, up and down again within a moment."""
    q = np.array(q, float)
    span = _span(len(q), fps, round(draw.uniform(0.6, 1.2) * fps), draw)
    since = (np.arange(len(q)) - span.start) / fps
    left = (span.stop - 1 - np.arange(len(q))) / fps
    q[:, 2] += draw.uniform(0.05, 0.12) * _smooth(np.clip(np.minimum(since, left) / _RAMP, 0.0, 1.0))
    return Planted(q, _mask(len(q), span))


ARTEFACTS: dict[str, Callable[[np.ndarray, float, np.random.Generator], Planted]] = {
    "glitch": glitch,
    "foot skate": skate,
    "floating": floating,
}


def _smooth(x: np.ndarray) -> np.ndarray:
    """0 … 1 → 0 … 1, at rest at both ends."""
    return x**3 * (10.0 + x * (6.0 * x - 15.0))


def _span(count: int, fps: float, length: int, draw: np.random.Generator) -> slice:
    """A place for `length` frames; raises ValueError where the motion has none."""
    edge = round(_EDGE * fps)
    if count < length + 2 * edge + 1:
        least = (length + 2 * edge + 1) / fps
        raise ValueError(f"motion: found {count / fps:.2f} s, expected at least {least:.2f} s; take a longer one")
    start = int(draw.integers(edge, count - edge - length + 1))
    return slice(start, start + length)


def _mask(count: int, span: slice) -> np.ndarray:
    wrong = np.zeros(count, bool)
    wrong[span] = True
    return wrong
