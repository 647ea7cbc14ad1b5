"""The network and its losses: symmetries, masks, and the loss values that can be told in advance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imdy_jax.solver.features import Targets
from imdy_jax.solver.loss import LossWeights, direction_loss, loss_terms, magnitude_loss, total_loss
from imdy_jax.solver.model import (
    FORCE_UNIT,
    MOMENTUM_UNIT,
    SMALLEST_SPREAD,
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
    tokens = np.random.default_rng(0).normal(size=(66, 36)).astype(np.float32)
    return variables, tokens


def outputs(prediction):
    return np.concatenate([np.ravel(prediction.angular_momentum), np.ravel(prediction.contact_force)])


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
    embedding, attention = 36 * 64 + 64, 4 * (64 * 64 + 64)
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


@pytest.fixture
def targets():
    rng = np.random.default_rng(2)
    force = rng.normal(size=(2, 24, 3)) * np.where(np.arange(24) < 4, 1.0, 0.0)[:, None]
    return Targets(jnp.asarray(0.02 * rng.normal(size=(23, 3))), jnp.asarray(force))


def perfect(targets):
    length = lambda x: jnp.linalg.norm(x, axis=-1)  # noqa: E731
    momentum, force = targets
    return Prediction(length(momentum), 3 * momentum, length(force), 5 * force)


def test_losses_vanish_for_the_truth_at_any_length_of_the_directions(targets):
    prediction = perfect(targets)
    assert float(magnitude_loss(prediction, targets)) == pytest.approx(0, abs=1e-5)
    assert float(direction_loss(prediction, targets)) == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(prediction.angular_momentum, targets.angular_momentum, atol=1e-6)
    np.testing.assert_allclose(prediction.contact_force, targets.contact_force, atol=1e-6)


def test_losses_of_known_errors(targets):
    prediction = perfect(targets)
    off = prediction._replace(
        momentum_magnitude=prediction.momentum_magnitude + 0.3 * MOMENTUM_UNIT,
        force_magnitude=prediction.force_magnitude - 0.2 * FORCE_UNIT,
        momentum_direction=-prediction.momentum_direction,
    )
    terms = loss_terms(off, targets)
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
