"""Ways: what the search finds guides, or teaches a pupil who learns what it says, and nothing is sought twice."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.guide import moved, strayed
from envs.planning import PlanConfig
from envs.refining import RefineConfig
from envs.search import SearchConfig
from envs.tutored import TeachConfig, TutoredEnv, make_lessons
from envs.ways import find_ways, make_guide
from envs.world import WorldConfig, make_cast, playing_env, training_env
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.imitation.distil import DistilConfig
from imdy_jax.imitation.evaluate import evaluate
from imdy_jax.imitation.ppo import PPOConfig
from imdy_jax.imitation.train import TrainConfig, reinforcement, train, tuition
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.run import RunFolder, read_metrics

FRAMES = 45
SEARCH = SearchConfig(passes=1, plan=PlanConfig(particles=64), refine=RefineConfig(rounds=1, improvements=2))
TEACH = TeachConfig(minutes=1.0, distil=DistilConfig(minibatch=256, ramp=2e3))
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
    """Ways, seconds, and the folder that they are kept in."""
    folder = tmp_path_factory.mktemp("ways")
    return (*find_ways(cast, WorldConfig(), SEARCH, 0, folder), folder)


@pytest.fixture(scope="module")
def lessons(cast, found):
    return make_lessons(cast, found[0])


@pytest.fixture(scope="module")
def world(cast):
    return TutoredEnv(training_env(cast, WorldConfig(), 256))


def test_a_clip_without_a_way_has_no_lesson(found, lessons):
    ways, _, folder = found
    assert len(list(folder.iterdir())) == 2
    assert ways[1] is None
    assert np.unique(lessons.moments[:, 0]).tolist() == [0]
    assert sorted(lessons.moments[:, 1].tolist()) == list(range(FRAMES - 1))


def test_nothing_is_sought_twice_and_a_damaged_lesson_is(cast, found):
    ways, seconds, folder = found
    vain, walk = sorted(folder.iterdir(), key=lambda path: path.stat().st_size)
    kept = vain.stat().st_mtime_ns
    walk.write_bytes(b"PK torn")
    again, other_seconds = find_ways(cast, WorldConfig(), SEARCH, 0, folder)
    assert vain.stat().st_mtime_ns == kept
    assert other_seconds != seconds
    for name in ("q", "v", "action", "answer", "stake"):
        np.testing.assert_array_equal(again[0][name], ways[0][name])


def test_straying_is_the_inverse_of_moving(lessons):
    move = 0.1 * jax.random.normal(jax.random.PRNGKey(0), (150,))
    reached = moved(lessons.guide.q[3], lessons.guide.v[3], move)
    np.testing.assert_allclose(strayed(lessons.guide.q[3], lessons.guide.v[3], *reached), move, atol=1e-5)


def test_the_teacher_keeps_to_the_way_where_its_actions_alone_do_not(lessons, world):
    state = world.reset(lessons, jax.random.PRNGKey(1))

    def lost(feedback):
        guide = lessons.guide
        unanswered = lessons.replace(guide=guide.replace(answer=jnp.zeros_like(guide.answer)))
        taught = lessons if feedback else unanswered

        def step(state, key):
            after, lost, _ = world.step(taught, state, world.advise(taught, state)[0], key)
            return after, jnp.sum(lost)

        return int(
            jnp.sum(jax.jit(lambda s: jax.lax.scan(step, s, jax.random.split(jax.random.PRNGKey(2), 30)))(state)[1])
        )

    assert lost(feedback=True) < 0.5 * lost(feedback=False)


def test_a_guide_leads_who_does_nothing_to_the_end_and_noise_does_not_lead_it_astray(cast, found):
    led = cast._replace(guide=make_guide(cast, found[0]))
    idle = lambda env: lambda key: jnp.zeros((env.num_envs, env.action_size))  # noqa: E731
    tried = lambda env: lambda key: 0.05 * jax.random.normal(key, (env.num_envs, env.action_size))  # noqa: E731

    def furthest(cast, act):
        """Largest mean distance of the bodies, m, of 16 humanoids who walk side by side."""
        env = playing_env(cast, WorldConfig(), np.zeros(16, int))
        zero = jnp.zeros(16, int)

        def step(state, key):
            result = env.step(state, act(env)(key))
            apart = jnp.linalg.norm(result.transition.position - result.transition.reference, axis=-1)
            return result.state, jnp.mean(apart, axis=-1)

        state = env.start(zero, zero, jax.random.PRNGKey(0))[0]
        keys = jax.random.split(jax.random.PRNGKey(1), FRAMES - 2)
        return np.max(jax.jit(lambda s: jax.lax.scan(step, s, keys))(state)[1], axis=0)

    assert furthest(cast, idle).min() > 0.3
    assert furthest(led, idle).max() < 0.15
    assert np.median(furthest(led, tried)) < 0.25


def test_a_clip_without_a_way_is_not_guided(cast, found):
    led = cast._replace(guide=make_guide(cast, found[0]))
    row = led.table.row(jnp.array([1]), jnp.array([5]))
    q, v = led.table.q[row], led.table.v[row] + 1.0
    np.testing.assert_array_equal(led.tracker.guide.advise(row, q, v), 0.0)


def test_a_pupil_follows_what_the_controller_alone_does_not_and_ppo_goes_on_from_it(cast, lessons, world, tmp_path):
    judge = playing_env(cast, WorldConfig(), cast.subjects)
    config = TrainConfig(minutes=60.0, iterations=25, ppo=PPO)
    school = RunFolder.create(tmp_path / "school", config, seed=0)
    method = tuition(world, lessons, TEACH.distil, PPO)
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
