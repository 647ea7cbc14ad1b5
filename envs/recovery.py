"""Getting up: what one who has fallen is shown, told and rewarded with until it is back at its reference.

The reference waits meanwhile: if it moved on, its clip would be over before anyone had got up to it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.reference import Bodies


@dataclass(frozen=True)
class RecoveryConfig:
    """Who has to get up, and when it is done. Raises ValueError where that cannot be."""

    share: float = 0.0  # of the starts that begin fallen
    harvest: float = 0.0  # of those that stray who go on from there in recovery, and do not start elsewhere
    steps: int = 150  # control steps after which a recovery is given up, where nobody is led
    near: float = 0.2  # m from the reference, mean over joints: recovered, and the imitation goes on
    away: float = 0.5  # m, horizontally: how far from its reference one begins fallen, at most
    led: bool = False  # along a clip that begins lying, laid where one lies; else towards a reference that waits
    patience: int = 30  # control steps that such a clip waits for one who is not near; then it goes on all the same
    sight: float = 0.5  # m, horizontally: a reference that is further away is shown there; PHC: 3 m
    action_scale: float = 1.5  # rad of target rotation per unit of action, on the waiting reference's pose
    falls: int = 32  # fallen states per body, at least
    seed: int = 0  # of these

    def __post_init__(self) -> None:
        for name in ("share", "harvest"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"recovery.{name} is {getattr(self, name)}, expected a share within 0 … 1")
        for name in ("steps", "near", "patience", "sight", "action_scale", "falls"):
            if not getattr(self, name) > 0:
                raise ValueError(f"recovery.{name} is {getattr(self, name)}, expected more than 0")
        if self.led and not self.on:
            raise ValueError(
                "recovery.led with recovery.share and recovery.harvest 0, expected one of them to be more: nobody ever "
                "falls; set recovery.share, or leave it out"
            )
        if not self.away >= 0.0:
            raise ValueError(f"recovery.away is {self.away} m, expected a distance that is not negative")

    @property
    def on(self) -> bool:
        """Whether anyone ever recovers."""
        return self.share > 0.0 or self.harvest > 0.0


class Recovery(NamedTuple):
    """Who of N humanoids is recovering."""

    active: jax.Array  # (N,) bool; the others imitate
    left: jax.Array  # (N,) control steps until it is given up, or waited for no longer
    gap: jax.Array  # (N,) m from the reference, mean over joints


def recovering(active: jax.Array, gap: jax.Array, config: RecoveryConfig) -> Recovery:
    """Those marked active (N,) bool begin to recover at a gap (N,), m."""
    steps = config.patience if config.led else config.steps
    return Recovery(active, jnp.where(active, steps, 0).astype(jnp.int32), gap)


class Outcome(NamedTuple):
    """What a control step has led N humanoids to."""

    failed: jax.Array  # (N,) bool: has strayed from what was to be imitated
    over: jax.Array  # (N,) bool: at the clip's end, or given up
    recovery: Recovery | None  # of who goes on


def judge(
    recovery: Recovery | None, strayed: jax.Array, ended: jax.Array, gap: jax.Array, config: RecoveryConfig
) -> Outcome:
    """The outcome where the humanoids are gap (N,) m from their reference, have strayed from it (N,) bool, or are at
    the end of its clip (N,) bool. Who recovers cannot stray, and if led is waited for only so long.
    """
    if recovery is None:
        return Outcome(strayed, ended, None)
    still = recovery.active & ~(gap <= config.near)
    left = jnp.where(still, recovery.left - 1, 0)
    late = still & (left <= 0)
    over = jnp.where(recovery.active, late & (not config.led), ended)
    still = still & ~late if config.led else still
    return Outcome(strayed & ~recovery.active, over, Recovery(still, left, gap))


def tell(before: Recovery | None, after: Recovery | None, up: jax.Array | None) -> dict[str, jax.Array]:
    """Who of N was recovering in a control step, and who has recovered in it, by name; up (N,): has been led up."""
    if before is None or after is None:
        return {}
    return {"recovering": before.active, "recovered": before.active & ~after.active if up is None else up}


def waiting(bodies: Bodies, reference: Bodies, moments: int, sight: float) -> tuple[Bodies, jax.Array]:
    """The reference as who recovers sees it, now and at so many later moments (K, 24, 3): at rest, and horizontally at
    most sight (m) away. That it rests tells the phase, and observations stay as long as they are.
    """
    offset = reference.position[0, :2] - bodies.position[0, :2]
    nearer = jnp.minimum(sight / jnp.maximum(jnp.linalg.norm(offset), 1e-6), 1.0) - 1.0
    position = reference.position.at[:, :2].add(nearer * offset)
    still = jnp.zeros_like(position)
    return Bodies(reference.rotation, position, still, still), jnp.broadcast_to(position, (moments, *position.shape))
