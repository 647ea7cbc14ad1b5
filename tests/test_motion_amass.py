"""AMASS-style files: every layout to the same clip, every fault to one clear error."""

import numpy as np
import pytest

from imdy_jax import rotation
from imdy_jax.motion.amass import read_amass
from imdy_jax.motion.errors import MIN_FRAMES, MotionFileError
from imdy_jax.motion.posing import to_matrices

FRAMES = 12


def _standing(frames: int = FRAMES) -> np.ndarray:
    """Poses (T, 72): upright in a z-up world, every joint with a rotation of its own."""
    poses = np.random.default_rng(0).normal(scale=0.2, size=(frames, 72))
    poses[:, :3] = [np.pi / 2, 0.0, 0.0]
    return poses


def _write(path, frames: int = FRAMES, **changes):
    """A valid SMPL file with some keys replaced, or left out where the value is None."""
    content = {
        "poses": _standing(frames),
        "trans": np.random.default_rng(1).normal(size=(frames, 3)),
        "betas": np.arange(16) / 10,
        "gender": "female",
        "mocap_framerate": 120.0,
    }
    content = {key: value for key, value in (content | changes).items() if value is not None}
    np.savez(path, **content)
    return path


def test_smpl_layout_keeps_every_number(tmp_path):
    path = _write(tmp_path / "kick.npz")
    clip = read_amass(path)
    vectors = np.asarray(rotation.log(np.asarray(clip.rotations))).reshape(FRAMES, 72)
    with np.load(path) as content:
        np.testing.assert_allclose(vectors, content["poses"], atol=1e-6)
        np.testing.assert_array_equal(clip.translation, content["trans"])
    assert (clip.name, clip.fps, clip.sex, clip.source) == ("kick", 120.0, "female", str(path))
    assert clip.betas == tuple(np.arange(16) / 10)
    assert clip.duration == pytest.approx((FRAMES - 1) / 120)


@pytest.mark.parametrize("width", [156, 165])
def test_hand_layouts_agree_with_smpl_but_for_the_hands(tmp_path, width):
    poses = _standing()
    larger = np.concatenate([poses[:, :66], np.full((FRAMES, width - 66), 0.3)], axis=1)
    expected = read_amass(_write(tmp_path / "smpl.npz", poses=poses))
    clip = read_amass(_write(tmp_path / "larger.npz", poses=larger))
    np.testing.assert_allclose(clip.rotations[:, :22], expected.rotations[:, :22])
    np.testing.assert_allclose(clip.rotations[:, 22:], np.tile(rotation.IDENTITY, (FRAMES, 2, 1)))


def test_smplx_stage_two_file_with_separate_keys(tmp_path):
    poses = _standing()
    path = _write(
        tmp_path / "walk_stageii.npz",
        poses=None,
        root_orient=poses[:, :3],
        pose_body=poses[:, 3:66],
        mocap_framerate=None,
        mocap_frame_rate=np.array(100),
        gender=np.array(b"male"),
        betas=None,
    )
    clip = read_amass(path)
    expected = read_amass(_write(tmp_path / "smpl.npz", poses=poses))
    np.testing.assert_allclose(clip.rotations[:, :22], expected.rotations[:, :22])
    assert (clip.fps, clip.sex, clip.betas) == (100.0, "male", ())


def test_digest_is_that_of_the_bytes(tmp_path):
    one, other = _write(tmp_path / "one.npz"), _write(tmp_path / "other.npz", gender="male")
    assert read_amass(one).digest == read_amass(one).digest != read_amass(other).digest
    assert len(read_amass(one).digest) == 64


def test_a_pickled_key_that_is_not_needed_does_no_harm(tmp_path):
    clip = read_amass(_write(tmp_path / "labels.npz", labels=np.array([{"marker": 1}], dtype=object)))
    assert clip.num_frames == FRAMES


