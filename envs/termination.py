"""When an episode has failed."""

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.skeleton import LEFT_FOOT, NUM_BODIES, RIGHT_FOOT

# Ankles and toes are excused: a foot that lands beside its reference is no failure (PHC).
_WATCHED = np.array([k for k in range(NUM_BODIES) if k not in (*LEFT_FOOT, *RIGHT_FOOT)], np.int32)


def strayed(position: jax.Array, reference: jax.Array, limit: float) -> jax.Array:
    """Whether any body but the feet is further than limit (m) from its reference; positions (24, 3)."""
    gap = jnp.linalg.norm(position[_WATCHED] - reference[_WATCHED], axis=-1)
    return jnp.any(gap > limit)


def diverged(q: jax.Array, v: jax.Array) -> jax.Array:
    """Whether the simulation produced a value that is not finite: counted and ended, never hidden."""
    return ~(jnp.all(jnp.isfinite(q)) & jnp.all(jnp.isfinite(v)))
