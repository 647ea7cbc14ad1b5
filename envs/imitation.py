"""The imitation task: reset and step of N humanoids, each following a clip. Orchestration only."""

import jax
import jax.numpy as jnp
import numpy as np

from envs.beginning import Beginning, begin
from envs.episodes import TaskState, under_way
from envs.falls import make_falls
from envs.guide import Guide
from envs.observation import observation_size
from envs.physics import Physics
from envs.pushes import no_push, push_along
from envs.recovery import judge, recovering, tell
from envs.reference import Bodies, ReferenceTable, body_state
from envs.reward import step_terms, total
from envs.rises import find_rises, nearest, risen
from envs.select import select
from envs.starts import Tally, blank_tally, count, draw_starts, start_weights
from envs.style import STYLE_SIZE, RecordedStyle, flat, moved_on
from envs.switching import draw_switches, in_place, meeting, put_bodies, waited
from envs.task import ACTION_SIZE, TaskConfig
from envs.termination import diverged, strayed
from envs.tracker import Tracker
from imdy_jax.imitation.environment import StepResult, Transition

_HARVEST, _PUSH, _SWITCH = 11, 13, 14  # what is folded into a step's key, beyond what drawing starts splits off it


class ImitationEnv:
    """Environment (imdy_jax.imitation.environment) over any Physics.

    clip_choices (N, K): the clips of each env. guide: what the action is added to, where a way is known.
    Where episodes may begin fallen, everyone falls once before the first of them: raises ValueError where a body does
    not come to rest, where one who has fallen is to be led and there is no way up, and where references are to change
    beside a guide.
    """

    action_size = ACTION_SIZE

    def __init__(
        self, physics: Physics, table: ReferenceTable, config: TaskConfig, clip_choices: jax.Array | None = None,
        guide: Guide | None = None,
    ):  # fmt: skip
        config.switch.check_unguided(guide is not None)
        self.physics, self.table, self.config = physics, table, config
        self.tracker = Tracker(physics.humanoid, table, guide, config)
        self.num_envs = physics.num_envs
        self.observation_size = observation_size(len(config.ahead))
        everything = jnp.broadcast_to(jnp.arange(table.num_clips), (self.num_envs, table.num_clips))
        self.clip_choices = everything if clip_choices is None else jnp.asarray(clip_choices)
        self.style_size = config.style_steps * STYLE_SIZE
        self._style = RecordedStyle(table, config.style_steps) if config.style_steps else None
        self._blank = blank_tally(table, int(jnp.max(table.length)))
        asked = config.recovery
        self._falls = make_falls(physics, asked.seed, asked.falls) if asked.share else None
        self._seconds = physics.timestep * physics.substeps  # of a control step
        self._unpushed = no_push(self.num_envs) if config.push.probability else None
        self._rises = find_rises(table, np.asarray(self.clip_choices)) if asked.on and asked.led else None
        self._leads_on = self._rises is not None and self._rises.leads_on
        moved = config.switch.rate or self._rises is not None
        self._in_place = in_place(self.num_envs, table.q.dtype) if moved else None

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

        Who is led has the nearest moment of a way up for its reference.

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

        Finished episodes restart elsewhere, but for those that a harvest makes recover where they have failed; of the
        others some may go on with another clip, and at the end of a way up all do who have one.
        """
        config, clip, recovery, placed, before = self.config, state.clip, state.recovery, state.placed, state.physics
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
        up = risen(self._rises, recovery, clip, ended & ~failed & ~broken)
        onwards = up & self._leads_on
        over = over & ~onwards
        terminated = failed | broken
        done = terminated | over
        history, away = moved_on(state.history, bodies), state.on_the_way
        tally = count(state.tally, clip, frame, terminated & ~away, config.starts.memory, jnp.where(away, 0.0, 1.0))
        reached = under_way(after, clip, frame, history, tally, key, going, pushing, waited(placed))
        following, there = self._go_on(reached, bodies, failed & ~broken & ~over, done, draw)
        following, switched = self._switch(following, ~done, onwards, draw)
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
            terms=terms | told | tell(recovery, going, None if self._rises is None else up),
            style=flat(history, broken),
            terminated=terminated,
            truncated=~terminated & over,
            transition=Transition(
                before.q, before.v, target, substeps, after.q, after.v, bodies.position, reference.position
            ),
        )

    def _go_on(
        self, reached: TaskState, bodies: Bodies, fallen: jax.Array, done: jax.Array, draw: jax.Array
    ) -> tuple[TaskState, Bodies]:
        """Those who are done (N,) bool start elsewhere, or of the fallen (N,) bool some recover where they are.

        Also the bodies (N, ...) of who goes on and who starts.
        """
        config, going = self.config.recovery, reached.recovery
        harvested = jnp.zeros_like(done)
        if going is not None:
            harvested = fallen & (jax.random.uniform(jax.random.fold_in(draw, _HARVEST), done.shape) < config.harvest)
            going = select(harvested, recovering(harvested, going.gap, config), going)
            done = done & ~harvested
        clip, frame = self._draw_starts(draw, reached.tally)
        clip, frame = jnp.where(done, clip, reached.clip), jnp.where(done, frame, reached.frame)
        start = self._begin(clip, frame, draw, config.share)
        dtype = reached.physics.q.dtype
        physics = select(done, self.physics.reset(start.q.astype(dtype), start.v.astype(dtype)), reached.physics)
        recovery, history = select(done, (start.recovery, start.history), (going, reached.history))
        push, placed = select(done, (self._unpushed, self._in_place), (reached.push, reached.placed))
        following = under_way(physics, clip, frame, history, reached.tally, reached.key, recovery, push, placed)
        bodies = select(done, start.bodies, bodies)
        return self._led(following, bodies, done | harvested), bodies

    def _led(self, state: TaskState, bodies: Bodies, begins: jax.Array) -> TaskState:
        """The state in which those who begin (N,) bool to recover do so along the nearest way up, where they lie."""
        if self._rises is None or state.recovery is None:
            return state
        found = nearest(self._rises, self.table, bodies.position, self.config.switch.grace)
        kept = state.clip, state.frame, state.placed, state.recovery.gap
        clip, frame, placed, gap = select(begins & state.recovery.active, found, kept)
        recovery, unchanged = state.recovery._replace(gap=gap), (state.history, state.tally, state.key)
        return under_way(state.physics, clip, frame, *unchanged, recovery, state.push, placed)

    def _switch(
        self, state: TaskState, may: jax.Array, onwards: jax.Array, draw: jax.Array
    ) -> tuple[TaskState, jax.Array | None]:
        """Those who are to go onwards (N,) bool, from its beginning, and some of those who may (N,) bool and do not
        recover, from any moment, go on with another clip; and who does (N,) bool.
        """
        if state.placed is None:
            return state, None
        whether, which = jax.random.split(jax.random.fold_in(draw, _SWITCH))
        may = may if state.recovery is None else may & ~state.recovery.active
        clip, frame = self._draw_starts(which, state.tally, state.clip)
        frame = jnp.where(onwards, 0, frame)  # who has just got up begins at the beginning
        chosen = onwards | draw_switches(self.config.switch, whether, self.num_envs, self._seconds)
        switched = may & (clip != state.clip) & chosen
        met = meeting(state.physics.q, self.table.q[self.table.row(clip, frame)], self.config.switch)
        clip, frame, placed = select(switched, (clip, frame, met), (state.clip, state.frame, state.placed))
        unchanged = state.history, state.tally, state.key, state.recovery, state.push
        return under_way(state.physics, clip, frame, *unchanged, placed), switched

    def _started(
        self, clip: jax.Array, frame: jax.Array, key: jax.Array, draw: jax.Array, share: float
    ) -> tuple[TaskState, jax.Array]:
        start = self._begin(clip, frame, draw, share)
        physics = self.physics.reset(start.q, start.v)
        state = under_way(
            physics, clip, frame, start.history, self._blank, key, start.recovery, self._unpushed, self._in_place
        )
        state = self._led(state, start.bodies, jnp.ones(self.num_envs, bool))
        return state, self._seen(start.bodies, state)

    def _begin(self, clip: jax.Array, frame: jax.Array, draw: jax.Array, share: float) -> Beginning:
        """Episodes at frame (N,) of clip (N,): on the reference, but a share of them fallen beside it."""
        row, humanoid = self.table.row(clip, frame), self.physics.humanoid
        history = self._style.until(clip, frame) if self._style else None
        return begin(self.table, row, history, self._falls, humanoid, draw, share, self.config.recovery)

    def led(self, state: TaskState) -> jax.Array:
        """Who (N,) bool is being led up, or waited for before that."""
        if self._rises is None or state.recovery is None:
            return jnp.zeros(self.num_envs, bool)
        return state.recovery.active | self._rises.leads[state.clip]

    def demonstrate(self, key: jax.Array, count: int) -> jax.Array:
        """What style is judged by (count, K · 196), at random moments of the reference."""
        return flat(self._style.draw(key, count) if self._style else None, jnp.zeros(count, bool))

    def _seen(self, bodies: Bodies, state: TaskState) -> jax.Array:
        return self.tracker.observe(bodies, state.clip, state.frame, state.recovery, state.placed)

    def _draw_starts(self, key: jax.Array, tally: Tally, but: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        weights = start_weights(tally, self.table.length, self.config.starts.floor)
        if but is not None and self._rises is not None and self._leads_on:  # who stands does not lie down
            weights = jnp.where(self._rises.leads[:, None], 0.0, weights)
        clip, frame = draw_starts(key, weights, self.clip_choices, but)
        latest = jnp.maximum(self.table.length[clip] - 2, 0)  # leaves a step to go
        return clip, jnp.minimum(frame, latest)
