"""Filters: scipy's results in JAX, as linear operators, and steps that float32 does not spoil."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal
from scipy.interpolate import make_smoothing_spline

from imdy_jax import rotation
from imdy_jax.motion import filters
from imdy_jax.motion.filters import Butterworth, NoFilter, SavitzkyGolay, SmoothingSpline

pytestmark = pytest.mark.usefixtures("strict")

FRAMES, FPS = 140, 100.0
ALL = (NoFilter(), Butterworth(), SavitzkyGolay(), SmoothingSpline())
smooth = jax.jit(lambda f, x: f.smooth(x, FPS))


@pytest.fixture
def wander():
    """A random walk (T, 5): content at all frequencies, and ends far from zero."""
    return np.cumsum(np.random.default_rng(0).normal(size=(FRAMES, 5)), axis=0)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_butterworth_is_filtfilt(strict, wander, order):
    for cutoff in (2.0, 6.0, 20.0):
        reference = signal.filtfilt(*signal.butter(order, cutoff, fs=FPS), wander, axis=0)
        found = smooth(Butterworth(cutoff, order), jnp.asarray(wander))
        np.testing.assert_allclose(found.value, reference, atol=1e-9)
        np.testing.assert_allclose(found.step, np.diff(reference, axis=0), atol=1e-9)


def test_butterworth_of_a_short_signal_pads_what_there_is(strict):
    x = np.random.default_rng(1).normal(size=(7, 2))
    reference = signal.filtfilt(*signal.butter(4, 6.0, fs=FPS), x, axis=0, padlen=6)
    np.testing.assert_allclose(Butterworth(6.0, 4).smooth(jnp.asarray(x), FPS).value, reference, atol=1e-9)


def test_spline_is_the_natural_smoothing_spline(strict, wander):
    cosine = np.cos(2 * np.pi * 6.0 / FPS)
    penalty = (2 + cosine) / 3 / (2 - 2 * cosine) ** 2
    time = np.arange(FRAMES)
    reference = make_smoothing_spline(time, wander, lam=penalty, axis=0)(time)
    found = smooth(SmoothingSpline(6.0), jnp.asarray(wander))
    np.testing.assert_allclose(found.value, reference, atol=1e-9)
    np.testing.assert_allclose(found.step, np.diff(reference, axis=0), atol=1e-9)


def test_savitzky_golay_is_scipys_and_keeps_polynomials(strict, wander):
    found = smooth(SavitzkyGolay(15, 3), jnp.asarray(wander))
    odd = np.concatenate([2 * wander[:1] - wander[7:0:-1], wander, 2 * wander[-1:] - wander[-2:-9:-1]])
    reference = signal.savgol_filter(odd, 15, 3, axis=0)[7:-7]
    np.testing.assert_allclose(found.value, reference, atol=1e-9)
    np.testing.assert_allclose(found.step, np.diff(reference, axis=0), atol=1e-9)
    cubic = jnp.asarray(np.linspace(-1, 1, FRAMES)[:, None] ** np.arange(4))
    np.testing.assert_allclose(smooth(SavitzkyGolay(15, 3), cubic).value[8:-8], cubic[8:-8], atol=1e-12)


@pytest.mark.parametrize("low_pass", [Butterworth(6.0, 2), Butterworth(6.0, 3), SmoothingSpline(6.0)])
def test_half_of_a_sine_at_the_cutoff_passes_without_delay(strict, low_pass):
    sine = np.sin(2 * np.pi * 6.0 * np.arange(600) / FPS)[:, None]
    found = low_pass.smooth(jnp.asarray(sine), FPS).value
    np.testing.assert_allclose(found[200:400], 0.5 * sine[200:400], atol=2e-3)


@pytest.mark.parametrize("low_pass", ALL, ids=lambda f: type(f).__name__)
def test_the_operator_is_the_filter_and_keeps_straight_lines(strict, wander, low_pass):
    matrix, found = filters.operator(low_pass, FRAMES, FPS), smooth(low_pass, jnp.asarray(wander))
    np.testing.assert_allclose(matrix.value @ wander, found.value, atol=1e-10)
    np.testing.assert_allclose(matrix.step @ wander, found.step, atol=1e-10)

    long = Butterworth(extension=FRAMES) if isinstance(low_pass, Butterworth) else low_pass
    line = jnp.linspace(3.0, 5.0, FRAMES)[:, None]
    np.testing.assert_allclose(smooth(long, line).value, line, atol=1e-10)


def test_one_program_serves_all_cutoffs_and_is_differentiable_by_them(strict, wander):
    x = jnp.asarray(wander)
    loss = lambda cutoff: jnp.sum(Butterworth(cutoff).smooth(x, FPS).value ** 2)  # noqa: E731
    cutoffs = jnp.asarray([3.0, 6.0, 12.0])
    slope = jax.jit(jax.vmap(jax.grad(loss)))(cutoffs)
    central = (jax.vmap(loss)(cutoffs + 1e-4) - jax.vmap(loss)(cutoffs - 1e-4)) / 2e-4
    np.testing.assert_allclose(slope, central, rtol=1e-6)


@pytest.mark.parametrize("low_pass", ALL[1:], ids=lambda f: type(f).__name__)
def test_steps_in_single_precision_are_finer_than_differences_of_values(strict, low_pass):
    time = np.arange(400) / FPS
    x = np.float32(5.0 + np.sin(time[:, None] * np.array([1.0, 3.0])))
    exact = smooth(low_pass, jnp.asarray(x, jnp.float64)).step
    found = smooth(low_pass, jnp.asarray(x))
    assert found.value.dtype == jnp.float32
    error = lambda step: np.abs(np.diff(np.float64(step) - exact, axis=0)).max()  # noqa: E731
    assert error(found.step) < 0.2 * error(np.diff(found.value, axis=0))


def test_poses_are_filtered_whatever_the_signs_of_their_quaternions(strict):
    draw = np.random.default_rng(2)
    turn = np.cumsum(draw.normal(size=(60, 24, 3)), axis=0) * 0.05
    quaternions, position = np.asarray(rotation.exp(jnp.asarray(turn))), draw.normal(size=(60, 3))
    flipped = quaternions * draw.choice([-1.0, 1.0], size=(60, 24, 1))
    flipped[0] = quaternions[0]
    pose = lambda x: filters.smooth_poses(Butterworth(), jnp.asarray(position), jnp.asarray(x), FPS)  # noqa: E731
    np.testing.assert_allclose(pose(flipped).value, pose(quaternions).value, atol=1e-14)
    assert np.all(np.sum(filters.continuous(flipped)[1:] * filters.continuous(flipped)[:-1], axis=-1) > 0.0)


def test_the_filter_on_the_host_is_the_same(strict):
    turn = np.cumsum(np.random.default_rng(3).normal(size=(60, 24, 3)), axis=0) * 0.02
    rotations, position = rotation.exp(jnp.asarray(turn)), jnp.asarray(turn[:, 0])
    q = np.concatenate([position, rotations.reshape(60, 96)], axis=1)
    host = filters.lowpass(q, FPS, 6.0)
    found = filters.smooth_poses(Butterworth(6.0, filters.FILTER_ORDER), position, rotations, FPS).value
    unit = rotation.normalize(found[:, 3:].reshape(60, 24, 4)).reshape(60, 96)
    np.testing.assert_allclose(host, np.concatenate([found[:, :3], unit], axis=1), atol=1e-9)


@pytest.mark.parametrize(
    ("low_pass", "frames", "message"),
    [
        (Butterworth(60.0), 100, r"found cut-off 60 Hz at 100 frames/s, expected 0 to 50 Hz"),
        (SmoothingSpline(0.0), 100, "found cut-off 0 Hz"),
        (NoFilter(), 2, "found 2 frames, expected at least 3"),
        (SavitzkyGolay(31), 12, "found 12 frames, expected at least 16"),
        (SavitzkyGolay(8), 100, "found window 8 and degree 3, expected an odd window"),
    ],
)
def test_errors_say_what_is_wrong(strict, low_pass, frames, message):
    with pytest.raises(ValueError, match=message):
        low_pass.check(frames, FPS)
