"""ImDyS (Liu et al., ICLR 2025, section 4.2): a transformer encoder over point tokens with linear heads.

Beyond the paper, and off by default: attention over the frames of each point, a head that tells which segments bear
load, and heads that tell how far off each estimate may be.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from imdy_jax.humanoid import REFERENCE_MASS
from imdy_jax.skeleton import NUM_BODIES, NUM_JOINTS
from imdy_jax.solver.architecture import ModelConfig
from imdy_jax.solver.features import frames, free_frames
from imdy_jax.solver.layers import Embedding, EncoderLayer, TimeEncoder
from imdy_jax.solver.representation import REPRESENTATIONS

PUBLISHED_PARAMETERS = 174_860  # of the released network, on the inverse path
SMALLEST_SPREAD = 0.1  # m, m/s: differences between tokens that are not enlarged further
LIGHT = 0.3  # N/kg: where all segments together bear less, what inverse dynamics asks for is not laid on them
UNIT = 100.0 / REFERENCE_MASS  # N/kg, N·m/kg: one unit of a magnitude head is 100 N or 100 N·m on the reference body


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


class Spread(nn.Module):
    """f_ID → scales of the Laplace distributions of the estimates' errors, above `smallest`."""

    hidden: int
    smallest: float = 1e-4  # UNITs, so that what is always right, as a hand that never touches, has a finite score

    @nn.compact
    def __call__(self, feature: jax.Array) -> tuple[jax.Array, jax.Array]:
        told = nn.Dense(3 * NUM_JOINTS + 2 * NUM_BODIES)(nn.relu(nn.Dense(self.hidden)(feature)))
        scale = UNIT * (self.smallest + jnp.exp(jnp.minimum(told, 8.0) - 3.0))
        torque = scale[..., : 3 * NUM_JOINTS].reshape(*feature.shape[:-1], NUM_JOINTS, 3)
        across, up = jnp.split(scale[..., 3 * NUM_JOINTS :], 2, axis=-1)
        return torque, jnp.stack([across, across, up], axis=-1)


class Remainder(nn.Module):
    """Torques and forces as those of inverse dynamics without contact, and what f_ID has to say beside them."""

    window: int

    @nn.compact
    def __call__(self, feature: jax.Array, free: jax.Array, force: jax.Array) -> tuple[jax.Array, jax.Array]:
        """f_ID (..., d), free (..., 24, 2w, FREE) and the heads' forces (..., 2, 24, 3), N/kg → torque (..., 23, 3),
        N·m/kg, and forces whose sum is what the motion takes.

        The frames on either side of a step count alike at first; the weights of all are learnt.
        """
        now = self.window - 1
        middle = lambda first: jnp.zeros(2 * self.window).at[jnp.array([first, min(first + 1, 2 * now + 1)])].add(0.5)  # noqa: E731
        by_joint = self.param("torque", lambda _: jnp.tile(middle(now), (NUM_JOINTS, 1)))
        by_step = self.param("force", lambda _: jnp.stack([middle(now), middle(now + 1)]))
        batch = feature.shape[:-1]
        rest = UNIT * nn.Dense(3 * NUM_JOINTS + 6)(feature)
        torque = jnp.einsum("...jfx,jf->...jx", free[..., 1:, :, :3], by_joint)
        torque = torque + rest[..., :-6].reshape(*batch, NUM_JOINTS, 3)
        whole = jnp.einsum("...fx,sf->...sx", free[..., 0, :, 3:], by_step) + rest[..., -6:].reshape(*batch, 2, 3)
        length = jnp.sqrt(jnp.sum(force * force, axis=-1, keepdims=True) + 1e-12)
        total = jnp.sum(length, axis=-2, keepdims=True)
        share = length * total / (total**2 + LIGHT**2)
        return torque, force + share * (whole - jnp.sum(force, axis=-2))[..., None, :]


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
