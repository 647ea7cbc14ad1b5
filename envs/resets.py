"""How episodes begin and what comes after them: a start elsewhere, recovery from where one lies, another clip."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.beginning import Beginning, begin
from envs.episodes import TaskState, under_way
from envs.falls import Falls, make_falls
from envs.physics import Physics
from envs.pushes import Push, no_push
from envs.recovery import recovering
from envs.reference import Bodies, ReferenceTable
from envs.rises import Rises, find_rises, nearest
from envs.select import select
from envs.starts import Tally, blank_tally, draw_starts, start_weights
from envs.style import RecordedStyle
from envs.switching import Placed, draw_switches, in_place, meeting
from envs.task import TaskConfig

_HARVEST, _SWITCH = 11, 14  # what is folded into a step's key, beyond what drawing starts splits off it


class Resets(NamedTuple):
    """All that N episodes may begin with, or go on with."""

    physics: Physics
    table: ReferenceTable
    config: TaskConfig
    clip_choices: jax.Array  # (N, K) the clips of each environment
    style: RecordedStyle | None
    blank: Tally  # nothing is known yet of where episodes fail
    falls: Falls | None  # None: nobody begins fallen
    rises: Rises | None  # None: nobody is led up
    unpushed: Push | None  # None: nobody is pushed
    in_place: Placed | None  # None: references stay where they were recorded

    @property
    def leads_on(self) -> bool:
        """Who has been led up goes on with another clip."""
        return self.rises is not None and self.rises.leads_on

    def start(
        self, clip: jax.Array, frame: jax.Array, key: jax.Array, draw: jax.Array, share: float
    ) -> tuple[TaskState, Bodies]:
        """Everyone at frame (N,) of clip (N,), a share of them fallen beside it; and their bodies (N, ...)."""
        begun = self._begin(clip, frame, draw, share)
        physics = self.physics.reset(begun.q, begun.v)
        state = under_way(
            physics, clip, frame, begun.history, self.blank, key, begun.recovery, self.unpushed, self.in_place
        )
        return self._led(state, begun.bodies, jnp.ones(clip.shape, bool)), begun.bodies

    def go_on(
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
        clip, frame = self.draw(draw, reached.tally)
        clip, frame = jnp.where(done, clip, reached.clip), jnp.where(done, frame, reached.frame)
        begun = self._begin(clip, frame, draw, config.share)
        dtype = reached.physics.q.dtype
        physics = select(done, self.physics.reset(begun.q.astype(dtype), begun.v.astype(dtype)), reached.physics)
        recovery, history = select(done, (begun.recovery, begun.history), (going, reached.history))
        push, placed = select(done, (self.unpushed, self.in_place), (reached.push, reached.placed))
        following = under_way(physics, clip, frame, history, reached.tally, reached.key, recovery, push, placed)
        bodies = select(done, begun.bodies, bodies)
        return self._led(following, bodies, done | harvested), bodies

    def switch(
        self, state: TaskState, may: jax.Array, onwards: jax.Array, draw: jax.Array, seconds: float
    ) -> tuple[TaskState, jax.Array | None]:
        """Those who are to go onwards (N,) bool, from its beginning, and some of those who may (N,) bool and do not
        recover, from any moment, go on with another clip; and who does (N,) bool. A control step takes so many seconds.
        """
        if state.placed is None:
            return state, None
        whether, which = jax.random.split(jax.random.fold_in(draw, _SWITCH))
        may = may if state.recovery is None else may & ~state.recovery.active
        clip, frame = self.draw(which, state.tally, state.clip)
        frame = jnp.where(onwards, 0, frame)  # who has just got up begins at the beginning
        chosen = onwards | draw_switches(self.config.switch, whether, len(onwards), seconds)
        switched = may & (clip != state.clip) & chosen
        met = meeting(state.physics.q, self.table.q[self.table.row(clip, frame)], self.config.switch)
        clip, frame, placed = select(switched, (clip, frame, met), (state.clip, state.frame, state.placed))
        unchanged = state.history, state.tally, state.key, state.recovery, state.push
        return under_way(state.physics, clip, frame, *unchanged, placed), switched

    def draw(self, key: jax.Array, tally: Tally, but: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Clip and frame (N,) to start from; of the clips but (N,) another one, and none that lies down."""
        weights = start_weights(tally, self.table.length, self.config.starts.floor)
        if but is not None and self.rises is not None and self.rises.leads_on:  # who stands does not lie down
            weights = jnp.where(self.rises.leads[:, None], 0.0, weights)
        return draw_starts(key, weights, self.table.length, self.clip_choices, but)

    def _begin(self, clip: jax.Array, frame: jax.Array, draw: jax.Array, share: float) -> Beginning:
        """Episodes at frame (N,) of clip (N,): on the reference, but a share of them fallen beside it."""
        row, humanoid = self.table.row(clip, frame), self.physics.humanoid
        history = self.style.until(clip, frame) if self.style else None
        return begin(self.table, row, history, self.falls, humanoid, draw, share, self.config.recovery)

    def _led(self, state: TaskState, bodies: Bodies, begins: jax.Array) -> TaskState:
        """The state in which those who begin (N,) bool to recover do so along the nearest way up, where they lie."""
        if self.rises is None or state.recovery is None:
            return state
        found = nearest(self.rises, self.table, bodies.position, self.config.switch.grace)
        kept = state.clip, state.frame, state.placed, state.recovery.gap
        clip, frame, placed, gap = select(begins & state.recovery.active, found, kept)
        recovery, unchanged = state.recovery._replace(gap=gap), (state.history, state.tally, state.key)
        return under_way(state.physics, clip, frame, *unchanged, recovery, state.push, placed)


def make_resets(
    physics: Physics, table: ReferenceTable, config: TaskConfig, clip_choices: jax.Array, style: RecordedStyle | None
) -> Resets:
    """What the task asks for. Where episodes may begin fallen, everyone falls once before the first of them.

    Raises ValueError where a body does not come to rest, or where one who has fallen is to be led and there is no way.
    """
    asked, count = config.recovery, physics.num_envs
    falls = make_falls(physics, asked.seed, asked.falls) if asked.share else None
    rises = find_rises(table, np.asarray(clip_choices)) if asked.on and asked.led else None
    unpushed = no_push(count) if config.push.probability else None
    placed = in_place(count, table.q.dtype) if config.switch.rate or rises is not None else None
    blank = blank_tally(table, int(jnp.max(table.length)))
    return Resets(physics, table, config, clip_choices, style, blank, falls, rises, unpushed, placed)
