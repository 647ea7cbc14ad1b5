"""The imitation task: reset and step of N humanoids, each following a clip. Orchestration only."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.episodes import TaskState, under_way
from envs.falls import lay, make_falls
from envs.guide import Guide
from envs.observation import observation_size
from envs.physics import Physics, PhysicsState, Substeps
from envs.pushes import Push, no_push, push_on
from envs.recovery import Recovery, judge, recovering, tell
from envs.reference import Bodies, ReferenceTable, body_state
from envs.reward import energy_term, imitation_terms, recovery_term, total
from envs.starts import Tally, blank_tally, count, draw_starts, start_weights
from envs.style import STYLE_SIZE, at_rest, flat, moved_on, style_features
from envs.task import ACTION_SIZE, TaskConfig
from envs.termination import diverged, strayed
from envs.tracker import Tracker, joint_velocity, select
from imdy_jax.imitation.environment import StepResult, Transition

_HARVEST, _FALL, _PUSH = 11, 12, 13  # what is folded into a step's key, beyond what drawing starts splits off it


class _Start(NamedTuple):
    """How N episodes begin."""

    q: jax.Array
    v: jax.Array
    bodies: Bodies
    history: jax.Array | None
    recovery: Recovery | None


class ImitationEnv:
    """Environment (imdy_jax.imitation.environment) over any Physics.

    clip_choices (N, K): the clips of each env. guide: what the action is added to, where a way is known.
    Where episodes may begin fallen, everyone falls once before the first of them: raises ValueError where a body does
    not come to rest.
    """

    action_size = ACTION_SIZE

    def __init__(
        self, physics: Physics, table: ReferenceTable, config: TaskConfig, clip_choices: jax.Array | None = None,
        guide: Guide | None = None,
    ):  # fmt: skip
        self.physics, self.table, self.config = physics, table, config
        self.tracker = Tracker(physics.humanoid, table, guide, config)
        self.num_envs = physics.num_envs
        self.observation_size = observation_size(len(config.ahead))
        everything = jnp.broadcast_to(jnp.arange(table.num_clips), (self.num_envs, table.num_clips))
        self.clip_choices = everything if clip_choices is None else jnp.asarray(clip_choices)
        self.style_size = config.style_steps * STYLE_SIZE
        self._style = jax.vmap(style_features)(table.bodies).astype(jnp.float32) if config.style_steps else None
        self._blank = blank_tally(table, int(jnp.max(table.length)))
        asked = config.recovery
        self._falls = make_falls(physics, asked.seed, asked.falls) if asked.share else None

    def reset(self, key: jax.Array) -> tuple[TaskState, jax.Array]:
        """Random clips and random frames of them, a share of the humanoids fallen beside them."""
        key, draw = jax.random.split(key)
        clip, frame = self._draw_starts(draw, self._blank)
        return self._started(clip, frame, key, draw, self.config.recovery.share)

    def start(self, clip: jax.Array, frame: jax.Array, key: jax.Array) -> tuple[TaskState, jax.Array]:
        """Every humanoid in the pose and motion of its reference: clip (N,), frame (N,)."""
        return self._started(clip, frame, key, key, 0.0)

    def start_fallen(self, clip: jax.Array, frame: jax.Array, key: jax.Array) -> tuple[TaskState, jax.Array]:
        """Every humanoid fallen beside its reference at frame (N,) of clip (N,), where that waits for it.

        Raises ValueError where no episode begins fallen.
        """
        if self._falls is None:
            raise ValueError(
                f"recovery.share is {self.config.recovery.share}, expected more than 0: nobody has fallen yet; set it"
            )
        key, draw = jax.random.split(key)
        return self._started(clip, frame, key, draw, 1.0)

    def step(self, state: TaskState, action: jax.Array, push: jax.Array | None = None) -> StepResult:
        """One control step towards the reference's next frame, the chest pushed by (N, 3) N, world axes.

        Finished episodes restart elsewhere, but for those that a harvest makes recover where they have failed.
        """
        config, clip, recovery, before = self.config, state.clip, state.recovery, state.physics
        frame = state.frame + (1 if recovery is None else ~recovery.active)
        key, draw = jax.random.split(state.key)
        push, pushing = self._push(state.push, push, draw)
        target = self.target(before, clip, frame, action, recovery)
        after, substeps = self.physics.step(before, target, push)

        broken = jax.vmap(diverged)(after.q, after.v)
        bodies = jax.vmap(body_state)(self.physics.humanoid, after.q, after.v)
        reference = self.tracker.reference(self.table.row(clip, frame))
        gap = jnp.mean(jnp.linalg.norm(bodies.position - reference.position, axis=-1), axis=-1)
        terms = self._terms(bodies, reference, substeps, gap, recovery)
        reward = total(terms, config.weights)
        off = jax.vmap(strayed, in_axes=(0, 0, None))(bodies.position, reference.position, config.stray_limit)
        failed, over, going = judge(recovery, off, frame >= self.table.length[clip] - 1, gap, config.recovery)
        terminated = failed | broken
        truncated = ~terminated & over
        history = moved_on(state.history, bodies)
        told = {"body_error": gap, "diverged": broken, "clipped": jnp.mean(substeps.clipped, axis=(1, 2))}
        told |= tell(recovery, going)
        counted = 1.0 if recovery is None else jnp.where(recovery.active, 0.0, 1.0)
        lost = terminated if recovery is None else terminated & ~recovery.active
        tally = count(state.tally, clip, frame, lost, config.starts.memory, counted)
        reached = under_way(after, clip, frame, history, tally, key, going, pushing)
        following, observation = self._go_on(reached, bodies, failed & ~broken & ~over, terminated | truncated, draw)
        return StepResult(
            state=following,
            observation=observation,
            # A diverged state has no usable reward or observation; it is counted in `diverged` and ends the episode.
            final_observation=jnp.where(broken[:, None], 0.0, self.observe(bodies, clip, frame, going)),
            reward=jnp.where(broken, 0.0, reward),
            terms=terms | told,
            style=flat(history, broken),
            terminated=terminated,
            truncated=truncated,
            transition=Transition(
                before.q, before.v, target, substeps, after.q, after.v, bodies.position, reference.position
            ),
        )

    def _go_on(
        self, reached: TaskState, bodies: Bodies, fallen: jax.Array, done: jax.Array, draw: jax.Array
    ) -> tuple[TaskState, jax.Array]:
        """Those who are done (N,) bool start elsewhere, or of the fallen (N,) bool some recover where they are."""
        config, going = self.config.recovery, reached.recovery
        if going is not None:
            harvested = fallen & (jax.random.uniform(jax.random.fold_in(draw, _HARVEST), done.shape) < config.harvest)
            going = select(harvested, recovering(harvested, going.gap, config), going)
            done = done & ~harvested
        clip, frame = self._draw_starts(draw, reached.tally)
        clip, frame = jnp.where(done, clip, reached.clip), jnp.where(done, frame, reached.frame)
        start = self._begin(clip, frame, draw, config.share)
        dtype = reached.physics.q.dtype
        physics = select(done, self.physics.reset(start.q.astype(dtype), start.v.astype(dtype)), reached.physics)
        recovery = select(done, start.recovery, going)
        observation = self.observe(select(done, start.bodies, bodies), clip, frame, recovery)
        history = select(done, start.history, reached.history)
        push = select(done, self._no_push(), reached.push)
        following = under_way(physics, clip, frame, history, reached.tally, reached.key, recovery, push)
        return following, observation

    def _started(
        self, clip: jax.Array, frame: jax.Array, key: jax.Array, draw: jax.Array, share: float
    ) -> tuple[TaskState, jax.Array]:
        start = self._begin(clip, frame, draw, share)
        physics = self.physics.reset(start.q, start.v)
        observation = self.observe(start.bodies, clip, frame, start.recovery)
        push = self._no_push()
        return under_way(physics, clip, frame, start.history, self._blank, key, start.recovery, push), observation

    def _begin(self, clip: jax.Array, frame: jax.Array, draw: jax.Array, share: float) -> _Start:
        """Episodes at frame (N,) of clip (N,): on the reference, but a share of them fallen beside it."""
        config, row = self.config.recovery, self.table.row(clip, frame)
        reference, upright = self.tracker.reference(row), None
        if config.on:
            upright = recovering(jnp.zeros(len(row), bool), jnp.zeros(len(row), self.table.q.dtype), config)
        start = _Start(self.table.q[row], self.table.v[row], reference, self._recorded(clip, frame), upright)
        if self._falls is None or not share:
            return start
        for_lot, for_fall = jax.random.split(jax.random.fold_in(draw, _FALL))
        q, v = lay(self._falls, for_fall, start.q[:, :2], config.away)
        bodies = jax.vmap(body_state)(self.physics.humanoid, q, v)
        gap = jnp.mean(jnp.linalg.norm(bodies.position - reference.position, axis=-1), axis=-1)
        lies = recovering(jnp.ones(len(row), bool), gap, config)
        fallen = _Start(q, v, bodies, at_rest(start.history, bodies), lies)
        return select(jax.random.uniform(for_lot, row.shape) < share, fallen, start)

    def _push(self, pushing: Push | None, push: jax.Array | None, draw: jax.Array) -> tuple:
        """Force (N, 3) of this step, which pushes that are under way add to, or None; and what is left of those."""
        if pushing is None:
            return push, None
        force, pushing = push_on(self.config.push, pushing, jax.random.fold_in(draw, _PUSH))
        return force if push is None else force + push, pushing

    def _no_push(self) -> Push | None:
        return no_push(self.num_envs) if self.config.push.probability else None

    def _terms(
        self, bodies: Bodies, reference: Bodies, substeps: Substeps, gap: jax.Array, recovery: Recovery | None
    ) -> dict[str, jax.Array]:
        """Named parts of the reward (N,): of imitating or of recovering, and of energy."""
        terms = jax.vmap(partial(imitation_terms, scales=self.config.scales))(bodies, reference)
        if recovery is not None:
            seconds = self.physics.timestep * self.physics.substeps
            rises = jax.vmap(partial(recovery_term, seconds=seconds))(bodies, reference, gap, recovery.gap)
            terms = {name: jnp.where(recovery.active, 0.0, x) for name, x in terms.items()}
            terms["recovery"] = jnp.where(recovery.active, rises, 0.0)
        terms["energy"] = jax.vmap(energy_term)(substeps.torque, joint_velocity(substeps.v))
        return terms

    def demonstrate(self, key: jax.Array, count: int) -> jax.Array:
        """What style is judged by (count, K · 196), at random moments of the reference."""
        row = jax.random.randint(key, (count,), 0, len(self.table.q))
        clip = jnp.searchsorted(self.table.start, row, side="right") - 1
        return flat(self._recorded(clip, row - self.table.start[clip]), jnp.zeros(count, bool))

    def _recorded(self, clip: jax.Array, frame: jax.Array) -> jax.Array | None:
        """The reference's history (N, K, 196) up to frame (N,) of clip (N,); before its start a clip stands still."""
        if self._style is None:
            return None
        back = jnp.arange(1 - self.config.style_steps, 1)
        return self._style[self.table.row(clip[:, None], frame[:, None] + back[None])]

    def target(
        self, state: PhysicsState, clip: jax.Array, frame: jax.Array, action: jax.Array,
        recovery: Recovery | None = None,
    ) -> jax.Array:  # fmt: skip
        """PD target (N, 23, 4) for action (N, 69) (Tracker.target)."""
        return self.tracker.target(state, clip, frame, action, recovery)

    def observe(self, bodies: Bodies, clip: jax.Array, frame: jax.Array, recovery: Recovery | None = None) -> jax.Array:
        """Observation (N, O) of humanoids whose bodies (N, ...) are at frame (N,) of clip (N,)."""
        return self.tracker.observe(bodies, clip, frame, recovery)

    def _draw_starts(self, key: jax.Array, tally: Tally) -> tuple[jax.Array, jax.Array]:
        weights = start_weights(tally, self.table.length, self.config.starts.floor)
        clip, frame = draw_starts(key, weights, self.clip_choices)
        latest = jnp.maximum(self.table.length[clip] - 2, 0)  # leaves a step to go
        return clip, jnp.minimum(frame, latest)
