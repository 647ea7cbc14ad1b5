"""Clips at another rate, slower or faster, and mirrored."""

import dataclasses
import re

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from imdy_jax.motion.clip import Clip
from imdy_jax.skeleton import MIRROR

MIRROR_SUFFIX = "_mirrored"


def resample(clip: Clip, fps: float = 30.0) -> Clip:
    """The clip at another frame rate, from its first frame to the last whole step within it.

    Rotations by slerp, the short way round. The translation by a cubic spline, because that keeps a parabola exactly
    and so the acceleration of free fall, which straight lines between frames would turn into jerks.
    Raises ValueError for a rate that is not positive.
    """
    if not fps > 0:
        raise ValueError(f"fps: found {fps}, expected a positive frame rate; pass frames per second")
    if clip.num_frames < 2 or fps == clip.fps:
        return clip
    count = int(np.floor(clip.duration * fps + 1e-6)) + 1
    at = np.minimum(np.arange(count) * (clip.fps / fps), clip.num_frames - 1)
    translation = np.asarray(clip.translation, float)
    return dataclasses.replace(
        clip,
        rotations=slerp(np.asarray(clip.rotations, float), at),
        translation=CubicSpline(np.arange(clip.num_frames), translation)(at),
        fps=float(fps),
    )


def slerp(rotations: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Quaternions (T, K, 4) at fractional frames (N,) → (N, K, 4), at constant angular velocity between neighbours."""
    before = np.minimum(at.astype(int), len(rotations) - 2)
    fraction = np.repeat(at - before, rotations.shape[1])[:, None]
    start = Rotation.from_quat(rotations[before].reshape(-1, 4), scalar_first=True)
    end = Rotation.from_quat(rotations[before + 1].reshape(-1, 4), scalar_first=True)
    turned = start * Rotation.from_rotvec(fraction * (start.inv() * end).as_rotvec())
    return turned.as_quat(scalar_first=True).reshape(len(at), -1, 4)


def time_scale(clip: Clip, factor: float) -> Clip:
    """The same motion lasting `factor` times as long, at the clip's own frame rate. Raises ValueError unless > 0."""
    if not factor > 0:
        raise ValueError(f"factor: found {factor}, expected a positive number; 2 plays at half speed")
    return resample(dataclasses.replace(clip, fps=clip.fps / factor), clip.fps)


def at_speed(clip: Clip, speed: float) -> Clip:
    """The same motion `speed` times as fast, named for it. Raises ValueError unless > 0."""
    if speed == 1.0:
        return clip
    if not speed > 0:
        raise ValueError(f"speed: found {speed}, expected a positive number; 2 plays at double speed")
    return dataclasses.replace(time_scale(clip, 1.0 / speed), name=f"{clip.name}_x{speed:g}")


def mirror(clip: Clip) -> Clip:
    """The clip seen in a mirror: left and right joints exchanged, the world reflected in x. Its own inverse.

    Reflection in the plane x = 0 turns a rotation (w, x, y, z) into (w, x, -y, -z), in SMPL's body axes (x to the
    left) and in the world alike. Joint positions are exact reflections on a body that is itself symmetric.
    """
    rotations = np.asarray(clip.rotations)[:, MIRROR, :] * np.array([1.0, 1.0, -1.0, -1.0])
    mirrored = is_mirror_image(clip.name)
    return dataclasses.replace(
        clip,
        rotations=rotations,
        translation=np.asarray(clip.translation) * np.array([-1.0, 1.0, 1.0]),
        name=clip.name.removesuffix(MIRROR_SUFFIX) if mirrored else clip.name + MIRROR_SUFFIX,
    )


def is_mirror_image(name: str) -> bool:
    """Whether the name of a clip, or of a variant, is what `mirror` has given it."""
    return name.endswith(MIRROR_SUFFIX)


def original(name: str) -> str:
    """Name of the clip that a variant was made of: without what `at_speed` and `mirror` have added."""
    return re.sub(rf"(_x[0-9.]+)?({MIRROR_SUFFIX})?$", "", name)
