"""Playing side by side and recording behind it: every clip once, whole, to the same bits whoever plays beside it."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_world import FPS, swaying
from toy_humanoid import toy_humanoid

import envs.recorder
from envs.c_physics import CPhysics
from envs.imitation import ImitationEnv
from envs.recorder import make_recorder
from envs.reference import build_table, padded, standard
from envs.task import TaskConfig
from envs.tracker import Tracker
from imdy_jax import humanoid
from imdy_jax.dataset.background import in_background
from imdy_jax.dataset.collect import collect
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.imitation.policy import Trained, init_normalizer, make_policy

LENGTHS = (34, 25, 47, 12, 31)
LOST = 2  # the clip that leaves the humanoid behind


@pytest.fixture(scope="module")
def env():
    """Room for three."""
    clips = [swaying(toy_humanoid(), n, 0.5 + 0.1 * i) for i, n in enumerate(LENGTHS)]
    clips[LOST][20:, 1] -= 0.1 * np.arange(1, LENGTHS[LOST] - 19)  # it slides away at 3 m/s
    table = build_table(humanoid.stack([toy_humanoid()] * len(clips)), clips, FPS)
    physics = CPhysics(humanoid.stack([toy_humanoid()] * 3), record=True)
    return ImitationEnv(physics, table, TaskConfig(stray_limit=float("inf")))


@pytest.fixture(scope="module")
def trained(env):
    policy = make_policy((8,), (8,), env.action_size, 0.1)
    params = policy.init(jax.random.PRNGKey(0), env.observation_size)
    return Trained(policy, params, init_normalizer(env.observation_size))


@pytest.fixture(scope="module")
def recorder(env, trained):
    return make_recorder(trained, env.tracker.replace(table=padded(env.table)), env.physics)


def _collected(recorder, subjects, queues):
    """What was played, by row, and the order in which it was done."""
    told = []
    played = list(collect(recorder, subjects, queues, np.array(LENGTHS), told.append))
    assert sorted(told) == sorted(n - 1 for n in LENGTHS)
    return {row: (rollout, score) for row, rollout, score in played}, [row for row, *_ in played]


@pytest.fixture(scope="module")
def shared(recorder):
    """Two humanoids of the same subject take turns, a third has a clip to itself."""
    return _collected(recorder, [0, 0, 1], {0: [2, 0, 4, 3], 1: [1]})


def test_every_clip_is_played_once_from_its_reference_to_its_end(env, shared):
    played, order = shared
    assert sorted(order) == list(range(len(LENGTHS)))
    for row, (rollout, score) in played.items():
        start = env.table.start[row]
        np.testing.assert_array_equal(rollout.q[0], env.table.q[start])
        np.testing.assert_array_equal(rollout.v[0], env.table.v[start])
        steps = score.frames
        if row != LOST:
            assert score.success and steps == LENGTHS[row] - 1
        positions = env.table.bodies.position[start : start + steps + 1]
        np.testing.assert_allclose(rollout.reference, positions, atol=1e-6)
        assert len(rollout.q) == len(rollout.v) == len(rollout.reference) == steps + 1
        assert len(rollout.target) == len(rollout.torque) == len(rollout.wrench) == steps
        np.testing.assert_array_equal(rollout.substep_v[:, -1], rollout.v[1:])


def test_a_clip_that_is_lost_ends_there_and_frees_its_place(shared):
    played, order = shared
    rollout, score = played[LOST]
    assert not score.success and 21 < score.frames < LENGTHS[LOST] - 1
    joints = jax.jit(jax.vmap(forward_kinematics, in_axes=(None, 0)))(toy_humanoid(), rollout.q).position
    gap = np.linalg.norm(joints - rollout.reference, axis=-1).mean(axis=-1)
    assert gap.max() == gap[-1] < 0.5 < gap[-1] + 0.12  # another step, and it would be beyond
    assert order.index(LOST) < order.index(0)  # the longest clip, but over before the second longest


def test_who_plays_beside_it_changes_no_bit(recorder, shared):
    otherwise, _ = _collected(recorder, [3, 5, 5], {5: [3, 1], 3: [0, 2, 4]})
    for row, (rollout, _) in shared[0].items():
        for ours, theirs in zip(jax.tree.leaves(rollout), jax.tree.leaves(otherwise[row][0]), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_clip_may_begin_at_any_frame(env, recorder):
    starts = np.array([5, 0, 0, 0, 11])
    told = []
    played = list(collect(recorder, [0, 0, 0], {0: [0, 4]}, np.array(LENGTHS), told.append, starts))
    assert sorted(told) == sorted(LENGTHS[row] - 1 - starts[row] for row in (0, 4))
    for row, rollout, score in played:
        begin = int(env.table.start[row]) + starts[row]
        np.testing.assert_array_equal(rollout.q[0], env.table.q[begin])
        assert score.success and score.frames == LENGTHS[row] - 1 - starts[row]
        positions = env.table.bodies.position[begin : begin + score.frames + 1]
        np.testing.assert_allclose(rollout.reference, positions, atol=1e-6)


def test_a_recording_is_what_the_environment_simulates(env, recorder, trained):
    rows = jnp.array([4, 0, 1])
    scene = recorder.restart(recorder.start, jnp.ones(3, bool), rows, jnp.zeros(3, int))
    _, recorded = recorder.chunk(scene)
    state, observation = env.start(rows, jnp.zeros(3, int), jax.random.PRNGKey(0))
    step = jax.jit(lambda state, seen: env.step(state, trained.act(seen)))
    for played in range(len(recorded.q)):
        result = step(state, observation)
        state, observation = result.state, result.observation
        now = jax.tree.map(lambda x, k=played: x[k], recorded)
        for ours, theirs in zip(jax.tree.leaves(now), jax.tree.leaves(result.transition), strict=True):
            scale = 1.0 + np.abs(theirs).max()
            np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-3)  # of float32
    moved = np.abs(np.asarray(recorded.next_q[-1] - recorded.q[0])).max(axis=1)
    assert moved.min() > 1e-3


def test_one_program_serves_other_people_motions_and_policies(env, recorder, trained):
    programs = envs.recorder._aim, envs.recorder._arrive, envs.recorder._restart
    before = [program._cache_size() for program in programs]
    people = humanoid.stack([toy_humanoid(1.12, 95.0, skew=0.3)] * 3)
    clips = [swaying(toy_humanoid(1.12, 95.0, skew=0.3), n) for n in (33, 29, 41, 13, 32)]  # 149 frames before, 148 now
    table = build_table(humanoid.stack([toy_humanoid(1.12, 95.0, skew=0.3)] * 5), clips, FPS)
    physics = CPhysics(people, record=True)
    restored = jax.device_put(trained.params, jax.devices()[0])  # bound to a device, as what comes from a file
    other = trained._replace(params=jax.tree.map(lambda x: x + 0.01, restored))
    heavy = make_recorder(other, Tracker(people, padded(table), None, env.config), physics)
    scene = heavy.restart(heavy.start, jnp.ones(3, bool), jnp.array([2, 2, 2]), jnp.array([20, 20, 20]))
    _, recorded = heavy.chunk(scene)
    assert [program._cache_size() for program in programs] == before
    np.testing.assert_array_equal(recorded.q[0, 0], table.q[int(table.start[2]) + 20])
    weight = 95.0 * 9.81  # the floor bears the second person, not the first
    assert abs(recorded.substeps.wrench[:, 0, :, :, 2].sum(axis=-1).mean() / weight - 1.0) < 0.2


def test_what_is_compiled_for_a_recording_calls_nothing_on_the_host(env, trained):
    """Of programs that do JAX keeps none between processes."""
    nowhere = jnp.zeros(3, int)
    scene = jax.eval_shape(envs.recorder._begin, env.tracker, nowhere, nowhere)
    assert "callback" not in envs.recorder._aim.lower(trained.kind, trained.arrays, env.tracker, scene).as_text()
    out = env.physics._outcome_shapes(scene.physics.q.dtype)
    target = jax.ShapeDtypeStruct((3, 23, 4), scene.physics.q.dtype)
    assert "callback" not in envs.recorder._arrive.lower(env.tracker, scene, target, out).as_text()
    assert "callback" in jax.jit(env.step).lower(*env.start(nowhere, nowhere, jax.random.PRNGKey(0))[:1],
                                                 jnp.zeros((3, 69))).as_text()  # fmt: skip


def test_tables_of_about_one_length_become_equally_long_and_lose_nothing(env):
    table = padded(env.table)
    clip, frame = jnp.repeat(jnp.arange(len(LENGTHS)), 60), jnp.tile(jnp.arange(60), len(LENGTHS))
    np.testing.assert_array_equal(table.row(clip, frame), env.table.row(clip, frame))
    for ours, theirs in zip(jax.tree.leaves(table), jax.tree.leaves(env.table), strict=True):
        np.testing.assert_array_equal(ours[: len(theirs)], theirs)
    assert len(table.q) == 160 and table.num_clips == 5
    sizes = [standard(n) for n in range(1, 100_000)]
    assert all(n <= size <= 1.25 * n + 1 for n, size in enumerate(sizes, 1)) and len(set(sizes)) < 70


def test_restarting_some_leaves_the_others_alone(env, recorder):
    before, _ = recorder.chunk(recorder.start)
    fresh, clip, frame = jnp.array([False, True, False]), jnp.full(3, 4), jnp.full(3, 7)
    after = recorder.restart(before, fresh, clip, frame)
    state, expected = env.start(clip, frame, jax.random.PRNGKey(0))
    assert after.clip.tolist() == [0, 4, 0] and after.frame.tolist() == [5, 7, 5]
    np.testing.assert_array_equal(after.physics.q[1], state.physics.q[1])
    np.testing.assert_array_equal(after.physics.warmstart[1], 0.0)
    np.testing.assert_allclose(after.observation[1], expected[1], atol=1e-6)
    for ours, theirs in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True):
        np.testing.assert_array_equal(ours[::2], theirs[::2])


def test_work_in_the_background_keeps_its_order_and_its_bounds():
    begun, lock = [], threading.Lock()

    def work(n):
        with lock:
            begun.append(n)
        return n * n

    results = in_background(work, range(20), threads=3, ahead=4)
    assert next(results) == 0
    assert len(begun) <= 5
    assert [0, *results] == [n * n for n in range(20)]


def test_what_fails_in_the_background_is_raised_and_ends_it():
    begun = []

    def work(n):
        begun.append(n)
        if n == 2:
            raise OSError("disk full")
        return n

    results = in_background(work, range(100), ahead=2)
    with pytest.raises(OSError, match="disk full"):
        list(results)
    assert len(begun) <= 6
