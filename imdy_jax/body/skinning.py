"""Skinning weights of a figure in SMPL's rest pose, from its joints alone.

The skin passes from a segment to the one beyond it across a plane through the joint, smoothly over a given width, and
only where the line of the bones beyond is about as near as that of the others (or hands would pass at the hips).
"""

import numpy as np

from imdy_jax.skeleton import NUM_BODIES, PARENTS, joint_index
from imdy_jax.tree import build_tree

# Of each joint, left side: the direction of the passage, and its width, m.
_PASSAGE = {
    "left_hip": ((0.45, -0.88, 0.1), 0.10),
    "left_knee": ((0.0, -1.0, -0.05), 0.08),
    "left_ankle": ((0.0, -0.95, 0.3), 0.05),
    "left_foot": ((0.0, 0.0, 1.0), 0.04),
    "spine1": ((0.0, 1.0, -0.1), 0.09),
    "spine2": ((0.0, 1.0, 0.0), 0.06),
    "spine3": ((0.0, 1.0, 0.0), 0.06),
    "neck": ((0.0, 1.0, -0.25), 0.06),
    "head": ((0.0, 0.8, 0.6), 0.05),
    "left_collar": ((0.9, 0.4, 0.0), 0.10),
    "left_shoulder": ((0.98, -0.2, 0.0), 0.09),
    "left_elbow": ((1.0, 0.0, 0.0), 0.07),
    "left_wrist": ((1.0, 0.0, 0.0), 0.04),
    "left_hand": ((1.0, 0.0, 0.0), 0.03),
}
_MARGIN = 0.03  # m, by which the bones beyond may be farther than the others
# Ends of the segments that no joint ends, and the heel: from the joint, m.
_TIPS = {
    "head": (0.0, 0.17, 0.0),
    "left_hand": (0.10, -0.01, 0.0),
    "left_foot": (0.0, -0.01, 0.06),
    "left_ankle": (0.0, -0.03, -0.04),
}


def skin_weights(vertices: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Weights (V, 24), rows sum to 1, of vertices (V, 3) around joints (24, 3), m, of about an adult's size.

    A segment's weight is the product of the passages from the pelvis to it, times what has not passed on beyond it.
    """
    distance = _bone_distance(vertices, joints)
    below = build_tree().ancestors > 0
    passed = np.ones((len(vertices), NUM_BODIES))
    for name, direction, width in _both_sides(_PASSAGE):
        k = joint_index(name)
        plane = (vertices - joints[k]) @ (direction / np.linalg.norm(direction))
        margin = distance[:, ~below[:, k]].min(axis=1) - distance[:, below[:, k]].min(axis=1)
        passed[:, k] = _smoothstep(plane / width + 0.5) * _smoothstep(margin / _MARGIN + 1.0)
    reached, kept = passed.copy(), np.ones_like(passed)
    for k in range(1, NUM_BODIES):
        reached[:, k] *= reached[:, PARENTS[k]]
        kept[:, PARENTS[k]] *= 1.0 - passed[:, k]
    weights = reached * kept
    return weights / weights.sum(axis=1, keepdims=True)


def _both_sides(table: dict):
    """Rows (name, vector, figure) of a table of the left side, followed by their mirror images."""
    for name, (vector, figure) in table.items():
        yield name, np.array(vector), figure
        if name.startswith("left_"):
            yield name.replace("left_", "right_"), np.array(vector) * (-1.0, 1.0, 1.0), figure


def _bone_distance(points: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Distance (P, 24), m, of points to the lines from each joint to its children and to its segment's tip."""
    lines = [(PARENTS[k], joints[k]) for k in range(1, NUM_BODIES)]
    for name, tip, _ in _both_sides({name: (tip, None) for name, tip in _TIPS.items()}):
        lines.append((joint_index(name), joints[joint_index(name)] + tip))
    distance = np.full((len(points), NUM_BODIES), np.inf)
    for k, end in lines:
        local, bone = points - joints[k], end - joints[k]
        along = np.clip(local @ bone / np.dot(bone, bone), 0.0, 1.0)
        distance[:, k] = np.minimum(distance[:, k], np.linalg.norm(local - along[:, None] * bone, axis=1))
    return distance


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)
