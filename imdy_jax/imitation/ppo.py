"""Proximal policy optimisation (Schulman et al. 2017): one compiled iteration of collecting and learning.

The learning rate follows the measured divergence of the policy from the one that collected: down by a step where
a minibatch has moved it too far, up where it has hardly moved it; what counts as far shrinks as samples come in. What
is tried out is correlated in time (Hollenstein et al. 2024); the likelihood of each action is still its own.
"""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from imdy_jax.files import check_least
from imdy_jax.imitation.amp import StyleConfig, StyleState, init_style, learn_style, style_reward
from imdy_jax.imitation.environment import Environment
from imdy_jax.imitation.gae import advantages
from imdy_jax.imitation.policy import Normalizer, Offered, Policy, Trained, init_normalizer, update_normalizer
from imdy_jax.imitation.sharding import share_rows

_STYLE = 1000  # what is folded into keys for the style, beyond what is split off them


@dataclass(frozen=True)
class PPOConfig:
    """Settings of the learner."""

    hidden: tuple[int, ...] = (256, 256)  # of the actor
    critic_hidden: tuple[int, ...] = (128, 128)
    spread: float = 0.15  # standard deviation of the action, to begin with: what is tried out has to show;
    least_spread: float = 0.075  # less of it later, where precision counts
    calming: float = 4e7  # samples in which the spread halves
    persistence: float = 0.5  # correlation of one step's deviation with the next: a joint's push has to last to matter
    horizon: int = 16  # control steps per environment and iteration
    minibatch: int = 1024
    epochs: int = 1
    discount: float = 0.97
    trace: float = 0.9
    clip: float = 0.2
    learning_rate: float = 5e-4  # of the actor, to begin with; it follows the divergence
    critic_learning_rate: float = 1e-3
    min_learning_rate: float = 1e-5
    max_learning_rate: float = 2e-3
    divergence: float = 0.1  # target of the Kullback–Leibler divergence per iteration, to begin with;
    least_divergence: float = 0.02  # small steps at the end, where their noise is what limits
    halving: float = 2e6  # samples in which the target halves
    bound_weight: float = 1.0  # on the square of the mean action beyond ±1
    gradient_norm: float = 1.0
    averaging: float = 0.05  # weight of an iteration's actor in the running average that is deployed
    hearing: int = 20  # iterations in which the critic gets to know a policy that did not begin here
    style: StyleConfig = field(default_factory=StyleConfig)
    # Environments that minibatch and learning rates are meant for (see at_scale); 0: they are taken as they are.
    meant_for: int = 0

    def __post_init__(self) -> None:
        check_least(self, "train.ppo.", horizon=1, minibatch=1, epochs=1)
        if not self.hidden or not self.critic_hidden:
            raise ValueError("train.ppo.hidden or critic_hidden is empty, expected the width of one layer or more")


def at_scale(config: PPOConfig, num_envs: int) -> PPOConfig:
    """The settings for another number of environments than they are meant for.

    The minibatch grows in proportion, so that an iteration has as many updates as before, and the learning rates and
    their limits with its square root, as suits Adam (Malladi et al. 2022).
    """
    if not config.meant_for:
        return config
    ratio = num_envs / config.meant_for
    names = ("learning_rate", "critic_learning_rate", "min_learning_rate", "max_learning_rate")
    rates = {name: getattr(config, name) * ratio**0.5 for name in names}
    return replace(config, minibatch=max(round(config.minibatch * ratio), 1), meant_for=0, **rates)


class LearnerState(NamedTuple):
    """Everything that training carries from one iteration to the next."""

    params: dict
    average: dict  # of the actor's parameters over the latest iterations
    optimizer: Any
    learning_rate: jax.Array
    normalizer: Normalizer
    env: Any
    observation: jax.Array
    deviation: jax.Array  # (N, A) of the last action from its mean, in standard deviations
    waiting: jax.Array  # iterations until the actor moves
    style: StyleState | None  # of the discriminator, if there is one
    key: jax.Array


class Batch(NamedTuple):
    """Samples to learn from, leading axis the sample."""

    seen: jax.Array | Offered
    action: jax.Array
    mean: jax.Array
    advantage: jax.Array
    value_target: jax.Array


