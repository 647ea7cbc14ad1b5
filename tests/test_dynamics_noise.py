"""Noise of poses, its closed-form way into the torques, and the study of it."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_humanoid import toy_humanoid

from experiments import study_noise
from imdy_jax import rotation
from imdy_jax.analysis.calibration import Sample, coverage, interval_factor
from imdy_jax.analysis.clean_motion import make_scene, view
from imdy_jax.analysis.noise_study import Amplification, bootstrap, causal_matrices, linear_limit
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.dynamics.estimate import estimate_poses
from imdy_jax.dynamics.noise import PoseNoise, perturb, stationary, time_covariance
from imdy_jax.dynamics.propagation import (
    filter_bias,
    sampled_error_bars,
    squared_gains,
    standard_deviation,
    torque_error_bars,
)
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.filters import Butterworth, NoFilter, operator
from imdy_jax.skeleton import joint_index

pytestmark = pytest.mark.usefixtures("strict")

FRAMES, FPS, MEMORY = 9, 30.0, 0.1
FILTER = Butterworth(6.0)


@pytest.fixture(scope="module")
def moving():
    """A toy person who moves fast: position (T, 3), rotations (T, 24, 4) and wrenches (T, 24, 6)."""
    draw = np.random.default_rng(0)
    turns = 0.1 * np.cumsum(draw.normal(size=(FRAMES, 24, 3)), axis=0)
    turns[:, 0] += [np.pi / 2, 0.0, 0.0]
    position = 0.02 * np.cumsum(draw.normal(size=(FRAMES, 3)), axis=0)
    return jnp.asarray(position), rotation.exp(jnp.asarray(turns)), jnp.asarray(20 * draw.normal(size=(FRAMES, 24, 6)))


def forces(moving, position, rotations):
    """Generalised forces (T, 75) by the library's own estimate."""
    found = estimate_poses(toy_humanoid(), position, rotations, FPS, FILTER, None, moving[2])
    return jnp.concatenate([found.residual, found.torque.reshape(FRAMES, -1)], axis=1)


@pytest.fixture(scope="module")
def gains(moving, strict):
    """Squared gains (T, 25, 75) by memory."""
    matrices = operator(FILTER, FRAMES, FPS)
    find = partial(squared_gains, toy_humanoid(), matrices, *moving[:2], FPS, wrench=moving[2])
    return {memory: find(memory=memory) for memory in (0.0, MEMORY)}


@pytest.mark.parametrize("memory", [0.0, 0.05, 1.0])
def test_noise_has_the_covariance_it_says(strict, memory):
    spread = stationary(jnp.eye(12), 60.0, memory)
    np.testing.assert_allclose(spread @ spread.T, time_covariance(12, 60.0, memory), atol=1e-12)
    apart = np.abs(np.subtract.outer(np.arange(12), np.arange(12))) / 60.0
    expected = np.exp(-apart / memory) if memory else np.eye(12)
    np.testing.assert_allclose(time_covariance(12, 60.0, memory), expected, atol=1e-12)


def test_noise_lies_on_the_rotation_group_and_scales_per_joint(strict):
    draw = np.random.default_rng(1)
    rotations = rotation.normalize(jnp.asarray(draw.normal(size=(4000, 24, 4))))
    sd = jnp.linspace(0.0, 0.1, 24)
    add = jax.jit(partial(perturb, jax.random.PRNGKey(0), rotations, jnp.zeros((4000, 3)), FPS, memory_seconds=MEMORY))
    noisy, moved = add(rotation_sd=sd, translation_sd=0.02)
    np.testing.assert_allclose(jnp.linalg.norm(noisy, axis=-1), 1.0, atol=1e-12)
    turns = rotation.between(rotations, noisy)
    np.testing.assert_allclose(jnp.std(turns, axis=(0, 2)), sd, rtol=0.06, atol=1e-12)
    assert float(jnp.std(moved)) == pytest.approx(0.02, rel=0.06)
    for noise in (turns[:, 1:], moved):
        found = jnp.mean(noise[1:] * noise[:-1]) / jnp.mean(noise**2)
        assert float(found) == pytest.approx(np.exp(-1.0 / (FPS * MEMORY)), abs=0.03)
    doubled, _ = add(rotation_sd=2 * sd, translation_sd=0.0)
    np.testing.assert_allclose(rotation.between(rotations, doubled), 2 * turns, atol=1e-9)


