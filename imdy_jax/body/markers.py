"""The 66 anatomical surface markers: names, segments, SMPL vertices, and where they lie on any other body.

The set is the one that the ImDy release computes its motion states from (`smpl_opensim_markerset`, Liu et al. 2025),
with its labels and its vertices of the 6,890-vertex SMPL mesh: the spinous processes from C7 to L5, the sternum, and
both sides of the head, shoulders, arms, fingers, pelvis, legs and feet.

On a mesh of another topology a marker lies where a ray, fixed in its segment, leaves the skin: the ray starts at

    joint[a] + along · (joint[b] − joint[a]) + |joint[b] − joint[a]| · offset

so that it scales with the segment, and runs in a direction given in rest axes (x left, y up, z forward).
"""

from typing import NamedTuple

import numpy as np

from imdy_jax.skeleton import JOINT_NAMES, MIRROR, NUM_BODIES, PARENTS, joint_index

SMPL_NUM_VERTICES = 6890


class Marker(NamedTuple):
    """One marker. label: the ImDy release's; vertex: on SMPL's mesh; the rest: segment and ray (module docstring)."""

    name: str
    label: str
    vertex: int
    segment: int
    a: int
    b: int
    along: float
    offset: tuple[float, float, float]
    direction: tuple[float, float, float]


# name, label, SMPL vertex, segment, height from the pelvis joint (0) to the neck joint (1) as on SMPL's mean mesh
_SPINE = (
    ("c7", "C7", 828, "spine3", 0.930),
    ("t1", "T1", 3012, "spine3", 0.890),
    ("t2", "Tracking_T2", 1305, "spine3", 0.840),
    ("t3", "Tracking_T3", 2877, "spine3", 0.788),
    ("t4", "Tracking_T4", 1755, "spine3", 0.735),
    ("t5", "Tracking_T5", 3029, "spine3", 0.682),
    ("t6", "Tracking_T6", 3027, "spine3", 0.625),
    ("t7", "Tracking_T7", 3015, "spine2", 0.570),
    ("t8", "T8", 3014, "spine2", 0.522),
    ("t9", "Tracking_T9", 3505, "spine1", 0.475),
    ("t10", "T10", 3017, "spine1", 0.430),
    ("t11", "Tracking_T11", 3016, "spine1", 0.390),
    ("t12", "T12", 3173, "spine1", 0.350),
    ("l1", "Tracking_L1", 3024, "spine1", 0.310),
    ("l2", "Tracking_L2", 3023, "spine1", 0.268),
    ("l3", "Tracking_L3", 3502, "spine1", 0.222),
    ("l4", "Tracking_L4", 3022, "pelvis", 0.172),
    ("l5", "Tracking_L5", 3021, "pelvis", 0.132),
)
_STERNUM = (
    ("suprasternal_notch", "CLAV", 3171, "spine3", 0.810),
    ("xiphoid_process", "STRN", 3079, "spine1", 0.455),
)
_O = (0.0, 0.0, 0.0)
# Left side, joints without their "left_": name, labels and vertices (left, right), segment; a, b, along, offset,
# direction of the ray.
_PAIRED = (
    ("front_head", ("LFHD", "RFHD"), (134, 3645), "head", "neck", "head", 1.0, (0, 1, 0), (0.5, 0.2, 0.84)),
    ("back_head", ("LBHD", "RBHD"), (272, 3783), "head", "neck", "head", 1.0, (0, 1, 0), (0.5, 0.2, -0.84)),
    ("clavicle", ("LCLAV", "RCLAV"), (1298, 4780), "collar", "collar", "shoulder", 0.2, _O, (0, 0.5, 0.87)),
    ("acromion", ("LSHO", "RSHO"), (606, 4094), "collar", "collar", "shoulder", 0.95, _O, (0, 1, 0)),
    ("lateral_humeral_epicondyle", ("LELB", "RELB"), (1620, 5091),
     "shoulder", "shoulder", "elbow", 1.0, _O, (0, 0.87, -0.5)),
    ("medial_humeral_epicondyle", ("LELBIN", "RELBIN"), (1661, 5131),
     "shoulder", "shoulder", "elbow", 1.0, _O, (0, -0.87, -0.5)),
    ("radial_styloid", ("LIWR", "RIWR"), (2230, 5691), "elbow", "elbow", "wrist", 0.99, _O, (0, 0, 1)),
    ("ulnar_styloid", ("LOWR", "ROWR"), (2108, 5568), "elbow", "elbow", "wrist", 0.99, _O, (0, 0, -1)),
    ("thumb_tip", ("lthumb", "rthumb"), (2746, 6191), "wrist", "wrist", "hand", 0.6, (0, -0.1, 0.6), (0.9, 0, 0.44)),
    ("index_tip", ("lindex", "rindex"), (2319, 5782), "hand", "wrist", "hand", 1.0, (0, 0, 0.33), (1, 0, 0)),
    ("middle_tip", ("lmiddle", "rmiddle"), (2445, 5905), "hand", "wrist", "hand", 1.0, (0, 0, 0.08), (1, 0, 0)),
    ("ring_tip", ("lring", "rring"), (2556, 6016), "hand", "wrist", "hand", 1.0, (0, 0, -0.17), (1, 0, 0)),
    ("little_tip", ("lpinky", "rpinky"), (2673, 6133), "hand", "wrist", "hand", 1.0, (0, 0, -0.41), (1, 0, 0)),
    ("asis", ("LASI", "RASI"), (1799, 5262), "pelvis", "pelvis", "hip", 0.25, _O, (0.8, 0, 0.6)),
    ("psis", ("LPSI", "RPSI"), (3097, 6521), "pelvis", "pelvis", "neck", 0.06, _O, (0.5, 0, -0.87)),
    ("lateral_femoral_epicondyle", ("LKNE", "RKNE"), (1010, 4495), "hip", "hip", "knee", 1.0, _O, (1, 0, 0)),
    ("medial_femoral_epicondyle", ("LKNI", "RKNI"), (1148, 4634), "hip", "hip", "knee", 1.0, _O, (-1, 0, 0)),
    ("lateral_malleolus", ("LANK", "RANK"), (3327, 6728), "knee", "knee", "ankle", 1.0, _O, (1, 0, 0)),
    ("medial_malleolus", ("LANI", "RANI"), (3198, 6598), "knee", "knee", "ankle", 0.98, _O, (-1, 0, 0)),
    ("heel", ("LHEE", "RHEE"), (3386, 6787), "ankle", "ankle", "foot", 0.0, (0, -0.35, 0), (0, 0, -1)),
    ("first_metatarsal_head", ("LMT1", "RMT1"), (3338, 6738),
     "ankle", "ankle", "foot", 0.97, (0, -0.06, 0), (-1, 0, 0)),
    ("fifth_metatarsal_head", ("LMT5", "RMT5"), (3346, 6747),
     "ankle", "ankle", "foot", 0.85, (0, -0.14, 0), (1, 0, 0)),
    ("toe_tip", ("LTOE", "RTOE"), (3232, 6634), "foot", "ankle", "foot", 1.0, (0, -0.12, 0), (0, 0, 1)),
)  # fmt: skip


