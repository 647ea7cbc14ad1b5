"""The trainer: it improves, and an interruption changes nothing."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_world import small_env

from imdy_jax.imitation.evaluate import ClipScore, best_players, make_judge, score
from imdy_jax.imitation.evaluate_pushes import PushedConfig, evaluate_pushes
from imdy_jax.imitation.ppo import PPOConfig, means
from imdy_jax.imitation.train import TrainConfig, load, reinforcement, train
from imdy_jax.run import RunFolder, read_metrics

PPO = PPOConfig(hidden=(32,), horizon=8, minibatch=64, epochs=2, learning_rate=1e-3)


@pytest.fixture(scope="module")
def env():
    return small_env(32)


@cache
def method(env, ppo=PPO):
    """One for all runs: each method is compiled for itself."""
    return reinforcement(env, ppo)


def _run(path, env, iterations, resume=False, ppo=PPO):
    config = TrainConfig(minutes=60.0, iterations=iterations, checkpoint_every=2, ppo=ppo)
    run = RunFolder.create(path, dataclasses.replace(config, iterations=0), seed=0, resume=resume)
    return run, train(method(env, ppo), config, run, seed=0)


def test_a_run_that_was_killed_goes_on_with_the_same_numbers(tmp_path, env):
    whole, straight = _run(tmp_path / "whole", env, 5)
    _run(tmp_path / "torn", env, 4)
    # The process dies after iteration 4 and before its successor: the log has a torn line, a later row.
    with (tmp_path / "torn" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 5, "reward": 123.0}\n{"step": 6, "rew')
    torn, resumed = _run(tmp_path / "torn", env, 5, resume=True)
    for a, b in zip(jax.tree.leaves(straight.params), jax.tree.leaves(resumed.params), strict=True):
        np.testing.assert_array_equal(a, b)
    rows = [read_metrics(run.path / "metrics.jsonl") for run in (whole, torn)]
    assert [row["step"] for row in rows[1]] == [1, 2, 3, 4, 5]
    assert [row["reward"] for row in rows[0]] == [row["reward"] for row in rows[1]]
    kept = load(torn, TrainConfig(ppo=PPO), env.observation_size, env.action_size)
    assert kept.digest == resumed.digest == straight.digest


def test_what_acts_is_the_average_and_steps_shrink_with_the_samples_seen(tmp_path, env):
    never = dataclasses.replace(PPO, averaging=0.0, halving=1.0, least_divergence=1e-9)
    run, trained = _run(tmp_path / "never", env, 3, ppo=never)
    # An average that takes nothing in is the untrained actor, whose last layer is zero.
    assert not trained.act(np.ones((1, env.observation_size))).any()
    rates = [row["learning_rate"] for row in read_metrics(run.path / "metrics.jsonl")]
    assert rates[2] < rates[1] < never.learning_rate  # nothing moves little enough once samples have been seen


def test_learning_changes_the_policy_and_the_evaluation_is_deterministic(tmp_path, env):
    _, trained = _run(tmp_path / "run", env, 2)
    assert max(float(np.abs(x).max()) for x in jax.tree.leaves(trained.params["actor"])) > 0
    judge = small_env(2, stray_limit=float("inf"))
    lengths = np.asarray(judge.table.length)
    evaluate_it = make_judge(judge, np.arange(2), lengths)
    first, second = evaluate_it(trained), evaluate_it(trained)
    assert first == second
    assert all(s.success and 0.1 < s.mpjpe < 100 for s in first)


def test_a_failure_ends_the_score_where_it_happens():
    reference = np.zeros((20, 24, 3))
    position = reference.copy()
    position[:, :, 0] = 0.01
    position[12:, :, 2] = 0.6
    judged = score(position, reference)
    assert not judged.success and judged.frames == 12 and judged.mpjpe == pytest.approx(10.0)
    position[5] = np.nan
    assert score(position, reference).diverged
    position[5] = 1e8  # finite, but nobody is there
    assert score(position, reference).diverged


def test_what_diverges_is_counted_and_is_no_part_of_the_means():
    steps = {
        "terms": {"position": jnp.array([0.2, np.nan, 0.4]), "diverged": jnp.array([False, True, False])},
        "reward": jnp.array([1.0, 0.0, 0.5]), "terminated": jnp.array([False, True, False]),
        "truncated": jnp.zeros(3, bool),
    }  # fmt: skip
    told = means(steps)
    assert float(told["position"]) == pytest.approx(0.3) and int(told["diverged"]) == 1
    assert np.isfinite([float(x) for x in told.values()]).all()


def test_a_clip_is_played_by_who_follows_it_furthest_and_of_those_with_the_least_error():
    reference = np.zeros((20, 24, 3))
    off = lambda error, lost=20: score(  # noqa: E731
        np.where(np.arange(20)[:, None, None] < lost, [error, 0.0, 0.0], [0.6, 0.0, 0.0]), reference
    )
    scores = [[off(0.03), off(0.01, 5), off(0.02)], [off(0.02), off(0.04, 9), off(0.01, 12)], [off(0.04)] * 3]
    np.testing.assert_array_equal(best_players(scores[:2]), [1, 1, 0])
    np.testing.assert_array_equal(best_players(scores), [1, 2, 0])


def test_a_motion_is_played_by_the_same_policy_for_everybody_who_can():
    at = lambda success, error: ClipScore(success, 30 if success else 10, error, 0.0, 0.0, 0.0, False)  # noqa: E731
    close = [at(True, 30.0), at(False, 20.0), at(True, 30.0), at(True, 20.0)]
    sure = [at(True, 50.0), at(True, 50.0), at(True, 50.0), at(True, 40.0)]
    motions = ["kick", "kick", "kick", "walk"]
    np.testing.assert_array_equal(best_players([close, sure]), [0, 1, 0, 0])
    np.testing.assert_array_equal(best_players([close, sure], motions), [1, 1, 1, 0])
    # One of twenty who cannot is an exception, and does not make all others play worse.
    nearly, steady = [at(i != 7, 30.0) for i in range(20)], [at(True, 60.0)] * 20
    np.testing.assert_array_equal(best_players([nearly, steady], ["kick"] * 20), np.arange(20) == 7)


def test_a_light_push_is_recovered_from_and_a_heavy_one_is_not(env):
    config = PushedConfig(watch=20, settle=5, per_clip=3)
    judge = small_env(6, stray_limit=float("inf"))
    lengths, untrained = np.asarray(judge.table.length), _untrained(env)
    recovered = {
        newtons: evaluate_pushes(
            untrained, judge, np.arange(2), lengths, dataclasses.replace(config, newtons=newtons), seed=0
        )
        for newtons in (10.0, 5000.0)
    }
    assert recovered[10.0].shape == (2, 3)
    assert recovered[10.0].all()
    assert not recovered[5000.0].any()


def _untrained(env):
    return method(env).trained(jax.jit(method(env).init)(jax.random.PRNGKey(0)))
