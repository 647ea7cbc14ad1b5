"""Humanoids that practise on known ways, and are told at every step what the teacher would do."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.guide import Guide, moved
from envs.imitation import ImitationEnv
from envs.physics import PhysicsState
from envs.reference import body_state
from envs.select import select
from envs.task import ACTION_SIZE
from envs.ways import Known, fill, make_guide
from envs.world import Cast
from imdy_jax.imitation.distil import DistilConfig
from imdy_jax.skeleton import NUM_JOINTS

_LOST = 0.2  # m off the way, mean over bodies: the feedback is good for its neighbourhood only
# Standard deviation of where practice begins, beside the way: root m, turns rad, their rates.
_SCATTER = np.repeat([0.01, 0.03, 0.1, 0.3], [3, 3 + 3 * NUM_JOINTS, 3, 3 + 3 * NUM_JOINTS])


@dataclass(frozen=True)
class TeachConfig:
    """Whether and how the policy learns from a search before it learns by itself."""

    # Of practising what the search has found; the search takes minutes of its own, and train.minutes come after.
    minutes: float = 0.0  # 0: no lessons
    distil: DistilConfig = field(default_factory=DistilConfig)


@struct.dataclass
class Lessons:
    """What there is to learn from the ways through the clips of a cast."""

    guide: Guide
    stake: jax.Array  # (F, A, A) what a wrong action costs, of mean diagonal 1
    moments: jax.Array  # (M, 2) clip and frame of every row that has a lesson


def make_lessons(cast: Cast, ways: list[Known | None]) -> Lessons:
    """Lessons on the ways through the cast's clips; raises ValueError where there is none."""
    known = [row for row, way in enumerate(ways) if way is not None]
    if not known:
        raise ValueError("no way was found through any of the clips: nothing to learn from; train without lessons")
    steps = {row: cast.lengths[row] - 1 for row in known}
    moments = [np.stack([np.full(steps[row], row), np.arange(steps[row])], axis=1) for row in known]
    guide, stake = make_guide(cast, ways), fill(cast, ways, "stake", (ACTION_SIZE, ACTION_SIZE))
    return Lessons(guide, jnp.asarray(stake), jnp.asarray(np.concatenate(moments)))


@struct.dataclass
class Practice:
    """N humanoids near a way."""

    physics: PhysicsState
    clip: jax.Array  # (N,)
    frame: jax.Array  # (N,)


class TutoredEnv:
    """The world that imdy_jax.imitation.distil practises in, over the humanoids of an ImitationEnv."""

    action_size = ACTION_SIZE

    def __init__(self, env: ImitationEnv):
        self._env, self.num_envs, self.observation_size = env, env.num_envs, env.observation_size

    def reset(self, lessons: Lessons, key: jax.Array) -> Practice:
        """Everyone somewhere near a way."""
        which, where, far = jax.random.split(key, 3)
        clip, frame = lessons.moments[jax.random.randint(which, (self.num_envs,), 0, len(lessons.moments))].T
        row = self._env.table.row(clip, frame)
        scatter = jax.random.normal(where, (self.num_envs, len(_SCATTER))) * jnp.asarray(_SCATTER, jnp.float32)
        scatter = scatter * jax.random.uniform(far, (self.num_envs, 1))
        q, v = jax.vmap(moved)(lessons.guide.q[row], lessons.guide.v[row], scatter)
        return Practice(self._env.physics.reset(q, v), clip, frame)

    def observe(self, state: Practice) -> jax.Array:
        """Observation (N, O)."""
        bodies = jax.vmap(body_state)(self._env.physics.humanoid, state.physics.q, state.physics.v)
        return self._env.tracker.observe(bodies, state.clip, state.frame)

    def advise(self, lessons: Lessons, state: Practice) -> tuple[jax.Array, jax.Array]:
        """The teacher's action (N, A), and the row (N,) of the lesson that it comes from."""
        row = self._env.table.row(state.clip, state.frame)
        return lessons.guide.advise(row, state.physics.q, state.physics.v), row

    def step(
        self, lessons: Lessons, state: Practice, action: jax.Array, key: jax.Array
    ) -> tuple[Practice, jax.Array, jax.Array]:
        """One control step; also who was lost, and who has begun elsewhere, being lost or at the end, (N,) bool."""
        env, humanoid = self._env, self._env.physics.humanoid
        clip, frame = state.clip, state.frame + 1
        physics, _ = env.physics.step(state.physics, env.tracker.target(state.physics, clip, frame, action))
        last = frame >= env.table.length[clip] - 1
        row = env.table.row(clip, frame - last.astype(frame.dtype))  # the last frame has no lesson
        here = jax.vmap(body_state)(humanoid, physics.q, physics.v).position
        there = jax.vmap(body_state)(humanoid, lessons.guide.q[row], lessons.guide.v[row]).position
        lost = ~last & ~(jnp.mean(jnp.linalg.norm(here - there, axis=-1), axis=-1) < _LOST)
        fresh, done = self.reset(lessons, key), lost | last
        return select(done, fresh, Practice(physics, clip, frame)), lost, done
