"""The imitation task: starts, steps, ends and what the policy sees of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_world import small_env, zeros

from envs.observation import FORESEEN, observation_size, observe
from envs.reference import Bodies
from envs.reward import RewardScales, RewardWeights, effort_term, imitation_terms, total
from imdy_jax import rotation


@pytest.fixture(scope="module")
def env():
    return small_env(16)


@pytest.fixture(scope="module")
def step(env):
    return jax.jit(env.step)


def _row(env, i):
    return jax.tree.map(lambda x: x[i], env.table.bodies)


def test_a_start_is_the_reference_state(env):
    clip, frame = jnp.asarray([0, 1] * 8), jnp.arange(16)
    state, observation = env.start(clip, frame, jax.random.PRNGKey(0))
    row = env.table.start[clip] + frame
    np.testing.assert_array_equal(state.physics.q, env.table.q[row])
    np.testing.assert_array_equal(state.physics.v, env.table.v[row])
    assert observation.shape == (16, observation_size(4))
    assert np.isfinite(observation).all() and float(jnp.std(observation)) > 0.1


def test_the_feedforward_alone_follows_a_gentle_clip(env, step):
    state, _ = env.start(jnp.zeros(16, int), jnp.zeros(16, int), jax.random.PRNGKey(0))
    for _ in range(15):
        result = step(state, zeros(env))
        state = result.state
        assert not result.terminated.any()
    assert float(result.terms["body_error"].max()) < 0.05
    assert float(result.reward.min()) > 0.5


def test_each_aid_of_the_controller_can_be_switched_off(env):
    clip, frame = jnp.zeros(16, int), jnp.full(16, 12)
    row = env.table.row(clip, frame - 1)
    state = env.physics.reset(env.table.q[row] + 0.01 * (jnp.arange(99) == 0), env.table.v[row])
    q = state.q
    targets = []
    names = ("relative_target", "reference_velocity", "feedforward", "balance")
    for off in ({}, *({name: False} for name in names)):
        other = small_env(16, **off)
        targets.append(np.asarray(other.tracker.target(state, clip, frame, zeros(env)))[0])
    assert all(np.abs(a - targets[0]).max() > 1e-4 for a in targets[1:])
    plain = small_env(16, relative_target=False, reference_velocity=False, feedforward=False)
    rest = plain.tracker.target(state, clip, frame, zeros(env))[0]
    small = jnp.linalg.norm(rotation.log(q[0, 7:].reshape(23, 4)), axis=-1) < 0.4
    np.testing.assert_allclose(rest[small], np.tile(rotation.IDENTITY, (int(small.sum()), 1)), atol=1e-6)


def test_a_finished_clip_is_truncated_and_starts_afresh_elsewhere(env, step):
    last = env.table.length[1] - 2
    state, _ = env.start(jnp.ones(16, int), jnp.full(16, last), jax.random.PRNGKey(3))
    result = step(state, zeros(env))
    assert result.truncated.all() and not result.terminated.any()
    assert len({(int(c), int(f)) for c, f in zip(result.state.clip, result.state.frame, strict=True)}) > 4
    row = env.table.row(result.state.clip, result.state.frame)
    np.testing.assert_allclose(result.state.physics.q, env.table.q[row], atol=1e-6)
    gap = jnp.abs(result.observation - result.final_observation).max(axis=1)
    assert (gap > 1e-3).all()  # the state reached is kept apart from the new start


def test_a_fall_terminates_and_is_remembered(env, step):
    state, _ = env.start(jnp.zeros(16, int), jnp.zeros(16, int), jax.random.PRNGKey(0))
    fallen = state.replace(physics=state.physics.replace(q=state.physics.q.at[:8, 0].add(0.5)))
    result = step(fallen, zeros(env))
    np.testing.assert_array_equal(result.terminated, np.arange(16) < 8)
    failures = result.state.tally.failures
    assert failures[0, 0] == 8 and failures.sum() == 8


@pytest.mark.parametrize("speed", [1e9, 1e30, np.nan])
def test_a_simulation_that_diverges_is_counted_and_replaced(env, step, speed):
    state, _ = env.start(jnp.zeros(16, int), jnp.zeros(16, int), jax.random.PRNGKey(0))
    broken = state.replace(physics=state.physics.replace(v=state.physics.v.at[2].set(speed)))
    result = step(broken, zeros(env))
    assert result.terms["diverged"][2] and result.terminated[2]
    assert int(result.terms["diverged"].sum()) == 1
    assert np.isfinite(result.observation).all() and np.isfinite(result.reward).all()


def test_what_is_seen_does_not_depend_on_where_one_faces(env):
    bodies, goal = _row(env, 5), _row(env, 9)
    turn = rotation.exp(jnp.asarray([0.0, 0.0, 1.3]))
    shift = jnp.asarray([4.0, -2.0, 0.0])

    def moved(b):
        return Bodies(rotation.multiply(turn, b.rotation), rotation.rotate(turn, b.position) + shift,
                      rotation.rotate(turn, b.angular), rotation.rotate(turn, b.linear))  # fmt: skip

    betas, later = env.physics.humanoid.betas[0], env.table.bodies.position[jnp.array([12, 20])]
    there = rotation.rotate(turn, later) + shift
    here, moved_on = observe(bodies, goal, betas, later), observe(moved(bodies), moved(goal), betas, there)
    np.testing.assert_allclose(here, moved_on, atol=2e-5)
    assert float(jnp.abs(here - observe(bodies, bodies, betas, later)).max()) > 1e-3


def test_what_is_foreseen_is_where_the_reference_will_be(env):
    clip, frame = (
        jnp.zeros(16, int),
        jnp.arange(16) + 20,
    )  # some see beyond the end: there it holds still
    _, observation = env.start(clip, frame, jax.random.PRNGKey(0))
    ahead = np.array(env.config.ahead)
    foreseen = np.asarray(observation)[:, -3 * len(FORESEEN) * len(ahead) :].reshape(16, len(ahead), len(FORESEEN), 3)
    later = np.minimum(np.asarray(frame)[:, None] + 1 + ahead, 39)
    assert len(ahead) == 4 and (later == 39).any()
    q = np.asarray(env.table.q)
    heading = Rotation.from_quat(np.asarray(rotation.heading(q[frame, 3:7])), scalar_first=True)
    wanted = np.asarray(env.table.bodies.position)[later][:, :, FORESEEN] - q[frame, None, None, :3]
    for i in range(16):
        np.testing.assert_allclose(heading[i].apply(foreseen[i].reshape(-1, 3)), wanted[i].reshape(-1, 3), atol=1e-5)
    assert small_env(2, ahead=()).observation_size == 944  # PHC's


def test_reward_terms_are_one_on_the_reference_and_fall_with_the_error(env):
    bodies = _row(env, 5)
    scales = RewardScales()
    assert all(float(x) == pytest.approx(1.0, abs=1e-5) for x in imitation_terms(bodies, bodies, scales).values())
    off = bodies._replace(position=bodies.position + jnp.asarray([0.1, 0.0, 0.0]))
    assert float(imitation_terms(off, bodies, scales)["position"]) == pytest.approx(np.exp(-100 * 0.01), rel=1e-3)


def test_effort_is_the_square_of_all_torques_by_mass_and_costs_its_weight():
    torque = np.random.default_rng(0).normal(size=(4, 23, 3)) * 50.0
    square = np.mean([np.sum(substep**2) for substep in torque])
    effort = effort_term(jnp.asarray(torque), jnp.asarray(70.0))
    assert float(effort) == pytest.approx(-square / 70.0**2, rel=1e-5)
    assert float(total({"effort": effort}, RewardWeights(effort=0.1))) == pytest.approx(0.1 * float(effort))


def test_the_same_key_gives_the_same_episodes(env, step):
    runs = []
    for _ in range(2):
        state, _ = env.reset(jax.random.PRNGKey(7))
        for _ in range(3):
            result = step(state, zeros(env) + 0.1)
            state = result.state
        runs.append(state)
    for a, b in zip(jax.tree.leaves(runs[0]), jax.tree.leaves(runs[1]), strict=True):
        np.testing.assert_array_equal(a, b)