def test_y_up_is_refused_and_stands_up_on_request(tmp_path):
    poses = _standing()
    poses[:, :3] = 0.0  # SMPL's y axis along the world's y
    path = _write(tmp_path / "yup.npz", poses=poses)
    with pytest.raises(MotionFileError, match=r"yup.npz: poses: .* along y .* z-up .* people.up"):
        read_amass(path)
    upright = read_amass(path, up="y")
    np.testing.assert_allclose(
        to_matrices(upright.rotations[:, 0])[:, :, 1], np.tile([0, 0, 1.0], (FRAMES, 1)), atol=1e-12
    )
    with np.load(path) as content:
        np.testing.assert_allclose(upright.translation[:, 2], content["trans"][:, 1])
    lying = read_amass(path, up="z")
    np.testing.assert_allclose(
        to_matrices(lying.rotations[:, 0])[:, :, 1], np.tile([0, 1.0, 0], (FRAMES, 1)), atol=1e-12
    )
    with pytest.raises(ValueError, match="found 'x', expected 'y', 'z' or None"):
        read_amass(path, up="x")


def _with(array: np.ndarray, index, value: float) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


FAULTS = {
    "missing key": ({"trans": None}, r"trans: found keys poses, betas.*expected this key"),
    "no frame rate": ({"mocap_framerate": None}, r"mocap_framerate or mocap_frame_rate"),
    "wrong width": ({"poses": np.zeros((FRAMES, 63))}, r"poses: found shape \(12, 63\).*\(T, 72\) for SMPL"),
    "wrong trans": ({"trans": np.zeros((FRAMES - 1, 3))}, r"trans: found shape \(11, 3\), expected \(12, 3\)"),
    "NaN": ({"poses": _with(_standing(), (7, 5), np.nan)}, r"poses: found NaN .* in 1 of 12 frames, first in frame 7"),
    "infinity": ({"trans": _with(np.zeros((FRAMES, 3)), (3, 0), np.inf)}, r"trans: found NaN or infinity .* frame 3"),
    "stopped clock": ({"mocap_framerate": 0.0}, r"mocap_framerate: found 0.0, expected one positive"),
    "pickled": ({"poses": np.array([None] * FRAMES, dtype=object)}, r"poses: found unreadable data .*not pickled"),
    "text": ({"trans": np.array(["a"] * FRAMES)}, r"trans: found unreadable data"),
    "broken betas": ({"betas": np.array([np.nan, 0.0])}, r"betas: found NaN"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_one_clear_error_for(tmp_path, fault):
    changes, message = FAULTS[fault]
    path = _write(tmp_path / "bad.npz", **changes)
    with pytest.raises(MotionFileError, match=r"bad\.npz: " + message):
        read_amass(path)


def test_too_short_a_file_names_the_least_length(tmp_path):
    path = _write(tmp_path / "blink.npz", frames=MIN_FRAMES - 1)
    with pytest.raises(MotionFileError, match=f"found {MIN_FRAMES - 1} frames, expected at least {MIN_FRAMES}"):
        read_amass(path)


def test_wrong_shapes_of_separate_keys(tmp_path):
    path = _write(tmp_path / "bad.npz", poses=None, root_orient=np.zeros((FRAMES, 3)), pose_body=np.zeros((FRAMES, 60)))
    with pytest.raises(MotionFileError, match=r"pose_body: found shape \(12, 60\), expected \(12, 63\)"):
        read_amass(path)


@pytest.mark.parametrize("rate", [1 / 30, 1e-9, 1e9])
def test_a_period_is_no_frame_rate(tmp_path, rate):
    path = _write(tmp_path / "period.npz", mocap_framerate=rate)
    with pytest.raises(MotionFileError, match=r"mocap_framerate: found .*, expected 5 to 10000 frames per second"):
        read_amass(path)


def test_a_damaged_sex_is_an_unknown_one_and_empty_betas_are_none(tmp_path):
    path = _write(tmp_path / "sex.npz", gender="female" * 50, betas=np.zeros((0, 10)))
    whole = path.read_bytes()
    assert whole.count(np.array("female").tobytes()) >= 50  # stored, not compressed
    path.write_bytes(whole.replace(np.array("female").tobytes(), np.array("fem?le").tobytes(), 1))
    clip = read_amass(path)
    assert clip.sex == "neutral" and clip.betas == ()


def test_files_that_are_no_archives(tmp_path):
    whole = _write(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("not a motion")
    damaged = bytearray(whole)
    damaged[200:240] = bytes(40)
    (tmp_path / "damaged.npz").write_bytes(damaged)
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    for name, found in (
        ("cut", "no archive"),
        ("text", "no archive"),
        ("damaged", "unreadable data"),
        ("array", "a single array"),
        ("absent", "found nothing"),
    ):
        with pytest.raises(MotionFileError, match=found):
            read_amass(tmp_path / f"{name}.npz")
