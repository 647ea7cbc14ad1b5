"""What a composer begins with: every clip is played by the column that plays it best, and who is led up by the one that
has learnt to get up.

PPO would find that out by itself, but the mean of two columns that know different things does neither well, and what it
does badly is all that it learns from at first.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from envs.imitation import ImitationEnv
from imdy_jax.imitation.policy import Trained, init_normalizer, make_policy, normalize, update_normalizer
from imdy_jax.imitation.ppo import PPOConfig

_STEPS, _EVERY = 120, 3  # control steps that are watched, and of which one is kept
_NOISE = 0.1  # standard deviation of what is added to every action: the composer has to know what is beside the way
_ROUNDS = 3  # of watching; the columns told play the first, what has been learnt plays the others (DAgger)
_MINIBATCH, _LESSONS, _RATE = 2048, 600, 1e-3


def informed_composer(
    env: ImitationEnv, columns: Sequence[Trained], player: np.ndarray, riser: int | None, config: PPOConfig,
    key: jax.Array,
) -> Trained:  # fmt: skip
    """A composer of the columns that gives a humanoid which follows clip r to column player[r], and who is led up to
    column riser, if there is one. player (R,) has the number of a column for every row of env's table.

    It has learnt that from watching env's humanoids played so, and then by itself; its critic has learnt nothing.
    """
    policy = make_policy(config.hidden, config.critic_hidden, env.action_size, config.spread, columns)
    for_params, *for_rounds = jax.random.split(key, 1 + _ROUNDS)
    by_clip = jnp.asarray(player)

    def step(composer: Trained | None, carry: tuple, draw: jax.Array) -> tuple[tuple, tuple[jax.Array, jax.Array]]:
        state, observation = carry
        who = by_clip[state.clip]
        who = who if riser is None else jnp.where(env.led(state), riser, who)
        if composer is None:
            action = jnp.stack([column.act(observation) for column in columns])[who, jnp.arange(len(who))]
        else:
            action = composer.act(observation)
        result = env.step(state, action + _NOISE * jax.random.normal(draw, action.shape))
        return (result.state, result.observation), (observation, who)

    def watch(arrays: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        composer = None if arrays is None else blank.with_arrays(arrays)

        def stretch(carry: tuple, draw: jax.Array) -> tuple[tuple, tuple[jax.Array, jax.Array]]:
            carry, (observation, who) = jax.lax.scan(partial(step, composer), carry, jax.random.split(draw, _EVERY))
            return carry, (observation[0], who[0])

        for_start, for_play = jax.random.split(key)
        seen, who = jax.lax.scan(stretch, env.reset(for_start), jax.random.split(for_play, _STEPS // _EVERY))[1]
        return seen.reshape(-1, seen.shape[-1]), who.reshape(-1)

    adam = optax.adam(_RATE)

    @jax.jit
    def learn(composer: Any, seen: jax.Array, who: jax.Array, order: jax.Array) -> dict:
        trained = blank.with_arrays(composer)

        def loss(actor: dict, rows: jax.Array) -> jax.Array:
            logits = policy.actor.apply(actor, normalize(trained.normalizer, seen[rows]))
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, who[rows]))

        def update(carry: tuple, rows: jax.Array) -> tuple[tuple, None]:
            actor, state = carry
            change, state = adam.update(jax.grad(loss)(actor, rows), state, actor)
            return (optax.apply_updates(actor, change), state), None

        actor = trained.params["actor"]
        return jax.lax.scan(update, (actor, adam.init(actor)), order)[0][0]

    size = env.observation_size
    blank = composer = Trained(policy, policy.init(for_params, size), init_normalizer(size))
    watching, watched = jax.jit(watch), []
    for number, key in enumerate(for_rounds):
        for_play, for_order = jax.random.split(key)
        watched.append(watching(composer.arrays if number else None, for_play))
        seen, who = (jnp.concatenate(parts) for parts in zip(*watched, strict=True))
        if not number:
            composer = composer._replace(normalizer=update_normalizer(composer.normalizer, seen))
        order = jax.random.randint(for_order, (_LESSONS, min(_MINIBATCH, len(seen))), 0, len(seen))
        composer = composer._replace(params=composer.params | {"actor": learn(composer.arrays, seen, who, order)})
    return composer
