"""References that change on the way: the same motion elsewhere, from where the humanoid is, drawn from the key."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_world import small_env, zeros

from envs.imitation import ImitationEnv
from envs.reference import body_state
from envs.starts import draw_starts
from envs.switching import SwitchConfig, draw_switches, in_place, meeting, put_bodies, put_motion, put_points
from envs.task import TaskConfig
from imdy_jax import rotation
from imdy_jax.checkpoints import Checkpoints
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.imitation.evaluate_switches import SwitchingConfig, evaluate_switches, judge_switches
from imdy_jax.imitation.ppo import PPOConfig
from imdy_jax.imitation.train import TrainConfig, reinforcement, train
from imdy_jax.run import RunFolder, read_metrics

COUNT, GRACE = 8, 4
ALWAYS = SwitchConfig(rate=1e9, grace=GRACE)
PPO = PPOConfig(hidden=(8,), critic_hidden=(8,), horizon=4, minibatch=16)


@pytest.fixture(scope="module")
def env():
    """Everyone changes at every step."""
    return small_env(COUNT, balance=False, ahead=(3,), switch=ALWAYS)


@pytest.fixture(scope="module")
def step(env):
    return jax.jit(env.step)


@pytest.fixture(scope="module")
def seldom(env):
    """The same world with a change about every fifth of a second."""
    return ImitationEnv(env.physics, env.table, _with(env, SwitchConfig(rate=5.0, grace=GRACE)))


@pytest.fixture(scope="module")
def elsewhere(env):
    """Frames of the table, and references that have been moved to meet people who stand anywhere and face anyhow."""
    row, rng = jnp.arange(COUNT) * 3, np.random.default_rng(0)
    q = np.array(env.table.q[row])
    turn = Rotation.from_rotvec(rng.uniform(-3, 3, (COUNT, 1)) * np.array([0.0, 0.0, 1.0]))
    q[:, :2] += rng.normal(0, 4, (COUNT, 2))
    q[:, 2] += 0.2
    tilt = Rotation.from_rotvec(rng.normal(0, 0.2, (COUNT, 3)))
    q[:, 3:7] = (turn * tilt * Rotation.from_quat(q[:, 3:7], scalar_first=True)).as_quat(scalar_first=True)
    return row, jnp.asarray(q), meeting(jnp.asarray(q), env.table.q[row], SwitchConfig())


def _with(env, switch, **changes):
    return dataclasses.replace(env.config, switch=switch, **changes)


def test_a_reference_begins_where_the_humanoid_is_and_the_floor_stays(env, elsewhere):
    row, q, placed = elsewhere
    wanted, _, _ = put_motion(placed, env.table.q[row], env.table.v[row], env.table.a[row])
    np.testing.assert_allclose(wanted[:, :2], q[:, :2], atol=1e-5)
    np.testing.assert_allclose(wanted[:, 2], env.table.q[row, 2], atol=1e-6)
    facing = [rotation.rotate(rotation.heading(x[:, 3:7]), jnp.array([1.0, 0.0, 0.0])) for x in (wanted, q)]
    np.testing.assert_allclose(*facing, atol=1e-5)
    np.testing.assert_array_equal(wanted[:, 7:], env.table.q[row, 7:])
    here = meeting(env.table.q[row], env.table.q[row], SwitchConfig())
    for found, identity in zip(here[:2], in_place(COUNT, jnp.float32)[:2], strict=True):
        np.testing.assert_allclose(found, identity, atol=1e-6)


def test_a_moved_reference_is_the_same_motion_turned_about_the_vertical_and_shifted(env, elsewhere):
    row, _, placed = elsewhere
    person = env.physics.humanoid
    q, v, a = put_motion(placed, env.table.q[row], env.table.v[row], env.table.a[row])
    moved = put_bodies(placed, jax.tree.map(lambda x: x[row], env.table.bodies))
    for told, found in zip(moved, jax.vmap(body_state)(person, q, v), strict=True):  # by kinematics of the moved q, v
        np.testing.assert_allclose(told, found, atol=2e-5)
    turn = Rotation.from_quat(np.array(placed.turn), scalar_first=True)
    np.testing.assert_allclose(turn.as_rotvec()[:, :2], 0.0, atol=1e-6)
    for i in range(COUNT):  # every frame by one turn and one shift, with scipy's rotations
        points = np.array(env.table.bodies.position)
        told = put_points(jax.tree.map(lambda x, i=i: x[i : i + 1], placed), jnp.array(points)[None])[0]
        wanted = turn[i].apply(points.reshape(-1, 3)).reshape(points.shape) + np.array(placed.shift[i])
        np.testing.assert_allclose(told, wanted, atol=2e-5)
        np.testing.assert_allclose(told[..., 2], points[..., 2], atol=1e-5)
    # Its joint torques are the same, and what holds up the root is turned along: v̇ is moved rightly, too.
    inverse = jax.jit(jax.vmap(inverse_dynamics))
    torque, root = inverse(person, env.table.q[row], env.table.v[row], env.table.a[row])
    torque_there, root_there = inverse(person, q, v, a)
    np.testing.assert_allclose(torque_there, torque, atol=2e-3)
    np.testing.assert_allclose(root_there[:, :3], turn.apply(np.array(root[:, :3])), rtol=1e-4, atol=5e-3)
    assert np.abs(np.array(root[:, :2])).max() > 0.5


def test_who_moves_along_sees_and_is_told_the_same(env, elsewhere):
    row, _, placed = elsewhere
    whole = ImitationEnv(env.physics, env.table, _with(env, ALWAYS, balance=True))
    clip, frame = jnp.zeros(COUNT, int), row
    ahead = env.table.row(clip, frame + 2)  # somewhat off the reference
    q, v, _ = put_motion(placed, env.table.q[ahead], env.table.v[ahead], env.table.a[ahead])
    action = 0.1 * jax.random.normal(jax.random.PRNGKey(0), (COUNT, env.action_size))
    seen, told = [], []
    for state, at in (
        (env.physics.reset(env.table.q[ahead], env.table.v[ahead]), None),
        (env.physics.reset(q, v), placed),
    ):
        bodies = jax.vmap(body_state)(env.physics.humanoid, state.q, state.v)
        seen.append(env.tracker.observe(bodies, clip, frame, None, at))
        told.append(whole.tracker.target(state, clip, frame + 1, action, None, at))
    np.testing.assert_allclose(*seen, atol=1e-4)
    np.testing.assert_allclose(*told, atol=1e-4)
    assert np.abs(seen[0] - env.tracker.observe(bodies, clip, frame)).max() > 1.0  # the reference had been left behind


def test_episodes_go_on_with_another_clip_and_are_paid_for_it(env, step):
    clip = jnp.arange(COUNT) % 2
    state, _ = env.start(clip, jnp.full(COUNT, 5), jax.random.PRNGKey(0))
    result = step(state, zeros(env))
    after = result.state
    assert result.terms["switched"].all() and not (result.terminated | result.truncated).any()
    np.testing.assert_array_equal(after.clip, 1 - clip)
    assert (after.frame <= env.table.length[after.clip] - 2).all() and len(set(after.frame.tolist())) > 3
    np.testing.assert_array_equal(after.physics.q, result.transition.next_q)  # nobody is moved but the reference
    np.testing.assert_array_equal(after.placed.grace, GRACE)
    wanted = put_bodies(after.placed, env.table.at(after.clip, after.frame))
    np.testing.assert_allclose(wanted.position[:, 0, :2], after.physics.q[:, :2], atol=1e-5)
    # What is seen then is the new clip: it is also what the value of the step is told of.
    np.testing.assert_array_equal(result.observation, result.final_observation)
    bodies = jax.vmap(body_state)(env.physics.humanoid, after.physics.q, after.physics.v)
    seen = env.tracker.observe(bodies, after.clip, after.frame, None, after.placed)
    np.testing.assert_allclose(result.observation, seen, atol=1e-4)
    following = step(after, zeros(env))
    assert not following.terminated.any() and (following.reward > 0.1).all()
    goal = put_bodies(after.placed, env.table.at(after.clip, after.frame + 1)).position
    np.testing.assert_allclose(following.transition.reference, goal, atol=1e-5)


def test_to_stray_ends_nothing_until_the_grace_is_over_and_is_not_counted(env):
    never = ImitationEnv(env.physics, env.table, _with(env, SwitchConfig(rate=1e-9, grace=GRACE), stray_limit=1e-4))
    state, _ = never.start(jnp.zeros(COUNT, int), jnp.full(COUNT, 2), jax.random.PRNGKey(0))
    grace = jnp.where(jnp.arange(COUNT) % 2 == 0, 2, 0)
    state, step = state.replace(placed=state.placed._replace(grace=grace)), jax.jit(never.step)
    ends = []
    for _ in range(3):
        result = step(state, zeros(never))
        assert not result.terms["switched"].any()
        ends.append(np.asarray(result.terminated))
        state = result.state
    np.testing.assert_array_equal(ends[0], grace == 0)
    np.testing.assert_array_equal(ends[1][::2], False)
    assert ends[2].all()
    assert float(state.tally.failures.sum()) == pytest.approx(np.sum(ends), rel=0.01)


def test_the_same_key_gives_the_same_changes(seldom):
    step, runs = jax.jit(seldom.step), []
    for seed in (7, 7, 8):
        state, _ = seldom.reset(jax.random.PRNGKey(seed))
        changes = []
        for _ in range(12):
            result = step(state, zeros(seldom))
            state = result.state
            changes.append(np.asarray(result.terms["switched"]))
        runs.append((state, np.array(changes)))
    for a, b in zip(jax.tree.leaves(runs[0]), jax.tree.leaves(runs[1]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (runs[0][1] != runs[2][1]).any()
    assert 0 < runs[0][1].mean() < 0.5


def test_changes_come_as_often_as_asked_and_only_to_another_clip_of_one_s_own():
    draw = lambda rate: float(draw_switches(SwitchConfig(rate), jax.random.PRNGKey(0), 40_000, 1 / 30).mean())  # noqa: E731
    assert draw(0.0) == 0.0 and draw(1e9) == 1.0
    assert draw(6.0) == pytest.approx(1 - np.exp(-0.2), abs=0.006)
    choices = jnp.tile(jnp.array([[0, 2, 3], [1, 1, 1]]), (500, 1))
    weights = jnp.ones((4, 2)).at[2].set(3.0)
    clip, _ = draw_starts(jax.random.PRNGKey(1), weights, jnp.full(4, 20), choices, jnp.tile(jnp.array([0, 1]), 500))
    assert set(clip[0::2].tolist()) == {2, 3} and set(clip[1::2].tolist()) == {1}  # who has no other has no choice
    assert float((clip[0::2] == 2).mean()) == pytest.approx(0.75, abs=0.06)


def test_who_has_one_clip_keeps_it_and_off_leaves_nothing_behind(env):
    single = ImitationEnv(env.physics, env.table, env.config, jnp.ones((COUNT, 2), int))
    state, _ = single.reset(jax.random.PRNGKey(0))
    assert not jax.jit(single.step)(state, zeros(single)).terms["switched"].any()
    plain, _ = small_env(2).reset(jax.random.PRNGKey(0))
    assert plain.placed is None and "placed" not in [field.name for field in dataclasses.fields(plain)]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda env: SwitchConfig(rate=-1.0), r"switch: found rate -1\.0 per second"),
        (lambda env: SwitchConfig(rate=1.0, grace=-1), r"grace -1 control steps"),
        (lambda env: ImitationEnv(env.physics, env.table, TaskConfig(switch=ALWAYS), guide=object()), "beside a guide"),
    ],
)
def test_what_cannot_be_is_refused(env, made, said):
    with pytest.raises(ValueError, match=said):
        made(env)


def test_a_training_keeps_in_its_checkpoint_where_references_are(tmp_path, seldom):
    config = TrainConfig(minutes=60.0, iterations=2, ppo=PPO)
    folder, method = RunFolder.create(tmp_path, config, seed=0), reinforcement(seldom, PPO)
    train(method, config, folder, seed=0)
    assert any(row["switched"] > 0 for row in read_metrics(folder.path / "metrics.jsonl"))
    template = jax.eval_shape(method.init, jax.random.PRNGKey(1))
    learner, _ = Checkpoints(folder.path / "checkpoints").restore(template)
    assert np.abs(learner.env.placed.shift).max() > 0 and np.abs(learner.env.placed.turn[:, 3]).max() > 0


def test_gentle_clips_are_changed_between_and_the_same_seed_tells_the_same(seldom):
    config = SwitchingConfig(per_clip=4, rate=5.0, steps=60, watch=8, least=6, near=0.1)
    method = reinforcement(seldom, PPO)
    untrained = method.trained(jax.jit(method.init)(jax.random.PRNGKey(0)))
    lengths = np.asarray(seldom.table.length)
    survived, steps = evaluate_switches(untrained, seldom, np.arange(2), lengths, config, seed=0)
    assert len(survived) > 5 and survived.all() and (steps[np.isfinite(steps)] <= 8).all()
    assert np.isfinite(steps).mean() > 0.9
    again = evaluate_switches(untrained, seldom, np.arange(2), lengths, config, seed=0)
    np.testing.assert_array_equal(again[1], steps)
    with pytest.raises(ValueError, match=r"no change of clip to judge in 60 control steps at 5\.0 per second"):
        evaluate_switches(untrained, seldom, np.arange(2), lengths, dataclasses.replace(config, least=50), seed=0)


def test_a_change_is_judged_until_the_next_and_by_its_own_episode_only():
    steps = np.arange(100)
    config = SwitchingConfig(watch=20, least=10, near=0.1)
    never, left = np.zeros(100, bool), np.full(100, 99)
    gap = np.full(100, 0.3)
    at = lambda *when: np.isin(steps, when)  # noqa: E731

    def judged(switched, gap=gap, failed=never, left=left):
        return judge_switches(switched, gap, failed, left, config)

    arriving = np.where(steps >= 14, 0.05, 0.3)
    assert judged(at(10), arriving) == [(True, 4.0)]
    assert judged(at(10))[0][0] and np.isnan(judged(at(10))[0][1])
    assert np.isnan(judged(at(10), np.where(steps == 10, 0.05, 0.3))[0][1])  # near the old clip
    lost = judged(at(10), arriving, at(12))
    assert not lost[0][0] and np.isnan(lost[0][1])  # near in another episode
    assert judged(at(10), failed=at(31))[0][0] and not judged(at(10), failed=at(30))[0][0]  # watched for 20 steps
    assert len(judged(at(10, 15))) == 1 and len(judged(at(10, 20))) == 2  # the first has too little time
    assert [held for held, _ in judged(at(10, 25), failed=at(26))] == [True, False]
    assert judged(never) == [] and judged(at(95)) == [] and judged(at(10), left=np.full(100, 9)) == []
    assert judged(at(10), failed=at(22), left=np.full(100, 11))[0][0]  # its clip was over before
