"""Actor, critic and the running normalisation of what they see."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

CLIP = 5.0  # normalised observations are cut off here (PHC)
_NONE: Any = None  # in place of arrays


class Normalizer(NamedTuple):
    """Running mean and variance of the observation, frozen while an iteration collects and learns."""

    seen: jax.Array  # () how many observations
    mean: jax.Array  # (O,)
    variance: jax.Array  # (O,)


def init_normalizer(size: int) -> Normalizer:
    """Nothing seen yet: the identity."""
    return Normalizer(jnp.zeros((), jnp.float32), jnp.zeros(size, jnp.float32), jnp.ones(size, jnp.float32))


def normalize(normalizer: Normalizer, observation: jax.Array) -> jax.Array:
    """Observation (..., O) in standard deviations from its running mean, within ±CLIP."""
    scaled = (observation - normalizer.mean) * jax.lax.rsqrt(normalizer.variance + 1e-4)
    return jnp.clip(scaled, -CLIP, CLIP)


def update_normalizer(normalizer: Normalizer, observation: jax.Array) -> Normalizer:
    """Normalizer that has also seen observation (..., O): Chan's parallel update of mean and variance."""
    batch = observation.reshape(-1, observation.shape[-1])
    count = float(batch.shape[0])
    mean, variance = jnp.mean(batch, axis=0), jnp.var(batch, axis=0)
    total = normalizer.seen + count
    shift = mean - normalizer.mean
    spread = normalizer.variance * normalizer.seen + variance * count
    spread = spread + shift**2 * normalizer.seen * count / total
    return Normalizer(total, normalizer.mean + shift * count / total, spread / total)


class MLP(nn.Module):
    """Dense layers, normalised unless said otherwise, with SiLU, and a linear head that starts at zero.

    An untrained policy plays the bare reference.
    """

    hidden: Sequence[int]
    outputs: int
    normalized: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.hidden:
            x = nn.Dense(width, kernel_init=nn.initializers.orthogonal(jnp.sqrt(2.0)))(x)
            x = nn.silu(nn.LayerNorm()(x) if self.normalized else x)
        return nn.Dense(self.outputs, kernel_init=nn.initializers.zeros)(x)


class Offered(NamedTuple):
    """What a composer sees: its own view, and what each of the columns would do."""

    view: jax.Array  # (..., O) normalised
    actions: jax.Array  # (..., K, A)


class Policy(NamedTuple):
    """A Gaussian policy and a value function, on normalised observations; the spread is not learnt.

    With columns it is a composer (Luo et al. 2023): its actor does not act, it weighs what these frozen policies do.
    """

    actor: MLP
    critic: MLP
    spread: float | jax.Array  # () standard deviation of the action
    columns: tuple["Trained", ...] = ()

    def init(self, key: jax.Array, observation_size: int) -> dict:
        """Parameters of both networks."""
        seen = jnp.zeros((1, observation_size))
        one, two = jax.random.split(key)
        return {"actor": self.actor.init(one, seen), "critic": self.critic.init(two, seen)}

    def see(self, normalizer: Normalizer, observation: jax.Array) -> jax.Array | Offered:
        """What the networks are told of raw observations (..., O); nothing of it is learnt."""
        view = normalize(normalizer, observation)
        if not self.columns:
            return view
        return Offered(view, jnp.stack([column.act(observation) for column in self.columns], axis=-2))

    def mean(self, params: dict, seen: jax.Array | Offered) -> jax.Array:
        """Mean action (..., A) of what is seen; a composer's is the columns' actions, weighted by a softmax."""
        if not isinstance(seen, Offered):
            return self.actor.apply(params["actor"], seen)
        weight = jax.nn.softmax(self.actor.apply(params["actor"], seen.view))
        return jnp.sum(weight[..., None] * seen.actions, axis=-2)

    def value(self, params: dict, seen: jax.Array | Offered) -> jax.Array:
        """Value (...,) in units of the mean reward per step, of what is seen."""
        view = seen.view if isinstance(seen, Offered) else seen
        return self.critic.apply(params["critic"], view)[..., 0]

    def with_columns(self, arrays: Sequence[tuple]) -> "Policy":
        """The policy with other arrays in its columns, Trained.arrays of each."""
        pairs = zip(self.columns, arrays, strict=True)
        return self._replace(columns=tuple(column.with_arrays(own) for column, own in pairs))

    def log_ratio(self, mean: jax.Array, old_mean: jax.Array, action: jax.Array) -> jax.Array:
        """log of π(action) over π_old(action); the spread is common to both, so only the means enter."""
        square = (action - old_mean) ** 2 - (action - mean) ** 2
        return jnp.sum(square, axis=-1) / (2.0 * self.spread**2)

    def divergence(self, mean: jax.Array, old_mean: jax.Array) -> jax.Array:
        """Kullback–Leibler divergence from the old policy (...,)."""
        return jnp.sum((mean - old_mean) ** 2, axis=-1) / (2.0 * self.spread**2)


def make_policy(
    hidden: Sequence[int], critic_hidden: Sequence[int], action_size: int, spread: float,
    columns: Sequence["Trained"] = (),
) -> Policy:  # fmt: skip
    """Policy with an actor and a critic that share nothing; with columns, one that weighs all alike to begin with."""
    outputs = len(columns) or action_size
    return Policy(MLP(tuple(hidden), outputs), MLP(tuple(critic_hidden), 1), spread, tuple(columns))


class Trained(NamedTuple):
    """A policy ready to act."""

    policy: Policy
    params: dict
    normalizer: Normalizer

    @property
    def digest(self) -> str:
        """sha256 of every number of the networks and the normaliser, those of the columns included."""
        digest = hashlib.sha256("".join(column.digest for column in self.policy.columns).encode())
        for leaf in jax.tree.leaves((self.params, self.normalizer)):
            digest.update(np.asarray(leaf).tobytes())
        return digest.hexdigest()

    def act(self, observation: jax.Array) -> jax.Array:
        """Mean action (..., A) for raw observations (..., O)."""
        return self.policy.mean(self.params, self.policy.see(self.normalizer, observation))

    @property
    def kind(self) -> "Trained":
        """The policy without its arrays: hashable, and the same for all policies that one compiled program serves."""
        columns = tuple(column.kind for column in self.policy.columns)
        return Trained(self.policy._replace(spread=0.0, columns=columns), _NONE, _NONE)

    @property
    def arrays(self) -> tuple:
        """Every array that acting takes: what a compiled program is given, so that it serves other policies, too."""
        return {"actor": self.params["actor"]}, self.normalizer, tuple(c.arrays for c in self.policy.columns)

    def with_arrays(self, arrays: tuple) -> "Trained":
        """The policy with those of another one of its kind."""
        params, normalizer, columns = arrays
        return Trained(self.policy.with_columns(columns), params, normalizer)
