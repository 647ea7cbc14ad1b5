"""Checks: each fault is named with its frames, and sound motions, real and made, pass."""

import numpy as np
import pytest

from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.motion.check import check_clip, rejected
from imdy_jax.motion.load import load_clips
from imdy_jax.motion.posing import from_rotation_vectors
from imdy_jax.motion.procedural import procedural_clip


@pytest.fixture(scope="module")
def body():
    return anthropometric_body("neutral")


@pytest.fixture(scope="module")
def sway(body):
    return procedural_clip("sway", body)


@pytest.fixture(scope="module")
def hop(body):
    return procedural_clip("hop", body)


def _shifted(clip, frames, by):
    translation = np.array(clip.translation)
    translation[frames] += by
    return clip.replace(translation=translation)


def test_sound_motions_have_no_problems(body, sway, hop):
    assert check_clip(sway, body) == []
    assert check_clip(hop, body) == []


def test_nan_names_its_first_frame(body, sway):
    (problem,) = check_clip(_shifted(sway, slice(31, 33), np.nan), body)
    assert (problem.kind, problem.first, problem.last, problem.severity) == ("nan", 31, 32, "reject")


def test_a_leap_of_one_frame_is_a_jump_of_the_pelvis(body, sway):
    problems = rejected(check_clip(_shifted(sway, 50, [0.1, 0.0, 0.0]), body))
    assert [p.kind for p in problems] == ["jump"]
    assert str(problems[0]) == "procedural: frame 50: jump: found pelvis at 180 m/s², limit 100 m/s²"


def test_a_pelvis_faster_than_any_runner_is_a_jump(body, sway):
    far = np.zeros((sway.num_frames, 3))
    far[:, 0] = np.linspace(0, 14.0 * sway.duration, sway.num_frames)
    assert any("pelvis at 14" in str(p) for p in rejected(check_clip(_shifted(sway, slice(None), far), body)))


def test_a_flipped_joint_is_named(body, sway):
    rotations = np.array(sway.rotations)
    rotations[40, 18] = from_rotation_vectors(np.array([0.0, -2.5, 0.0]))
    problems = rejected(check_clip(sway.replace(rotations=rotations), body))
    assert problems
    assert all(p.kind == "jump" and "left_elbow" in p.found for p in problems)
    assert {40, 41} & {p.first for p in problems}


def test_hovering_is_no_flight(body, sway):
    (problem,) = check_clip(_shifted(sway, slice(60, 90), [0.0, 0.0, 0.1]), body)
    assert (problem.kind, problem.severity) == ("float", "reject")
    assert problem.first in (59, 60)
    assert problem.last in (89, 90)


def test_a_flight_at_a_third_of_its_speed_is_hovering(body, hop):
    slow = hop.replace(fps=hop.fps / 3)
    assert [p.kind for p in check_clip(slow, body)] == ["float"]


def test_feet_that_glide_on_the_spot_skate(body, sway):
    drift = np.zeros((sway.num_frames, 3))
    drift[45:] = np.minimum(np.arange(sway.num_frames - 45) / 30, 2.0)[:, None] * [0.5, 0.0, 0.0]
    problems = check_clip(_shifted(sway, slice(None), drift), body)
    assert [(p.kind, p.severity) for p in problems] == [("skate", "reject")]
    assert abs(problems[0].first - 45) <= 1
    assert abs(problems[0].last - 105) <= 1
    assert "0.50 m/s" in problems[0].found


@pytest.mark.parametrize(("depth", "severity"), [(0.08, "warn"), (0.2, "reject")])
def test_sinking_into_the_floor_is_penetration(body, sway, depth, severity):
    sink = -depth * np.exp(-(((np.arange(sway.num_frames) - 90) / 15.0) ** 2))[:, None] * [0.0, 0.0, 1.0]
    problems = [
        p for p in check_clip(sway.replace(translation=sway.translation + sink), body) if p.kind == "penetration"
    ]
    assert [p.severity for p in problems] == [severity]
    assert problems[0].first < 90 < problems[0].last


def test_of_the_shared_clips_only_the_broken_one_is_left_out(shared_data, body):
    clips, bad = load_clips(shared_data / "motions" / "smpl_video_clips", body)
    assert len(clips) == 40
    (broken,) = bad
    assert "single_foot_balance_level2" in broken.source
    assert "jump" in broken.reason
    assert "frames 288 to 289" in broken.reason
    assert all(clip.fps == 30 and np.isfinite(clip.translation).all() for clip in clips)
