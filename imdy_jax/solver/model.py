"""ImDyS (Liu et al., ICLR 2025, section 4.2): a transformer encoder over point tokens with linear heads."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from imdy_jax.humanoid import REFERENCE_MASS
from imdy_jax.skeleton import NUM_BODIES, NUM_JOINTS
from imdy_jax.solver.representation import REPRESENTATIONS, Name

PUBLISHED_PARAMETERS = 174_860  # of the released network, on the inverse path
SMALLEST_SPREAD = 0.1  # m, m/s: differences between tokens that are not enlarged further
UNIT = 100.0 / REFERENCE_MASS  # N/kg, N·m/kg: one unit of a magnitude head is 100 N or 100 N·m on the reference body


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Size of the network; the defaults are the paper's."""

    representation: Name = "markers"  # of the motion: surface markers, joints, or joints with their rotations
    window: int = 2  # w: frames of context before t and after t+1
    width: int = 64  # d, of a token inside the encoder
    layers: int = 3  # of the encoder
    heads: int = 4  # of each attention
    hidden: int = 128  # of the feed-forward block

    @property
    def token_size(self) -> int:
        """Numbers in a token: the states of a point in every frame, and the time step; 12w + 13 of a marker."""
        return 4 * REPRESENTATIONS[self.representation].coordinates * (self.window + 1) + 1


class Prediction(NamedTuple):
    """Magnitudes and directions of the network, per kg; a direction's length means nothing."""

    torque_magnitude: jax.Array  # (..., 23) N·m/kg, mean over the step
    torque_direction: jax.Array  # (..., 23, 3) child axes
    force_magnitude: jax.Array  # (..., 2, 24) N/kg
    force_direction: jax.Array  # (..., 2, 24, 3) heading frame

    @property
    def torque(self) -> jax.Array:
        """Mean torque over the step (..., 23, 3), N·m/kg; times dt it is τ_am."""
        return _compose(self.torque_magnitude, self.torque_direction)

    @property
    def contact_force(self) -> jax.Array:
        """λ (..., 2, 24, 3), N/kg."""
        return _compose(self.force_magnitude, self.force_direction)


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


class ImDyS(nn.Module):
    """Tokens of points → torques and contact forces. No positional code: the order of the points does not matter."""

    config: ModelConfig = ModelConfig()

    def setup(self) -> None:
        self.embed = Embedding(self.config.width)
        self.encoder = [EncoderLayer(self.config) for _ in range(self.config.layers)]
        self.torque_magnitude = nn.Dense(NUM_JOINTS)
        self.torque_direction = nn.Dense(NUM_JOINTS * 3)
        self.force_magnitude = nn.Dense(2 * NUM_BODIES)
        self.force_direction = nn.Dense(2 * NUM_BODIES * 3)

    def encode(self, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        """f_ID (..., d): the mean over the points that are there, of tokens (..., N, F) with mask (..., N)."""
        x = self.embed(tokens, mask)
        for layer in self.encoder:
            x = layer(x, mask)
        there = mask[..., None].astype(x.dtype)
        return jnp.sum(x * there, axis=-2) / jnp.maximum(jnp.sum(there, axis=-2), 1.0)

    def decode(self, feature: jax.Array) -> Prediction:
        """The four linear heads on f_ID (..., d)."""
        batch = feature.shape[:-1]
        return Prediction(
            torque_magnitude=UNIT * self.torque_magnitude(feature),
            torque_direction=self.torque_direction(feature).reshape(*batch, NUM_JOINTS, 3),
            force_magnitude=UNIT * self.force_magnitude(feature).reshape(*batch, 2, NUM_BODIES),
            force_direction=self.force_direction(feature).reshape(*batch, 2, NUM_BODIES, 3),
        )

    def __call__(self, tokens: jax.Array, mask: jax.Array) -> Prediction:
        return self.decode(self.encode(tokens, mask))


def init(config: ModelConfig, key: jax.Array) -> dict:
    """Fresh variables: the parameters under "params", and "statistics" that leave the tokens as they are."""
    points = REPRESENTATIONS[config.representation].points
    return jax.jit(ImDyS(config).init)(key, jnp.zeros((len(points), config.token_size)), jnp.ones(len(points), bool))


def whitening(tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics (mean, scale) that give tokens (N, F) like these unit covariance, down to SMALLEST_SPREAD.

    They are part of the linear embedding and add nothing to what the network can express. But positions of six
    frames differ by their accelerations only in the third digit, and without this training first stands still.
    """
    tokens = np.asarray(tokens, np.float64)
    variance, axes = np.linalg.eigh(np.cov(tokens, rowvar=False))
    scale = axes / np.sqrt(variance + SMALLEST_SPREAD**2)
    return {"mean": np.float32(tokens.mean(axis=0)), "scale": np.float32(scale)}


def num_parameters(variables: dict) -> int:
    """How many numbers there are to learn."""
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def _compose(magnitude: jax.Array, direction: jax.Array) -> jax.Array:
    """Vector from a magnitude, not below zero, and a direction of any length."""
    square = jnp.sum(direction * direction, axis=-1, keepdims=True)
    return jnp.maximum(magnitude, 0.0)[..., None] * direction / jnp.sqrt(jnp.maximum(square, 1e-12))
