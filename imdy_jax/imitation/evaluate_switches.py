"""Whether a policy gets from one clip to another: its reference changes at random moments (envs.switching)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.imitation.environment import Environment
from imdy_jax.imitation.policy import Trained


@dataclass(frozen=True)
class SwitchingConfig:
    """Changes of clip while humanoids play on."""

    per_clip: int = 4  # humanoids that begin each clip
    rate: float = 0.25  # changes per second
    steps: int = 600  # control steps that each humanoid plays
    watch: int = 90  # control steps after a change within which to fail counts
    least: int = 45  # a change that the next one, or the end, follows sooner is not judged
    near: float = 0.1  # m, mean over joints: it has got to the new clip


def evaluate_switches(
    trained: Trained, env: Environment, clips: np.ndarray, lengths: np.ndarray, config: SwitchingConfig, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the humanoid survives each change (C,) bool, and control steps until it is near the new clip (C,), NaN
    where it never is.

    Environment r · P + p begins clips[r] (R,) at its first frame; lengths (every clip of env,) in frames. env tells who
    has `switched`, and ends episodes by failing. The same seed gives the same changes. Raises ValueError where nothing
    changes that can be judged.
    """
    clip = jnp.asarray(np.repeat(clips, config.per_clip))

    def step(carry: tuple, _: None) -> tuple:
        state, observation = carry
        result = env.step(state, trained.act(observation))
        told = result.terms["switched"], result.terms["body_error"], result.terminated
        return (result.state, result.observation), (*told, result.state.clip, result.state.frame)

    start = env.start(clip, jnp.zeros_like(clip), jax.random.PRNGKey(seed))
    play_on = jax.jit(lambda start: jax.lax.scan(step, start, None, length=config.steps)[1])
    switched, gap, failed, now, frame = (np.asarray(x).T for x in play_on(start))
    left = np.asarray(lengths)[now] - 1 - frame
    judged = [x for own in zip(switched, gap, failed, left, strict=True) for x in judge_switches(*own, config)]
    if not judged:
        raise ValueError(
            f"no change of clip to judge in {config.steps} control steps at {config.rate} per second, expected some: "
            "each person needs two clips, and they have to be longer than `least`; play more motions, or for longer"
        )
    survived, steps = zip(*judged, strict=True)
    return np.array(survived), np.array(steps)


def judge_switches(
    switched: np.ndarray, gap: np.ndarray, failed: np.ndarray, left: np.ndarray, config: SwitchingConfig
) -> list[tuple[bool, float]]:
    """For each change after a step of one humanoid: whether it does not fail, and control steps until it is near.

    switched and failed (T,) bool; gap (T,) m from the reference of the step; left (T,) control steps to the end of the
    clip that comes next. How long a change is watched does not depend on whether it is survived.
    """
    judged = []
    moments = np.flatnonzero(switched)
    for t, following in zip(moments, np.append(moments, len(switched) - 1)[1:], strict=True):
        room = min(following - t, left[t])
        if room < config.least:
            continue
        own = slice(t + 1, t + 1 + min(room, config.watch))
        lost = failed[own]
        last = int(np.argmax(lost)) if lost.any() else len(lost)  # what comes after it is another episode
        near = gap[own][:last] <= config.near
        judged.append((not lost.any(), float(np.argmax(near) + 1) if near.any() else float("nan")))
    return judged
