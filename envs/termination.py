"""When an episode has failed."""

import jax
import jax.numpy as jnp


def strayed(position: jax.Array, reference: jax.Array, limit: float) -> jax.Array:
    """Whether the joints are more than limit (m) from their reference, on average; positions (24, 3).

    The mean, as in the evaluation, and not the worst joint as in PHC: a hand that is thrown up before a jump would end
    every episode there, and what comes after would never be learnt.
    """
    return jnp.mean(jnp.linalg.norm(position - reference, axis=-1)) > limit


_LARGEST = 1e10  # the engine itself gives up beyond this (mjMAXVAL)


def diverged(q: jax.Array, v: jax.Array) -> jax.Array:
    """Whether the simulation produced a value that is not finite, or absurd: counted and ended, never hidden."""
    return ~((jnp.max(jnp.abs(q)) <= _LARGEST) & (jnp.max(jnp.abs(v)) <= _LARGEST))
