"""Learning from a teacher who can be asked anywhere (DAgger: Ross et al. 2011): one compiled iteration.

Some humanoids follow the teacher, some the pupil, all with a little noise; at every state that either of them reaches
the pupil is told what the teacher would do there. What a wrong action costs weighs its error.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from imdy_jax.imitation.policy import Normalizer, Policy, init_normalizer, normalize, update_normalizer


class Tutored(Protocol):
    """N humanoids and a teacher; lessons (a pytree with a leaf `stake` (F, A, A)) are what the teacher knows."""

    num_envs: int
    observation_size: int
    action_size: int

    def reset(self, lessons: Any, key: jax.Array) -> Any:
        """Humanoids near what the lessons are about."""
        ...

    def observe(self, state: Any) -> jax.Array:
        """Observation (N, O)."""
        ...

    def advise(self, lessons: Any, state: Any) -> tuple[jax.Array, jax.Array]:
        """The teacher's action (N, A), and the row (N,) of its stake in the lessons."""
        ...

    def step(self, lessons: Any, state: Any, action: jax.Array, key: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
        """One control step, automatic reset included; who was lost and who was reset, (N,) bool."""
        ...


@dataclass(frozen=True)
class DistilConfig:
    """Settings of the pupil."""

    horizon: int = 16  # control steps per humanoid and iteration
    minibatch: int = 1024
    epochs: int = 4
    learning_rate: float = 1e-3
    halving: float = 8e5  # samples in which the learning rate halves,
    least_learning_rate: float = 1e-4  # down to this
    noise: float = 0.05  # standard deviation of what is added to every action, half of it kept for the next step
    pupils: float = 0.6  # share of humanoids that follow the pupil, reached
    ramp: float = 4e5  # after as many samples
    evenness: float = 0.3  # weight of the plain square error beside the weighted one
    averaging: float = 0.03  # weight of an iteration's actor in the running average that is deployed


class PupilState(NamedTuple):
    """Everything that learning carries from one iteration to the next."""

    params: dict
    average: dict
    optimizer: Any
    normalizer: Normalizer
    env: Any
    pupil: jax.Array  # (N,) bool: who follows the pupil
    deviation: jax.Array  # (N, A) of the last action
    key: jax.Array


def init_pupil(policy: Policy, env: Tutored, lessons: Any, key: jax.Array) -> PupilState:
    """A fresh pupil."""
    for_params, for_env, key = jax.random.split(key, 3)
    params = policy.init(for_params, env.observation_size)
    nobody, still = jnp.zeros(env.num_envs, bool), jnp.zeros((env.num_envs, env.action_size))
    state, normalizer = env.reset(lessons, for_env), init_normalizer(env.observation_size)
    return PupilState(params, params["actor"], _adam().init(params["actor"]), normalizer, state, nobody, still, key)


def distil(
    policy: Policy, env: Tutored, config: DistilConfig, learner: PupilState, lessons: Any
) -> tuple[PupilState, dict[str, jax.Array]]:
    """Collect horizon steps with a frozen normaliser, and learn what the teacher would have done. jit this."""
    key, for_steps, for_order = jax.random.split(learner.key, 3)
    seen = learner.normalizer.seen
    pupils = config.pupils * jnp.minimum(seen / config.ramp, 1.0)
    steps: dict[str, jax.Array]
    (state, pupil, deviation), steps = jax.lax.scan(
        partial(_practise, policy, env, config, learner, lessons, pupils),
        (learner.env, learner.pupil, learner.deviation),
        jax.random.split(for_steps, config.horizon),
    )
    flat = {name: steps[name].reshape(-1, *steps[name].shape[2:]) for name in ("observation", "advice", "row")}
    flat["observation"] = normalize(learner.normalizer, flat["observation"])
    size = len(flat["row"])
    per_batch = min(config.minibatch, size)
    orders = [jax.random.permutation(k, size)[: size // per_batch * per_batch]
              for k in jax.random.split(for_order, config.epochs)]  # fmt: skip
    rate = config.learning_rate * 0.5 ** (seen / config.halving)
    rate = jnp.maximum(rate, config.least_learning_rate)

    def update(carry: tuple, rows: jax.Array) -> tuple:
        actor, optimizer = carry
        batch = {name: x[rows] for name, x in flat.items()}
        loss, grad = jax.value_and_grad(_loss, argnums=2)(policy, config, actor, lessons, batch)
        change, optimizer = _adam().update(grad, optimizer, actor)
        return (optax.apply_updates(actor, jax.tree.map(lambda x: -rate * x, change)), optimizer), loss

    start = (learner.params["actor"], learner.optimizer)
    loss: jax.Array
    (actor, optimizer), loss = jax.lax.scan(update, start, jnp.concatenate(orders).reshape(-1, per_batch))
    lost, own = steps["lost"], steps["pupil"]
    metrics = {
        "loss": jnp.mean(loss),
        "learning_rate": rate,
        "pupils": jnp.mean(own),
        "steps_per_loss_pupil": jnp.sum(own) / jnp.maximum(jnp.sum(lost & own), 1),
        "steps_per_loss_teacher": jnp.sum(~own) / jnp.maximum(jnp.sum(lost & ~own), 1),
    }
    average = optax.incremental_update(actor, learner.average, jnp.maximum(config.averaging, 1.0 - seen))
    normalizer = update_normalizer(learner.normalizer, steps["observation"])
    params = {"actor": actor, "critic": learner.params["critic"]}
    return PupilState(params, average, optimizer, normalizer, state, pupil, deviation, key), metrics


def graduated(learner: PupilState) -> dict:
    """Parameters to act with; the critic has learnt nothing."""
    return {"actor": learner.average, "critic": learner.params["critic"]}


def _practise(
    policy: Policy, env: Tutored, config: DistilConfig, learner: PupilState, lessons: Any, pupils: jax.Array,
    carry: tuple, key: jax.Array,
) -> tuple:  # fmt: skip
    state, pupil, deviation = carry
    for_noise, for_step, for_choice = jax.random.split(key, 3)
    observation = env.observe(state)
    advice, row = env.advise(lessons, state)
    own = policy.mean(learner.params, normalize(learner.normalizer, observation))
    deviation = 0.5 * deviation + 0.75**0.5 * config.noise * jax.random.normal(for_noise, deviation.shape)
    state, lost, done = env.step(lessons, state, jnp.where(pupil[:, None], own, advice) + deviation, for_step)
    step = {"observation": observation, "advice": advice, "row": row, "lost": lost, "pupil": pupil}
    chosen = jax.random.uniform(for_choice, pupil.shape) < pupils
    return (state, jnp.where(done, chosen, pupil), deviation), step


def _loss(policy: Policy, config: DistilConfig, actor: dict, lessons: Any, batch: dict[str, jax.Array]) -> jax.Array:
    error = policy.actor.apply(actor, batch["observation"]) - batch["advice"]
    weighted = jnp.einsum("na,nab,nb->n", error, lessons.stake[batch["row"]], error)
    return jnp.mean(config.evenness * jnp.sum(error**2, axis=-1) + (1.0 - config.evenness) * weighted)


def _adam() -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())
