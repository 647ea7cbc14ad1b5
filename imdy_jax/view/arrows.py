"""Forces of the floor as arrows in true proportion: ARROW metres of the scene per body weight."""

import numpy as np

from imdy_jax.analysis.track import resultant_at
from imdy_jax.humanoid import GRAVITY, SOLID_BODY, Humanoid
from imdy_jax.skeleton import LEFT_FOOT, NUM_BODIES, RIGHT_FOOT
from imdy_jax.view.surface import Motion

ARROW = 0.6  # m per body weight
LEAST_FORCE = 0.05  # body weights; smaller forces are not drawn
Arrow = tuple[np.ndarray, np.ndarray]  # start and span (3,), m
# A foot is its ankle's and its toes' segments together.
_PARTS = (LEFT_FOOT, RIGHT_FOOT, *((k,) for k in range(NUM_BODIES) if k not in (*LEFT_FOOT, *RIGHT_FOOT)))


def body_weight(humanoid: Humanoid) -> float:
    """N, of one subject."""
    return float(humanoid.total_mass) * GRAVITY


def pressure_arrows(humanoid: Humanoid, motion: Motion, wrench: np.ndarray) -> list[list[Arrow]]:
    """For each frame one arrow per foot and per other segment that bears load, from its centre of pressure.

    motion: T frames. wrench: (T, 24, 6) N, N·m about the segments' joints, on the segments, world axes.
    """
    weight = body_weight(humanoid)
    parts = [resultant_at(motion.positions, wrench, part) for part in _PARTS]
    return [
        [(part.point[t], part.force[t] * ARROW / weight) for part in parts if part.force[t, 2] > LEAST_FORCE * weight]
        for t in range(len(motion.positions))
    ]


def force_arrows(humanoid: Humanoid, motion: Motion, force: np.ndarray) -> list[list[Arrow]]:
    """As pressure_arrows where only the forces (T, 24, 3), N, are known: from below the segments' capsules."""
    force, weight = np.asarray(force, float), body_weight(humanoid)
    ends = np.asarray(humanoid.solid_ends, float).mean(axis=1)
    middle = np.stack([ends[np.array(SOLID_BODY) == k].mean(axis=0) for k in range(NUM_BODIES)])
    points = np.einsum("tkij,kj->tki", motion.rotations, middle) + motion.positions
    points[..., 2] = np.minimum(points[..., 2], 0.01)
    frames = []
    for now, where in zip(force, points, strict=True):
        arrows = []
        for part in map(list, _PARTS):
            size = np.linalg.norm(now[part], axis=1)
            if np.linalg.norm(now[part].sum(axis=0)) > LEAST_FORCE * weight:
                arrows.append((size @ where[part] / size.sum(), now[part].sum(axis=0) * ARROW / weight))
        frames.append(arrows)
    return frames
