"""Ways up: what counts as one, which of them is nearest to who lies, and how an episode goes along it and on."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_world import FPS, swaying, zeros
from toy_humanoid import toy_humanoid

from envs.c_physics import CPhysics
from envs.composing import informed_composer
from envs.imitation import ImitationEnv
from envs.recovery import RecoveryConfig
from envs.reference import body_state, build_table
from envs.rises import find_rises, nearest
from envs.switching import put_bodies
from envs.task import TaskConfig
from imdy_jax import humanoid
from imdy_jax.imitation.evaluate_falls import FallenConfig, make_fall_judge
from imdy_jax.imitation.evaluate_pushes import PushedConfig, evaluate_pushed_over
from imdy_jax.imitation.policy import Trained, init_normalizer, make_policy, normalize
from imdy_jax.imitation.ppo import PPOConfig
from imdy_jax.imitation.train import reinforcement

COUNT, SWAY, RISE, PRONE = 12, 0, 1, 2
LED = RecoveryConfig(share=1.0, harvest=1.0, led=True, steps=40, falls=COUNT)


def _rising(person, lies: float, frames: int = 30) -> np.ndarray:
    """q (frames, 99): flat, turned about x by `lies` degrees from upright, at rest for a third, and then stood up."""
    q = swaying(person, frames)
    risen = np.clip((np.arange(frames) - frames / 3) / (frames / 2), 0.0, 1.0)
    upright = Rotation.from_quat(q[0, 3:7], scalar_first=True)
    tilted = Rotation.from_rotvec(np.radians(lies) * (1.0 - risen)[:, None] * np.array([1.0, 0.0, 0.0])) * upright
    q[:, 3:7] = tilted.as_quat(scalar_first=True)
    q[:, 2] = 0.12 + risen * (q[:, 2] - 0.12)
    return q


@pytest.fixture(scope="module")
def table():
    """Swaying; up from the back; up from the belly; down to the belly; lying still."""
    person = toy_humanoid()
    clips = [swaying(person), _rising(person, -90.0), _rising(person, 90.0), _rising(person, 90.0)[::-1]]
    clips.append(np.repeat(clips[1][:1], 20, axis=0))
    return build_table(humanoid.stack([person] * len(clips)), clips, FPS)


@pytest.fixture(scope="module")
def env(table):
    config = TaskConfig(stray_limit=0.5, recovery=LED)
    physics = CPhysics(humanoid.stack([toy_humanoid()] * COUNT))
    return ImitationEnv(physics, table, config, np.tile([SWAY, RISE, PRONE], (COUNT, 1)))


@pytest.fixture(scope="module")
def step(env):
    return jax.jit(env.step)


@pytest.fixture(scope="module")
def fallen(env):
    nowhere = jnp.zeros(COUNT, jnp.int32)
    return jax.jit(env.start_fallen)(nowhere, nowhere, jax.random.PRNGKey(0))[0]


def test_a_way_up_begins_lying_and_ends_standing(table):
    rises = find_rises(table, np.array([[SWAY, RISE, PRONE], [SWAY, RISE, RISE]]))
    np.testing.assert_array_equal(rises.leads, [False, True, True, False, False])
    assert rises.leads_on
    own = np.asarray(rises.clip)
    assert set(own[0]) == {RISE, PRONE} and set(own[1]) == {RISE}
    row = np.asarray(table.start)[own] + np.asarray(rises.frame)
    assert (np.asarray(table.q)[row, 2] < 0.4 * np.asarray(table.q)[29, 2]).all()  # nobody is led from half way up
    assert np.asarray(rises.frame).min() == 0 and np.asarray(rises.frame).max() >= 8
    assert not find_rises(table, np.array([[RISE, PRONE]])).leads_on
    with pytest.raises(ValueError, match=r"found 2 clips that begin lying and end standing, and none for humanoid 1"):
        find_rises(table, np.array([[RISE, SWAY], [SWAY, SWAY]]))


def test_the_nearest_moment_is_laid_where_one_lies(env, table):
    """Whoever lies as a moment of a way up does, turned and elsewhere, is led from there."""
    person = jax.tree.map(lambda x: x[0], env.physics.humanoid)
    clip = np.arange(COUNT) % 2 + RISE
    frame = np.asarray(env._resets.rises.frame)[0][np.arange(COUNT) // 2]
    q = np.array(table.q)[np.asarray(table.start)[clip] + frame]
    about = Rotation.from_rotvec(np.arange(COUNT)[:, None] * np.array([0.0, 0.0, 0.5]))
    q[:, :3] = about.apply(q[:, :3]) + np.array([3.0, -2.0, 0.0])
    q[:, 3:7] = (about * Rotation.from_quat(q[:, 3:7], scalar_first=True)).as_quat(scalar_first=True)
    lying = jax.vmap(body_state, in_axes=(None, 0, 0))(person, jnp.asarray(q), jnp.zeros((COUNT, 75)))
    found, at, placed, gap = jax.jit(lambda x: nearest(env._resets.rises, table, x, 7))(lying.position)
    np.testing.assert_array_equal(found, clip)
    assert float(gap.max()) < 1e-4
    np.testing.assert_array_equal(placed.grace, 7)
    there = put_bodies(placed, table.at(found, at))
    np.testing.assert_allclose(there.position, lying.position, atol=1e-4)
    np.testing.assert_allclose(
        np.abs(np.sum(np.asarray(there.rotation) * np.asarray(lying.rotation), axis=-1)), 1.0, atol=1e-5
    )


def test_who_has_fallen_waits_for_nothing_but_the_nearest_moment(env, step, fallen):
    assert fallen.recovery.active.all() and set(np.asarray(fallen.clip).tolist()) <= {RISE, PRONE}
    bodies = jax.vmap(body_state)(env.physics.humanoid, fallen.physics.q, fallen.physics.v)
    there = put_bodies(fallen.placed, env.table.at(fallen.clip, fallen.frame))
    gap = np.linalg.norm(bodies.position - there.position, axis=-1).mean(axis=-1)
    np.testing.assert_allclose(fallen.recovery.gap, gap, atol=1e-4)
    for clip in (RISE, PRONE):  # no other moment would have been nearer without turning anybody
        other = env.table.bodies.position[env.table.start[clip]]
        moved = other - other.mean(axis=0) + np.asarray(bodies.position).mean(axis=1, keepdims=True) * [1, 1, 0]
        moved = moved.at[..., 2].set(other[:, 2])
        assert (gap <= np.linalg.norm(moved - bodies.position, axis=-1).mean(axis=-1) + 1e-4).all()
    result = step(fallen, zeros(env))
    still = np.asarray(result.state.recovery.active)
    np.testing.assert_array_equal(result.state.frame[still], fallen.frame[still])
    assert not result.terms["recovered"].any()


def _at_the_end(env, table):
    """Everyone on the last frame but one of the way up from the back, having recovered."""
    clip = jnp.full(COUNT, RISE)
    state, _ = env.start(clip, jnp.full(COUNT, table.length[RISE] - 2), jax.random.PRNGKey(1))
    return state


def test_at_the_end_of_the_way_up_one_goes_on_with_another_clip_from_there(env, step, table):
    state = _at_the_end(env, table)
    assert not state.recovery.active.any()
    result = step(state, zeros(env))
    assert result.terms["recovered"].all() and result.terms["switched"].all()
    assert not (result.truncated | result.terminated).any()
    np.testing.assert_array_equal(result.state.clip, SWAY)  # and does not lie down for the other way up
    np.testing.assert_array_equal(result.state.frame, 0)
    q = result.state.physics.q
    wanted = put_bodies(result.state.placed, table.at(result.state.clip, result.state.frame))
    np.testing.assert_allclose(wanted.position[:, 0, :2], q[:, :2], atol=1e-5)
    np.testing.assert_array_equal(result.state.placed.grace, env.config.switch.grace)


def test_who_strays_and_lies_is_led_anew_from_there(env, step, fallen):
    state, _ = env.start(jnp.full(COUNT, SWAY), jnp.full(COUNT, 5), jax.random.PRNGKey(2))
    state = state.replace(physics=fallen.physics)
    result = step(state, zeros(env))
    assert result.terminated.all() and result.state.recovery.active.all()
    assert set(np.asarray(result.state.clip).tolist()) <= {RISE, PRONE}
    assert float(jnp.abs(result.state.physics.q - fallen.physics.q).max()) < 1.0  # in place
    assert float(result.state.recovery.gap.max()) < 0.6


@pytest.fixture(scope="module")
def watched(table):
    """Many, of whom some begin fallen and are led up, and the others begin in any clip."""
    physics = CPhysics(humanoid.stack([toy_humanoid()] * 5 * COUNT))
    task = TaskConfig(stray_limit=0.5, recovery=replace(LED, share=0.5, falls=5 * COUNT))
    return ImitationEnv(physics, table, task, np.tile([SWAY, RISE, PRONE], (5 * COUNT, 1)))


def test_a_composer_begins_by_giving_who_is_led_up_to_the_column_that_has_learnt_it(env, watched, fallen):
    policy = make_policy((16,), (16,), env.action_size, 0.1)
    params = policy.init(jax.random.PRNGKey(0), env.observation_size)
    columns = [Trained(policy, params, init_normalizer(env.observation_size))] * 2
    player, config = np.zeros(env.table.num_clips, int), PPOConfig(hidden=(32,), critic_hidden=(16,))
    composer = informed_composer(watched, columns, player, 1, config, jax.random.PRNGKey(3))
    clip = jnp.arange(COUNT) % 2 * RISE  # every other one is on its way up, the others sway
    upright, seen = env.start(clip, jnp.full(COUNT, 8), jax.random.PRNGKey(4))
    lying = env.tracker.observe(
        jax.vmap(body_state)(env.physics.humanoid, fallen.physics.q, fallen.physics.v),
        fallen.clip, fallen.frame, fallen.recovery, fallen.placed,
    )  # fmt: skip
    np.testing.assert_array_equal(env.led(upright), clip == RISE)
    assert env.led(fallen).all()
    for observation, led in ((seen, clip == RISE), (lying, jnp.ones(COUNT, bool))):
        weights = jax.nn.softmax(composer.policy.actor.apply(composer.params["actor"],
                                                             normalize(composer.normalizer, observation)))  # fmt: skip
        np.testing.assert_allclose(weights[:, 1], led, atol=0.2)


ODD = jnp.arange(COUNT) % 2 == 1


def _put(where, yes, no):
    """The humanoids marked in where as in one state, the others, and what is not of a humanoid, as in another."""
    pick = lambda a, b: jnp.where(where.reshape(-1, *[1] * (a.ndim - 1)), a, b) if len(a) == COUNT else b  # noqa: E731
    return jax.tree.map(pick, yes, no)


def test_a_composer_begins_by_giving_each_clip_to_the_column_that_plays_it_best(env, watched):
    policy = make_policy((16,), (16,), env.action_size, 0.1)
    params = policy.init(jax.random.PRNGKey(0), env.observation_size)
    columns = [Trained(policy, params, init_normalizer(env.observation_size))] * 3
    player = np.array([2, 0, 1, 0, 0])  # of swaying, of the way up from the back, and of that from the belly
    config = PPOConfig(hidden=(32,), critic_hidden=(16,))
    composer = informed_composer(watched, columns, player, None, config, jax.random.PRNGKey(3))
    clip = np.arange(COUNT) % 3
    _, seen = env.start(jnp.asarray(clip), jnp.full(COUNT, 8), jax.random.PRNGKey(4))
    logits = composer.policy.actor.apply(composer.params["actor"], normalize(composer.normalizer, seen))
    np.testing.assert_array_equal(np.argmax(logits, axis=1), player[clip])


class _Lifted(ImitationEnv):
    """Every other of those who should lie is about to be through with the way up."""

    def start_fallen(self, clip, frame, key):
        state, seen = super().start_fallen(clip, frame, key)
        return _put(ODD, _at_the_end(self, self.table), state), seen


class _Caught(ImitationEnv):
    """Every other of those who have strayed is about to be through with the way up."""

    def step(self, state, action, push=None):
        result = super().step(state, action, push)
        return result.replace(state=_put(ODD & result.terminated, _at_the_end(self, self.table), result.state))


def test_where_there_is_nothing_to_go_on_with_one_has_got_up_at_the_end_of_the_way(table):
    physics = CPhysics(humanoid.stack([toy_humanoid()] * COUNT))
    alone = _Lifted(physics, table, TaskConfig(stray_limit=0.5, recovery=LED), np.tile([RISE, PRONE], (COUNT, 1)))
    method = reinforcement(alone, PPOConfig(hidden=(16,)))
    untrained = method.trained(jax.jit(method.init)(jax.random.PRNGKey(0)))
    fallen = FallenConfig(per_clip=COUNT, steps=14, settle=8)
    judge = make_fall_judge(alone, np.array([RISE]), np.array([30]), fallen, seed=0, again=True)
    np.testing.assert_array_equal(judge(untrained), np.tile([False, True], (1, COUNT // 2)))


def test_who_is_pushed_over_is_judged_by_whether_it_gets_up(table):
    caught = _Caught(CPhysics(humanoid.stack([toy_humanoid()] * COUNT)), table, TaskConfig(stray_limit=0.5,
                     recovery=replace(LED, share=0.0)), np.tile([SWAY, RISE, PRONE], (COUNT, 1)))  # fmt: skip
    method = reinforcement(caught, PPOConfig(hidden=(16,)))
    untrained = method.trained(jax.jit(method.init)(jax.random.PRNGKey(0)))
    pushes = PushedConfig(watch=10, settle=5, up=15, per_clip=COUNT, steps=1)
    judge = lambda newtons: evaluate_pushed_over(  # noqa: E731
        untrained, caught, np.array([SWAY]), np.array([30]), replace(pushes, newtons=newtons), seed=0
    )
    strayed, up = judge(20000.0)
    assert strayed.all()
    np.testing.assert_array_equal(up, np.tile([False, True], (1, COUNT // 2)))
    strayed, up = judge(1.0)
    assert not strayed.any() and not up.any()
