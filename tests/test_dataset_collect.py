"""Playing side by side and recording behind it: every clip once, whole, to the same bits whoever plays beside it."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_world import FPS, swaying
from toy_humanoid import toy_humanoid

from envs.c_physics import CPhysics
from envs.imitation import ImitationEnv
from envs.playback import make_recorder
from envs.reference import build_table
from envs.task import TaskConfig
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
def recorder(env):
    policy = make_policy((8,), (8,), env.action_size, 0.1)
    params = policy.init(jax.random.PRNGKey(0), env.observation_size)
    trained = Trained(policy, params, init_normalizer(env.observation_size))
    return make_recorder(trained, env.tracker, env.physics)


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
