"""A person of simple numbers: what the engines need, without any body model."""

import jax.numpy as jnp
import numpy as np

from imdy_jax.humanoid import ARMATURE, GAINS, NUM_BETAS, REFERENCE_MASS, SOLID_BODY, Humanoid
from imdy_jax.skeleton import GROUPS, LEFT_FOOT, NUM_BODIES, PARENTS, RIGHT_FOOT

_OFFSET = {
    1: (0.07, -0.09, 0), 4: (0.03, -0.38, 0), 7: (-0.01, -0.40, -0.04), 10: (0.03, -0.06, 0.12),
    3: (0, 0.12, -0.02), 6: (0, 0.13, 0), 9: (0, 0.05, 0), 12: (0, 0.21, -0.03), 15: (0, 0.09, 0.05),
    13: (0.08, 0.11, -0.02), 16: (0.10, 0.03, 0), 18: (0.26, -0.01, -0.02), 20: (0.25, 0.01, 0), 22: (0.08, -0.01, 0),
}  # fmt: skip
_MASS = {0: 11.0, 1: 8.0, 4: 3.6, 7: 0.7, 10: 0.2, 3: 6.0, 6: 5.0, 9: 12.0, 12: 1.2, 15: 4.3, 13: 1.5, 16: 1.9, 18: 1.1,
         20: 0.3, 22: 0.2}  # fmt: skip
_RADIUS = {0: 0.11, 1: 0.07, 4: 0.05, 3: 0.11, 6: 0.12, 9: 0.12, 12: 0.05, 15: 0.09, 13: 0.05, 16: 0.045, 18: 0.04,
           20: 0.03, 22: 0.025}  # fmt: skip


def toy_humanoid(size: float = 1.0, mass: float = 71.8, skew: float = 0.0) -> Humanoid:
    """size scales lengths, mass is the total in kg, skew turns every inertia away from the segment's axes."""
    left = {1: 2, 4: 5, 7: 8, 10: 11, 13: 14, 16: 17, 18: 19, 20: 21, 22: 23}
    offset, weight, radius = np.zeros((NUM_BODIES, 3)), np.zeros(NUM_BODIES), np.full(NUM_BODIES, 0.03)
    for table, values in ((_OFFSET, offset), (_MASS, weight), (_RADIUS, radius)):
        for k, value in table.items():
            values[k] = value
            if k in left:
                values[left[k]] = value * np.array([-1, 1, 1]) if values is offset else value
    offset, radius, weight = offset * size, radius * size, weight * mass / weight.sum()
    children = [[c for c, parent in enumerate(PARENTS) if parent == k] for k in range(NUM_BODIES)]
    tip = np.stack([offset[c].mean(axis=0) if c else 0.6 * offset[k] for k, c in enumerate(children)])
    tip[0] = (0, 0.05, 0)
    com = 0.45 * tip
    inertia = np.stack([_rod(weight[k], tip[k], radius[k], skew) for k in range(NUM_BODIES)])
    ends, radii = _solids(tip, radius, size)
    gains = [GAINS[group] for group in GROUPS[1:]]
    scale = mass / REFERENCE_MASS
    columns = [np.array(column) * scale for column in zip(*gains, strict=True)]
    return Humanoid(*(jnp.asarray(x, jnp.result_type(float)) for x in (
        offset, weight, com, inertia, ends, radii, *columns, np.full(len(gains), ARMATURE), np.zeros(NUM_BETAS)
    )))  # fmt: skip


def _rod(mass, tip, radius, skew):
    along = tip / np.linalg.norm(tip)
    side = np.cross(along, [0.3, 0.2 + skew, 0.9])
    side /= np.linalg.norm(side)
    axes = np.stack([along, side, np.cross(along, side)], axis=1)
    length = np.linalg.norm(tip) + radius
    moments = mass * np.array([radius**2 / 2, radius**2 / 4 + length**2 / 12, radius**2 / 4 + length**2 / 11.7])
    return axes @ np.diag(moments) @ axes.T


def _solids(tip, radius, size):
    ends, radii, seen = [], [], set()
    for k in SOLID_BODY:
        if k in LEFT_FOOT or k in RIGHT_FOOT:
            side = 0.02 * size * (1 if k in seen else -1)
            back, front = (-0.05, 0.10) if k in (LEFT_FOOT[0], RIGHT_FOOT[0]) else (0.0, 0.06)
            low = -0.05 if k in (LEFT_FOOT[0], RIGHT_FOOT[0]) else 0.01
            ends.append(np.array([(side, low * size, back * size), (side, low * size, front * size)]))
            radii.append(0.02 * size)
        else:
            ends.append(np.stack([0.2 * tip[k], 0.8 * tip[k]]))
            radii.append(radius[k])
        seen.add(k)
    return np.array(ends), np.array(radii)
