"""What a composer begins with where one of its columns has learnt to get up: that column plays who is led up.

PPO would find that out by itself, but the mean of two columns that know different things does neither well, and what it
does badly is all that it learns from at first.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from envs.imitation import ImitationEnv
from imdy_jax.imitation.policy import Trained, init_normalizer, make_policy, normalize, update_normalizer
from imdy_jax.imitation.ppo import PPOConfig

_STEPS, _EVERY = 120, 3  # control steps that are watched, and of which one is kept
_NOISE = 0.1  # standard deviation of what is added to every action: the composer has to know what is beside the way
_MINIBATCH, _LESSONS, _RATE = 2048, 300, 1e-3


def informed_composer(
    env: ImitationEnv, columns: Sequence[Trained], riser: int, config: PPOConfig, key: jax.Array
) -> Trained:
    """A composer of the columns that gives who is led up to column riser, and who is not to all the others alike.

    It has learnt that from watching env's humanoids played so, the others by the first other column; its critic has
    learnt nothing.
    """
    policy = make_policy(config.hidden, config.critic_hidden, env.action_size, config.spread, columns)
    for_params, for_start, for_play, for_order = jax.random.split(key, 4)
    other = columns[0 if riser else 1]

    def step(carry: tuple, draw: jax.Array) -> tuple[tuple, tuple[jax.Array, jax.Array]]:
        state, observation = carry
        led = env.led(state)
        action = jnp.where(led[:, None], columns[riser].act(observation), other.act(observation))
        result = env.step(state, action + _NOISE * jax.random.normal(draw, action.shape))
        return (result.state, result.observation), (observation, led)

    @jax.jit
    def watch(start: tuple, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        def stretch(carry: tuple, draw: jax.Array) -> tuple[tuple, tuple[jax.Array, jax.Array]]:
            carry, (observation, led) = jax.lax.scan(step, carry, jax.random.split(draw, _EVERY))
            return carry, (observation[0], led[0])

        seen, led = jax.lax.scan(stretch, start, jax.random.split(key, _STEPS // _EVERY))[1]
        return seen.reshape(-1, seen.shape[-1]), led.reshape(-1)

    seen, led = watch(jax.jit(env.reset)(for_start), for_play)
    normalizer = update_normalizer(init_normalizer(env.observation_size), seen)
    alike = 1.0 / (len(columns) - 1)
    wanted = jnp.where(led[:, None], jnp.eye(len(columns))[riser], alike * (1.0 - jnp.eye(len(columns))[riser]))
    params, adam = policy.init(for_params, env.observation_size), optax.adam(_RATE)

    @jax.jit
    def learn(actor: dict, order: jax.Array) -> dict:
        def loss(actor: dict, rows: jax.Array) -> jax.Array:
            logits = policy.actor.apply(actor, normalize(normalizer, seen[rows]))
            return jnp.mean(optax.softmax_cross_entropy(logits, wanted[rows]))

        def update(carry: tuple, rows: jax.Array) -> tuple[tuple, None]:
            actor, state = carry
            change, state = adam.update(jax.grad(loss)(actor, rows), state, actor)
            return (optax.apply_updates(actor, change), state), None

        return jax.lax.scan(update, (actor, adam.init(actor)), order)[0][0]

    order = jax.random.randint(for_order, (_LESSONS, min(_MINIBATCH, len(seen))), 0, len(seen))
    return Trained(policy, params | {"actor": learn(params["actor"], order)}, normalizer)
