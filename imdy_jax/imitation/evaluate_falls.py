"""Whether a policy gets up: from lying beside a clip to following it."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.imitation.environment import Environment
from imdy_jax.imitation.evaluate import FAILURE_DISTANCE
from imdy_jax.imitation.policy import Trained


@dataclass(frozen=True)
class FallenConfig:
    """Falls, each beside a moment of a clip that waits for the humanoid to get up."""

    per_clip: int = 8
    steps: int = 150  # control steps within which it has to be back and to imitate;
    settle: int = 15  # for so many of them, or to the clip's end


def make_fall_judge(
    env: Environment, clips: np.ndarray, lengths: np.ndarray, config: FallenConfig, seed: int, again: bool = False
) -> Callable[[Trained], np.ndarray]:
    """Whether a policy's humanoid gets up from each fall (C, P) bool; clips (C,), their lengths (C,) in frames. What is
    compiled for the first policy serves all of its kind.

    Environment c · P + p lies beside a random frame of clips[c]; env begins fallen (envs.recovery), and gives nobody up
    earlier. To have got up is to have come to the reference, or to the end of a way up, by env's measure, and to have
    been within FAILURE_DISTANCE of the reference from there on, while it went on.

    again: who fails tries again from where it lies; else env lets episodes run on when the humanoid strays.
    """
    draw = np.random.default_rng(seed)
    many = np.repeat(lengths, config.per_clip)
    frame = (draw.random(len(many)) * np.maximum(many - 1 - config.settle, 1)).astype(int)
    key, clip = jax.random.PRNGKey(seed), jnp.asarray(np.repeat(clips, config.per_clip))
    compiled: Callable | None = None

    def judge(trained: Trained) -> np.ndarray:
        nonlocal compiled
        start = env.start_fallen(clip, jnp.asarray(frame), key)
        if compiled is None:
            kind = trained.kind
            falls = lambda arrays, start: _play_falls(env, config, again, kind.with_arrays(arrays), start)  # noqa: E731
            compiled = jax.jit(falls)
        recovered, gap, failed, over = (np.asarray(x).T for x in compiled(trained.arrays, start))
        each = zip(recovered, gap, failed, over, strict=True)
        return np.array([got_up(*own, config.settle) for own in each]).reshape(len(lengths), -1)

    return judge


def _play_falls(env: Environment, config: FallenConfig, again: bool, trained: Trained, start: tuple) -> tuple:
    """Of each control step (T, N): who has got up, m from the reference, who has failed, and whose episode is over."""

    def step(carry: tuple, _: None) -> tuple:
        state, observation = carry
        result = env.step(state, trained.act(observation))
        now = result.transition
        gap = jnp.mean(jnp.linalg.norm(now.position - now.reference, axis=-1), axis=-1)
        failed = result.terms["diverged"] if again else result.terminated
        return (result.state, result.observation), (result.terms["recovered"], gap, failed, result.truncated)

    return jax.lax.scan(step, start, None, length=config.steps)[1]


def got_up(recovered: np.ndarray, gap: np.ndarray, failed: np.ndarray, over: np.ndarray, settle: int) -> bool:
    """Whether one of the steps (T,) of an episode recovers, and settle steps after it, or those to the clip's end, are
    within FAILURE_DISTANCE; of gap (T,), m, what comes after a step that has failed or is over (T,) is not counted.
    """
    ended = failed | over
    last = int(np.argmax(ended)) if ended.any() else len(gap) - 1
    if failed[last]:
        return False
    back = np.flatnonzero(recovered[: last + 1])
    followed = [gap[k + 1 : min(k + settle, last) + 1] for k in back]
    return any(bool((len(x) == settle or over[last]) and (x <= FAILURE_DISTANCE).all()) for x in followed)
