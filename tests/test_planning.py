"""The search: it leads through a clip on which the policy alone falls, and what it found is repeated exactly."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from envs.imitation import ACTION_SIZE
from envs.imitator import ImitatorConfig
from envs.observation import observation_size
from envs.planning import Plan, PlanConfig, Planner, make_replay
from envs.refining import RefineConfig, Refiner
from envs.search import SearchConfig, beside
from envs.studio import make_studio
from envs.world import make_cast, playing_env
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.dataset.certify import certify
from imdy_jax.dataset.collect import as_rollout
from imdy_jax.imitation.evaluate import evaluate
from imdy_jax.imitation.policy import Trained, init_normalizer, make_policy
from imdy_jax.motion.procedural import procedural_clip

PLAN = PlanConfig(particles=64, attempts=3)
REFINE = RefineConfig(rounds=2, improvements=3)
SEARCH = SearchConfig(passes=1, plan=PLAN, refine=REFINE)
FRAMES, RESTING = 50, 40


@pytest.fixture(scope="module", autouse=True)
def double():
    """float64, in which generate.py simulates."""
    jax.clear_caches()  # as in conftest.strict
    with jax.enable_x64(True):
        yield
    jax.clear_caches()


@pytest.fixture(scope="module")
def studio():
    """A policy that has learnt nothing, a walk that it falls on, a clip that nobody can follow, and one that rests."""
    body = anthropometric_body()
    walk = procedural_clip("walk", body, 30.0)
    walk = replace(walk, rotations=walk.rotations[:FRAMES], translation=walk.translation[:FRAMES])
    flight = np.array(walk.translation, float)
    flight[20:, 2] += 0.1 * np.arange(FRAMES - 20)  # it rises like a balloon
    policy = make_policy((8,), (8,), ACTION_SIZE, 0.1)
    size = observation_size(len(ImitatorConfig().world.task.ahead))
    trained = Trained(policy, policy.init(jax.random.PRNGKey(0), size), init_normalizer(size))
    sway = procedural_clip("sway", body, 30.0)
    sway = replace(sway, rotations=sway.rotations[:RESTING], translation=sway.translation[:RESTING])
    cast = make_cast([body], [[walk, replace(walk, name="balloon", translation=flight), sway]])
    return make_studio(cast, trained, ImitatorConfig(), substeps=2, seats=1).searching(SEARCH)


@pytest.fixture(scope="module")
def parts(studio):
    """A planner and a refiner, as the search has them."""
    env = lambda size: playing_env(studio.cast, studio.world, np.zeros(size, int), record=True)  # noqa: E731
    return Planner(env(PLAN.particles), PLAN, studio.trained), Refiner(env, REFINE, studio.trained)


@pytest.fixture(scope="module")
def found(studio):
    """What the search finds, by row."""
    return dict(studio.search([0, 1, 2], SEARCH, lambda row, record: (row, record)))


def test_it_leads_to_the_end_where_the_policy_alone_falls(studio, found):
    alone = evaluate(studio.trained, playing_env(studio.cast, studio.world, studio.cast.subjects), studio.cast.lengths)
    assert not alone[0].success
    assert found[0].success
    assert len(found[0].q) == FRAMES
    assert found[0].position_error < 1e3 * PLAN.lost  # the replay went where the search did


def test_what_it_found_obeys_physics_and_tells_how_it_was_found(studio, found):
    assert certify(found[0]).faults == ()
    assert found[0].provenance.particles == PLAN.particles
    plain = replace(studio, provenance=replace(studio.provenance, particles=0))
    assert found[0].id == studio.name(0) != plain.name(0)


def test_what_nobody_can_follow_is_told_and_left_out(studio, found):
    assert set(found) == {0, 2}


def test_a_clip_that_ends_at_rest_is_survived_for_longer_and_recorded_to_its_end(studio, found):
    assert np.linalg.norm(studio.cast.table.bodies.linear[-1], axis=-1).mean() < 0.3
    assert found[2].success
    assert len(found[2].q) == RESTING


def test_refining_brings_a_way_closer_and_a_replay_repeats_it(studio, parts, found):
    planner, refiner = parts
    plan = planner.plan(0, studio.provenance.seed)
    replay = make_replay(playing_env(studio.cast, studio.world, np.zeros(1, int), record=True))
    rough = as_rollout(replay(0, plan.target[: FRAMES - 1]), person(studio))[1]
    way, feedback = refiner.refine(0, plan, PLAN.lost)
    target = way.target
    np.testing.assert_array_equal(target[: FRAMES - 1], found[0].target)  # the same seed finds the same
    again = replay(0, target[: FRAMES - 1])
    for name in ("q", "v", "target"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found[0], name)[: FRAMES - 1])
    refined = as_rollout(again, person(studio))[1]
    assert rough.success
    assert refined.mpjpe < 0.8 * rough.mpjpe
    assert (np.linalg.eigvalsh(feedback.stake) > 0).all()


def test_a_search_beside_a_way_without_spread_repeats_it(studio, parts):
    planner, refiner = parts
    found, feedback = refiner.refine(2, planner.plan(2, studio.provenance.seed), PLAN.lost)
    guide = beside(found, feedback)
    unguided, again = (planner.plan(2, 0, beside, spread=0.0) for beside in (None, guide))
    np.testing.assert_allclose(again.target[: RESTING - 1], found.target[: RESTING - 1], atol=1e-6)
    assert unguided is None or np.abs(unguided.target[: RESTING - 1] - found.target[: RESTING - 1]).max() > 1e-3


def test_a_plan_that_leads_nowhere_is_not_refined(parts):
    nonsense = Plan(np.full((FRAMES, ACTION_SIZE), 2.0), np.zeros((FRAMES, 23, 4)))
    assert parts[1].refine(0, nonsense, PLAN.lost) is None


def person(studio):
    return jax.tree.map(lambda x: np.asarray(x[0]), studio.cast.humanoids)
