"""Pushes of the chest while training: a policy that has never been pushed falls at the first one."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from imdy_jax.imitation.evaluate_pushes import horizontal


@dataclass(frozen=True)
class PushConfig:
    """How often and how hard. Raises ValueError where that cannot be."""

    probability: float = 0.0  # that a push begins, per control step; 0: nobody is pushed
    newtons: float = 300.0  # of the hardest push; they are evenly spread from none to it
    steps: int = 6  # control steps that a push lasts

    def __post_init__(self) -> None:
        if not (0.0 <= self.probability <= 1.0 and self.newtons >= 0.0 and self.steps >= 1):
            raise ValueError(
                f"push: found probability {self.probability}, newtons {self.newtons}, steps {self.steps}; expected a "
                "probability within 0 … 1, a force that is not negative and one control step at least"
            )


class Push(NamedTuple):
    """Pushes under way, of N humanoids."""

    force: jax.Array  # (N, 3) N, world axes
    left: jax.Array  # (N,) control steps that it still lasts


def no_push(count: int) -> Push:
    """Nobody is pushed."""
    return Push(jnp.zeros((count, 3)), jnp.zeros(count, jnp.int32))


def push_along(
    config: PushConfig, pushing: Push | None, push: jax.Array | None, key: jax.Array
) -> tuple[jax.Array | None, Push | None]:
    """Force (N, 3) of a control step, which pushes that are under way add to, or None; and what is left of those."""
    if pushing is None:
        return push, None
    force, pushing = push_on(config, pushing, key)
    return force if push is None else force + push, pushing


def push_on(config: PushConfig, push: Push, key: jax.Array) -> tuple[jax.Array, Push]:
    """Force (N, 3) N, world axes, of this control step, and what is left of the pushes after it."""
    whether, hard, around = jax.random.split(key, 3)
    draw = lambda k: jax.random.uniform(k, push.left.shape)  # noqa: E731
    begins = (push.left == 0) & (draw(whether) < config.probability)
    fresh = config.newtons * draw(hard)[:, None] * horizontal(2.0 * jnp.pi * draw(around))
    force = jnp.where(begins[:, None], fresh, push.force)
    left = jnp.where(begins, config.steps, push.left)
    return jnp.where((left > 0)[:, None], force, 0.0), Push(force, jnp.maximum(left - 1, 0))