def test_the_closed_form_is_the_jacobian_of_the_estimate(strict, moving, gains):
    """Against the whole Jacobian (T·75, T·75) by automatic differentiation through filter and derivatives."""

    def shifted(change):
        turned = rotation.multiply(moving[1], rotation.exp(change[:, 3:].reshape(FRAMES, 24, 3)))
        return forces(moving, moving[0] + change[:, :3], turned)

    jacobian = jax.jit(jax.jacfwd(shifted))(jnp.zeros((FRAMES, 75)))
    for memory, found in gains.items():
        covariance = time_covariance(FRAMES, FPS, memory)
        variance = jnp.einsum("tisa,sr,tira->tia", jacobian, covariance, jacobian)
        expected = variance.reshape(FRAMES, 75, 25, 3).sum(axis=-1).swapaxes(1, 2)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * float(expected.max()))
        assert float(expected[:, :, 6:].max()) > 1e4


@pytest.mark.parametrize("memory", [0.0, MEMORY])
def test_the_closed_form_agrees_with_monte_carlo_which_is_unbiased(strict, moving, gains, memory):
    noise, draws = PoseNoise(jnp.linspace(1e-4, 2e-4, 24), 1e-4, memory), 600

    @jax.jit
    def sample(key):
        noisy, moved = perturb(key, moving[1], moving[0], FPS, noise.rotation_sd, noise.translation_sd, memory)
        return forces(moving, moved, noisy)

    keys = jax.random.split(jax.random.PRNGKey(2), draws)
    error = jax.lax.map(sample, keys, batch_size=50) - forces(moving, *moving[:2])[None]
    predicted = standard_deviation(gains[memory], noise)
    score = jnp.mean(error, axis=0) / predicted * np.sqrt(draws)
    assert float(jnp.sqrt(jnp.mean(score**2))) < 1.3
    ratio = jnp.mean(error**2, axis=0) / predicted**2
    assert float(jnp.mean(ratio)) == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(ratio, 1.0, atol=6 * np.sqrt(2 / draws))
    inside = jnp.mean(jnp.abs(error) < interval_factor() * predicted[None])
    assert float(inside) == pytest.approx(0.9, abs=0.02)


@pytest.fixture(scope="module")
def still(strict):
    """A person at rest, at some frame rate."""
    body = anthropometric_body()

    def make(fps):
        rotations = (
            jnp.tile(jnp.asarray(rotation.IDENTITY), (FRAMES, 24, 1)).at[:, 0].set(jnp.asarray(rotation.UPRIGHT))
        )
        return Clip(rotations, jnp.zeros((FRAMES, 3)), fps, "still", "test", "0"), body

    return make


def test_error_bars_grow_with_the_noise_and_unfiltered_with_the_square_of_the_rate(strict, still):
    bars = partial(torque_error_bars, smoothing=NoFilter())
    one = bars(*still(30.0), PoseNoise(0.01))
    np.testing.assert_allclose(bars(*still(30.0), PoseNoise(0.02)), 2 * one, rtol=1e-9)
    np.testing.assert_allclose(bars(*still(60.0), PoseNoise(0.01))[4], 4 * one[4], rtol=0.01)
    wide = bars(*still(30.0), PoseNoise(0.01), level=0.99)
    np.testing.assert_allclose(wide / one, 2.5758 / 1.6449, rtol=1e-4)
    smooth = torque_error_bars(*still(30.0), PoseNoise(0.01), Butterworth(4.0))
    assert float(jnp.max(smooth[4] / one[4])) < 0.3
    with pytest.raises(ValueError, match="found cut-off 20 Hz"):
        torque_error_bars(*still(30.0), PoseNoise(0.01), Butterworth(20.0))


def test_sampled_bars_agree_and_take_in_the_ground(strict, still):
    standing, body = still(30.0)
    floor = -float(body.vertices[:, 1].min()) - 0.005
    standing = dataclasses.replace(standing, translation=standing.translation.at[:, 2].set(floor))
    noise, key = PoseNoise(1e-3, 1e-4, MEMORY), jax.random.PRNGKey(4)
    sampled = partial(sampled_error_bars, key, standing, body, noise, FILTER)
    closed = torque_error_bars(standing, body, noise, FILTER)
    ratio = sampled(contact=None, draws=400) / closed
    np.testing.assert_allclose(ratio, 1.0, atol=6 / np.sqrt(800))
    assert float(jnp.mean(ratio)) == pytest.approx(1.0, abs=0.03)
    with_ground = sampled(draws=32)
    ankle = joint_index("left_ankle") - 1
    assert float(with_ground[4, ankle].max()) > 3 * float(closed[4, ankle].max())
    arm = joint_index("left_elbow") - 1
    np.testing.assert_allclose(with_ground[:, arm], closed[:, arm], rtol=0.5)


