"""Who judges whether a policy gets up: a world in which everyone has fallen, beside clips of a cast."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from envs.world import Cast, WorldConfig, playing_env
from imdy_jax.imitation.evaluate_falls import FallenConfig, make_fall_judge
from imdy_jax.imitation.policy import Trained

_FALLS = 64  # that a policy in training is judged by, at least


def fall_judge(
    cast: Cast, config: WorldConfig, rows: np.ndarray, fallen: FallenConfig, seed: int
) -> Callable[[Trained], np.ndarray]:
    """Whether a policy gets up from each fall beside rows of the cast (R, K) bool (make_fall_judge).

    The falls are others than those that it was trained with.
    """
    asked, led = config.task.recovery, config.task.recovery.led
    recovery = replace(asked, share=1.0, harvest=1.0 if led else 0.0, steps=fallen.steps, seed=asked.seed + 1)
    env = playing_env(cast, config, np.repeat(cast.subjects[rows], fallen.per_clip), recovery=recovery)
    return make_fall_judge(env, rows, cast.lengths[rows], fallen, seed, again=led)


def training_falls(cast: Cast, config: WorldConfig, rows: np.ndarray, seed: int) -> Callable[[Trained], float] | None:
    """The share of falls beside rows of the cast that a policy gets up from; None where no episode begins fallen."""
    if not config.task.recovery.share:
        return None
    fallen = FallenConfig(per_clip=-(-_FALLS // len(rows)))
    judge = fall_judge(cast, config, rows, fallen, seed)
    return lambda trained: float(np.mean(judge(trained)))
