"""What a record followed is its own clip or nothing: read again, put on the same person, from the same frame."""

import dataclasses
import re

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from envs.people import PeopleConfig, load_people
from envs.playback import followed
from envs.studio import make_subjects
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.dataset.record import Provenance, body_points, record_rollout
from imdy_jax.imitation.rollout import Rollout
from imdy_jax.motion.clip import generalized_positions
from imdy_jax.motion.procedural import procedural_clip

FRAMES, BEGUN, OFF = 40, 5, 0.02  # OFF: m, how far above the reference the recorded motion is
CLIPS = ("sway", "sway_x1.25_mirrored")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """One short AMASS-style file, at two speeds, mirrored too."""
    folder = tmp_path_factory.mktemp("motions")
    clip = procedural_clip("sway", anthropometric_body(), 30.0)
    quaternions = np.asarray(clip.rotations)[30 : 30 + FRAMES].reshape(-1, 4)
    poses = Rotation.from_quat(quaternions, scalar_first=True).as_rotvec().reshape(-1, 72)
    np.savez(folder / "sway.npz", poses=poses, trans=np.asarray(clip.translation)[30 : 30 + FRAMES],
             mocap_framerate=30.0, gender="neutral", betas=np.zeros(10))  # fmt: skip
    return PeopleConfig(motions=str(folder), mirrored=True, speeds=(1.0, 1.25), check=False)


@pytest.fixture(scope="module")
def recorded(people):
    """A record of each of CLIPS from its frame BEGUN, and the q that it had to follow."""
    with jax.enable_x64(True):
        bodies, (clips,), _ = load_people(people)
        subject = make_subjects(bodies)[0]
        return [_record(subject, bodies[0], next(c for c in clips if c.name == name)) for name in CLIPS]


def _record(subject, body, clip):
    wanted = np.asarray(generalized_positions(clip, body))[BEGUN:]
    steps = len(wanted) - 1
    q = wanted + np.eye(99)[2] * OFF
    zeros = lambda *shape: np.zeros((steps, *shape))  # noqa: E731
    rollout = Rollout(
        q, np.zeros((steps + 1, 75)), zeros(23, 4), zeros(2, 75), zeros(2, 23, 3), zeros(2, 24, 6),
        zeros(2, 23).astype(bool), zeros(2).astype(bool), body_points(subject, wanted)[0],
    )  # fmt: skip
    how = Provenance("none", 0, 1, BEGUN, "mujoco", 1 / 60, 2)
    return record_rollout(rollout, subject, clip, how), wanted


@pytest.mark.parametrize("which", range(len(CLIPS)))
def test_the_reference_is_what_was_imitated(people, recorded, which):
    record, wanted = recorded[which]
    (found,) = followed([record], people)
    np.testing.assert_array_equal(found.reference, wanted)
    assert found.body.source == record.subject.model


def test_clips_may_have_been_moved_but_not_changed(people, recorded, tmp_path):
    record, wanted = recorded[0]
    elsewhere = dataclasses.replace(people, motions=str(tmp_path))
    with np.load(f"{people.motions}/sway.npz") as file:
        content = dict(file)
    with open(f"{people.motions}/sway.npz", "rb") as file:
        (tmp_path / "sway.npz").write_bytes(file.read())
    np.testing.assert_array_equal(followed([record], elsewhere)[0].reference, wanted)
    content["trans"] = content["trans"] + np.array([0.0, 0.0, 1e-3])
    np.savez(tmp_path / "sway.npz", **content)
    with pytest.raises(ValueError, match=r"sway\.npz: its sha256 is .*: it has changed since sway-.* was recorded"):
        followed([record], elsewhere)
    (tmp_path / "sway.npz").rename(tmp_path / "bow.npz")
    with pytest.raises(ValueError, match=r"found no clip 'sway' \(no motion of that name\), .*name the folder"):
        followed([record], elsewhere)


def test_other_people_and_other_motions_are_refused(people, recorded):
    record, _ = recorded[0]
    with pytest.raises(ValueError, match=re.escape(f"its subject is {record.subject.digest}, expected one of")):
        followed([record], dataclasses.replace(people, stature=1.8))
    with pytest.raises(ValueError, match=r"MPJPE against .*sway\.npz is 20\.00 mm, expected the recorded 25\.00 mm"):
        followed([record.replace(position_error=25.0)], people)
