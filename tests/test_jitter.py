"""References told with noise: of the size that was asked for, the same again, and not what is rewarded."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_world import FPS, small_env, swaying, zeros
from toy_humanoid import toy_humanoid

from envs.imitation import ImitationEnv
from envs.jitter import JitterConfig, with_jitter
from envs.reference import build_table
from imdy_jax import humanoid, rotation

LENGTHS = (200, 120)
JITTER = JitterConfig(degrees=2.0, millimetres=10.0, memory=0.1, takes=2)


@pytest.fixture(scope="module")
def trajectories():
    return [swaying(toy_humanoid(), n) for n in LENGTHS]


@pytest.fixture(scope="module")
def noisy(trajectories):
    """Two takes of the two."""
    return with_jitter(trajectories, FPS, JITTER)


def test_noise_has_the_size_and_the_memory_that_were_asked_for(trajectories, noisy):
    assert [len(q) for q in noisy] == [*LENGTHS, *LENGTHS]
    moved = np.concatenate([a[:, :3] - b[:, :3] for a, b in zip(noisy, trajectories * 2, strict=True)])
    turned = [
        rotation.between(b[:, 3:].reshape(-1, 24, 4), a[:, 3:].reshape(-1, 24, 4))
        for a, b in zip(noisy, trajectories * 2, strict=True)
    ]
    assert moved.std() == pytest.approx(0.010, rel=0.15)
    assert np.rad2deg(np.concatenate(turned)).std() == pytest.approx(2.0, rel=0.05)
    errors = np.asarray(turned[0]).reshape(LENGTHS[0], -1)
    alike = np.mean(errors[1:] * errors[:-1]) / np.mean(errors**2)
    assert alike == pytest.approx(np.exp(-1 / (FPS * JITTER.memory)), abs=0.05)


def test_each_take_of_a_motion_has_its_own_noise_and_the_same_again(trajectories, noisy):
    np.testing.assert_array_equal(with_jitter(trajectories, FPS, JITTER)[3], noisy[3])
    off = np.stack([a[:50, :3] - b[:50, :3] for a, b in zip(noisy, trajectories * 2, strict=True)])
    apart = np.abs(off[:, None] - off[None]).max(axis=(2, 3))
    assert (apart[~np.eye(4, dtype=bool)] > 0.01).all()
    other = with_jitter(trajectories, FPS, replace(JITTER, seed=1))
    assert np.abs(other[0] - noisy[0]).max() > 0.01
    silent = with_jitter(trajectories, FPS, JitterConfig())
    np.testing.assert_allclose(silent[0], trajectories[0], atol=1e-6)


def test_who_is_told_noise_aims_at_it_and_is_rewarded_for_the_motion_itself(noisy):
    plain = small_env(4, lengths=LENGTHS)
    people = humanoid.stack([toy_humanoid()] * len(noisy))
    told = ImitationEnv(plain.physics, plain.table, plain.config, told=build_table(people, noisy, FPS))
    clip, frame, key = jnp.array([0, 1, 0, 1]), jnp.array([0, 5, 60, 80]), jax.random.PRNGKey(0)
    (state, seen), (clear, clean) = (jax.jit(env.start)(clip, frame, key) for env in (told, plain))
    np.testing.assert_array_equal(state.physics.q, clear.physics.q)  # everyone begins on the motion
    assert np.abs(seen - clean).max() > 0.05
    result = jax.jit(told.step)(state, zeros(told))
    followed = jax.jit(plain.tracker.target)(state.physics, clip, frame + 1, zeros(plain))
    aim = jnp.linalg.norm(rotation.between(result.transition.target, followed), axis=-1)
    assert 1.0 < np.rad2deg(aim).mean() < 40.0
    same = told.tracker.observe(jax.tree.map(lambda x: x[jnp.zeros(4, int)], told.table.bodies), 0 * clip, 0 * frame)
    np.testing.assert_array_equal(same[0], same[2])  # they are told the same take,
    assert np.abs(same[0] - same[1]).max() > 0.05  # and they are not
    reference = plain.table.bodies.position[plain.table.row(clip, frame + 1)]
    np.testing.assert_array_equal(result.transition.reference, reference)
    gap = jnp.linalg.norm(result.transition.position - reference, axis=-1).mean(axis=-1)
    np.testing.assert_allclose(result.terms["body_error"], gap, atol=1e-5)


def test_noise_of_less_than_nothing_is_refused():
    with pytest.raises(ValueError, match=r"jitter\.degrees is -1"):
        JitterConfig(degrees=-1.0)
