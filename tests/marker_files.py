"""Markers of a person whose body, motion and marker places are known, and their files."""

import jax
import numpy as np
from scipy.spatial.transform import Rotation

from imdy_jax.biomechanics.opensim_storage import Markers
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.body.markers import MARKER_NAMES, MARKER_SEGMENT
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.humanoid import from_body
from imdy_jax.motion.clip import generalized_positions
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.skeleton import joint_index

# Landmark of the body → a laboratory's label, in three conventions; and clusters, on the segment of a joint.
LABELS = {
    "c7": "C7", "suprasternal_notch": "CLAV", "left_acromion": "LSHO", "right_acromion": "R.Shoulder",
    "left_lateral_humeral_epicondyle": "L_elbow_lat", "right_lateral_humeral_epicondyle": "RELB",
    "left_radial_styloid": "LWRA", "right_radial_styloid": "r_wrist_radius", "left_ulnar_styloid": "LWRB",
    "right_ulnar_styloid": "r_wrist_ulna", "left_asis": "LASI", "right_asis": "R.ASIS", "left_psis": "LPSI",
    "right_psis": "R.PSIS", "left_lateral_femoral_epicondyle": "LKNE", "right_lateral_femoral_epicondyle": "r_knee",
    "left_lateral_malleolus": "L_ankle", "right_lateral_malleolus": "RANK", "left_heel": "LHEE", "right_heel": "r_calc",
    "left_toe_tip": "LTOE", "right_toe_tip": "R.Toe.Tip", "left_fifth_metatarsal_head": "L_5meta",
    "right_fifth_metatarsal_head": "RMT5",
}  # fmt: skip
CLUSTERS = {
    "LTH1": ("left_hip", (0.08, -0.15, 0.05)), "r_thigh1": ("right_hip", (-0.08, -0.2, 0.05)),
    "M17": ("left_knee", (0.05, -0.2, 0.04)), "M18": ("right_knee", (-0.05, -0.15, 0.05)),
}  # fmt: skip
FPS = 30.0


def known_body():
    """A woman with longer legs and narrower shoulders than the mean."""
    return anthropometric_body("female", 1.72, 64.0, (1.0, 0.5, 0.0, 0.0, -0.8))


def known_motion(body, name: str = "walk"):
    """Her clip, and joints (T, 24, 3) of it in the world."""
    clip = procedural_clip(name, body, FPS)
    q = np.asarray(generalized_positions(clip, body))
    pose = jax.vmap(forward_kinematics, in_axes=(None, 0))(from_body(body), q)
    return clip, np.asarray(pose.position), np.asarray(pose.rotation)


def recorded(body, joints, rotations, put=0.005, noise=0.002, seed=0) -> Markers:
    """What a laboratory sees, y up: markers put so many m off their landmarks, with noise."""
    draw = np.random.default_rng(seed)
    places = {
        label: (MARKER_SEGMENT[k], np.asarray(body.markers)[k] - np.asarray(body.joints)[MARKER_SEGMENT[k]])
        for k, label in ((MARKER_NAMES.index(name), label) for name, label in LABELS.items())
    } | {label: (joint_index(joint), np.array(place)) for label, (joint, place) in CLUSTERS.items()}
    columns = []
    for segment, place in places.values():
        turned = Rotation.from_quat(rotations[:, segment], scalar_first=True).apply(place + put * draw.normal(size=3))
        columns.append(joints[:, segment] + turned)
    seen = np.stack(columns, axis=1) + noise * draw.normal(size=(len(joints), len(places), 3))
    y_up = np.stack([seen[..., 0], seen[..., 2], -seen[..., 1]], axis=-1)
    return Markers(np.arange(len(joints)) / FPS, tuple(places), y_up, FPS)


def write_trc(path, markers: Markers) -> None:
    """As laboratories export it, in mm; a gap is an empty cell."""
    count = len(markers.time)
    head = f"{FPS:g}\t{FPS:g}\t{count}\t{len(markers.names)}\tmm\t{FPS:g}\t1\t{count}"
    keys = "DataRate CameraRate NumFrames NumMarkers Units OrigDataRate OrigDataStartFrame OrigNumFrames"
    labels = "Frame#\tTime\t" + "\t\t\t".join(markers.names)
    lines = ["PathFileType\t4\t(X/Y/Z)\tsomething.trc", keys.replace(" ", "\t"), head, labels, "\t\tX1\tY1\tZ1"]
    for k, row in enumerate(markers.positions):
        cells = ["" if np.isnan(x) else f"{1000 * x:.3f}" for x in row.reshape(-1)]
        lines.append("\t".join([str(k + 1), f"{markers.time[k]:.6f}", *cells]))
    path.write_text("\n".join(lines) + "\n")
