"""The network and its losses: symmetries, masks, and the loss values that can be told in advance."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imdy_jax.solver.cycle import ForwardDynamics, Training, spoil
from imdy_jax.solver.features import Features, Targets, advance, history
from imdy_jax.solver.fit import FitConfig
from imdy_jax.solver.loss import (
    LossWeights,
    Outputs,
    direction_loss,
    forward_loss,
    loss_terms,
    magnitude_loss,
    plausible_loss,
    total_loss,
)
from imdy_jax.solver.model import (
    SMALLEST_SPREAD,
    UNIT,
    ImDyS,
    ModelConfig,
    Prediction,
    init,
    num_parameters,
    whitening,
)

SMALL = ModelConfig(width=16, layers=2, heads=2, hidden=32)
apply = jax.jit(ImDyS(SMALL).apply)


@pytest.fixture(scope="module")
def network():
    variables = init(SMALL, jax.random.PRNGKey(0))
    tokens = np.random.default_rng(0).normal(size=(66, 37)).astype(np.float32)
    return variables, tokens


def outputs(prediction):
    return np.concatenate([np.ravel(prediction.torque), np.ravel(prediction.contact_force)])


def test_order_of_the_markers_does_not_matter(network):
    variables, tokens = network
    mask = np.arange(66) % 5 > 0
    order = np.random.default_rng(1).permutation(66)
    straight, shuffled = apply(variables, tokens, mask), apply(variables, tokens[order], mask[order])
    assert np.abs(outputs(straight)).max() > 1e-3
    np.testing.assert_allclose(outputs(shuffled), outputs(straight), atol=1e-6)


def test_masked_tokens_are_as_good_as_absent(network):
    variables, tokens = network
    mask = np.arange(66) < 40
    polluted = np.where(mask[:, None], tokens, 1e3)
    alone = apply(variables, tokens[:40], np.ones(40, bool))
    np.testing.assert_allclose(outputs(apply(variables, polluted, mask)), outputs(alone), atol=1e-6)
    assert np.abs(outputs(apply(variables, tokens, np.ones(66, bool))) - outputs(alone)).max() > 1e-4


def test_no_marker_at_all_is_finite(network):
    variables, tokens = network
    assert np.isfinite(outputs(apply(variables, tokens, np.zeros(66, bool)))).all()


def test_size_is_the_sum_of_the_published_parts():
    embedding, attention = 37 * 64 + 64, 4 * (64 * 64 + 64)
    feed_forward, norms = 64 * 128 + 128 + 128 * 64 + 64, 2 * 2 * 64
    heads = (69 + 23 + 144 + 48) * (64 + 1)
    expected = embedding + 3 * (attention + feed_forward + norms) + heads
    assert num_parameters(jax.eval_shape(lambda key: init(ModelConfig(), key), jax.random.PRNGKey(0))) == expected


def test_whitened_tokens_have_unit_covariance():
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(4000, 5)) @ rng.normal(size=(5, 5)) * 50 + 7
    statistics = whitening(tokens)
    white = (tokens - statistics["mean"]) @ statistics["scale"]
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.eye(5), atol=1e-2)
    constant = whitening(np.ones((10, 3)))
    np.testing.assert_allclose(np.abs(constant["scale"]), np.eye(3) / SMALLEST_SPREAD, atol=1e-5)


def some_features(points=5, there=4):
    states = np.random.default_rng(3).normal(size=(6, points, 6)).astype(np.float32)
    mask = np.arange(points) < there
    return Features(jnp.asarray(states * mask[:, None]), jnp.asarray(mask), jnp.array([1.0, 0, 0, 0]), jnp.zeros(()))


@pytest.fixture
def targets():
    rng = np.random.default_rng(2)
    force = rng.normal(size=(2, 24, 3)) * np.where(np.arange(24) < 4, 1.0, 0.0)[:, None]
    return Targets(jnp.asarray(0.6 * rng.normal(size=(23, 3))), jnp.asarray(force))


def perfect(targets):
    length = lambda x: jnp.linalg.norm(x, axis=-1)  # noqa: E731
    torque, force = targets
    return Prediction(length(torque), 3 * torque, length(force), 5 * force)


def test_losses_vanish_for_the_truth_at_any_length_of_the_directions(targets):
    prediction = perfect(targets)
    assert float(magnitude_loss(prediction, targets)) == pytest.approx(0, abs=1e-5)
    assert float(direction_loss(prediction, targets)) == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(prediction.torque, targets.torque, atol=1e-6)
    np.testing.assert_allclose(prediction.contact_force, targets.contact_force, atol=1e-6)


def test_losses_of_known_errors(targets):
    prediction = perfect(targets)
    off = prediction._replace(
        torque_magnitude=prediction.torque_magnitude + 0.3 * UNIT,
        force_magnitude=prediction.force_magnitude - 0.2 * UNIT,
        torque_direction=-prediction.torque_direction,
    )
    terms = loss_terms(Outputs(off, None, None), some_features(), targets)
    assert float(terms["magnitude"]) == pytest.approx(30 + 20, rel=1e-4)  # N·m and N on the reference body
    assert float(terms["direction"]) == pytest.approx(2, rel=1e-4)
    assert float(total_loss(terms, LossWeights())) == pytest.approx(0.01 * 50 + 2, rel=1e-4)


def test_each_instant_has_its_own_direction(targets):
    """Scaling a force in one of the two steps leaves its direction, and so the loss, as it was."""
    scaled = targets._replace(contact_force=targets.contact_force * jnp.array([1.0, 40.0])[:, None, None])
    assert float(direction_loss(perfect(targets), scaled)) == pytest.approx(0, abs=1e-5)


def test_a_segment_without_contact_has_no_direction_to_learn(targets):
    prediction = perfect(targets)
    elsewhere = jnp.where(jnp.arange(24)[:, None] < 4, prediction.force_direction, 1.0)
    slope = jax.grad(lambda d: direction_loss(prediction._replace(force_direction=d), targets))(elsewhere)
    assert np.isfinite(slope).all()
    np.testing.assert_array_equal(slope[:, 4:], 0)
    nothing = jax.tree.map(jnp.zeros_like, targets)
    assert float(direction_loss(prediction, nothing)) == 0


def test_a_magnitude_below_zero_is_no_force(targets):
    negative = perfect(targets)._replace(force_magnitude=-jnp.ones((2, 24)))
    np.testing.assert_array_equal(negative.contact_force, 0)


def test_forward_dynamics_is_judged_by_the_next_frame_in_millimetres():
    features = some_features()
    truth = advance(features)
    assert float(forward_loss(truth, features)) == 0
    off = truth.at[:, 1].add(0.3)  # of three coordinates one; a point that is not there does not count
    assert float(forward_loss(off, features)) == pytest.approx(1000 * 0.3 / 30 / 3, rel=1e-5)
    polluted = off.at[4].add(1e3)
    assert float(forward_loss(polluted, features)) == pytest.approx(1000 * 0.3 / 30 / 3, rel=1e-5)


def test_forward_dynamics_does_not_mind_the_order_of_points_nor_what_is_not_there():
    features, network = some_features(6, 5), ForwardDynamics(SMALL)
    drive = jnp.asarray(np.random.default_rng(0).normal(size=141), jnp.float32)
    seen = history(features)
    variables = jax.jit(network.init)(jax.random.PRNGKey(0), seen, features.mask, drive)
    told = network.apply(variables, seen, features.mask, drive)
    order = np.array([3, 1, 0, 4, 2, 5])
    np.testing.assert_allclose(network.apply(variables, seen[order], features.mask, drive), told[order], atol=1e-5)
    polluted = network.apply(variables, seen.at[5].set(1e3), features.mask, drive)
    np.testing.assert_allclose(polluted[:5], told[:5], atol=1e-5)
    assert np.abs(network.apply(variables, seen, features.mask, 2 * drive) - told).max() > 1e-3


def test_the_judge_s_loss_is_that_of_a_coin_where_it_knows_nothing():
    assert float(plausible_loss(jnp.zeros(()), jnp.zeros(()))) == pytest.approx(np.log(2), rel=1e-6)
    right, wrong = (float(plausible_loss(jnp.array(x), jnp.array(-x))) for x in (9.0, -9.0))
    assert right < 1e-3 and wrong == pytest.approx(9, rel=1e-3)


def test_spoiled_windows_are_reordered_or_noisy_in_equal_parts_and_never_whole():
    features, reordered = some_features(), 0
    whole = np.asarray(features.states)
    spoiled = jax.jit(jax.vmap(spoil, in_axes=(None, 0)))(features, jax.random.split(jax.random.PRNGKey(0), 2000))
    for states in np.asarray(spoiled.states):
        assert not np.array_equal(states, whole)
        assert not states[:, 4].any()  # a point that is not there
        if np.array_equal(np.sort(states[:, 0, 0]), np.sort(whole[:, 0, 0])):
            order = [int(np.flatnonzero(whole[:, 0, 0] == x)[0]) for x in states[:, 0, 0]]
            np.testing.assert_array_equal(states, whole[order])
            reordered += 1
        else:
            assert 0.03 < np.std(states[:, :4] - whole[:, :4]) < 0.07
    assert 900 < reordered < 1100


def test_each_loss_reaches_what_it_is_there_for_and_costs_nothing_without_weight(targets):
    """L_FD teaches the heads of torque and force through forward dynamics; L_cls teaches the encoder and no head."""
    features, one_layer = some_features(), dataclasses.replace(SMALL, layers=1)
    spoiled = spoil(features, jax.random.PRNGKey(1))

    def slopes(weights, name):
        network = Training(one_layer, weights)
        variables = jax.jit(network.init)(jax.random.PRNGKey(0), features, spoiled)

        @jax.jit
        @jax.grad
        def slope(params):
            outputs = network.apply(variables | {"params": params}, features, spoiled)
            return loss_terms(outputs, features, targets)[name]

        found = slope(variables["params"])
        parts = {**found, **found["inverse"]}
        return {key: max(float(jnp.abs(x).max()) for x in jax.tree.leaves(tree)) for key, tree in parts.items()}

    everything = LossWeights()
    cycle, judged = slopes(everything, "forward"), slopes(everything, "plausible")
    for part in ("forward", "torque_magnitude", "torque_direction", "force_magnitude", "force_direction", "encoder_0"):
        assert cycle[part] > 0, part
    assert cycle["judge"] == 0
    assert judged["encoder_0"] > 0 < judged["judge"]
    assert judged["torque_magnitude"] == judged["force_direction"] == judged["forward"] == 0
    bare = jax.eval_shape(Training(SMALL, FitConfig().weights).init, jax.random.PRNGKey(0), features, spoiled)
    assert list(bare["params"]) == ["inverse"]
