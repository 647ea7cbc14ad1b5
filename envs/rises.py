"""Ways up: clips that begin lying and end standing. Who has fallen is led along the one whose beginning is nearest."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.recovery import Recovery
from envs.reference import ReferenceTable
from envs.switching import Placed, put_points
from imdy_jax import rotation

_LYING, _STANDING = 0.5, 0.8  # vertical part of the pelvis' upward axis, at most and at least
_RISEN = 2.0  # times as high is the pelvis at the end of a way up as at its beginning, at least
_LOW = 0.4  # of the pelvis' height at the end: a moment lower than that is one of lying
_MOMENTS = 16  # of lying, of each way up, at most


class Rises(NamedTuple):
    """The moments of lying that N environments may be led from."""

    clip: jax.Array  # (N, K)
    frame: jax.Array  # (N, K)
    leads: jax.Array  # (C,) bool: which of the table's clips are ways up
    leads_on: bool  # everyone has other clips, too, to go on with


def find_rises(table: ReferenceTable, choices: np.ndarray) -> Rises:
    """The ways up among the clips that each environment may play: choices (N, K).

    Raises ValueError where an environment has none.
    """
    first, last = _ends(table)
    height, leads = np.asarray(table.q)[:, 2], leads_up(table)
    moments = {}
    for clip in np.flatnonzero(leads):
        risen = height[first[clip] : last[clip] + 1] >= _LOW * height[last[clip]]
        frames = np.arange(max(int(np.argmax(risen)), 1))
        moments[clip] = [(clip, frame) for frame in frames[:: -(-len(frames) // _MOMENTS)]]
    own = [[m for clip in dict.fromkeys(row) if leads[clip] for m in moments[clip]] for row in np.asarray(choices)]
    if not all(own):
        raise ValueError(
            f"recovery.led: found {int(leads.sum())} clips that begin lying and end standing, and none for humanoid "
            f"{[bool(m) for m in own].index(False)}, expected one for each; add get-ups to the motions, or leave it out"
        )
    most = max(map(len, own))
    padded = np.array([[mine[k % len(mine)] for k in range(most)] for mine in own])
    leads_on = bool((~leads[np.asarray(choices)]).any(axis=1).all())
    return Rises(jnp.asarray(padded[..., 0]), jnp.asarray(padded[..., 1]), jnp.asarray(leads), leads_on)


def leads_up(table: ReferenceTable) -> np.ndarray:
    """Which of the table's clips (C,) bool are ways up."""
    first, last = _ends(table)
    q = np.asarray(table.q)
    upwards = np.asarray(rotation.rotate(q[:, 3:7], np.array([0.0, 1.0, 0.0])))[:, 2]
    lies = (np.abs(upwards[first]) < _LYING) & (_RISEN * q[first, 2] < q[last, 2])
    return lies & (upwards[last] > _STANDING)


def nearest(
    rises: Rises, table: ReferenceTable, position: jax.Array, grace: int
) -> tuple[jax.Array, jax.Array, Placed, jax.Array]:
    """Clip and frame (N,) of the moment whose joints can be laid nearest to those at position (N, 24, 3), where it has
    been laid, and how far off its joints are then, m in the mean (N,).
    """
    wanted = table.bodies.position[table.row(rises.clip, rises.frame)]  # (N, K, 24, 3)
    placed = jax.vmap(jax.vmap(_laid, in_axes=(0, None)))(wanted, position)
    gap = jnp.mean(jnp.linalg.norm(jax.vmap(put_points)(placed, wanted) - position[:, None], axis=-1), axis=-1)
    best = jnp.argmin(gap, axis=1)
    pick = lambda x: jax.vmap(lambda own, k: own[k])(x, best)  # noqa: E731
    turn, shift, _ = jax.tree.map(pick, placed)
    return pick(rises.clip), pick(rises.frame), Placed(turn, shift, jnp.full(len(best), grace, jnp.int32)), pick(gap)


def risen(rises: Rises | None, recovery: Recovery | None, clip: jax.Array, ended: jax.Array) -> jax.Array:
    """Who of those at the end of their clip (N,), ended (N,) bool, has been led up by it (N,) bool."""
    if rises is None or recovery is None:
        return jnp.zeros_like(ended)
    return ended & ~recovery.active & rises.leads[clip]


def _ends(table: ReferenceTable) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last row of each clip (C,)."""
    first = np.asarray(table.start)
    return first, first + np.asarray(table.length) - 1


def _laid(wanted: jax.Array, position: jax.Array) -> Placed:
    """The turn about the vertical and the horizontal shift that bring points (24, 3) nearest, by squares, to others."""
    centre, other = jnp.mean(wanted, axis=0), jnp.mean(position, axis=0)
    a, b = (wanted - centre)[:, :2], (position - other)[:, :2]
    angle = jnp.arctan2(jnp.sum(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]), jnp.sum(a * b))
    turn = rotation.exp(angle * jnp.array([0.0, 0.0, 1.0], wanted.dtype))
    shift = (other - rotation.rotate(turn, centre)).at[2].set(0.0)
    return Placed(turn, shift, jnp.zeros((), jnp.int32))
