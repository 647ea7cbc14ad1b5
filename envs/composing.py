"""What a composer begins with: every clip is played by the column that plays it best, and who is led up by the one that
has learnt to get up.

PPO would find that out by itself, but the mean of two columns that know different things does neither well, and what it
does badly is all that it learns from at first.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from envs.imitation import ImitationEnv
from imdy_jax.imitation.policy import Trained, init_normalizer, make_policy, normalize, update_normalizer
from imdy_jax.imitation.ppo import PPOConfig

_STEPS, _EVERY = 120, 3  # control steps that are watched, and of which one is kept
_NOISE = 0.1  # standard deviation of what is added to every action: the composer has to know what is beside the way
_MINIBATCH, _LESSONS, _RATE = 2048, 600, 1e-3


def informed_composer(
    env: ImitationEnv, columns: Sequence[Trained], player: np.ndarray, riser: int | None, config: PPOConfig,
    key: jax.Array,
) -> Trained:  # fmt: skip
    """A composer of the columns that gives a humanoid which follows clip r to column player[r], and who is led up to
    column riser, if there is one. player (R,) has the number of a column for every row of env's table.

    It has learnt that from watching env's humanoids played so; its critic has learnt nothing.
    """
    policy = make_policy(config.hidden, config.critic_hidden, env.action_size, config.spread, columns)
    for_params, for_start, for_play, for_order = jax.random.split(key, 4)
    by_clip = jnp.asarray(player)

    def step(carry: tuple, draw: jax.Array) -> tuple[tuple, tuple[jax.Array, jax.Array]]:
        state, observation = carry
        who = by_clip[state.clip]
        who = who if riser is None else jnp.where(env.led(state), riser, who)
        offered = jnp.stack([column.act(observation) for column in columns])
        action = offered[who, jnp.arange(len(who))]
        result = env.step(state, action + _NOISE * jax.random.normal(draw, action.shape))
        return (result.state, result.observation), (observation, who)

    @jax.jit
    def watch(start: tuple, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        def stretch(carry: tuple, draw: jax.Array) -> tuple[tuple, tuple[jax.Array, jax.Array]]:
            carry, (observation, who) = jax.lax.scan(step, carry, jax.random.split(draw, _EVERY))
            return carry, (observation[0], who[0])

        seen, who = jax.lax.scan(stretch, start, jax.random.split(key, _STEPS // _EVERY))[1]
        return seen.reshape(-1, seen.shape[-1]), who.reshape(-1)

    seen, who = watch(jax.jit(env.reset)(for_start), for_play)
    normalizer = update_normalizer(init_normalizer(env.observation_size), seen)
    params, adam = policy.init(for_params, env.observation_size), optax.adam(_RATE)

    @jax.jit
    def learn(actor: dict, order: jax.Array) -> dict:
        def loss(actor: dict, rows: jax.Array) -> jax.Array:
            logits = policy.actor.apply(actor, normalize(normalizer, seen[rows]))
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, who[rows]))

        def update(carry: tuple, rows: jax.Array) -> tuple[tuple, None]:
            actor, state = carry
            change, state = adam.update(jax.grad(loss)(actor, rows), state, actor)
            return (optax.apply_updates(actor, change), state), None

        return jax.lax.scan(update, (actor, adam.init(actor)), order)[0][0]

    order = jax.random.randint(for_order, (_LESSONS, min(_MINIBATCH, len(seen))), 0, len(seen))
    return Trained(policy, params | {"actor": learn(params["actor"], order)}, normalizer)
