"""Humanoids on their references: what their joints are told, and what they see."""

import jax
from flax import struct

from envs.control import pd_target
from envs.guide import Guide
from envs.mirror import reflected_action
from envs.observation import observe_all
from envs.physics import PhysicsState
from envs.recovery import Recovery
from envs.reference import Bodies, ReferenceTable
from envs.select import select
from envs.switching import Placed
from envs.task import TaskConfig
from imdy_jax.humanoid import Humanoid


@struct.dataclass
class Tracker:
    """N humanoids and the motions that they may follow: a pytree, which a compiled program can take as an argument.

    Such a program then serves whoever they are and whatever they follow, as long as there are as many.
    """

    humanoid: Humanoid  # leaves (N, ...)
    table: ReferenceTable
    guide: Guide | None  # what the action is added to, where a way is known
    config: TaskConfig = struct.field(pytree_node=False)
    first: jax.Array | None = None  # (N,) clip of the table with which each one's own begin; None: all have the same

    def target(
        self, state: PhysicsState, clip: jax.Array, frame: jax.Array, action: jax.Array,
        recovery: Recovery | None = None, placed: Placed | None = None,
    ) -> jax.Array:  # fmt: skip
        """PD target (N, 23, 4) for action (N, 69) at states on the way to frame (N,) of clip (N,).

        Where there is a guide, its action is added. Who recovers has neither feed-forward nor guide. Who follows in a
        mirror does the reflection of what it is told.
        """
        clip, advice = self._own(clip), None
        if self.guide is not None:
            advice = self.guide.advise(self.table.row(clip, frame - 1), state.q, state.v)
        if self.table.mirrored is not None:
            there = jax.tree.map(reflected_action, (action, advice))
            action, advice = select(self.table.mirrored[clip], there, (action, advice))
        row = self.table.row(clip, frame)
        return pd_target(self.config, self.humanoid, self.table, state, row, action, advice, recovery, placed)

    def observe(
        self, bodies: Bodies, clip: jax.Array, frame: jax.Array, recovery: Recovery | None = None,
        placed: Placed | None = None,
    ) -> jax.Array:  # fmt: skip
        """Observation (N, O) of humanoids whose bodies (N, ...) are at frame (N,) of clip (N,)."""
        config, betas = self.config, self.humanoid.betas
        sight = config.recovery.sight
        clip = self._own(clip)
        return observe_all(self.table, betas, bodies, clip, frame, config.ahead, recovery, placed, sight)

    def _own(self, clip: jax.Array) -> jax.Array:
        return clip if self.first is None else clip + self.first
