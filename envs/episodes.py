"""What N episodes under way carry from one control step to the next."""

import jax
import jax.numpy as jnp
from flax import struct

from envs.physics import PhysicsState
from envs.pushes import Push
from envs.recovery import Recovery
from envs.starts import Tally
from envs.switching import Placed


@struct.dataclass
class TaskState:
    """N episodes under way."""

    physics: PhysicsState
    clip: jax.Array  # (N,) index into the reference table
    frame: jax.Array  # (N,) frame of the clip that the humanoid is at
    history: jax.Array | None  # (N, K, 196) what style is judged by, if it is
    tally: Tally  # where episodes have failed lately
    key: jax.Array

    @property
    def recovery(self) -> Recovery | None:
        """Who gets up meanwhile: nobody ever does."""
        return None

    @property
    def push(self) -> Push | None:
        """What goes on pushing: nothing ever does."""
        return None

    @property
    def placed(self) -> Placed | None:
        """Where references have been moved to: they stay where they were recorded."""
        return None

    @property
    def on_the_way(self) -> jax.Array:
        """Who (N,) bool is getting up, or to another clip, and so says nothing of how hard a moment is to follow."""
        away = jnp.zeros(self.frame.shape, bool)
        if self.recovery is not None:
            away = away | self.recovery.active
        return away if self.placed is None else away | (self.placed.grace > 0)


@struct.dataclass
class DisturbedState(TaskState):
    """Episodes in which humanoids fall and get up, or are pushed; a type of its own, so that checkpoints of those in
    which they do not are as they were.
    """

    recovery: Recovery | None = None
    push: Push | None = None


@struct.dataclass
class SwitchingState(DisturbedState):
    """Episodes that change their clips on the way; a type of its own for the same reason."""

    placed: Placed | None = None


def under_way(
    physics: PhysicsState, clip: jax.Array, frame: jax.Array, history: jax.Array | None, tally: Tally, key: jax.Array,
    recovery: Recovery | None, push: Push | None, placed: Placed | None,
) -> TaskState:  # fmt: skip
    """The state of N episodes, of the type that it takes."""
    if placed is not None:
        return SwitchingState(physics, clip, frame, history, tally, key, recovery, push, placed)
    if recovery is None and push is None:
        return TaskState(physics, clip, frame, history, tally, key)
    return DisturbedState(physics, clip, frame, history, tally, key, recovery, push)