def _table() -> tuple[Marker, ...]:
    pelvis, neck = joint_index("pelvis"), joint_index("neck")
    midline = [(row, (0.0, 0.0, -1.0)) for row in _SPINE] + [(row, (0.0, 0.0, 1.0)) for row in _STERNUM]
    rows = [
        Marker(name, label, vertex, joint_index(segment), pelvis, neck, height, _O, direction)
        for (name, label, vertex, segment, height), direction in midline
    ]
    for name, labels, vertices, segment, a, b, along, offset, direction in _PAIRED:
        k, i, j = (joint_index(n if n in JOINT_NAMES else f"left_{n}") for n in (segment, a, b))
        rows.append(Marker(f"left_{name}", labels[0], vertices[0], k, i, j, along, offset, direction))
        k, i, j = MIRROR[k], MIRROR[i], MIRROR[j]
        offset, direction = ((-x, y, z) for x, y, z in (offset, direction))
        rows.append(Marker(f"right_{name}", labels[1], vertices[1], k, i, j, along, offset, direction))
    return tuple(rows)


MARKERS = _table()
MARKER_NAMES = tuple(m.name for m in MARKERS)
MARKER_LABELS = tuple(m.label for m in MARKERS)
MARKER_SEGMENT = np.array([m.segment for m in MARKERS])
# Position i holds the index of the marker on the other side of the body (itself on the midline).
MARKER_MIRROR = tuple(
    MARKER_NAMES.index(name.replace("left_", "*").replace("right_", "left_").replace("*", "right_"))
    for name in MARKER_NAMES
)
SMPL_VERTEX = np.array([m.vertex for m in MARKERS])


