"""Layers of the solver's networks: embedding, attention, and the encoders over points and over frames."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from imdy_jax.solver.architecture import ModelConfig


class Embedding(nn.Module):
    """Linear embedding of tokens (..., N, F) that are there (..., N), whitened before by constant statistics."""

    width: int

    @nn.compact
    def __call__(self, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        mean = self.variable("statistics", "mean", jnp.zeros, tokens.shape[-1])
        scale = self.variable("statistics", "scale", jnp.eye, tokens.shape[-1])
        whitened = jnp.matmul(tokens - mean.value, scale.value)
        return nn.Dense(self.width)(jnp.where(mask[..., None], whitened, 0.0))


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017) over the tokens that are there.

    Heads are folded into the batch and the softmax is normalised after the product, which XLA runs three times as
    fast on a CPU as flax's own layer.
    """

    heads: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        *batch, tokens, width = x.shape
        split = lambda y: jnp.swapaxes(y.reshape(*batch, tokens, self.heads, width // self.heads), -2, -3)  # noqa: E731
        query, key, value = (split(nn.Dense(width)(x)) for _ in range(3))
        score = jnp.matmul(query, jnp.swapaxes(key, -1, -2)) / (width // self.heads) ** 0.5
        score = jnp.where(mask[..., None, None, :], score, -1e9)
        weight = jnp.exp(score - jax.lax.stop_gradient(jnp.max(score, axis=-1, keepdims=True)))
        mixed = jnp.matmul(weight, value) / jnp.sum(weight, axis=-1, keepdims=True)
        return nn.Dense(width)(jnp.swapaxes(mixed, -2, -3).reshape(x.shape))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each followed by addition and LayerNorm (post-norm)."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        x = nn.LayerNorm()(x + Attention(self.config.heads)(x, mask))
        hidden = nn.relu(nn.Dense(self.config.hidden)(x))
        return nn.LayerNorm()(x + nn.Dense(self.config.width)(hidden))


class TimeEncoder(nn.Module):
    """Transformer over the frames of each point by itself: states (..., N, F, S) → frames t and t+1 (..., N, 2·width).

    The frames have a learnt code of their place; the points have none.
    """

    config: ModelConfig
    layers: int

    @nn.compact
    def __call__(self, states: jax.Array, mask: jax.Array) -> jax.Array:
        count, width = states.shape[-2], self.config.width
        there = jnp.broadcast_to(mask[..., None], states.shape[:-1])
        place = self.param("place", nn.initializers.normal(0.02), (count, width))
        x = Embedding(width, name="embed")(states, there) + place
        for _ in range(self.layers):
            x = EncoderLayer(self.config)(x, jnp.ones_like(there))
        now = x[..., count // 2 - 1 : count // 2 + 1, :]
        return now.reshape(*now.shape[:-2], 2 * width)
