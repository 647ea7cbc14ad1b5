"""Falling and getting up: what lies rests on the floor, who recovers is not ended for straying, and who is back is."""

import dataclasses

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from small_world import small_env, zeros
from toy_humanoid import toy_humanoid

from envs.c_physics import CPhysics
from envs.falls import lay, make_falls
from envs.imitation import ImitationEnv
from envs.observation import FORESEEN, observation_size
from envs.pushes import Push, PushConfig, no_push, push_on
from envs.recovery import RecoveryConfig, waiting
from envs.reference import body_state
from envs.reward import recovery_term
from envs.task import TaskConfig
from imdy_jax import humanoid, rotation
from imdy_jax.checkpoints import Checkpoints
from imdy_jax.imitation.amp import StyleConfig
from imdy_jax.imitation.evaluate_falls import FallenConfig, got_up, make_fall_judge
from imdy_jax.imitation.evaluate_pushes import horizontal
from imdy_jax.imitation.ppo import PPOConfig
from imdy_jax.imitation.train import TrainConfig, reinforcement, train
from imdy_jax.mjcf import TO_MUJOCO, build_model, standing_height
from imdy_jax.run import RunFolder, read_metrics

STEPS, COUNT = 6, 16
RECOVERY = RecoveryConfig(share=0.5, harvest=0.5, steps=STEPS, falls=COUNT)


@pytest.fixture(scope="module")
def env():
    return small_env(COUNT, style_steps=2, recovery=RECOVERY)


@pytest.fixture(scope="module")
def step(env):
    return jax.jit(env.step)


@pytest.fixture(scope="module")
def fallen(env):
    """Everyone lying beside a frame of the gentle clip, and what they see."""
    return jax.jit(env.start_fallen)(jnp.zeros(COUNT, int), jnp.arange(COUNT), jax.random.PRNGKey(2))


@pytest.fixture(scope="module")
def pushed(env):
    """The same world with pushes."""
    return ImitationEnv(env.physics, env.table, dataclasses.replace(env.config, push=PushConfig(probability=0.3)))


@pytest.fixture(scope="module")
def shove(pushed):
    return jax.jit(pushed.step)


@pytest.fixture(scope="module")
def physics():
    """Eight humanoids of each of two subjects, in turn."""
    return CPhysics(humanoid.stack([toy_humanoid(), toy_humanoid(size=1.1, mass=90.0)] * 8))


@pytest.fixture(scope="module")
def falls(physics):
    return make_falls(physics, seed=3, per_body=8)


def _moved(state, distance):
    return state.replace(physics=state.physics.replace(q=state.physics.q.at[:, 0].add(distance)))


def _lowest(person, q):
    """Lowest point of the solids by MuJoCo's own kinematics."""
    model = build_model(person, 1 / 60)
    data = mujoco.MjData(model)
    data.qpos[:] = np.asarray(q)[TO_MUJOCO.qpos_index]
    mujoco.mj_kinematics(model, data)
    solid = model.geom_type == mujoco.mjtGeom.mjGEOM_SPHERE
    return float((data.geom_xpos[solid, 2] - model.geom_size[solid, 0]).min())


def test_the_fallen_rest_on_the_floor_anyhow(falls, physics):
    np.testing.assert_array_equal(falls.body[0::2], falls.body[0])
    np.testing.assert_array_equal(falls.body[1::2], 1 - falls.body[0])
    assert falls.q.shape == (2, 8, 99)
    assert all(np.isfinite(x).all() for x in (falls.q, falls.v))
    everyone = falls.q[falls.body, jnp.repeat(jnp.arange(8), 2)]
    still = falls.v[falls.body, jnp.repeat(jnp.arange(8), 2)]
    subjects = [jax.tree.map(lambda x, i=i: x[i], physics.humanoid) for i in range(2)]
    for i in range(COUNT):
        assert abs(_lowest(subjects[i % 2], everyone[i])) < 0.005
        assert 0.05 < everyone[i, 2] < 0.5 * standing_height(subjects[i % 2])
    after, _ = physics.step(physics.reset(everyone, still), everyone[:, 7:].reshape(-1, 23, 4))
    before, later = (
        jax.vmap(body_state)(physics.humanoid, *state) for state in ((everyone, still), (after.q, after.v))
    )
    assert jnp.linalg.norm(later.position - before.position, axis=-1).max() < 0.02
    assert jnp.linalg.norm(before.linear, axis=-1).max() < 0.1
    turned = jnp.linalg.norm(rotation.between(everyone[:, None, 3:7], everyone[None, :, 3:7]), axis=-1)
    assert (turned + 9 * np.eye(COUNT)).min() > 0.05
    front = rotation.rotate(everyone[:, 3:7], jnp.array([0.0, 0.0, 1.0]))[:, 2]
    assert front.max() > 0.5 and front.min() < -0.5  # on the back and on the belly