def init_learner(
    policy: Policy, env: Environment, config: PPOConfig, begin: Trained | None, key: jax.Array
) -> LearnerState:
    """Fresh episodes, and fresh networks or those of a policy to begin with; its critic has to get to know it again.

    Raises ValueError where style is to be rewarded and env does not tell what to judge it by.
    """
    if config.style.weight and not env.style_size:
        raise ValueError(
            f"style.weight is {config.style.weight} with style_steps 0, expected at least 1: the number of "
            "control steps that style is judged by; PHC's discriminator sees 10"
        )
    for_params, for_env, for_noise, key = jax.random.split(key, 4)
    params = policy.init(for_params, env.observation_size)
    state, observation = env.reset(for_env)
    rate = jnp.asarray(config.learning_rate, jnp.float32)
    deviation = jax.random.normal(for_noise, (observation.shape[0], env.action_size))
    normalizer = init_normalizer(env.observation_size)
    waiting = jnp.asarray(0 if begin is None else config.hearing)
    if begin is not None:
        params, normalizer = begin.params, begin.normalizer
    optimizer = _adam(config).init(params)
    style = (
        init_style(config.style, env.style_size, jax.random.fold_in(for_params, _STYLE))
        if config.style.weight
        else None
    )
    return LearnerState(
        params, params["actor"], optimizer, rate, normalizer, state, observation, deviation, waiting, style, key
    )


def iterate(
    policy: Policy, env: Environment, config: PPOConfig, learner: LearnerState, mesh: Mesh | None = None
) -> tuple[LearnerState, dict[str, jax.Array]]:
    """Collect horizon steps with a frozen normaliser, learn from them, then let the normaliser see them. jit this.

    mesh: the devices that share each minibatch.
    """
    policy = policy._replace(spread=_now(config.spread, config.least_spread, config.calming, learner))
    key, for_noise, for_order = jax.random.split(learner.key, 3)
    (state, observation, deviation), steps = collect(policy, env, config, learner, for_noise)
    style, reward, judged = _judge(env, config.style, learner.style, steps, jax.random.fold_in(for_order, _STYLE))
    seen = policy.see(learner.normalizer, steps["observation"])
    reached = policy.see(learner.normalizer, steps["final_observation"])
    scale = 1.0 - config.discount  # values are kept in units of reward per step
    advantage, value_target = advantages(
        reward * scale,
        policy.value(learner.params, seen),
        policy.value(learner.params, reached),
        steps["terminated"],
        steps["truncated"],
        config.discount,
        config.trace,
    )
    batch = Batch(seen, steps["action"], steps["mean"], advantage, value_target)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
    params, optimizer, rate, learned = _learn(policy, config, learner, flat, for_order, mesh)
    normalizer = update_normalizer(learner.normalizer, steps["observation"])
    metrics = means(steps) | learned | judged | {"learning_rate": rate, "spread": policy.spread}
    average = optax.incremental_update(params["actor"], learner.average, config.averaging)
    waiting = jnp.maximum(learner.waiting - 1, 0)
    learner = LearnerState(
        params, average, optimizer, rate, normalizer, state, observation, deviation, waiting, style, key
    )
    return learner, metrics


def collect(
    policy: Policy, env: Environment, config: PPOConfig, learner: LearnerState, key: jax.Array
) -> tuple[tuple, dict[str, Any]]:
    """Horizon steps of the environments: their state, observation and deviation after them, and what to learn from,
    leaves (horizon, N, ...)."""
    start = (learner.env, learner.observation, learner.deviation)
    step = lambda carry, k: _step(policy, env, config, learner, carry, k)  # noqa: E731
    return jax.lax.scan(step, start, jax.random.split(key, config.horizon))


def deployed(learner: LearnerState) -> dict:
    """Parameters to act with: the actor's noise of the latest steps averaged out (Polyak & Juditsky 1992)."""
    return {"actor": learner.average, "critic": learner.params["critic"]}


def _step(
    policy: Policy, env: Environment, config: PPOConfig, learner: LearnerState, carry: tuple, key: jax.Array
) -> tuple:
    state, observation, deviation = carry
    mean = policy.mean(learner.params, policy.see(learner.normalizer, observation))
    fresh = (1.0 - config.persistence**2) ** 0.5 * jax.random.normal(key, mean.shape)
    deviation = config.persistence * deviation + fresh
    action = mean + policy.spread * deviation
    result = env.step(state, action)
    step = {
        "observation": observation,
        "action": action,
        "mean": mean,
        "final_observation": result.final_observation,
        "reward": result.reward.astype(jnp.float32),
        "style": result.style.astype(jnp.float32),
        "terminated": result.terminated,
        "truncated": result.truncated,
        "terms": result.terms,
    }
    return (result.state, result.observation, deviation), step


def _judge(
    env: Environment, config: StyleConfig, style: StyleState | None, steps: dict[str, Any], key: jax.Array
) -> tuple[StyleState | None, jax.Array, dict[str, jax.Array]]:
    """The steps' reward with that of their style, by the discriminator as it was, and what it learns from them."""
    if style is None:
        return None, steps["reward"], {}
    windows = steps["style"]
    earned = style_reward(config, style, windows)
    reward = (1.0 - config.weight) * steps["reward"] + config.weight * earned
    for_recorded, for_learning = jax.random.split(key)
    recorded = env.demonstrate(for_recorded, config.updates * config.minibatch)
    style, judged = learn_style(config, style, windows.reshape(-1, windows.shape[-1]), recorded, for_learning)
    return style, reward, judged | {"style_reward": jnp.mean(earned)}


