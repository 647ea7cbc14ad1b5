"""Refinement of poses: its equations, what it learns of the noise, and what it is worth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import refine_pose
from imdy_jax import rotation
from imdy_jax.analysis.clean_motion import procedural_scenes
from imdy_jax.analysis.refinement import RefinementStudy, outcome_table, study
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.dynamics.banded import WINDOW, add_terms, no_terms, solve
from imdy_jax.dynamics.pose_prior import MIN_FRAMES, learn_prior
from imdy_jax.dynamics.refine import Refinement, refine
from imdy_jax.humanoid import from_body
from imdy_jax.motion.amass import read_amass, write_amass
from imdy_jax.motion.clip import generalized_positions
from imdy_jax.motion.load import load_clips
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.skeleton import NUM_BODIES

CONFIG = RefinementStudy(clips=("hop",), seconds=1.5)


@pytest.fixture(scope="module", autouse=True)
def double():
    """float64; the body's surface, made here, relies on rank promotion."""
    jax.clear_caches()
    with jax.enable_x64(True):
        yield
    jax.clear_caches()


@pytest.fixture(scope="module")
def body(double):
    return anthropometric_body("neutral")


@pytest.mark.parametrize("frames", [4, 9, 11])
def test_banded_equations_are_solved_like_dense_ones(frames):
    unknowns, draw = 5, np.random.default_rng(frames)
    equations, rows, residuals = no_terms(frames, unknowns, jnp.float64), [], []
    for width in range(1, WINDOW + 1):
        count = frames - width + 1
        jacobian, residual = draw.normal(size=(count, 3, width, unknowns)), draw.normal(size=(count, 3))
        equations = add_terms(equations, jnp.asarray(jacobian), jnp.asarray(residual))
        for k in range(count):
            dense = np.zeros((3, frames, unknowns))
            dense[:, k : k + width] = jacobian[k]
            rows.append(dense.reshape(3, -1))
            residuals.append(residual[k])
    expected = np.linalg.lstsq(np.concatenate(rows), -np.concatenate(residuals), rcond=None)[0]
    np.testing.assert_allclose(solve(equations).reshape(-1), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_noise_is_learnt_from_the_motion_itself(correlation):
    fps, frames, draw = 30.0, 200, np.random.default_rng(1)
    time, sd = np.arange(frames) / fps, np.linspace(0.002, 0.02, NUM_BODIES)
    swing = 0.3 * np.sin(2 * np.pi * (0.5 * time[:, None, None] + draw.uniform(size=(1, NUM_BODIES, 3))))
    noise = draw.normal(size=(frames, NUM_BODIES, 3))
    for t in range(1, frames):
        noise[t] = correlation * noise[t - 1] + np.sqrt(1 - correlation**2) * noise[t]
    clean, fault = (np.asarray(rotation.exp(jnp.asarray(x))) for x in (swing, sd[None, :, None] * noise))
    q = np.asarray(rotation.multiply(jnp.asarray(clean), jnp.asarray(fault))).reshape(frames, -1)
    prior, correction = learn_prior(np.concatenate([np.zeros((frames, 3)), q], axis=1), fps)
    assert abs(float(prior.correlation) - correlation) < 0.25
    if correlation == 0.0:  # how loud noise is and how long it lasts are hard to tell apart
        np.testing.assert_allclose(prior.noise_sd[3:].reshape(NUM_BODIES, 3).mean(axis=1), sd, rtol=0.2)
    left = correction[:, 3:].reshape(noise.shape) + sd[None, :, None] * noise
    assert np.std(left) < (0.75 if correlation else 0.5) * np.std(sd[None, :, None] * noise)


@pytest.fixture(scope="module")
def outcome(body):
    scenes = list(procedural_scenes(CONFIG.clips, [body], CONFIG.seconds))
    return study(scenes, CONFIG, Refinement(), lambda amount, **values: None)


def test_torques_come_nearer_to_the_truth_than_by_the_best_filter(outcome):
    found, best = outcome
    assert found[0].refined < 0.1 * found[0].raw
    assert found[0].refined < 0.8 * found[0].filtered
    row = outcome_table(found, best, CONFIG).rows[-1]
    assert row[3] == pytest.approx(found[0].refined) and row[4] > 90


def test_poses_change_little_and_for_the_better(outcome):
    (one,), _ = outcome
    assert 0.2 < one.change[0] < 1.0 and one.change[1] < 10.0
    assert all(after < before for after, before in zip(one.refined_pose, one.noisy_pose, strict=True))


def test_files_are_refined_and_bad_ones_named(tmp_path, body, capsys):
    clip = procedural_clip("bow", body)
    few = lambda n: clip.replace(rotations=clip.rotations[:n], translation=clip.translation[:n])  # noqa: E731
    write_amass(tmp_path / "in" / "whole.npz", few(46))
    write_amass(tmp_path / "in" / "short.npz", few(MIN_FRAMES - 1))
    (tmp_path / "in" / "torn.npz").write_bytes(b"PK\x03\x04")
    loaded = load_clips(tmp_path / "in", body)
    refine_pose.mend(loaded, body, Refinement(), tmp_path / "out")
    told = capsys.readouterr().out
    assert "1 motions, 2 left out" in told and "torn.npz" in told and "short.npz" in told
    back = read_amass(tmp_path / "out" / "whole.npz")
    assert sorted(p.name for p in (tmp_path / "out").glob("*.npz")) == ["whole.npz"]
    assert back.num_frames == 46
    # The motion was clean: it stays what it was.
    assert np.abs(np.asarray(rotation.between(back.rotations, np.asarray(clip.rotations[:46])))).max() < 0.05


def test_what_cannot_be_refined_is_said(body):
    q = np.asarray(generalized_positions(procedural_clip("bow", body), body))[:40]
    humanoid = from_body(body)
    with pytest.raises(ValueError, match="found 5 frames, expected at least"):
        refine(humanoid, [q[:5]], 30.0)
    with jax.enable_x64(False), pytest.raises(ValueError, match="float32"):
        refine(humanoid, [q], 30.0)


def test_a_clip_survives_writing_and_reading(tmp_path, body):
    clip = procedural_clip("squat", body)
    write_amass(tmp_path / "squat.npz", clip)
    back = read_amass(tmp_path / "squat.npz")
    assert np.abs(np.asarray(rotation.between(back.rotations, np.asarray(clip.rotations)))).max() < 1e-6
    np.testing.assert_allclose(back.translation, clip.translation, atol=1e-7)
    assert (back.fps, back.sex, back.name) == (clip.fps, clip.sex, "squat")
