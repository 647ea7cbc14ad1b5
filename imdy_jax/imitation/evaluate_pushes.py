"""What becomes of a policy's humanoid after a push: it stays with its clip, or it falls, gets up and goes on."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.files import check_least
from imdy_jax.imitation.environment import Environment
from imdy_jax.imitation.evaluate import FAILURE_DISTANCE
from imdy_jax.imitation.evaluate_falls import got_up
from imdy_jax.imitation.policy import Trained


@dataclass(frozen=True)
class PushedConfig:
    """Pushes of the chest, each at a moment and in a horizontal direction of its own."""

    newtons: float = 300.0
    steps: int = 6  # control steps that a push lasts
    watch: int = 60  # control steps after it
    settle: int = 15  # of these, the last ones, in which the humanoid has to be back
    up: int = 150  # control steps after a fall within which who is led up has to follow another clip for settle steps
    per_clip: int = 8

    def __post_init__(self) -> None:
        check_least(self, "push.", newtons=0, steps=1, watch=1, settle=1, up=1, per_clip=0)


def evaluate_pushes(
    trained: Trained, env: Environment, clips: np.ndarray, lengths: np.ndarray, config: PushedConfig, seed: int
) -> np.ndarray:
    """Whether the humanoid recovers from each push (C, P) bool; clips (C,), their lengths (C,) in frames.

    Environment c · P + p plays clips[c]; env lets episodes run on when the humanoid strays, and pushes in its step. To
    have recovered is to be within FAILURE_DISTANCE of the reference at the end of the watch; a clip too short for that
    is pushed at once and watched to its end.
    """
    pushes = _draw(lengths, config, seed)
    gap = _play(trained, env, clips, pushes, config, seed, int(pushes.over.max())).gap
    held = [
        np.isfinite(row[:last]).all() and (row[max(last - config.settle, 0) : last] <= FAILURE_DISTANCE).all()
        for row, last in zip(gap, pushes.over, strict=True)
    ]
    return np.array(held).reshape(len(lengths), config.per_clip)


def evaluate_pushed_over(
    trained: Trained, env: Environment, clips: np.ndarray, lengths: np.ndarray, config: PushedConfig, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Whose humanoid strays while it is watched (C, P) bool, and is up and follows another clip in time (C, P) bool.

    The pushes are those of evaluate_pushes. In env who strays is led up from where it lies (envs.recovery), and an
    episode ends with its clip.
    """
    pushes = _draw(lengths, config, seed)
    seen = _play(trained, env, clips, pushes, config, seed, int(pushes.over.max()) + config.up + config.settle)
    strayed, up = np.zeros((2, len(seen.gap)), bool)
    for k, (begin, over) in enumerate(zip(pushes.begin, pushes.over, strict=True)):
        lost = begin + np.flatnonzero(seen.strayed[k, begin:over])
        if len(lost):
            time = slice(lost[0] + 1, lost[0] + 1 + config.up + config.settle)
            recovered, gap = seen.recovered[k, time], seen.gap[k, time]
            strayed[k], up[k] = True, got_up(recovered, gap, seen.diverged[k, time], seen.over[k, time], config.settle)
    shape = len(lengths), config.per_clip
    return strayed.reshape(shape), up.reshape(shape)


def horizontal(around: np.ndarray | jax.Array) -> np.ndarray | jax.Array:
    """Unit vectors (..., 3) in the directions around (...,) rad about the vertical."""
    xp = jnp if isinstance(around, jax.Array) else np
    return xp.stack([xp.cos(around), xp.sin(around), xp.zeros_like(around)], axis=-1)


class _Pushes(NamedTuple):
    """N pushes."""

    begin: np.ndarray  # (N,) control step
    over: np.ndarray  # (N,) control steps after which it is judged
    force: np.ndarray  # (N, 3) N, world axes


class _Seen(NamedTuple):
    """N episodes over T control steps, (N, T)."""

    gap: np.ndarray  # m from the reference, mean over joints
    strayed: np.ndarray
    diverged: np.ndarray
    over: np.ndarray  # the clip has ended
    recovered: np.ndarray  # at the end of a way up; nobody where nobody is led


def _draw(lengths: np.ndarray, config: PushedConfig, seed: int) -> _Pushes:
    draw = np.random.default_rng(seed)
    many = np.repeat(lengths, config.per_clip)
    begin = (draw.random(len(many)) * np.maximum(many - 1 - config.steps - config.watch, 1)).astype(int)
    force = config.newtons * horizontal(draw.uniform(0.0, 2.0 * np.pi, len(many)))
    return _Pushes(begin, np.minimum(begin + config.steps + config.watch, many - 1), np.asarray(force))


def _play(
    trained: Trained, env: Environment, clips: np.ndarray, pushes: _Pushes, config: PushedConfig, seed: int, steps: int
) -> _Seen:
    clip = jnp.asarray(np.repeat(clips, config.per_clip))

    def step(carry: tuple, frame: jax.Array) -> tuple:
        state, observation = carry
        pushed = (frame >= pushes.begin) & (frame < pushes.begin + config.steps)
        result = env.step(state, trained.act(observation), jnp.where(pushed[:, None], pushes.force, 0.0))
        now, terms = result.transition, result.terms
        gap = jnp.mean(jnp.linalg.norm(now.position - now.reference, axis=-1), axis=-1)
        recovered = terms.get("recovered", jnp.zeros_like(result.terminated))
        seen = _Seen(gap, result.terminated, terms["diverged"], result.truncated, recovered)
        return (result.state, result.observation), seen

    start = env.start(clip, jnp.zeros_like(clip), jax.random.PRNGKey(seed))
    seen = jax.jit(lambda start: jax.lax.scan(step, start, jnp.arange(steps))[1])(start)
    return _Seen(*(np.asarray(x).T for x in seen))
