"""The networks that are there while ImDyS learns, beside it: forward dynamics, and the judge of transitions.

Both are of section 4.2 of Liu et al. (ICLR 2025). Forward dynamics takes s^{t-w:t} and the *estimated* torques and
forces, and tells the next frame (equation 5): estimates that cannot have made the motion are found out. The paper
writes "joint angles" where its equation has s^{t+1}; here it is the equation's, so the next frame of whatever the
motion is represented by: markers, joints, or joints with their rotations. No velocity that knows frame t+1 goes in.

The judge is linear, takes f_ID and tells recorded transitions from spoiled ones.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from imdy_jax.skeleton import NUM_BODIES, NUM_JOINTS
from imdy_jax.solver.features import Features, history, tokens
from imdy_jax.solver.heads import UNIT
from imdy_jax.solver.loss import LossWeights, Outputs
from imdy_jax.solver.model import Embedding, EncoderLayer, ImDyS, ModelConfig, Prediction
from imdy_jax.solver.representation import REPRESENTATIONS

NUM_DRIVES = 3 * (NUM_JOINTS + NUM_BODIES)  # numbers in the torques and forces of one step
NOISE = 0.05  # m, m/s; the paper gives no figure


class ForwardDynamics(nn.Module):
    """History, torques and forces → how the next frame departs from going on as before (..., N, C)."""

    config: ModelConfig

    def setup(self) -> None:
        self.embed = Embedding(self.config.width)
        self.drive = nn.Dense(self.config.width)
        self.layer = EncoderLayer(self.config)
        self.head = nn.Dense(REPRESENTATIONS[self.config.representation].coordinates)

    def __call__(self, history: jax.Array, mask: jax.Array, dynamics: jax.Array) -> jax.Array:
        """history (..., N, C·(2w+1)), mask (..., N), dynamics (..., D): any list of torques and forces, in UNITs."""
        x = self.embed(history, mask) + self.drive(dynamics)[..., None, :]
        return self.head(self.layer(x, mask))


class Training(nn.Module):
    """ImDyS with the networks that its losses of non-zero weight need."""

    config: ModelConfig
    weights: LossWeights

    def setup(self) -> None:
        self.inverse = ImDyS(self.config)
        if self.weights.forward:
            self.forward = ForwardDynamics(self.config)
        if self.weights.plausible:
            self.judge = nn.Dense(1)

    def __call__(self, features: Features, spoiled: Features | None = None) -> Outputs:
        seen = tokens(features)
        feature = self.inverse.encode(seen, features.mask)
        prediction = self.inverse.decode(feature, seen)
        advance = logits = None
        if self.weights.forward:
            advance = self.forward(history(features), features.mask, dynamics(prediction))
        if self.weights.plausible and spoiled is not None:
            other = self.inverse.encode(tokens(spoiled), spoiled.mask)
            logits = self.judge(feature)[..., 0], self.judge(other)[..., 0]
        return Outputs(prediction, advance, logits)


def dynamics(prediction: Prediction) -> jax.Array:
    """Torques and forces of the step t → t+1 in one row (..., 141), in UNITs: what forward dynamics is given."""
    flat = lambda x: x.reshape(*x.shape[:-2], -1) / UNIT  # noqa: E731
    return jnp.concatenate([flat(prediction.torque), flat(prediction.contact_force[..., 0, :, :])], axis=-1)


def spoil(features: Features, key: jax.Array) -> Features:
    """A window as no transition is: its frames in another order or Gaussian noise on its states, either by chance."""
    choose, permute, disturb = jax.random.split(key, 3)
    states = features.states
    straight = jnp.arange(len(states))
    order = jax.random.permutation(permute, straight)
    order = jnp.where(jnp.all(order == straight), jnp.roll(straight, 1), order)
    noisy = states + NOISE * jax.random.normal(disturb, states.shape, states.dtype)
    spoiled = jnp.where(jax.random.bernoulli(choose), states[order], noisy)
    return features._replace(states=jnp.where(features.mask[:, None], spoiled, 0.0))