def _learn(
    policy: Policy, config: PPOConfig, learner: LearnerState, batch: Batch, key: jax.Array, mesh: Mesh | None
) -> tuple:
    """Epochs of shuffled minibatches; returns parameters, optimiser, learning rate and what was measured."""
    size = batch.advantage.shape[0]
    count = max(size // config.minibatch, 1)
    per_batch = size // count
    order = jnp.concatenate(
        [jax.random.permutation(k, size)[: count * per_batch] for k in jax.random.split(key, config.epochs)]
    )
    adam = _adam(config)
    target = _now(config.divergence, config.least_divergence, config.halving, learner)

    def update(carry: tuple, rows: jax.Array) -> tuple:
        params, optimizer, rate = carry
        minibatch = share_rows(mesh, jax.tree.map(lambda x: x[rows], batch))
        grad, measured = jax.grad(_loss, argnums=2, has_aux=True)(policy, config, params, minibatch)
        change, optimizer = adam.update(grad, optimizer, params)
        rates = {"actor": jnp.where(learner.waiting > 0, 0.0, rate), "critic": config.critic_learning_rate}
        step = {part: jax.tree.map(lambda x, r=rates[part]: -r * x, tree) for part, tree in change.items()}
        params = optax.apply_updates(params, step)
        far, near = measured["divergence"] > 2 * target, measured["divergence"] < target / 2
        rate = jnp.where(far, rate / 1.2, jnp.where(near & (learner.waiting == 0), rate * 1.05, rate))
        rate = jnp.clip(rate, config.min_learning_rate, config.max_learning_rate)
        return (params, optimizer, rate), measured

    start = (learner.params, learner.optimizer, learner.learning_rate)
    measured: dict[str, jax.Array]
    (params, optimizer, rate), measured = jax.lax.scan(update, start, order.reshape(-1, per_batch))
    return params, optimizer, rate, jax.tree.map(jnp.mean, measured) | {"last_divergence": measured["divergence"][-1]}


def _now(first: float, least: float, halving: float, learner: LearnerState) -> jax.Array:
    """What began as first and halves in so many samples, at its least in the end."""
    return jnp.maximum(first * 0.5 ** (learner.normalizer.seen / halving), least)


def _loss(policy: Policy, config: PPOConfig, params: dict, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
    mean = policy.mean(params, batch.seen)
    ratio = jnp.exp(policy.log_ratio(mean, batch.mean, batch.action))
    advantage = (batch.advantage - jnp.mean(batch.advantage)) / (jnp.std(batch.advantage) + 1e-8)
    limited = jnp.clip(ratio, 1.0 - config.clip, 1.0 + config.clip)
    actor = -jnp.mean(jnp.minimum(ratio * advantage, limited * advantage))
    critic = jnp.mean((policy.value(params, batch.seen) - batch.value_target) ** 2)
    bound = jnp.mean(jnp.sum(jnp.maximum(jnp.abs(mean) - 1.0, 0.0) ** 2, axis=-1))
    measured = {
        "actor_loss": actor,
        "critic_loss": critic,
        "bound_loss": bound,
        "divergence": jnp.mean(policy.divergence(mean, batch.mean)),
        "clipped_ratio": jnp.mean(jnp.abs(ratio - 1.0) > config.clip),
        "unexplained_variance": critic / (jnp.var(batch.value_target) + 1e-12),
    }
    return actor + critic + config.bound_weight * bound, measured


def _adam(config: PPOConfig) -> optax.GradientTransformation:
    """Adam without its learning rate; actor and critic share no parameter, so each has its own gradient norm."""
    one = optax.chain(optax.clip_by_global_norm(config.gradient_norm), optax.scale_by_adam(eps=1e-5))
    return optax.multi_transform({"actor": one, "critic": one}, {"actor": "actor", "critic": "critic"})


def means(steps: dict[str, Any]) -> dict[str, jax.Array]:
    """Means over the batch, of the terms over what has not diverged; how many have is counted."""
    sound = ~steps["terms"]["diverged"]
    terms = {
        name: jnp.sum(jnp.where(sound, x.astype(jnp.float32), 0.0)) / jnp.maximum(jnp.sum(sound), 1)
        for name, x in steps["terms"].items()
        if name != "diverged"
    }
    ended = steps["terminated"] | steps["truncated"]
    return terms | {
        "reward": jnp.mean(steps["reward"]),
        "failed_share": jnp.sum(steps["terminated"]) / jnp.maximum(jnp.sum(ended), 1),
        "steps_per_failure": ended.size / jnp.maximum(jnp.sum(steps["terminated"]), 1),
        "diverged": jnp.sum(steps["terms"]["diverged"]),
    }
