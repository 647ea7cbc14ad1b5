"""ImDyS (Liu et al., ICLR 2025, section 4.2): a transformer encoder over point tokens with linear heads.

Beyond the paper, and off by default: attention over the frames of each point, a head that tells which segments bear
load, and heads that tell how far off each estimate may be.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from imdy_jax.skeleton import NUM_BODIES, NUM_JOINTS
from imdy_jax.solver.architecture import ModelConfig
from imdy_jax.solver.features import frames, free_frames
from imdy_jax.solver.heads import UNIT, Remainder, Spread
from imdy_jax.solver.layers import Embedding, EncoderLayer, TimeEncoder
from imdy_jax.solver.representation import REPRESENTATIONS

PUBLISHED_PARAMETERS = 174_860  # of the released network, on the inverse path
SMALLEST_SPREAD = 0.1  # m, m/s: differences between tokens that are not enlarged further


class Prediction(NamedTuple):
    """Magnitudes and directions of the network, per kg; a direction's length means nothing."""

    torque_magnitude: jax.Array  # (..., 23) N·m/kg, mean over the step
    torque_direction: jax.Array  # (..., 23, 3) child axes
    force_magnitude: jax.Array  # (..., 2, 24) N/kg
    force_direction: jax.Array  # (..., 2, 24, 3) heading frame
    contact_logit: jax.Array | None = None  # (..., 2, 24) that the segment bears load
    torque_spread: jax.Array | None = None  # (..., 23, 3) N·m/kg, scale of a Laplace distribution, child axes
    force_spread: jax.Array | None = None  # (..., 24, 3) N/kg, the same of the step t → t+1; x and y are alike

    @property
    def torque(self) -> jax.Array:
        """Mean torque over the step (..., 23, 3), N·m/kg; times dt it is τ_am."""
        return _compose(self.torque_magnitude, self.torque_direction)

    @property
    def contact_force(self) -> jax.Array:
        """λ (..., 2, 24, 3), N/kg."""
        return _compose(self.force_magnitude, self.force_direction)


class ImDyS(nn.Module):
    """Tokens of points → torques and contact forces. No positional code: the order of the points does not matter."""

    config: ModelConfig = ModelConfig()

    def setup(self) -> None:
        config = self.config
        self.embed = Embedding(config.width)
        if config.attention != "markers":
            self.time = TimeEncoder(config.over_time, 1 if config.attention == "both" else config.layers)
            self.read = nn.Dense(config.width)
        self.encoder = [EncoderLayer(config) for _ in range(config.layers if config.attention != "time" else 0)]
        self.torque_magnitude = nn.Dense(NUM_JOINTS)
        self.torque_direction = nn.Dense(NUM_JOINTS * 3)
        self.force_magnitude = nn.Dense(2 * NUM_BODIES)
        self.force_direction = nn.Dense(2 * NUM_BODIES * 3)
        if config.contact:
            self.contact = nn.Dense(2 * NUM_BODIES)
        if config.spread:
            self.spread = Spread(config.hidden)
        if REPRESENTATIONS[config.representation].inertia:
            self.remainder = Remainder(config.window)

    def encode(self, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        """f_ID (..., d): the mean over the points that are there, of tokens (..., N, F) with mask (..., N)."""
        x = self.embed(tokens, mask)
        if self.config.attention != "markers":
            x = x + self.read(
                self.time(frames(REPRESENTATIONS[self.config.representation], tokens, self.config.window), mask)
            )
        for layer in self.encoder:
            x = layer(x, mask)
        there = mask[..., None].astype(x.dtype)
        return jnp.sum(x * there, axis=-2) / jnp.maximum(jnp.sum(there, axis=-2), 1.0)

    def decode(self, feature: jax.Array, tokens: jax.Array) -> Prediction:
        """The four linear heads on f_ID (..., d), and those beyond the paper; tokens: as they were encoded."""
        batch = feature.shape[:-1]
        force = UNIT * self.force_magnitude(feature).reshape(*batch, 2, NUM_BODIES)
        logit = self.contact(feature).reshape(*batch, 2, NUM_BODIES) if self.config.contact else None
        spread = self.spread(jax.lax.stop_gradient(feature)) if self.config.spread else (None, None)
        force = force if logit is None else force * nn.sigmoid(logit)
        direction = self.force_direction(feature).reshape(*batch, 2, NUM_BODIES, 3)
        if REPRESENTATIONS[self.config.representation].inertia:
            free = free_frames(tokens, self.config.window)
            vectors = self.remainder(feature, free, _compose(force, direction))
            lengths = [jnp.sqrt(jnp.sum(x * x, axis=-1) + 1e-12) for x in vectors]
            return Prediction(lengths[0], vectors[0], lengths[1], vectors[1], logit, *spread)
        return Prediction(
            UNIT * self.torque_magnitude(feature),
            self.torque_direction(feature).reshape(*batch, NUM_JOINTS, 3),
            force,
            direction,
            logit,
            *spread,
        )

    def __call__(self, tokens: jax.Array, mask: jax.Array) -> Prediction:
        return self.decode(self.encode(tokens, mask), tokens)


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