def test_the_filter_s_own_error_widens_the_bars_of_a_motion_only(strict, moving, still):
    frames = jnp.arange(FRAMES)
    find = lambda smoothing: filter_bias(  # noqa: E731
        toy_humanoid(), operator(smoothing, FRAMES, FPS), moving[0], moving[1], FPS, moving[2], frames
    )
    np.testing.assert_allclose(find(NoFilter()), 0.0, atol=1e-9)
    assert float(find(FILTER).min()) > 0.0
    plain, widened = (torque_error_bars(*still(30.0), PoseNoise(0.01), bias=bias) for bias in (0.0, 2.0))
    np.testing.assert_allclose(widened, plain, rtol=1e-6)


def test_gains_in_single_precision_follow_the_input(strict, moving, gains):
    to_single = partial(jax.tree.map, lambda x: x.astype(jnp.float32))
    arguments = to_single((toy_humanoid(), operator(FILTER, FRAMES, FPS), *moving[:2]))
    found = squared_gains(*arguments, FPS, MEMORY, to_single(moving[2]))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, gains[MEMORY], rtol=1e-3, atol=1e-3 * float(gains[MEMORY].min(axis=(1, 2)).max()))


def test_online_filters_lag_as_they_say(strict):
    smooth, lag = causal_matrices(4.0, 3.0, FPS)
    time = np.arange(91) / FPS
    slow = np.sin(2 * np.pi * 0.4 * time)
    np.testing.assert_allclose((smooth.value @ slow)[30:], np.sin(2 * np.pi * 0.4 * (time - lag))[30:], atol=0.01)


def test_intervals_are_calibrated_on_other_clips(strict):
    draw, shape = np.random.default_rng(3), (40, 23, 3)
    samples, clips = [], []
    for i in range(12):
        sd, bias = np.exp(draw.normal(size=shape)), np.exp(draw.normal(size=shape))
        clean = draw.normal(size=shape)
        noisy = clean + sd * draw.normal(size=shape)
        samples.append(Sample(clean + 0.7 * bias * draw.normal(size=shape), clean, noisy, sd, bias))
        clips.append(f"clip {i // 2}")
    found = coverage(samples, clips)
    assert found.weight == pytest.approx(0.7, abs=0.05)
    assert found.of_clean == pytest.approx(0.9, abs=0.01)
    assert found.held_out == pytest.approx(0.9, abs=0.01)
    assert found.of_true < 0.87


def test_bootstrap_and_the_end_of_linearity(strict):
    values = np.array([1.0, 1.0, 3.0, 3.0])[:, None]
    low, high = bootstrap(values, ["a", "a", "b", "b"], [0, 1, 0, 1], seed=0)
    assert (low[0], high[0]) == pytest.approx((1.0, 3.0))
    low, high = bootstrap(values, ["a", "b", "a", "b"], [0, 0, 1, 1], seed=0)
    assert (low[0], high[0]) == pytest.approx((1.0, 3.0))
    result = Amplification(10.0, np.array([10.5, 9.5, 12.0]), 0.0, 0.0)
    assert linear_limit(result, np.array([1.0, 2.0, 3.0])) == 2.0
    assert linear_limit(result._replace(predicted=1.0), np.array([1.0, 2.0, 3.0])) is None


def test_errors_name_the_setting(strict):
    with pytest.raises(ValueError, match="wave: seconds: found 3, expected at most"):
        make_scene(toy_humanoid(), np.zeros((100, 99)), 3.0, "wave")
    with pytest.raises(ValueError, match="found 50 frames/s, expected 30, 60 or 120"):
        view(None, 50.0)


def test_the_study_runs_and_says_what_it_found(strict, tmp_path):
    with jax.numpy_rank_promotion("allow"):  # the script computes as its users do
        study_noise.main(quick=True, out=str(tmp_path / "noise"))
    tables = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "noise" / "tables").iterdir()}
    assert {"amplification", "best_cutoffs", "cutoffs", "lag", "sensitivity_unfiltered", "calibration"} <= set(tables)
    columns = tables["amplification"]["columns"]
    assert all(row[columns.index("gap %")] < 10.0 for row in tables["amplification"]["rows"])
    joints = {row[0]: row[2] for row in tables["sensitivity_unfiltered"]["rows"]}
    assert joints["spine1"] > 10 * joints["left_wrist"] > 0
    assert len(list((tmp_path / "noise" / "figures").glob("*.png"))) == 8
