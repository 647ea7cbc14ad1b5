"""A policy in a mirror: it follows the mirror image of a motion as it follows the motion."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.imitator import ImitatorConfig, lead
from envs.mirror import reflected, reflected_action, reflected_points
from envs.people import PeopleConfig
from envs.studio import make_studio
from envs.world import WorldConfig, make_cast, playing_env
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.imitation.policy import Trained, init_normalizer, make_policy
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.motion.resample import mirror

FRAMES = 16


@pytest.fixture(scope="module")
def cast():
    """A person who walks, and the mirror image of that."""
    body = anthropometric_body()
    walk = procedural_clip("walk", body, 30.0)
    walk = dataclasses.replace(walk, rotations=walk.rotations[:FRAMES], translation=walk.translation[:FRAMES])
    return make_cast([body], [[walk, mirror(walk)]])


@pytest.fixture(scope="module")
def whim(cast):
    """A policy that has learnt nothing and is anything but symmetric."""
    env = playing_env(cast, WorldConfig(), cast.subjects)
    policy = make_policy((16,), (16,), env.action_size, 1.0)
    params = policy.init(jax.random.PRNGKey(1), env.observation_size)
    draw = np.random.default_rng(1)
    params = jax.tree.map(lambda x: jnp.asarray(0.2 * draw.normal(size=x.shape), x.dtype), params)
    return Trained(policy, params, init_normalizer(env.observation_size))


def _begun(cast):
    """The environment of both, its state and observations."""
    env = playing_env(cast, WorldConfig(), cast.subjects)
    return env, env.start(jnp.arange(2), jnp.zeros(2, int), jax.random.PRNGKey(0))


def _played(cast, trained):
    """Positions (T, 2, 24, 3), and the first observations."""
    env, (state, observation) = _begun(cast)
    first, step, places = observation, jax.jit(env.step), []
    for _ in range(FRAMES - 1):
        result = step(state, trained.act(observation))
        state, observation = result.state, result.observation
        places.append(result.transition.position)
    return np.stack(places), first


def test_what_is_followed_in_a_mirror_is_the_mirror_image_of_what_is_followed(cast, whim):
    led = lead(cast, ImitatorConfig(), "")
    assert led.table.mirrored.tolist() == [False, True]
    places, first = _played(led, whim)
    assert np.abs(whim.act(first)).max() > 0.5
    np.testing.assert_allclose(places[:, 1], reflected_points(places[:, 0]), atol=2e-4)
    np.testing.assert_allclose(first[1], first[0], atol=1e-4)
    _, seen = _begun(cast)[1]
    np.testing.assert_array_equal(seen[0], first[0])
    assert np.abs(whim.act(seen[1]) - reflected_action(whim.act(first[1]))).max() > 0.1  # what it would do else


def test_a_reflection_is_its_own_inverse(cast):
    bodies, action = cast.table.bodies, jax.random.normal(jax.random.PRNGKey(2), (5, 69))
    for once, twice in zip(jax.tree.leaves(bodies), jax.tree.leaves(reflected(reflected(bodies))), strict=True):
        np.testing.assert_array_equal(once, twice)
    np.testing.assert_array_equal(reflected_action(reflected_action(action)), action)
    assert np.abs(reflected_action(action) - action).max() > 0.1


def test_who_has_learnt_mirror_images_follows_them_as_they_are_and_a_record_says_which(cast, whim):
    learnt = ImitatorConfig(people=PeopleConfig(mirrored=True))
    told = {}
    for name, config in (("learnt", learnt), ("not", ImitatorConfig())):
        studio = make_studio(lead(cast, config, ""), whim, config, substeps=2, seats=2)
        told[name] = [studio.identity(row)[2].in_mirror for row in range(2)], studio.name(1)
    assert told["learnt"][0] == [False, False] and told["not"][0] == [False, True]
    assert told["learnt"][1] != told["not"][1]
