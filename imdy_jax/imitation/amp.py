"""Adversarial motion prior (Peng et al. 2021): a discriminator learns to tell the policy's motion from recorded motion.

It sees windows of a few control steps, told as features of each moment. What it takes for recorded is rewarded.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from imdy_jax.imitation.policy import MLP, Normalizer, init_normalizer, normalize, update_normalizer


@dataclass(frozen=True)
class StyleConfig:
    """Settings of the discriminator; but for its size they are PHC's (Luo et al. 2023)."""

    weight: float = 0.0  # of the style's reward; the task's has 1 − weight. 0: no discriminator
    scale: float = 2.0  # of the style's reward
    hidden: tuple[int, ...] = (256, 128)
    learning_rate: float = 1e-4
    minibatch: int = 512  # windows of the policy, and as many recorded ones
    updates: int = 4  # minibatches per iteration
    gradient_penalty: float = 5.0  # on recorded windows
    logit_weight: float = 0.01  # on the square of the last layer's weights
    decay: float = 1e-4  # on the square of all weights
    replay: int = 20_000  # windows of earlier iterations that half of each minibatch comes from


class StyleState(NamedTuple):
    """What training carries of the discriminator."""

    params: dict
    optimizer: Any
    normalizer: Normalizer
    replay: jax.Array  # (R, D) float16
    stored: jax.Array  # () windows that have gone into it


def init_style(config: StyleConfig, size: int, key: jax.Array) -> StyleState:
    """A discriminator of windows (size,) that takes all for as likely as not."""
    params = _network(config).init(key, jnp.zeros((1, size)))
    optimizer = _adam(config).init(params)
    replay = jnp.zeros((config.replay, size), jnp.float16)
    return StyleState(params, optimizer, init_normalizer(size), replay, jnp.zeros((), jnp.int32))


def style_reward(config: StyleConfig, style: StyleState, windows: jax.Array) -> jax.Array:
    """Reward (...,) of windows (..., D): −log of how likely they are taken for simulated, at most 9.2, scaled."""
    simulated = 1.0 - jax.nn.sigmoid(_logit(config, style.params, normalize(style.normalizer, windows)))
    return -config.scale * jnp.log(jnp.maximum(simulated, 1e-4))


def learn_style(
    config: StyleConfig, style: StyleState, windows: jax.Array, recorded: jax.Array, key: jax.Array
) -> tuple[StyleState, dict[str, jax.Array]]:
    """One iteration: windows (M, D) are the policy's latest, recorded (updates · minibatch, D) are demonstrations."""
    for_new, for_old, for_store = jax.random.split(key, 3)
    half = config.minibatch // 2
    count = config.updates * half
    new = windows[jax.random.randint(for_new, (count,), 0, len(windows))]
    old = style.replay[jax.random.randint(for_old, (count,), 0, jnp.clip(style.stored, 1, config.replay))]
    old = jnp.where(style.stored > 0, old.astype(new.dtype), new)  # at first there is nothing to replay
    batch = lambda x: normalize(style.normalizer, x).reshape(config.updates, -1, x.shape[-1])  # noqa: E731
    simulated = jnp.concatenate([batch(new), batch(old)], axis=1)

    def update(carry: tuple, pair: tuple) -> tuple:
        params, optimizer = carry
        grad, measured = jax.grad(_loss, argnums=1, has_aux=True)(config, params, *pair)
        change, optimizer = _adam(config).update(grad, optimizer, params)
        return (optax.apply_updates(params, change), optimizer), measured

    measured: dict[str, jax.Array]
    (params, optimizer), measured = jax.lax.scan(update, (style.params, style.optimizer), (simulated, batch(recorded)))
    kept = windows[jax.random.randint(for_store, (count,), 0, len(windows))]
    where = (style.stored + jnp.arange(count)) % config.replay
    replay = style.replay.at[where].set(kept.astype(style.replay.dtype))
    normalizer = update_normalizer(style.normalizer, jnp.concatenate([new, recorded]))
    learnt = StyleState(params, optimizer, normalizer, replay, style.stored + count)
    return learnt, jax.tree.map(jnp.mean, measured)


def _loss(
    config: StyleConfig, params: dict, simulated: jax.Array, recorded: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    judge = lambda x: _logit(config, params, x)  # noqa: E731
    fake, real = judge(simulated), judge(recorded)
    logistic = 0.5 * (jnp.mean(jax.nn.softplus(fake)) + jnp.mean(jax.nn.softplus(-real)))
    slope = jax.grad(lambda x: jnp.sum(judge(x)))(recorded)
    penalty = jnp.mean(jnp.sum(slope**2, axis=-1))
    kernels = [layer["kernel"] for _, layer in sorted(params["params"].items())]
    squares = [jnp.sum(kernel**2) for kernel in kernels]
    total = logistic + config.gradient_penalty * penalty + config.logit_weight * squares[-1]
    measured = {
        "style_loss": logistic,
        "style_slope": penalty,
        "recorded_recognised": jnp.mean(real > 0),
        "simulated_recognised": jnp.mean(fake < 0),
    }
    return total + config.decay * sum(squares), measured


def _logit(config: StyleConfig, params: dict, windows: jax.Array) -> jax.Array:
    return _network(config).apply(params, windows)[..., 0]


def _network(config: StyleConfig) -> MLP:
    return MLP(tuple(config.hidden), 1, normalized=False)  # the penalty holds its slope; normalising would hide it


def _adam(config: StyleConfig) -> optax.GradientTransformation:
    return optax.adam(config.learning_rate)
