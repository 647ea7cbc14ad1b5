"""Where episodes start: at moments that the policy fails soon after, over a floor that leaves no moment out."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.reference import ReferenceTable

_BIN = 10  # frames of a clip that are counted together
_AHEAD = 4  # bins: a failure within their time makes a moment worth starting from
_HOPELESS = 0.05  # failures per step beyond which a moment is no more attractive: the recording may be at fault


@dataclass(frozen=True)
class StartConfig:
    """How starts are drawn."""

    floor: float = 0.3  # share of the starts that is uniform over all moments
    memory: float = 0.999  # per control step, of the counts behind the rest


class Tally(NamedTuple):
    """Recent control steps and failures by clip and moment, (C, B), fading."""

    steps: jax.Array
    failures: jax.Array


def blank_tally(table: ReferenceTable, longest: int) -> Tally:
    """Nothing counted yet; longest is the number of frames of the longest clip."""
    shape = (table.num_clips, -(-longest // _BIN))
    return Tally(jnp.zeros(shape), jnp.zeros(shape))


def count(
    tally: Tally, clip: jax.Array, frame: jax.Array, failed: jax.Array, memory: float,
    counted: jax.Array | float = 1.0,
) -> Tally:  # fmt: skip
    """Tally after one control step of N environments that ended on frame (N,) of clip (N,), failed (N,) or not.

    counted (N,): 1 for each of those that count.
    """
    at = (clip, frame // _BIN)
    steps = (tally.steps * memory).at[at].add(counted)
    return Tally(steps, (tally.failures * memory).at[at].add(failed.astype(steps.dtype)))


def start_weights(tally: Tally, length: jax.Array, floor: float) -> jax.Array:
    """Probability (C, B) of starting in each bin: in proportion to the failures per step from there on, and the floor.

    A moment without any experience counts as one that fails once in a hundred steps.
    """
    bins = tally.steps.shape[1]
    frames = _frames(length[:, None], jnp.arange(bins)).astype(tally.steps.dtype)
    hazard = jnp.minimum((tally.failures + 1.0) / (tally.steps + 100.0), _HOPELESS) * (frames > 0)
    hazard = jnp.pad(hazard, ((0, 0), (0, _AHEAD - 1)))
    soon = sum(hazard[:, k : k + bins] for k in range(_AHEAD)) * frames
    return floor * frames / jnp.sum(frames) + (1.0 - floor) * soon / jnp.sum(soon)


def draw_starts(
    key: jax.Array, weights: jax.Array, length: jax.Array, choices: jax.Array, but: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Clip and frame (N,) by start_weights (C, B) for N environments, each among its own clips: choices (N, K).

    length (C,): frames of the clips; a start leaves a step to go. but (N,): clips to leave out; who has no other gets
    it all the same.
    """
    which, when, where = jax.random.split(key, 3)
    by_clip = jnp.sum(weights, axis=1)[choices]
    pick = _draw(which, by_clip if but is None else jnp.where(choices == but[:, None], 0.0, by_clip))
    clip = jnp.take_along_axis(choices, pick[:, None], axis=1)[:, 0]
    bins = _draw(when, weights[clip])
    there = jnp.maximum(_frames(length[clip], bins), 1)
    return clip, _BIN * bins + jnp.floor(there * jax.random.uniform(where, clip.shape)).astype(bins.dtype)


def _frames(length: jax.Array, number: jax.Array) -> jax.Array:
    """How many frames of a clip of so many, without its last one, are in the bin of a number."""
    return jnp.clip(length - 1 - _BIN * number, 0, _BIN)


def _draw(key: jax.Array, weights: jax.Array) -> jax.Array:
    """One column for each row of weights (N, K), in proportion to them; one random number each is all it takes."""
    below = jnp.cumsum(weights, axis=1)
    level = below[:, -1:] * (1.0 - jax.random.uniform(key, (len(weights), 1), weights.dtype))  # never zero
    return jnp.sum(below < level, axis=1)