def test_the_same_seed_gives_the_same_falls_and_another_does_not(falls, physics):
    again, other = (make_falls(physics, seed, per_body=8) for seed in (3, 4))
    for a, b in zip(jax.tree.leaves(falls), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (jnp.abs(falls.q - other.q).max(axis=-1) > 0.01).all()


def test_a_body_that_does_not_come_to_rest_is_named(physics, monkeypatch):
    monkeypatch.setattr("envs.falls._SLOW", 0.0)
    with pytest.raises(ValueError, match=r"body 0 came to rest in 0 of 16 drops, expected at least 8"):
        make_falls(physics, seed=3, per_body=8)


def test_who_is_laid_down_is_only_turned_and_moved(falls):
    beside = jnp.tile(jnp.array([5.0, -3.0]), (COUNT, 1))
    q, v = lay(falls, jax.random.PRNGKey(0), beside, 0.5)
    far = np.linalg.norm(q[:, :2] - beside, axis=1)
    assert 0.2 < far.max() <= 0.5
    for i in range(COUNT):
        own = falls.q[falls.body[i]]
        which = int(jnp.argmin(jnp.abs(own[:, 7:] - q[i, 7:]).max(axis=1)))
        np.testing.assert_array_equal(q[i, 7:], own[which, 7:])
        np.testing.assert_allclose(q[i, 2], own[which, 2])
        turn = rotation.log(rotation.multiply(q[i, 3:7], rotation.conjugate(own[which, 3:7])))
        np.testing.assert_allclose(turn[:2], 0.0, atol=2e-3)  # about the vertical
        np.testing.assert_allclose(v[i, :3], rotation.rotate(rotation.exp(turn), falls.v[falls.body[i], which, :3]),
                                   atol=1e-4)  # fmt: skip


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: RecoveryConfig(share=1.5), r"recovery\.share is 1\.5, expected a share within 0 … 1"),
        (lambda: RecoveryConfig(harvest=-0.1), r"recovery\.harvest is -0\.1"),
        (lambda: RecoveryConfig(steps=0), r"recovery\.steps is 0, expected more than 0"),
        (lambda: RecoveryConfig(led=True), r"recovery\.led with recovery\.share and recovery\.harvest 0"),
        (lambda: RecoveryConfig(patience=0), r"recovery\.patience is 0, expected more than 0"),
        (lambda: RecoveryConfig(away=-1.0), r"recovery\.away is -1\.0 m"),
        (lambda: TaskConfig(recovery=RecoveryConfig(harvest=0.5, near=0.3)), r"near is 0\.3 m with stray_limit 0\.25"),
        (lambda: PushConfig(probability=2.0), r"push: found probability 2\.0"),
        (lambda: small_env(1).start_fallen(jnp.zeros(1, int), jnp.zeros(1, int), jax.random.PRNGKey(0)), "nobody has"),
    ],
)
def test_what_cannot_be_is_refused(made, said):
    with pytest.raises(ValueError, match=said):
        made()


def test_what_is_off_leaves_nothing_behind_and_what_is_on_nothing_more_to_see(env):
    plain = small_env(2)
    state, _ = plain.reset(jax.random.PRNGKey(0))
    assert state.recovery is None and state.push is None and plain._resets.falls is None
    kept = [field.name for field in dataclasses.fields(state)]  # a checkpoint holds nothing else, as before
    assert kept == ["physics", "clip", "frame", "history", "tally", "key"]
    assert plain.observation_size == env.observation_size == observation_size(4)


