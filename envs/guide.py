"""What leads through motions that are known beforehand: actions, and how to answer when one strays from the way."""

import jax
import jax.numpy as jnp
from flax import struct

from imdy_jax.dynamics.kinematics import difference, integrate
from imdy_jax.skeleton import NUM_V

_FEEDBACK = 0.7  # bound of what the feedback adds to the action


@struct.dataclass
class Guide:
    """For F frames: of one clip, or the rows of a reference table, zero where no way through a clip is known."""

    q: jax.Array  # (F, 99) on the way
    v: jax.Array  # (F, 75)
    action: jax.Array  # (F, A)
    answer: jax.Array  # (F, A, 150) of the action to straying from the way

    def advise(self, row: jax.Array, q: jax.Array, v: jax.Array) -> jax.Array:
        """Action (N, A) at states q (N, 99), v (N, 75) of frames row (N,)."""
        off = jax.vmap(strayed)(self.q[row], self.v[row], q, v)
        answer = jnp.einsum("nas,ns->na", self.answer[row].astype(off.dtype), off)
        return self.action[row] + jnp.clip(answer, -_FEEDBACK, _FEEDBACK)


def moved(q: jax.Array, v: jax.Array, move: jax.Array) -> tuple[jax.Array, jax.Array]:
    """State at a tangent (150,) from q (99,), v (75,)."""
    return integrate(q, move[:NUM_V], 1.0), v + move[NUM_V:]


def strayed(q: jax.Array, v: jax.Array, reached_q: jax.Array, reached_v: jax.Array) -> jax.Array:
    """Tangent (150,) from one state to another: the inverse of moved."""
    return jnp.concatenate([difference(q, reached_q), reached_v - v])
