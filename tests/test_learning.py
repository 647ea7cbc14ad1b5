"""The learner's parts against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imdy_jax.imitation.gae import advantages
from imdy_jax.imitation.policy import CLIP, Trained, init_normalizer, make_policy, normalize, update_normalizer


def test_advantages_are_the_weighted_sum_of_later_errors():
    draw = np.random.default_rng(0)
    steps, envs, discount, trace = 9, 5, 0.9, 0.8
    reward, value, later = (draw.normal(size=(steps, envs)) for _ in range(3))
    terminated = draw.random((steps, envs)) < 0.2
    truncated = (draw.random((steps, envs)) < 0.2) & ~terminated
    found, returns = advantages(*map(jnp.asarray, (reward, value, later, terminated, truncated)), discount, trace)
    for e in range(envs):
        for t in range(steps):
            total, weight = 0.0, 1.0
            for k in range(t, steps):
                future = 0.0 if terminated[k, e] else later[k, e]
                total += weight * (reward[k, e] + discount * future - value[k, e])
                if terminated[k, e] or truncated[k, e]:
                    break
                weight *= discount * trace
            assert found[t, e] == pytest.approx(total, abs=1e-5)
    np.testing.assert_allclose(returns, found + value, atol=1e-6)


def test_the_normalizer_has_the_mean_and_variance_of_all_it_saw():
    draw = np.random.default_rng(1)
    seen = [draw.normal(3.0, 2.0, size=(n, 4)).astype(np.float32) for n in (7, 100, 31)]
    normalizer = init_normalizer(4)
    for batch in seen:
        normalizer = update_normalizer(normalizer, jnp.asarray(batch))
    everything = np.concatenate(seen)
    assert normalizer.seen == len(everything)
    np.testing.assert_allclose(normalizer.mean, everything.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(normalizer.variance, everything.var(axis=0), rtol=1e-4)
    assert jnp.abs(normalize(normalizer, jnp.full(4, 1e6))).max() == CLIP


def test_ratio_and_divergence_are_those_of_the_gaussians():
    policy = make_policy((8,), (8,), 3, spread=0.2)
    draw = np.random.default_rng(2)
    mean, old, action = (jnp.asarray(draw.normal(size=(6, 3)) * 0.3) for _ in range(3))
    density = lambda at: jax.scipy.stats.norm.logpdf(action, at, 0.2).sum(axis=-1)  # noqa: E731
    np.testing.assert_allclose(policy.log_ratio(mean, old, action), density(mean) - density(old), atol=1e-4)
    samples = old[0] + 0.2 * jax.random.normal(jax.random.PRNGKey(0), (200_000, 3))
    empirical = -jnp.mean(policy.log_ratio(mean[0], old[0], samples))
    assert policy.divergence(mean[0], old[0]) == pytest.approx(float(empirical), rel=0.02)


def test_an_untrained_policy_leaves_the_reference_alone_and_its_digest_names_it():
    policy = make_policy((8,), (8,), 3, spread=0.2)
    params = policy.init(jax.random.PRNGKey(0), 5)
    assert (policy.mean(params, jnp.ones((2, 5))) == 0).all()
    trained = Trained(policy, params, init_normalizer(5))
    assert trained.digest == Trained(policy, params, init_normalizer(5)).digest
    other = policy.init(jax.random.PRNGKey(1), 5)
    assert trained.digest != trained._replace(params=other).digest