def test_a_share_of_the_starts_lies_beside_the_reference_that_waits(env):
    state, seen = jax.jit(env.reset)(jax.random.PRNGKey(0))
    lies = np.asarray(state.recovery.active)
    assert 2 < lies.sum() < 14
    goal = env.table.q[env.table.row(state.clip, state.frame)]
    q = np.asarray(state.physics.q)
    np.testing.assert_array_equal(q[~lies], goal[~lies])
    assert (q[lies, 2] < 0.5 * goal[lies, 2]).all()
    assert (np.linalg.norm(q[lies, :2] - goal[lies, :2], axis=1) <= 0.5 + 1e-6).all()
    np.testing.assert_array_equal(state.recovery.left, np.where(lies, STEPS, 0))
    np.testing.assert_array_equal(state.history[lies, 0], state.history[lies, 1])  # it has been lying
    foreseen = np.asarray(seen)[:, -4 * 3 * len(FORESEEN) :].reshape(COUNT, 4, -1)
    moves = np.abs(foreseen - foreseen[:, :1]).max(axis=(1, 2))
    assert (moves[lies] == 0).all() and (moves[~lies] > 1e-4).any()


def test_who_lies_is_not_ended_for_it_but_given_up_in_time(env, step, fallen):
    state, _ = fallen
    assert state.recovery.active.all()
    pose = env.table.q[env.table.row(state.clip, state.frame), 7:].reshape(COUNT, 23, 4)
    for k in range(STEPS):
        result = step(state, zeros(env))
        assert not result.terminated.any()
        assert (result.truncated == (k == STEPS - 1)).all()
        np.testing.assert_allclose(result.transition.target, pose, atol=1e-6)  # nothing but the pose that waits
        if k < STEPS - 1:
            np.testing.assert_array_equal(result.state.frame, state.frame)  # the reference waits
            np.testing.assert_array_equal(result.state.clip, state.clip)
            assert result.terms["recovering"].all() and not result.terms["recovered"].any()
            assert float(result.terms["body_error"].min()) > env.config.stray_limit
        state = result.state
    assert float(state.tally.steps.sum()) == 0  # how moments are followed is not counted by who lies
    moved = np.abs(np.asarray(result.transition.next_q - state.physics.q)).max(axis=1)
    assert (moved > 1e-3).all()  # everyone began anew


def test_who_comes_back_to_the_reference_imitates_and_may_stray_again(env, step, fallen):
    state, _ = fallen
    upright, _ = env.start(state.clip, state.frame, state.key)
    even = jnp.arange(COUNT) % 2 == 0
    put = lambda a, b: jnp.where(even.reshape(-1, *[1] * (a.ndim - 1)), a, b)  # noqa: E731
    state = state.replace(physics=jax.tree.map(put, upright.physics, state.physics))
    result = step(state, zeros(env))
    np.testing.assert_array_equal(result.terms["recovered"], even)
    np.testing.assert_array_equal(result.state.recovery.active, ~even)
    np.testing.assert_array_equal(result.state.frame, state.frame)
    following = step(result.state, zeros(env))
    np.testing.assert_array_equal(following.state.frame - state.frame, even)
    assert not following.terminated.any()
    assert float(following.reward[even].min()) > 0.5 > float(following.reward[~even].max())
    lost = step(_moved(following.state, 0.5), zeros(env))
    np.testing.assert_array_equal(lost.terminated, even)


def test_a_share_of_the_falls_is_recovered_from_in_place(env, step):
    state, _ = env.start(jnp.zeros(COUNT, int), jnp.full(COUNT, 5, jnp.int32), jax.random.PRNGKey(5))
    result = step(_moved(state, 0.5), zeros(env))
    assert result.terminated.all()  # what has failed is worth as little as without a harvest
    assert float(result.state.tally.failures.sum()) == COUNT
    here = np.asarray((result.state.physics.q == result.transition.next_q).all(axis=1))
    assert 2 < here.sum() < 14
    assert np.asarray(result.state.recovery.active)[here].all()
    np.testing.assert_array_equal(result.state.recovery.left[here], STEPS)
    np.testing.assert_array_equal(result.state.frame[here], 6)
    for _ in range(STEPS - 1):
        result = step(result.state, zeros(env))
        assert not result.terminated[here].any()
        assert float(result.terms["body_error"][here].min()) > RECOVERY.near


