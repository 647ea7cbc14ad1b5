"""Clips of DeepMimic's humanoid (Peng et al. 2018) → Clip: JSON with 44 numbers per frame, y up, facing x.

A frame holds its duration, the root's position and quaternion, and then a quaternion or an angle about z for each
joint. The skeleton is the same for all clips and stands in the table below (positions of the joints in their parents).
"""

import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from imdy_jax.motion.clip import Clip
from imdy_jax.motion.errors import SLOWEST, MotionFileError, parsing, require_finite
from imdy_jax.motion.resample import slerp
from imdy_jax.motion.retarget import Recording, retarget

# name, parent, offset (m), first column in a frame, columns (4: quaternion w first, 1: angle about z, 0: fixed)
JOINTS = (
    ("root", -1, (0.0, 0.0, 0.0), 4, 4),
    ("chest", 0, (0.0, 0.236151, 0.0), 8, 4),
    ("neck", 1, (0.0, 0.223894, 0.0), 12, 4),
    ("right_hip", 0, (0.0, 0.0, 0.084887), 16, 4),
    ("right_knee", 3, (0.0, -0.421546, 0.0), 20, 1),
    ("right_ankle", 4, (0.0, -0.40987, 0.0), 21, 4),
    ("right_shoulder", 1, (-0.02405, 0.2435, 0.18311), 25, 4),
    ("right_elbow", 6, (0.0, -0.274788, 0.0), 29, 1),
    ("right_wrist", 7, (0.0, -0.258947, 0.0), 30, 0),
    ("left_hip", 0, (0.0, 0.0, -0.084887), 30, 4),
    ("left_knee", 9, (0.0, -0.421546, 0.0), 34, 1),
    ("left_ankle", 10, (0.0, -0.40987, 0.0), 35, 4),
    ("left_shoulder", 1, (-0.02405, 0.2435, -0.18311), 39, 4),
    ("left_elbow", 12, (0.0, -0.274788, 0.0), 43, 1),
    ("left_wrist", 13, (0.0, -0.258947, 0.0), 44, 0),
)
COLUMNS = 44


def read_deepmimic(path: str | Path, **options) -> Clip:
    """Clip of one of DeepMimic's motion files at its own frame rate; world z up, metres. options: as in retarget.

    Raises MotionFileError for a file that holds something else.
    """
    path = Path(path)
    with parsing(path, f"JSON whose Frames are rows of {COLUMNS} numbers"):
        frames = np.array(json.loads(path.read_text())["Frames"], float)
    if frames.ndim != 2 or frames.shape[1] != COLUMNS:
        raise MotionFileError(path, "Frames", f"shape {frames.shape}", f"(T, {COLUMNS})", "use a motion of humanoid3d")
    require_finite(path, "Frames", frames)
    periods = frames[:-1, 0]  # nothing follows the last frame, and some files give it no duration
    if not (len(periods) and periods.min() > 0.0):
        raise MotionFileError(path, "duration of a frame", f"{periods.min(initial=0.0)} s", "more than nothing",
                              "remove the frame")  # fmt: skip
    if periods.max() > 1.0 / SLOWEST:
        raise MotionFileError(path, "duration of a frame", f"{periods.max():g} s", f"at most {1.0 / SLOWEST:g} s",
                              "export it with its own durations")  # fmt: skip
    quaternions = np.stack([_quaternions(frames, first, columns) for *_, first, columns in JOINTS], axis=1)
    period = float(np.median(periods))
    time = np.concatenate([[0.0], np.cumsum(periods)])
    at = np.interp(np.arange(0.0, time[-1] + 1e-6, period), time, np.arange(len(time)))  # evenly, where it was not
    with parsing(path, "quaternions that are not zero"):
        rotations = Rotation.from_quat(slerp(quaternions, at).reshape(-1, 4), scalar_first=True).as_matrix()
    root = np.stack([np.interp(at, np.arange(len(frames)), frames[:, k]) for k in (1, 2, 3)], axis=1)
    names, parents, offsets = zip(*(joint[:3] for joint in JOINTS), strict=True)
    rotations = rotations.reshape(len(at), -1, 3, 3)
    return retarget(path, Recording(names, parents, np.array(offsets), rotations, root, 1.0 / period, "y"), **options)


def _quaternions(frames: np.ndarray, first: int, columns: int) -> np.ndarray:
    """Rotations (T, 4) of a joint, from its columns of the frames (T, 44)."""
    if columns == 4:
        return frames[:, first : first + 4]
    half = frames[:, first] / 2.0 if columns else np.zeros(len(frames))
    return np.stack([np.cos(half), 0.0 * half, 0.0 * half, np.sin(half)], axis=1)
