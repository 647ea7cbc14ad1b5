"""Generalised advantage estimation (Schulman et al. 2016)."""

import jax
import jax.numpy as jnp


def advantages(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    discount: float,
    trace: float,
) -> tuple[jax.Array, jax.Array]:
    """Advantages and returns (T, N) of T steps of N environments.

    next_value is the value of the state each step reached, before any reset: it stands in for the future where an
    episode was cut off (truncated) and is worth nothing where it failed (terminated). No credit crosses either.
    """
    error = reward + discount * jnp.where(terminated, 0.0, next_value) - value

    def backwards(later: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        delta, ended = step
        now = delta + jnp.where(ended, 0.0, discount * trace * later)
        return now, now

    _, advantage = jax.lax.scan(backwards, jnp.zeros_like(reward[0]), (error, terminated | truncated), reverse=True)
    return advantage, advantage + value
