"""What is seen of a moment by who judges style: posture and motion in the root's heading frame (PHC's 196 numbers)."""

import jax
import jax.numpy as jnp
import numpy as np

from envs.reference import Bodies, ReferenceTable
from imdy_jax import rotation
from imdy_jax.skeleton import GROUPS, JOINT_NAMES, NUM_BODIES, PARENTS, joint_index

_JOINTS = np.array([k for k in range(1, NUM_BODIES) if GROUPS[k] != "toe" and "hand" not in JOINT_NAMES[k]], np.int32)
_PARENTS = np.array(PARENTS, np.int32)[_JOINTS]
_ENDS = np.array([joint_index(name) for name in ("left_ankle", "right_ankle", "left_wrist", "right_wrist")], np.int32)
STYLE_SIZE = 1 + 6 + 3 + 3 + (6 + 3) * len(_JOINTS) + 3 * len(_ENDS)


def style_features(bodies: Bodies) -> jax.Array:
    """Features (196,): root height, tilt, velocities; joint rotations and velocities; places of wrists and ankles."""
    turn = rotation.conjugate(rotation.heading(bodies.rotation[0]))
    child, parent = bodies.rotation[_JOINTS], bodies.rotation[_PARENTS]
    root = [bodies.position[0, 2:], rotation.to_6d(rotation.multiply(turn, bodies.rotation[0]))]
    root += [rotation.rotate(turn, bodies.linear[0]), rotation.rotate(turn, bodies.angular[0])]
    joints = [rotation.to_6d(rotation.multiply(rotation.conjugate(parent), child))]
    joints += [rotation.inverse_rotate(child, bodies.angular[_JOINTS] - bodies.angular[_PARENTS])]
    ends = rotation.rotate(turn, bodies.position[_ENDS] - bodies.position[0])
    return jnp.concatenate([x.reshape(-1) for x in (*root, *joints, ends)])


def moved_on(history: jax.Array | None, bodies: Bodies) -> jax.Array | None:
    """Histories (N, K, 196), if there are any, a control step later, when the bodies are (N, ...)."""
    if history is None:
        return None
    now = jax.vmap(style_features)(bodies).astype(history.dtype)
    return jnp.concatenate([history[:, 1:], now[:, None]], axis=1)


def at_rest(history: jax.Array | None, bodies: Bodies) -> jax.Array | None:
    """Histories (N, K, 196), shaped as those given, of bodies (N, ...) that have been as they are for as long."""
    if history is None:
        return None
    now = jax.vmap(style_features)(bodies).astype(history.dtype)
    return jnp.broadcast_to(now[:, None], history.shape)


def flat(history: jax.Array | None, broken: jax.Array) -> jax.Array:
    """Histories (N, K, 196) as (N, K · 196), zero where the simulation is broken (N,); (N, 0) where there are none."""
    if history is None:
        return jnp.zeros((len(broken), 0))
    return jnp.where(broken[:, None], 0.0, history.reshape(len(broken), -1))


class RecordedStyle:
    """What style is judged by, of the clips themselves, in windows of so many steps."""

    def __init__(self, table: ReferenceTable, steps: int):
        self._table, self._back = table, jnp.arange(1 - steps, 1)
        self._features = jax.vmap(style_features)(table.bodies).astype(jnp.float32)

    def until(self, clip: jax.Array, frame: jax.Array) -> jax.Array:
        """Histories (N, K, 196) up to frame (N,) of clip (N,); before its start a clip stands still."""
        return self._features[self._table.row(clip[:, None], frame[:, None] + self._back[None])]

    def draw(self, key: jax.Array, count: int) -> jax.Array:
        """Histories (count, K, 196) up to random moments."""
        row = jax.random.randint(key, (count,), 0, len(self._table.q))
        clip = jnp.searchsorted(self._table.start, row, side="right") - 1
        return self.until(clip, row - self._table.start[clip])
