"""What the trainer and the collector need of a simulated world: the Protocol that envs.imitation fulfils."""

from typing import Any, Protocol

import jax
from flax import struct


@struct.dataclass
class Transition:
    """One control step of N humanoids, before any reset: what a recorder keeps. Layouts as in rollout.Rollout."""

    q: jax.Array  # (N, 99) before
    v: jax.Array  # (N, 75) before
    target: jax.Array  # (N, 23, 4)
    substeps: Any  # per-substep velocity, torque, wrench, clipped, converged, each (N, S, ...)
    next_q: jax.Array  # (N, 99) after
    next_v: jax.Array  # (N, 75) after
    position: jax.Array  # (N, 24, 3) m, joint positions after
    reference: jax.Array  # (N, 24, 3) m, joint positions of the reference at that time


@struct.dataclass
class StepResult:
    """Outcome of one control step; the state and the observation belong to the next episode where one ended.

    Who has failed does not always begin elsewhere: the next episode may be to recover from there.
    """

    state: Any
    observation: jax.Array  # (N, O)
    final_observation: jax.Array  # (N, O) of the state reached, before a reset replaced it
    reward: jax.Array  # (N,)
    terms: dict[str, jax.Array]  # named parts of the reward and of the bookkeeping, each (N,)
    style: jax.Array  # (N, W) what the style of the last steps is judged by; W may be 0
    terminated: jax.Array  # (N,) bool: failed, no future reward
    truncated: jax.Array  # (N,) bool: the clip or the time ended, the future is cut off but not worthless
    transition: Transition


class Environment(Protocol):
    """N imitation tasks side by side; every method is pure and may be called inside jit."""

    num_envs: int
    observation_size: int
    action_size: int
    style_size: int

    def reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        """Fresh random starts: state and observation (N, O)."""
        ...

    def start(self, clip: jax.Array, frame: jax.Array, key: jax.Array) -> tuple[Any, jax.Array]:
        """Starts at given clips (N,) and frames (N,)."""
        ...

    def start_fallen(self, clip: jax.Array, frame: jax.Array, key: jax.Array) -> tuple[Any, jax.Array]:
        """As start, but lying on the floor beside it; raises ValueError where env has no fallen humanoids."""
        ...

    def step(self, state: Any, action: jax.Array, push: jax.Array | None = None) -> StepResult:
        """One control step with action (N, A), automatic reset included; push (N, 3) is a force on the chest, N."""
        ...

    def demonstrate(self, key: jax.Array, count: int) -> jax.Array:
        """What style is judged by (count, W), of recorded motion."""
        ...