def test_the_reward_of_recovering_is_for_rising_and_coming_nearer(env, step, fallen):
    result = step(fallen[0], zeros(env))
    terms, weights = result.terms, env.config.weights
    assert all((terms[name] == 0).all() for name in ("position", "rotation", "linear", "angular"))
    told = weights.recovery * terms["recovery"] + weights.energy * terms["energy"]
    assert weights.effort == 0 and float(terms["effort"].max()) < 0
    np.testing.assert_allclose(result.reward, told, rtol=1e-5)
    person = jax.tree.map(lambda x: x[0], env.physics.humanoid)
    up = body_state(person, env.table.q[0], env.table.v[0])
    down = body_state(person, fallen[0].physics.q[0], fallen[0].physics.v[0])
    term = lambda bodies, gap, before: float(recovery_term(bodies, up, gap, before, 1 / 30))  # noqa: E731
    assert term(up, 1.0, 1.0) == pytest.approx(2 / 3, abs=1e-5)
    assert term(down, 1.0, 1.0) < 0.5
    assert term(down, 0.99, 1.0) - term(down, 1.0, 1.0) == pytest.approx(0.1, abs=1e-4)  # 0.3 m/s of three parts
    assert term(down, 1.01, 1.0) < term(down, 1.0, 1.0)


def test_a_reference_far_away_is_shown_near_and_at_rest(env):
    bodies = jax.tree.map(lambda x: x[3], env.table.bodies)
    there = bodies._replace(position=bodies.position + jnp.array([3.0, 4.0, 0.2]))
    seen, later = waiting(bodies, there, 4, 0.5)
    np.testing.assert_allclose(
        seen.position - bodies.position, jnp.tile(jnp.array([0.3, 0.4, 0.2]), (24, 1)), atol=1e-5
    )
    np.testing.assert_array_equal(later, jnp.broadcast_to(seen.position, (4, 24, 3)))
    assert not seen.linear.any() and not seen.angular.any()
    np.testing.assert_array_equal(seen.rotation, bodies.rotation)
    near, _ = waiting(bodies, bodies._replace(position=bodies.position + 0.1), 4, 0.5)
    np.testing.assert_allclose(near.position, bodies.position + 0.1, atol=1e-6)


