"""Laws of resampling, of slowing down and of the mirror."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.posing import from_rotation_vectors, pose
from imdy_jax.motion.resample import mirror, resample, time_scale
from imdy_jax.skeleton import MIRROR

AXES = np.random.default_rng(0).normal(size=(24, 3))
RATES = 4.0 * AXES / np.linalg.norm(AXES, axis=1, keepdims=True)  # rad/s, more than half a turn within a second
START = np.random.default_rng(1).normal(size=(24, 3))


def _spinning(fps: float, seconds: float = 2.0) -> Clip:
    """Every joint turns at a constant rate, and the body flies along a parabola."""
    time = np.arange(round(seconds * fps) + 1) / fps
    turned = Rotation.from_rotvec(START) * Rotation.from_rotvec(np.zeros_like(START))
    frames = [(turned * Rotation.from_rotvec(t * RATES)).as_quat(scalar_first=True) for t in time]
    flight = np.stack([0.3 * time, -0.2 * time, 1.0 + 3.0 * time - 0.5 * 9.81 * time**2], axis=1)
    return Clip(np.array(frames), flight, fps, "spin", "made", "0" * 64)


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle between quaternions, rad, whatever their signs."""
    first, second = (Rotation.from_quat(x.reshape(-1, 4), scalar_first=True) for x in (a, b))
    return (first.inv() * second).magnitude()


@pytest.mark.parametrize(("source", "target"), [(120, 30), (100, 30), (25, 30), (30, 120), (59.94, 30), (30, 29.97)])
def test_constant_rotation_and_free_fall_are_kept_exactly(source, target):
    clip, expected = resample(_spinning(source), target), _spinning(target)
    frames = min(clip.num_frames, expected.num_frames)
    assert abs(clip.num_frames - expected.num_frames) <= 1
    assert clip.fps == target
    assert clip.duration <= _spinning(source).duration + 1e-9
    assert _angle(clip.rotations[:frames], expected.rotations[:frames]).max() < 1e-6
    np.testing.assert_allclose(clip.translation[:frames], expected.translation[:frames], atol=1e-9)


def test_slerp_takes_the_short_way_whatever_the_signs():
    clip = _spinning(60)
    flipped = clip.replace(
        rotations=clip.rotations * np.where(np.arange(clip.num_frames) % 2, -1.0, 1.0)[:, None, None]
    )
    assert _angle(resample(flipped, 45).rotations, resample(clip, 45).rotations).max() < 1e-6


def test_the_same_rate_changes_nothing():
    clip = _spinning(30)
    assert resample(clip, 30.0) is clip


@pytest.mark.parametrize("rate", [0.0, -30.0, float("nan")])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(ValueError, match="expected a positive frame rate"):
        resample(_spinning(30), rate)


def test_half_speed_lasts_twice_as_long_and_passes_the_same_poses():
    clip = _spinning(30)
    slow = time_scale(clip, 2.0)
    assert slow.fps == clip.fps
    assert slow.duration == pytest.approx(2 * clip.duration)
    assert _angle(slow.rotations[::2], clip.rotations).max() < 1e-6
    with pytest.raises(ValueError, match="2 plays at half speed"):
        time_scale(clip, 0.0)


def test_mirroring_twice_changes_nothing():
    clip = _spinning(30)
    assert mirror(clip).name != clip.name
    twice = mirror(mirror(clip))
    assert twice.name == clip.name
    np.testing.assert_array_equal(twice.rotations, clip.rotations)
    np.testing.assert_array_equal(twice.translation, clip.translation)


def test_mirrored_joints_are_the_reflection_of_the_other_side():
    body = anthropometric_body("neutral")
    poses = np.random.default_rng(2).normal(scale=0.7, size=(20, 24, 3))
    clip = Clip(
        from_rotation_vectors(poses), np.random.default_rng(3).normal(size=(20, 3)), 30.0, "any", "made", "0" * 64
    )
    here, there = pose(clip, body).p_world, pose(mirror(clip), body).p_world
    np.testing.assert_allclose(there, here[:, MIRROR] * np.array([-1.0, 1.0, 1.0]), atol=1e-6)
    assert np.abs(there - here).max() > 0.1
