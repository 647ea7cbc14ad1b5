"""Whether a policy gets up: from lying beside a clip to following it."""

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


def evaluate_falls(
    trained: Trained, env: Environment, clips: np.ndarray, lengths: np.ndarray, config: FallenConfig, seed: int
) -> np.ndarray:
    """Whether the humanoid gets up from each fall (C, P) bool; clips (C,), their lengths (C,) in frames.

    Environment c · P + p lies beside a random frame of clips[c]; env begins fallen (envs.recovery), gives nobody up
    earlier, and lets episodes run on when the humanoid strays. To have got up is to have come to the reference, by
    env's measure, and to have been within FAILURE_DISTANCE of it from there on, while it went on.
    """
    draw = np.random.default_rng(seed)
    many = np.repeat(lengths, config.per_clip)
    frame = (draw.random(len(many)) * np.maximum(many - 1 - config.settle, 1)).astype(int)
    start = env.start_fallen(
        jnp.asarray(np.repeat(clips, config.per_clip)), jnp.asarray(frame), jax.random.PRNGKey(seed)
    )

    def step(carry: tuple, _: None) -> tuple:
        state, observation = carry
        result = env.step(state, trained.act(observation))
        now = result.transition
        gap = jnp.mean(jnp.linalg.norm(now.position - now.reference, axis=-1), axis=-1)
        return (result.state, result.observation), (result.terms["recovered"], gap, result.terminated, result.truncated)

    play_on = jax.jit(lambda start: jax.lax.scan(step, start, None, length=config.steps)[1])
    told = [np.asarray(x).T for x in play_on(start)]
    return np.array(
        [
            got_up(recovered, gap, failed, over, config.settle)
            for recovered, gap, failed, over in zip(*told, strict=True)
        ]
    ).reshape(len(lengths), -1)


def got_up(recovered: np.ndarray, gap: np.ndarray, failed: np.ndarray, over: np.ndarray, settle: int) -> bool:
    """Whether one of the steps (T,) of an episode recovers, and settle steps after it, or those to the clip's end, are
    within FAILURE_DISTANCE; of gap (T,), m, what comes after a step that has failed or is over (T,) is not counted.
    """
    ended = failed | over
    last = int(np.argmax(ended)) if ended.any() else len(gap) - 1
    if not recovered[: last + 1].any() or failed[last]:
        return False
    back = int(np.argmax(recovered))
    followed = gap[back + 1 : min(back + settle, last) + 1]
    return bool((len(followed) == settle or over[last]) and (followed <= FAILURE_DISTANCE).all())