def test_the_same_key_gives_the_same_falls_and_pushes(pushed, shove):
    runs = []
    for seed in (7, 7, 8):
        state, _ = pushed.reset(jax.random.PRNGKey(seed))
        for _ in range(3):
            state = shove(state, zeros(pushed) + 0.1).state
        runs.append(state)
    for a, b in zip(jax.tree.leaves(runs[0]), jax.tree.leaves(runs[1]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(runs[0].push.force, runs[2].push.force)


def test_pushes_are_horizontal_last_their_time_and_come_as_often_as_asked():
    config, push, forces, lasts = PushConfig(probability=0.1, newtons=50.0, steps=3), no_push(4000), [], []
    assert not push.left.any()
    advance = jax.jit(lambda push, key: push_on(config, push, key))
    for k in range(12):
        force, push = advance(push, jax.random.PRNGKey(k))
        forces.append(np.asarray(force))
        lasts.append(np.asarray(push.left))
    sizes = np.linalg.norm(forces[0], axis=1)
    assert np.mean(sizes > 0) == pytest.approx(0.1, abs=0.02)
    assert 45 < sizes.max() <= 50 and np.median(sizes[sizes > 0]) == pytest.approx(25, abs=4)
    assert all((force[:, 2] == 0).all() for force in forces)
    begun = sizes > 0
    np.testing.assert_array_equal(forces[1][begun], forces[0][begun])
    np.testing.assert_array_equal(forces[2][begun], forces[0][begun])
    assert (np.abs(forces[3][begun] - forces[0][begun]).max(axis=1) > 0).all()  # over, or another one
    assert np.abs(forces[0].sum(axis=0)).max() < 0.2 * sizes.sum()  # from all sides
    np.testing.assert_array_equal(horizontal(np.array([0.0])), [[1.0, 0.0, 0.0]])


def test_who_is_pushed_is_moved_where_the_force_points(pushed, shove):
    state, _ = pushed.start(jnp.zeros(COUNT, int), jnp.full(COUNT, 5, jnp.int32), jax.random.PRNGKey(0))
    force = 200.0 * horizontal(jnp.arange(COUNT) * 0.4)
    speed = []
    for size in (0.0, 1.0):
        result = shove(state.replace(push=Push(size * force, jnp.full(COUNT, 3, jnp.int32))), zeros(pushed))
        np.testing.assert_array_equal(result.state.push.left, 2)
        speed.append(np.asarray(result.transition.next_v)[:, :2])
    assert (((speed[1] - speed[0]) * np.asarray(force)[:, :2]).sum(axis=1) > 0).all()


def test_training_with_falls_and_pushes_keeps_who_lies_in_its_checkpoint(tmp_path, pushed):
    style = StyleConfig(weight=0.5, hidden=(8,), minibatch=32, updates=1, replay=50)
    ppo = PPOConfig(hidden=(16,), horizon=4, minibatch=32, style=style)
    config = TrainConfig(minutes=60.0, iterations=2, ppo=ppo)
    folder = RunFolder.create(tmp_path, config, seed=0)
    method = reinforcement(pushed, ppo)
    train(method, config, folder, seed=0)
    rows = read_metrics(folder.path / "metrics.jsonl")
    assert all(0 < row["recovering"] < 1 and row["recovery"] > 0 for row in rows)
    template = jax.eval_shape(method.init, jax.random.PRNGKey(1))
    learner, _ = Checkpoints(folder.path / "checkpoints").restore(template)
    lies = np.asarray(learner.env.recovery.active)
    assert 0 < lies.sum() < COUNT
    np.testing.assert_array_equal(lies, np.asarray(learner.env.recovery.left) > 0)
    assert np.asarray(learner.env.push.left).any()


class _HalfStanding(ImitationEnv):
    """Every other of those who should lie stands on the reference."""

    def start_fallen(self, clip, frame, key):
        state, seen = super().start_fallen(clip, frame, key)
        upright, _ = self.start(clip, frame, key)
        odd = (jnp.arange(self.num_envs) % 2 == 1)[:, None]
        put = lambda a, b: jnp.where(odd, a, b)  # noqa: E731
        return state.replace(physics=jax.tree.map(put, upright.physics, state.physics)), seen


def test_who_stands_has_got_up_and_who_lies_has_not(env):
    recovery = RecoveryConfig(share=1.0, steps=30, falls=COUNT)
    judge = _HalfStanding(env.physics, env.table, TaskConfig(stray_limit=float("inf"), recovery=recovery))
    method = reinforcement(judge, PPOConfig(hidden=(16,)))
    untrained = method.trained(jax.jit(method.init)(jax.random.PRNGKey(0)))
    config = FallenConfig(per_clip=8, steps=30, settle=10)
    play = make_fall_judge(judge, np.arange(2), np.asarray(env.table.length), config, seed=0)
    np.testing.assert_array_equal(play(untrained), np.tile([False, True], (2, 4)))


def test_to_have_got_up_is_to_stay_with_the_reference():
    steps = np.arange(20)
    never = np.zeros(20, bool)
    near, back = np.full(20, 0.1), steps == 4
    assert got_up(back, near, never, never, settle=10)
    assert not got_up(never, near, never, never, settle=10)  # never recovered
    assert not got_up(back, np.where(steps == 9, 0.6, 0.1), never, never, settle=10)  # lost again
    assert not got_up(back, np.where(steps == 9, np.nan, 0.1), never, never, settle=10)
    assert got_up(back, np.where(steps == 15, 0.6, 0.1), never, never, settle=10)  # long enough before that
    assert not got_up(steps == 12, near, never, never, settle=10)  # too late
    assert got_up(steps == 12, near, never, steps == 15, settle=10)  # the clip was over
    assert not got_up(steps == 12, near, never, steps == 8, settle=10)  # in another episode
    assert not got_up(back, near, steps == 8, never, settle=10)  # diverged
