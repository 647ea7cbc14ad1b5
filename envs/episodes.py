"""What N episodes under way carry from one control step to the next."""

import jax
from flax import struct

from envs.physics import PhysicsState
from envs.pushes import Push
from envs.recovery import Recovery
from envs.starts import Tally


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


@struct.dataclass
class DisturbedState(TaskState):
    """Episodes in which humanoids fall and get up, or are pushed; a type of its own, so that checkpoints of those in
    which they do not are as they were.
    """

    recovery: Recovery | None = None
    push: Push | None = None


def under_way(
    physics: PhysicsState, clip: jax.Array, frame: jax.Array, history: jax.Array | None, tally: Tally, key: jax.Array,
    recovery: Recovery | None, push: Push | None,
) -> TaskState:  # fmt: skip
    """The state of N episodes, of the type that it takes."""
    if recovery is None and push is None:
        return TaskState(physics, clip, frame, history, tally, key)
    return DisturbedState(physics, clip, frame, history, tally, key, recovery, push)
