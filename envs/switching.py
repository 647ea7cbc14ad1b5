"""References that change on the way: from a clip to another of the same subject, moved so that it begins where the
humanoid is. The humanoid has to get there from whatever it was doing.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.reference import Bodies
from imdy_jax import rotation


@dataclass(frozen=True)
class SwitchConfig:
    """How often an episode changes its clip. Raises ValueError where that cannot be."""

    rate: float = 0.0  # per second; 0: an episode keeps its clip
    grace: int = 30  # control steps after a change in which to stray ends nothing

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate < float("inf") or self.grace < 0:
            raise ValueError(
                f"switch: found rate {self.rate} per second and grace {self.grace} control steps, expected neither to "
                "be negative"
            )

    def check_unguided(self, guided: bool) -> None:
        """Raises ValueError where references change and a guide knows the way through each clip from its beginning."""
        if self.rate and guided:
            raise ValueError(
                f"switch.rate is {self.rate} per second beside a guide, expected 0: the ways that it knows begin where "
                "the clips do; leave one out"
            )


class Placed(NamedTuple):
    """Where the references of N humanoids have been moved: turned about the vertical, then shifted horizontally."""

    turn: jax.Array  # (N, 4)
    shift: jax.Array  # (N, 3) m
    grace: jax.Array  # (N,) control steps in which to stray still ends nothing


def in_place(count: int, dtype: jnp.dtype) -> Placed:
    """References where they were recorded."""
    turn = jnp.tile(jnp.asarray(rotation.IDENTITY, dtype), (count, 1))
    return Placed(turn, jnp.zeros((count, 3), dtype), jnp.zeros(count, jnp.int32))


def meeting(q: jax.Array, wanted: jax.Array, config: SwitchConfig) -> Placed:
    """References moved so that their frames wanted (N, 99) face as humanoids at q (N, 99) do, the pelvis above or below
    theirs.
    """
    q = q.astype(wanted.dtype)
    turn = rotation.multiply(rotation.heading(q[:, 3:7]), rotation.conjugate(rotation.heading(wanted[:, 3:7])))
    shift = (q[:, :3] - rotation.rotate(turn, wanted[:, :3])).at[:, 2].set(0.0)  # the floor stays where it is
    return Placed(turn, shift, jnp.full(len(q), config.grace, jnp.int32))


def put_bodies(placed: Placed | None, bodies: Bodies) -> Bodies:
    """References (N, 24, ...) where they have been moved to; as they are where none ever is."""
    if placed is None:
        return bodies
    turn = placed.turn[:, None]
    return Bodies(
        rotation.multiply(turn, bodies.rotation), put_points(placed, bodies.position),
        rotation.rotate(turn, bodies.angular), rotation.rotate(turn, bodies.linear),
    )  # fmt: skip


def put_points(placed: Placed | None, points: jax.Array) -> jax.Array:
    """Points (N, ..., 3) of the references, m, where they have been moved to."""
    if placed is None:
        return points
    along = lambda x: x.reshape(len(x), *(1,) * (points.ndim - 2), -1)  # noqa: E731
    return rotation.rotate(along(placed.turn), points) + along(placed.shift)


def put_motion(
    placed: Placed | None, q: jax.Array, v: jax.Array, a: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """q (N, 99), v (N, 75) and v̇ (N, 75) of the references where they have been moved to.

    Only the root's place, attitude and linear velocity are in world axes.
    """
    if placed is None:
        return q, v, a
    q = q.at[:, :3].set(put_points(placed, q[:, :3])).at[:, 3:7].set(rotation.multiply(placed.turn, q[:, 3:7]))
    turned = lambda x: x.at[:, :3].set(rotation.rotate(placed.turn, x[:, :3]))  # noqa: E731
    return q, turned(v), turned(a)


def draw_switches(config: SwitchConfig, key: jax.Array, count: int, seconds: float) -> jax.Array:
    """Whether each of N references changes (N,) bool within a control step of so many seconds: a Poisson process."""
    return jax.random.uniform(key, (count,)) < -jnp.expm1(-config.rate * seconds)


def waited(placed: Placed | None) -> Placed | None:
    """A control step later."""
    return None if placed is None else placed._replace(grace=jnp.maximum(placed.grace - 1, 0))
