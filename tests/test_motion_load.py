"""Loading: files, folders and the built-in set, where one bad file does not spoil the others."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from envs.people import PeopleConfig, load_people
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.motion.load import load_clips
from imdy_jax.motion.posing import lowest_height, pose
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.rotation import log


@pytest.fixture(scope="module")
def body():
    return anthropometric_body("female")


@pytest.fixture(scope="module")
def squat(body):
    return procedural_clip("squat", body, fps=60.0)


def _save(path, clip, frames=slice(None)):
    path.parent.mkdir(parents=True, exist_ok=True)
    poses = np.asarray(log(np.asarray(clip.rotations))).reshape(clip.num_frames, 72)
    translation = np.asarray(clip.translation) + [3.0, -2.0, 0.7]
    np.savez(path, poses=poses[frames], trans=translation[frames], mocap_framerate=clip.fps, gender="female")


def test_a_file_is_resampled_fitted_and_named(tmp_path, body, squat):
    _save(tmp_path / "down.npz", squat)
    (clip,), bad = load_clips(tmp_path / "down.npz", body)
    assert bad == []
    assert (clip.name, clip.fps) == ("down", 30.0)
    assert clip.num_frames == round(squat.duration * 30) + 1
    assert lowest_height(pose(clip, body), body).min() == pytest.approx(0.0, abs=1e-4)
    assert clip.leg_length == pytest.approx(float(body.leg_length))


def test_a_folder_is_read_in_order_past_its_bad_files(tmp_path, body, squat):
    _save(tmp_path / "b" / "sit.npz", squat)
    _save(tmp_path / "a" / "sit.npz", squat)
    _save(tmp_path / "a" / "stand.npz", squat, slice(0, 40))
    _save(tmp_path / "a" / "wink.npz", squat, slice(0, 12))
    (tmp_path / "c.npz").write_text("nothing")
    (tmp_path / "notes.txt").write_text("not a motion")
    np.savez(tmp_path / "a" / "shape.npz", betas=np.zeros(16))
    clips, bad = load_clips(tmp_path, body)
    assert [clip.name for clip in clips] == ["a-sit", "stand", "b-sit"]
    assert [item.source.rsplit("/", 1)[-1] for item in bad] == ["wink.npz", "c.npz"]
    assert "motion at 30 fps: found 6 frames, expected at least 10" in bad[0].reason
    assert "no archive" in bad[1].reason
    assert bad[1].problems == ()


def test_an_impossible_motion_is_left_out_with_its_problems_unless_unchecked(tmp_path, body, squat):
    translation = np.array(squat.translation)
    translation[100:] += [0.0, 1.0, 0.0]
    _save(tmp_path / "leap.npz", squat.replace(translation=translation))
    clips, (item,) = load_clips(tmp_path, body)
    assert clips == []
    assert "jump" in item.reason
    assert item.problems
    assert len(load_clips(tmp_path, body, check=False)[0]) == 1


def test_mirror_images(tmp_path, body, squat):
    _save(tmp_path / "down.npz", squat)
    clips, _ = load_clips(tmp_path, body, mirrored=True)
    assert [clip.name for clip in clips] == ["down", "down_mirrored"]


def test_files_with_y_upward_stand_up_where_that_is_said(tmp_path, body, squat):
    """What (x, y, z) is with z upward is (x, z, -y) with y upward."""
    turn = Rotation.from_euler("x", -90, degrees=True)
    root = (turn * Rotation.from_quat(squat.rotations[:, 0], scalar_first=True)).as_quat(scalar_first=True)
    turned = np.array(squat.rotations)
    turned[:, 0] = root
    _save(tmp_path / "z" / "down.npz", squat)
    _save(tmp_path / "y" / "down.npz", squat.replace(rotations=turned, translation=turn.apply(squat.translation)))
    assert "people.up" in load_people(PeopleConfig(motions=str(tmp_path / "y")))[2][0].reason
    clips = [load_people(PeopleConfig(motions=str(tmp_path / up), up=up))[1][0][0] for up in "zy"]
    np.testing.assert_allclose(*(clip.rotations for clip in clips), atol=1e-6)
    np.testing.assert_allclose(*(clip.translation[:, 2] for clip in clips), atol=1e-3)


def test_the_built_in_set(body):
    clips, bad = load_clips("procedural", body)
    assert len(clips) >= 12
    assert bad == []
    assert len({clip.digest for clip in clips}) == len({clip.name for clip in clips}) == len(clips)


def test_wrong_paths(tmp_path, body):
    with pytest.raises(FileNotFoundError, match="expected a motion file or a folder"):
        load_clips(tmp_path / "absent", body)
    with pytest.raises(ValueError, match=r"found no motion file, expected some named \*\.npz"):
        load_clips(tmp_path, body)
    (tmp_path / "walk.fbx").write_text("")
    with pytest.raises(ValueError, match=r"found format '\.fbx', expected one of \*\.npz, \*\.amc, \*\.bvh"):
        load_clips(tmp_path / "walk.fbx", body)


def test_speeds_make_copies_of_their_own_name_and_length(tmp_path, body, squat):
    _save(tmp_path / "down.npz", squat)
    clips, _ = load_clips(tmp_path, body, speeds=(0.8, 1.0, 1.25), mirrored=True)
    assert len(clips) == len({clip.name for clip in clips}) == 6
    found = {clip.name: clip for clip in clips}
    for speed in (0.8, 1.25):
        copy = found[f"down_x{speed:g}"]
        assert copy.duration == pytest.approx(found["down"].duration / speed, abs=1 / 30)
        assert copy.digest == found["down"].digest  # so that no solver is judged by a copy of what it was fitted to
    with pytest.raises(ValueError, match="2 plays at double speed"):
        load_clips(tmp_path, body, speeds=(0.0,))