def marker_vertices(joints: np.ndarray, vertices: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Vertex index (66,) of each marker on a template mesh in rest pose.

    joints (24, 3) and vertices (V, 3), m, rest axes; skin (V, 24). SMPL_VERTEX for the 6,890-vertex SMPL mesh; on
    another topology the vertex nearest to the place where the marker's ray leaves its segment.
    """
    if len(vertices) == SMPL_NUM_VERTICES:
        return SMPL_VERTEX.copy()
    return np.array([_nearest_vertex(m, joints, vertices, np.argmax(skin, axis=1)) for m in MARKERS])


def marker_sites(
    joints: np.ndarray, vertices: np.ndarray, faces: np.ndarray, skin: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where each marker's ray leaves the skin of its segment and its neighbours: a face and a point on it.

    joints (24, 3), vertices (V, 3), faces (F, 3), skin (V, 24) → vertex indices (66, 3) and their shares (66, 3), which
    sum to 1. Where a coarse mesh lets the ray slip through, the nearest vertex.
    """
    owner = np.argmax(skin, axis=1)
    corners, shares = np.zeros((len(MARKERS), 3), int), np.zeros((len(MARKERS), 3))
    for i, marker in enumerate(MARKERS):
        near = faces[np.any(np.isin(owner, _neighbourhood(marker.segment))[faces], axis=1)]
        hit = _last_hit(*_ray(marker, joints), vertices[near])
        if hit is None:
            corners[i], shares[i] = _nearest_vertex(marker, joints, vertices, owner), (1.0, 0.0, 0.0)
        else:
            corners[i], shares[i] = near[hit[0]], hit[1]
    return corners, shares


def _ray(marker: Marker, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bone = joints[marker.b] - joints[marker.a]
    origin = joints[marker.a] + marker.along * bone + np.linalg.norm(bone) * np.array(marker.offset)
    direction = np.array(marker.direction, dtype=float)
    return origin, direction / np.linalg.norm(direction)


def _neighbourhood(segment: int) -> list[int]:
    """The segment, its parent and its children: a landmark at a joint may lie on either side's skin."""
    children = [k for k in range(NUM_BODIES) if PARENTS[k] == segment]
    return [segment, *children] + ([PARENTS[segment]] if segment else [])


def _nearest_vertex(marker: Marker, joints: np.ndarray, vertices: np.ndarray, owner: np.ndarray) -> int:
    """Index of the vertex nearest to the ray, the farther out the better; of all vertices if the segment has none."""
    origin, direction = _ray(marker, joints)
    out = (vertices - origin) @ direction
    miss = np.linalg.norm(vertices - origin - out[:, None] * direction, axis=1)
    candidate = np.isin(owner, _neighbourhood(marker.segment)) & (out > 0)
    if not candidate.any():
        candidate = np.ones(len(vertices), bool)
    return int(np.argmin(np.where(candidate, miss - 0.2 * out, np.inf)))


def _last_hit(origin: np.ndarray, direction: np.ndarray, corners: np.ndarray) -> tuple[int, np.ndarray] | None:
    """Farthest triangle (F, 3, 3) that a ray meets, and the corners' shares there (Möller & Trumbore 1997), or None."""
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = np.cross(direction, edge2)
    determinant = np.sum(edge1 * p, axis=1)
    crossed = np.abs(determinant) > 1e-14
    inverse = 1.0 / np.where(crossed, determinant, 1.0)
    t = origin - corners[:, 0]
    q = np.cross(t, edge1)
    u, v = inverse * np.sum(t * p, axis=1), inverse * (q @ direction)
    distance = inverse * np.sum(edge2 * q, axis=1)
    # The slack lets a ray along an edge meet one of its two triangles.
    hit = crossed & (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (distance > 0)
    if not hit.any():
        return None
    face = int(np.argmax(np.where(hit, distance, -np.inf)))
    return face, np.array([1.0 - u[face] - v[face], u[face], v[face]])
