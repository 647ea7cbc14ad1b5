"""Style: its features belong to the body and not to the place, and the discriminator learns whose motion it sees."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_world import small_env, swaying, zeros
from toy_humanoid import toy_humanoid

from envs.reference import body_state
from envs.style import STYLE_SIZE, style_features
from imdy_jax import rotation
from imdy_jax.checkpoints import Checkpoints
from imdy_jax.imitation.amp import StyleConfig, init_style, learn_style, style_reward
from imdy_jax.imitation.ppo import PPOConfig
from imdy_jax.imitation.train import TrainConfig, reinforcement, train
from imdy_jax.run import RunFolder, read_metrics

CONFIG = StyleConfig(weight=0.5, hidden=(32,), learning_rate=1e-3, minibatch=64, updates=2, replay=100)
SIZE = 12


def test_features_do_not_change_when_everything_is_turned_and_moved_and_change_with_the_posture():
    person = toy_humanoid()
    q = jnp.asarray(swaying(person)[10], jnp.float32)
    v = 0.5 * jax.random.normal(jax.random.PRNGKey(0), (75,))
    here = style_features(body_state(person, q, v))
    assert here.shape == (STYLE_SIZE,) == (196,)
    turn = rotation.exp(jnp.array([0.0, 0.0, 1.2]))
    turned = q.at[:3].set(rotation.rotate(turn, q[:3]) + jnp.array([3.0, -2.0, 0.0]))
    turned = turned.at[3:7].set(rotation.multiply(turn, q[3:7]))
    there = style_features(body_state(person, turned, v.at[:3].set(rotation.rotate(turn, v[:3]))))
    np.testing.assert_allclose(here, there, atol=2e-5)
    for k in (3 + 4 + 4 * 3, 3 + 4 + 4 * 17):  # a knee, an elbow
        bent = q.at[k : k + 4].set(rotation.multiply(q[k : k + 4], rotation.exp(jnp.array([0.5, 0.0, 0.0]))))
        assert jnp.abs(style_features(body_state(person, bent, v)) - here).max() > 0.1
    assert jnp.abs(style_features(body_state(person, q, 2 * v)) - here).max() > 0.1


def test_history_is_the_last_steps_and_begins_as_recorded():
    env = small_env(3, style_steps=4)
    state, _ = env.start(jnp.array([0, 1, 0]), jnp.array([7, 0, 1]), jax.random.PRNGKey(0))
    recorded = jax.vmap(style_features)(env.table.bodies)
    np.testing.assert_allclose(state.history[0], recorded[4:8], atol=1e-6)
    np.testing.assert_allclose(state.history[1], jnp.broadcast_to(recorded[40], (4, STYLE_SIZE)), atol=1e-6)
    result = env.step(state, zeros(env))
    seen = result.style.reshape(3, 4, STYLE_SIZE)
    np.testing.assert_array_equal(seen[:, :3], state.history[:, 1:])
    bodies = jax.vmap(body_state)(env.physics.humanoid, result.transition.next_q, result.transition.next_v)
    np.testing.assert_allclose(seen[:, 3], jax.vmap(style_features)(bodies), atol=1e-5)
    shown = env.demonstrate(jax.random.PRNGKey(1), 50).reshape(50, 4, STYLE_SIZE)
    apart = jnp.abs(shown[:, 3:] - recorded[None]).max(axis=-1)
    assert apart.min(axis=1).max() < 1e-6  # every window ends on a frame of the reference
    assert len(jnp.unique(jnp.argmin(apart, axis=1))) > 20


def test_the_discriminator_rewards_what_looks_recorded():
    draw = np.random.default_rng(0)
    recorded = lambda n: jnp.asarray(draw.normal(0.0, 1.0, (n, SIZE)), jnp.float32)  # noqa: E731
    simulated = lambda n: jnp.asarray(draw.normal(0.8, 1.0, (n, SIZE)), jnp.float32)  # noqa: E731
    style = init_style(CONFIG, SIZE, jax.random.PRNGKey(0))
    np.testing.assert_allclose(style_reward(CONFIG, style, recorded(5)), -2.0 * np.log(0.5), rtol=1e-6)
    learn = jax.jit(lambda style, *data: learn_style(CONFIG, style, *data))
    for k in range(150):
        style, measured = learn(style, simulated(64), recorded(128), jax.random.PRNGKey(k))
    assert int(style.stored) == 150 * 64
    assert measured["recorded_recognised"] > 0.75 and measured["simulated_recognised"] > 0.75
    # The best discriminator there is has the accuracy Φ(‖shift‖ / 2); the penalty keeps it from being sure.
    assert measured["style_loss"] < 0.67
    assert jnp.mean(style_reward(CONFIG, style, recorded(500))) > 1.2 * jnp.mean(
        style_reward(CONFIG, style, simulated(500))
    )


def test_the_penalty_is_the_slope_on_recorded_motion_and_flattens_the_discriminator():
    draw = np.random.default_rng(1)
    recorded, simulated = (jnp.asarray(draw.normal(m, 1.0, (2, 64, SIZE)), jnp.float32) for m in (0.0, 2.0))

    def slope(penalty):
        config = dataclasses.replace(CONFIG, gradient_penalty=penalty)
        style = init_style(config, SIZE, jax.random.PRNGKey(0))
        for k in range(60):
            style, measured = learn_style(
                config, style, simulated[0], recorded.reshape(-1, SIZE), jax.random.PRNGKey(k)
            )
        return float(measured["style_slope"])

    free, held = slope(0.0), slope(20.0)
    assert 0.0 < held < 0.3 * free


def test_training_rewards_style_and_keeps_the_discriminator(tmp_path):
    env = small_env(16, style_steps=3)
    ppo = PPOConfig(hidden=(16,), horizon=4, minibatch=32, style=CONFIG)
    config = TrainConfig(minutes=60.0, iterations=2, ppo=ppo)
    folder = RunFolder.create(tmp_path, config, seed=0)
    method = reinforcement(env, ppo)
    train(method, config, folder, seed=0)
    first, second = read_metrics(folder.path / "metrics.jsonl")
    assert first["style_reward"] == pytest.approx(2.0 * np.log(2.0), rel=1e-5)  # nothing learnt yet
    assert second["style_reward"] != first["style_reward"]
    learner, _ = Checkpoints(folder.path / "checkpoints").restore(jax.jit(method.init)(jax.random.PRNGKey(1)))
    assert int(learner.style.stored) == 2 * CONFIG.updates * CONFIG.minibatch // 2
    assert np.abs(learner.style.replay[: int(learner.style.stored)]).max(axis=1).min() > 0


def test_style_without_anything_to_judge_it_by_is_refused():
    method = reinforcement(small_env(2), PPOConfig(style=CONFIG))
    with pytest.raises(ValueError, match="style_steps"):
        method.init(jax.random.PRNGKey(0))
