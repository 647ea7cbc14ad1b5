"""Humanoids that practise on the ways of the lessons, and are told at every step what the teacher would do."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.imitation import ACTION_SIZE, ImitationEnv
from envs.lessons import Lessons
from envs.observation import OBSERVATION_SIZE
from envs.physics import PhysicsState
from envs.reference import body_state
from envs.refining import moved, strayed
from imdy_jax.skeleton import NUM_JOINTS

_FEEDBACK = 0.7  # bound of what the feedback adds to the action
_LOST = 0.2  # m off the way, mean over bodies: the feedback is good for its neighbourhood only
# Standard deviation of where practice begins, beside the way: root m, turns rad, their rates.
_SCATTER = np.repeat([0.01, 0.03, 0.1, 0.3], [3, 3 + 3 * NUM_JOINTS, 3, 3 + 3 * NUM_JOINTS])


@struct.dataclass
class Practice:
    """N humanoids near a way."""

    physics: PhysicsState
    clip: jax.Array  # (N,)
    frame: jax.Array  # (N,)


class TutoredEnv:
    """The world that imdy_jax.imitation.distil practises in, over the humanoids of an ImitationEnv."""

    action_size = ACTION_SIZE
    observation_size = OBSERVATION_SIZE

    def __init__(self, env: ImitationEnv):
        self._env, self.num_envs = env, env.num_envs

    def reset(self, lessons: Lessons, key: jax.Array) -> Practice:
        """Everyone somewhere near a way."""
        which, where, far = jax.random.split(key, 3)
        clip, frame = lessons.moments[jax.random.randint(which, (self.num_envs,), 0, len(lessons.moments))].T
        row = self._env.table.row(clip, frame)
        scatter = jax.random.normal(where, (self.num_envs, len(_SCATTER))) * jnp.asarray(_SCATTER, jnp.float32)
        scatter = scatter * jax.random.uniform(far, (self.num_envs, 1))
        q, v = jax.vmap(moved)(lessons.q[row], lessons.v[row], scatter)
        return Practice(self._env.physics.reset(q, v), clip, frame)

    def observe(self, state: Practice) -> jax.Array:
        """Observation (N, O)."""
        bodies = jax.vmap(body_state)(self._env.physics.humanoid, state.physics.q, state.physics.v)
        return self._env.observe(bodies, state.clip, state.frame)

    def advise(self, lessons: Lessons, state: Practice) -> tuple[jax.Array, jax.Array]:
        """The teacher's action (N, A), and the row (N,) of the lesson that it comes from."""
        row = self._env.table.row(state.clip, state.frame)
        off = jax.vmap(strayed)(lessons.q[row], lessons.v[row], state.physics.q, state.physics.v)
        answer = jnp.einsum("nas,ns->na", lessons.answer[row], off)
        return lessons.action[row] + jnp.clip(answer, -_FEEDBACK, _FEEDBACK), row

    def step(
        self, lessons: Lessons, state: Practice, action: jax.Array, key: jax.Array
    ) -> tuple[Practice, jax.Array, jax.Array]:
        """One control step; also who was lost, and who has begun elsewhere, being lost or at the end, (N,) bool."""
        env, humanoid = self._env, self._env.physics.humanoid
        clip, frame = state.clip, state.frame + 1
        physics, _ = env.physics.step(state.physics, env.target(state.physics, clip, frame, action))
        last = frame >= env.table.length[clip] - 1
        row = env.table.row(clip, frame - last.astype(frame.dtype))  # the last frame has no lesson
        here = jax.vmap(body_state)(humanoid, physics.q, physics.v).position
        there = jax.vmap(body_state)(humanoid, lessons.q[row], lessons.v[row]).position
        lost = ~last & ~(jnp.mean(jnp.linalg.norm(here - there, axis=-1), axis=-1) < _LOST)
        fresh, done = self.reset(lessons, key), lost | last
        pick = lambda a, b: jnp.where(done.reshape(-1, *[1] * (a.ndim - 1)), a, b)  # noqa: E731
        return jax.tree.map(pick, fresh, Practice(physics, clip, frame)), lost, done
