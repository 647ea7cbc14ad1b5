"""The imitation task: reset and step of N humanoids, each following a clip. Orchestration only."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from envs.episodes import TaskState, under_way
from envs.guide import Guide
from envs.observation import observation_size
from envs.physics import Physics
from envs.pushes import push_along
from envs.recovery import judge, tell
from envs.reference import Bodies, ReferenceTable, body_state
from envs.resets import make_resets
from envs.reward import step_terms, total
from envs.rises import risen
from envs.select import select
from envs.starts import count
from envs.style import STYLE_SIZE, RecordedStyle, flat, moved_on
from envs.switching import put_bodies, waited
from envs.task import ACTION_SIZE, TaskConfig
from envs.termination import diverged, strayed
from envs.tracker import Tracker
from imdy_jax.imitation.environment import StepResult, Transition

_PUSH = 13  # what is folded into a step's key, beyond what drawing starts splits off it


class ImitationEnv:
    """Environment (imdy_jax.imitation.environment) over any Physics.

    clip_choices (N, K): the clips of each env. guide: what the action is added to, where a way is known. told: takes of
    the table, one after the other, of which each humanoid is told one; rewarded it is by the table.
    Where episodes may begin fallen, everyone falls once before the first of them: raises ValueError where a body does
    not come to rest, where one who has fallen is to be led and there is no way up, and where references are to change
    beside a guide.
    """

    action_size = ACTION_SIZE

    def __init__(
        self, physics: Physics, table: ReferenceTable, config: TaskConfig, clip_choices: jax.Array | None = None,
        guide: Guide | None = None, told: ReferenceTable | None = None,
    ):  # fmt: skip
        config.switch.check_unguided(guide is not None)
        self.physics, self.table, self.config = physics, table, config
        self.num_envs = physics.num_envs
        self.tracker = Tracker(physics.humanoid, table, guide, config)
        if told is not None:
            takes = jnp.arange(self.num_envs) % (told.num_clips // table.num_clips)
            self.tracker = replace(self.tracker, table=told, first=takes * table.num_clips)
        self.observation_size = observation_size(len(config.ahead))
        everything = jnp.broadcast_to(jnp.arange(table.num_clips), (self.num_envs, table.num_clips))
        self.clip_choices = everything if clip_choices is None else jnp.asarray(clip_choices)
        self.style_size = config.style_steps * STYLE_SIZE
        self._style = RecordedStyle(table, config.style_steps) if config.style_steps else None
        self._resets = make_resets(physics, table, config, self.clip_choices, self._style)
        self._seconds = physics.timestep * physics.substeps  # of a control step

    def reset(self, key: jax.Array) -> tuple[TaskState, jax.Array]:
        """Random clips and random frames of them, a share of the humanoids fallen beside them."""
        key, draw = jax.random.split(key)
        clip, frame = self._resets.draw(draw, self._resets.blank)
        return self._started(clip, frame, key, draw, self.config.recovery.share)

    def start(self, clip: jax.Array, frame: jax.Array, key: jax.Array) -> tuple[TaskState, jax.Array]:
        """Every humanoid in the pose and motion of its reference: clip (N,), frame (N,)."""
        return self._started(clip, frame, key, key, 0.0)

    def start_fallen(self, clip: jax.Array, frame: jax.Array, key: jax.Array) -> tuple[TaskState, jax.Array]:
        """Every humanoid fallen beside its reference at frame (N,) of clip (N,), where that waits for it.

        Who is led has the nearest moment of a way up for its reference.

        Raises ValueError where no episode begins fallen.
        """
        if self._resets.falls is None:
            raise ValueError(
                f"recovery.share is {self.config.recovery.share}, expected more than 0: nobody has fallen yet; set it"
            )
        key, draw = jax.random.split(key)
        return self._started(clip, frame, key, draw, 1.0)

    def step(self, state: TaskState, action: jax.Array, push: jax.Array | None = None) -> StepResult:
        """One control step towards the reference's next frame, the chest pushed by (N, 3) N, world axes.

        Finished episodes restart elsewhere, but for those that a harvest makes recover where they have failed; of the
        others some may go on with another clip, and at the end of a way up all do who have one.
        """
        config, resets, before = self.config, self._resets, state.physics
        clip, recovery, placed = state.clip, state.recovery, state.placed
        frame = state.frame + (1 if recovery is None else ~recovery.active)
        key, draw = jax.random.split(state.key)
        push, pushing = push_along(config.push, state.push, push, jax.random.fold_in(draw, _PUSH))
        target = self.tracker.target(before, clip, frame, action, recovery, placed)
        after, substeps = self.physics.step(before, target, push)

        broken = jax.vmap(diverged)(after.q, after.v)
        bodies = jax.vmap(body_state)(self.physics.humanoid, after.q, after.v)
        reference = put_bodies(placed, self.table.at(clip, frame))
        gap = jnp.mean(jnp.linalg.norm(bodies.position - reference.position, axis=-1), axis=-1)
        mass = self.physics.humanoid.total_mass
        terms = step_terms(bodies, reference, substeps, gap, recovery, config.scales, self._seconds, mass)
        off = jax.vmap(strayed, in_axes=(0, 0, None))(bodies.position, reference.position, config.stray_limit)
        off = off if placed is None else off & (placed.grace == 0)
        ended = frame >= self.table.length[clip] - 1
        failed, over, going = judge(recovery, off, ended, gap, config.recovery)
        up = risen(resets.rises, recovery, clip, ended & ~failed & ~broken)
        onwards = up & resets.leads_on
        over = over & ~onwards
        terminated = failed | broken
        done = terminated | over
        history, away = moved_on(state.history, bodies), state.on_the_way
        tally = count(state.tally, clip, frame, terminated & ~away, config.starts.memory, jnp.where(away, 0.0, 1.0))
        reached = under_way(after, clip, frame, history, tally, key, going, pushing, waited(placed))
        following, there = resets.go_on(reached, bodies, failed & ~broken & ~over, done, draw)
        following, switched = resets.switch(following, ~done, onwards, draw, self._seconds)
        observation, final = self._seen(there, following), self._seen(bodies, reached)
        told = {"body_error": gap, "diverged": broken, "clipped": jnp.mean(substeps.clipped, axis=(1, 2))}
        if switched is not None:  # what is to come of it is part of what it is worth
            told, final = told | {"switched": switched}, select(switched, observation, final)
        return StepResult(
            state=following,
            observation=observation,
            # A diverged state has no usable reward or observation; it is counted in `diverged` and ends the episode.
            final_observation=jnp.where(broken[:, None], 0.0, final),
            reward=jnp.where(broken, 0.0, total(terms, config.weights)),
            terms=terms | told | tell(recovery, going, None if resets.rises is None else up),
            style=flat(history, broken),
            terminated=terminated,
            truncated=~terminated & over,
            transition=Transition(
                before.q, before.v, target, substeps, after.q, after.v, bodies.position, reference.position
            ),
        )

    def _started(
        self, clip: jax.Array, frame: jax.Array, key: jax.Array, draw: jax.Array, share: float
    ) -> tuple[TaskState, jax.Array]:
        state, bodies = self._resets.start(clip, frame, key, draw, share)
        return state, self._seen(bodies, state)

    def led(self, state: TaskState) -> jax.Array:
        """Who (N,) bool is being led up, or waited for before that."""
        rises = self._resets.rises
        if rises is None or state.recovery is None:
            return jnp.zeros(self.num_envs, bool)
        return state.recovery.active | rises.leads[state.clip]

    def demonstrate(self, key: jax.Array, count: int) -> jax.Array:
        """What style is judged by (count, K · 196), at random moments of the reference."""
        return flat(self._style.draw(key, count) if self._style else None, jnp.zeros(count, bool))

    def _seen(self, bodies: Bodies, state: TaskState) -> jax.Array:
        return self.tracker.observe(bodies, state.clip, state.frame, state.recovery, state.placed)
