"""Where episodes start: every moment may, and those before a failure do so more often."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.starts import Tally, count, draw_starts, start_weights

LENGTH = np.array([60, 25, 11])


@pytest.fixture
def tally():
    return Tally(jnp.zeros((3, 6)), jnp.zeros((3, 6)))


def test_the_weights_are_a_distribution_over_moments_that_exist(tally):
    weights = np.asarray(start_weights(tally, jnp.asarray(LENGTH), 0.3))
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-6)
    exists = 10 * np.arange(6) < LENGTH[:, None] - 1
    np.testing.assert_array_equal(weights > 0, exists)


def test_what_leads_to_a_failure_is_started_from_and_nothing_is_forgotten(tally):
    fail = jnp.ones(400, bool)
    blank = np.asarray(start_weights(tally, jnp.asarray(LENGTH), 0.3))
    for _ in range(20):
        tally = count(tally, jnp.zeros(400, int), jnp.full(400, 45), fail, 0.999)
        tally = count(tally, jnp.ones(400, int), jnp.full(400, 5), ~fail, 0.999)
    weights = np.asarray(start_weights(tally, jnp.asarray(LENGTH), 0.3))
    assert (weights[0, 1:5] > 1.1 * blank[0, 1:5]).all()  # the bin of the failure and the three before it
    assert weights[0, 5] < blank[0, 5]
    assert (weights >= 0.3 * np.clip(LENGTH[:, None] - 1 - 10 * np.arange(6), 0, 10) / (59 + 24 + 10)).all()
    assert weights[1, 0] < blank[1, 0]


def test_counts_fade_and_old_failures_with_them(tally):
    tally = count(tally, jnp.array([0]), jnp.array([12]), jnp.array([True]), 0.9)
    for _ in range(10):
        tally = count(tally, jnp.array([1]), jnp.array([0]), jnp.array([False]), 0.9)
    np.testing.assert_allclose(tally.failures[0, 1], 0.9**10, rtol=1e-5)


def test_starts_follow_the_weights_and_keep_to_each_environments_clips(tally):
    weights = start_weights(tally._replace(failures=tally.failures.at[2, 0].set(50.0)), jnp.asarray(LENGTH), 0.3)
    own = jnp.tile(jnp.array([[0, 2], [1, 1]]), (2000, 1))
    clip, frame = draw_starts(jax.random.PRNGKey(0), weights, jnp.asarray(LENGTH), own)
    assert set(np.asarray(clip[0::2])) == {0, 2} and set(np.asarray(clip[1::2])) == {1}
    assert (frame < LENGTH[clip] - 1).all()  # a step is left to go
    share = float(weights[2].sum() / (weights[0].sum() + weights[2].sum()))
    np.testing.assert_allclose(np.mean(np.asarray(clip[0::2]) == 2), share, atol=0.04)


def test_by_the_floor_alone_every_moment_of_every_clip_is_as_likely(tally):
    weights = start_weights(tally, jnp.asarray(LENGTH), 1.0)
    everything = jnp.tile(jnp.arange(3), (60_000, 1))
    clip, frame = draw_starts(jax.random.PRNGKey(2), weights, jnp.asarray(LENGTH), everything)
    drawn = np.bincount(np.asarray(100 * clip + frame), minlength=300).reshape(3, 100)
    for own, length in zip(drawn, LENGTH, strict=True):
        assert not own[length - 1 :].any()
        np.testing.assert_allclose(own[: length - 1] / 60_000, 1 / (59 + 24 + 10), rtol=0.2)
