"""Lessons: the search teaches, the pupil learns what it says, and nothing is sought twice."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.lessons import TeachConfig, find_lessons
from envs.planning import PlanConfig
from envs.refining import RefineConfig, moved, strayed
from envs.tutored import TutoredEnv
from envs.world import WorldConfig, make_cast, playing_env, training_env
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.imitation.distil import DistilConfig
from imdy_jax.imitation.evaluate import evaluate
from imdy_jax.imitation.ppo import PPOConfig
from imdy_jax.imitation.train import TrainConfig, reinforcement, train, tuition
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.run import RunFolder, read_metrics

FRAMES = 45
TEACH = TeachConfig(
    minutes=1.0,
    plan=PlanConfig(particles=64),
    refine=RefineConfig(rounds=1, improvements=2),
    distil=DistilConfig(minibatch=256, ramp=2e3),
)
PPO = PPOConfig(hidden=(128,), spread=0.05, horizon=8, minibatch=256, hearing=2)


@pytest.fixture(scope="module")
def cast():
    """A walk, on which the controller alone falls, and a flight that nobody can follow."""
    body = anthropometric_body()
    walk = procedural_clip("walk", body, 30.0)
    walk = dataclasses.replace(walk, rotations=walk.rotations[:FRAMES], translation=walk.translation[:FRAMES])
    flight = np.array(walk.translation, float)
    flight[10:, 2] += 0.15 * np.arange(FRAMES - 10)
    return make_cast([body], [[walk, dataclasses.replace(walk, name="balloon", translation=flight)]])


@pytest.fixture(scope="module")
def found(cast, tmp_path_factory):
    """Lessons, seconds, and the folder that they are kept in."""
    folder = tmp_path_factory.mktemp("lessons")
    return (*find_lessons(cast, WorldConfig(), TEACH, 0, folder), folder)


@pytest.fixture(scope="module")
def world(cast):
    return TutoredEnv(training_env(cast, WorldConfig(), 256))


def test_a_clip_without_a_way_has_no_lesson(found):
    lessons, _, folder = found
    assert {path.name for path in folder.iterdir()} == {"0.npz", "1.npz"}
    assert np.unique(lessons.moments[:, 0]).tolist() == [0]
    assert sorted(lessons.moments[:, 1].tolist()) == list(range(FRAMES - 1))


def test_nothing_is_sought_twice_and_a_damaged_lesson_is(cast, found):
    lessons, seconds, folder = found
    kept = (folder / "1.npz").stat().st_mtime_ns
    (folder / "0.npz").write_bytes(b"PK torn")
    again, other_seconds = find_lessons(cast, WorldConfig(), TEACH, 0, folder)
    assert (folder / "1.npz").stat().st_mtime_ns == kept
    assert other_seconds != seconds
    for a, b in zip(jax.tree.leaves(lessons), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_straying_is_the_inverse_of_moving(found):
    lessons = found[0]
    move = 0.1 * jax.random.normal(jax.random.PRNGKey(0), (150,))
    reached = moved(lessons.q[3], lessons.v[3], move)
    np.testing.assert_allclose(strayed(lessons.q[3], lessons.v[3], *reached), move, atol=1e-5)


def test_the_teacher_keeps_to_the_way_where_its_actions_alone_do_not(found, world):
    lessons = found[0]
    state = world.reset(lessons, jax.random.PRNGKey(1))

    def lost(feedback):
        taught = lessons if feedback else lessons.replace(answer=jnp.zeros_like(lessons.answer))

        def step(state, key):
            after, lost, _ = world.step(taught, state, world.advise(taught, state)[0], key)
            return after, jnp.sum(lost)

        return int(
            jnp.sum(jax.jit(lambda s: jax.lax.scan(step, s, jax.random.split(jax.random.PRNGKey(2), 30)))(state)[1])
        )

    assert lost(feedback=True) < 0.5 * lost(feedback=False)


def test_a_pupil_follows_what_the_controller_alone_does_not_and_ppo_goes_on_from_it(cast, found, world, tmp_path):
    judge = playing_env(cast, WorldConfig(), cast.subjects)
    config = TrainConfig(minutes=60.0, iterations=25, ppo=PPO)
    school = RunFolder.create(tmp_path / "school", config, seed=0)
    method = tuition(world, found[0], TEACH.distil, PPO)
    untaught = method.trained(jax.jit(method.init)(jax.random.PRNGKey(0)))
    taught = train(method, config, school, seed=0)
    losses = [row["loss"] for row in read_metrics(school.path / "metrics.jsonl")]
    assert losses[-1] < 0.3 * losses[0]
    before, after = (evaluate(policy, judge, cast.lengths)[0] for policy in (untaught, taught))
    assert not before.success
    assert after.frames > before.frames

    env = training_env(cast, WorldConfig(), 64)
    run = RunFolder.create(tmp_path / "run", config, seed=0)
    hearing = dataclasses.replace(config, iterations=PPO.hearing)
    heard = train(reinforcement(env, PPO, taught), hearing, run, seed=0, spent=30.0)
    assert read_metrics(run.path / "metrics.jsonl")[0]["seconds"] > 30.0
    for a, b in zip(jax.tree.leaves(heard.params["actor"]), jax.tree.leaves(taught.params["actor"]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)  # the critic listens first
    moved_on = train(reinforcement(env, PPO, taught), dataclasses.replace(config, iterations=4), run, seed=0)
    step = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), moved_on.params["actor"], heard.params["actor"])
    assert max(jax.tree.leaves(step)) > 1e-5
