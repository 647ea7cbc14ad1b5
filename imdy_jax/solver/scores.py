"""How far estimates are from what was recorded, with confidence intervals over clips."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from imdy_jax.metrics import foot_force_error, mean_per_joint_error
from imdy_jax.solver.evaluate import Dynamics, Predictions
from imdy_jax.solver.pack import Sequence

_DRAWS = 2000  # of the bootstrap
_CONFIDENCE = 95.0  # %

Measure = Callable[[Sequence, Dynamics], np.ndarray]  # errors (K, T) of the T steps


class Score(NamedTuple):
    """Mean errors over steps, and bootstrap intervals of 95 % over clips: NaN where there is one clip alone."""

    mean: np.ndarray  # (K,)
    low: np.ndarray  # (K,)
    high: np.ndarray  # (K,)
    steps: int


def paper_errors(sequence: Sequence, said: Dynamics) -> np.ndarray:
    """mPJE (equation 6) of τ (N·m·s/kg), of λ, of the left and of the right foot (N/kg): (4, T)."""
    force, mass = sequence.contact_force, sequence.mass
    torque_error = mean_per_joint_error(sequence.angular_momentum, said.angular_momentum, mass)
    force_error = mean_per_joint_error(force, said.contact_force, mass)
    return np.stack([torque_error, force_error, *foot_force_error(force, said.contact_force, mass)])


def joint_errors(sequence: Sequence, said: Dynamics) -> np.ndarray:
    """Error's length at each joint (23, N·m·s/kg), then at each segment (24, N/kg): (47, T)."""
    pairs = zip((sequence.angular_momentum, sequence.contact_force), said, strict=True)
    lengths = [np.linalg.norm(true - estimated, axis=-1).T for true, estimated in pairs]
    return np.concatenate(lengths) / sequence.mass


def whole_body_errors(sequence: Sequence, said: Dynamics) -> np.ndarray:
    """paper_errors, and the length of the error of all contact forces together: what Newton's law misses (5, T), N/kg.

    Together the recorded forces are exactly what the motion of the centre of mass takes.
    """
    missed = np.linalg.norm(np.sum(sequence.contact_force - said.contact_force, axis=1), axis=-1) / sequence.mass
    return np.concatenate([paper_errors(sequence, said), missed[None]])


def score(
    sequences: list[Sequence], predictions: Predictions, window: int, measure: Measure = paper_errors, seed: int = 0
) -> Score:
    """Errors over the steps of all sequences that have a whole window and on which the predictions have a say.

    Raises ValueError where none of the sequences has a prediction, or one has a wrong number of steps.
    """
    said = [s for s in sequences if s.name in predictions]
    if not said:
        raise ValueError(
            f"predictions: of {len(predictions)} other sequences, expected some of {sequences[0].name} and the like; "
            "make them from the same dataset"
        )
    by_clip: dict[str, list[np.ndarray]] = {}
    for s in said:
        errors = _inside(s, predictions[s.name], window, measure)
        by_clip.setdefault(s.clip, []).append(errors[:, np.isfinite(errors).all(axis=0)])
    parts = [np.concatenate(errors, axis=1) for _, errors in sorted(by_clip.items())]
    sums, counts = np.array([p.sum(axis=1) for p in parts], np.float64), np.array([p.shape[1] for p in parts])
    sums, counts = sums[counts > 0], counts[counts > 0]
    steps = int(counts.sum())
    mean = sums.sum(axis=0) / steps if steps else np.full(sums.shape[1], np.nan)
    return Score(mean, *bootstrap(sums, counts, seed), steps)


def bootstrap(sums: np.ndarray, counts: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ends (K,) of the percentile interval of a mean over steps, when clips are drawn anew with replacement.

    The steps of a clip resemble each other, so that clips and not steps are what is drawn.

    Args:
      sums: (C, K) over the steps of each clip.
      counts: (C,) steps of each clip, above zero.
      seed: of the draws.
    """
    if len(counts) < 2:
        return np.full(sums.shape[1], np.nan), np.full(sums.shape[1], np.nan)
    times = np.random.default_rng(seed).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), _DRAWS)
    means = (times @ sums) / (times @ counts)[:, None]
    low, high = np.percentile(means, [50 - _CONFIDENCE / 2, 50 + _CONFIDENCE / 2], axis=0)
    return low, high


def _inside(sequence: Sequence, said: Dynamics, window: int, measure: Measure) -> np.ndarray:
    """Errors (K, steps) of the steps with a whole window."""
    steps = len(sequence.contact_force)
    if len(said.contact_force) != steps:
        raise ValueError(
            f"predictions: {len(said.contact_force)} steps of sequence {sequence.name}, expected {steps}; make "
            "them from the same dataset"
        )
    return np.asarray(measure(sequence, said))[:, inside(steps, window)]


def inside(steps: int, window: int) -> slice:
    """The steps of a sequence that have a whole window."""
    return slice(window, steps - max(window, 1))
