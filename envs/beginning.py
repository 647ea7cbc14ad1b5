"""How episodes begin: on the reference, or fallen beside it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.falls import Falls, lay
from envs.recovery import Recovery, RecoveryConfig, recovering
from envs.reference import Bodies, ReferenceTable, body_state
from envs.select import select
from envs.style import at_rest
from imdy_jax.humanoid import Humanoid

_FALL = 12  # what is folded into a step's key, beyond what drawing starts splits off it


class Beginning(NamedTuple):
    """States that N episodes begin with."""

    q: jax.Array  # (N, 99)
    v: jax.Array  # (N, 75)
    bodies: Bodies  # leaves (N, 24, ...)
    history: jax.Array | None  # (N, K, 196) what style is judged by, if it is
    recovery: Recovery | None


def begin(
    table: ReferenceTable, row: jax.Array, history: jax.Array | None, falls: Falls | None, humanoid: Humanoid,
    key: jax.Array, share: float, config: RecoveryConfig,
) -> Beginning:  # fmt: skip
    """Everyone at rows (N,) of the table, with that history, but a share of them fallen beside it, where it waits."""
    upright, bodies = None, jax.tree.map(lambda x: x[row], table.bodies)
    if config.on:
        upright = recovering(jnp.zeros(len(row), bool), jnp.zeros(len(row), table.q.dtype), config)
    start = Beginning(table.q[row], table.v[row], bodies, history, upright)
    if falls is None or not share:
        return start
    for_lot, for_fall = jax.random.split(jax.random.fold_in(key, _FALL))
    q, v = lay(falls, for_fall, start.q[:, :2], config.away)
    bodies = jax.vmap(body_state)(humanoid, q, v)
    gap = jnp.mean(jnp.linalg.norm(bodies.position - start.bodies.position, axis=-1), axis=-1)
    lies = recovering(jnp.ones(len(row), bool), gap, config)
    fallen = Beginning(q, v, bodies, at_rest(history, bodies), lies)
    return select(jax.random.uniform(for_lot, row.shape) < share, fallen, start)
