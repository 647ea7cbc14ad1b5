"""How well torques and contact forces are estimated on held-out clips: ImDyS, its baselines and the paper's figures."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax import rotation
from imdy_jax.metrics import foot_force_error, mean_per_joint_error
from imdy_jax.report import Table
from imdy_jax.solver.data import WindowBatches, Windows
from imdy_jax.solver.features import pelvis_heading, window_features, window_targets
from imdy_jax.solver.infer import Solver, estimate, estimate_windows
from imdy_jax.solver.model import ModelConfig
from imdy_jax.solver.pack import Sequence

COLUMNS = ("method", "mPJE τ N·m·s/kg", "mPJE λ N/kg", "left foot N/kg", "right foot N/kg", "steps")
# Table 2 of Liu et al. (ImDy, ICLR 2025), on their test set.
PUBLISHED = (
    ("paper, on ImDy: re-imitation (PHC)", 0.095, 0.409, 3.034, 2.866, None),
    ("paper, on ImDy: ImDyS", 0.021, 0.289, 1.843, 1.842, None),
)


class Dynamics(NamedTuple):
    """What a method says of the T steps of one sequence; NaN where it says nothing."""

    angular_momentum: np.ndarray  # (T, 23, 3) N·m·s, child axes
    contact_force: np.ndarray  # (T, 24, 3) N, world axes


Predictions = Mapping[str, Dynamics]  # by the sequence's name


def solver_predictions(solver: Solver, sequences: list[Sequence]) -> dict[str, Dynamics]:
    """ImDyS on each sequence."""
    return {s.name: Dynamics(*_estimated(solver, s)) for s in sequences}


def mean_predictions(batches: WindowBatches, sequences: list[Sequence]) -> dict[str, Dynamics]:
    """The training windows' mean per kg, forces in the heading frame, as the prediction for every step."""
    dt, count = batches.data.dt, len(batches.times)
    blocks = (np.arange(start, min(start + 2048, count)) for start in range(0, count, 2048))
    momentum, force = 0.0, 0.0
    for block in blocks:
        sums = _target_sums(batches.windows(block), dt)
        momentum, force = momentum + np.asarray(sums[0]), force + np.asarray(sums[1])
    momentum, force = momentum / count, force / count
    return {s.name: _constant(s, momentum, force) for s in sequences}


def load_predictions(path: str | Path) -> dict[str, Dynamics]:
    """Predictions kept in an .npz of arrays "<sequence>/angular_momentum" and "<sequence>/contact_force".

    Raises ValueError where a sequence has only one of them.
    """
    with np.load(path) as file:
        names = sorted({key.rpartition("/")[0] for key in file.files})
        lacking = [f"{n}/{f}" for n in names for f in Dynamics._fields if f"{n}/{f}" not in file.files]
        if lacking:
            raise ValueError(f"{path}: found no {', '.join(lacking)}, expected both; write it with save_predictions")
        return {n: Dynamics(*(file[f"{n}/{field}"] for field in Dynamics._fields)) for n in names}


def save_predictions(path: str | Path, predictions: Predictions) -> None:
    """Keep predictions for figures and tables; `load_predictions` reads them."""
    arrays = {f"{n}/{field}": np.asarray(x, np.float32) for n, d in predictions.items() for field, x in
              zip(Dynamics._fields, d, strict=True)}  # fmt: skip
    np.savez_compressed(path, **arrays)


def error_table(sequences: list[Sequence], methods: list[tuple[str, Predictions]], window: int) -> Table:
    """mPJE of each method over the steps of all sequences that have a whole window and on which it has a say."""
    rows = [(name, *method_errors(sequences, predictions, window)) for name, predictions in methods]
    clips = len({s.clip for s in sequences})
    return Table(
        f"Torques and contact forces of {len(sequences)} held-out sequences (clips: {clips})",
        COLUMNS,
        (*rows, *PUBLISHED),
        (
            "Mean over steps and joints of the error's length, over the subject's own mass (the paper's equation 6).",
            "τ is the angular momentum that the joint torques impose over one step, λ the mean contact force over it.",
        ),
    )


def method_errors(
    sequences: list[Sequence], predictions: Predictions, window: int
) -> tuple[float, float, float, float, int]:
    """Mean mPJE of τ, λ, left and right foot, and the number of steps that they are the mean of.

    Raises ValueError where none of the sequences has a prediction, or one has a wrong number of steps.
    """
    said = [s for s in sequences if s.name in predictions]
    if not said:
        raise ValueError(
            f"predictions: of {len(predictions)} other sequences, expected some of {sequences[0].name} and the like; "
            "make them from the same dataset"
        )
    errors = np.concatenate([_step_errors(s, predictions[s.name], window) for s in said], axis=1)
    errors = errors[:, np.isfinite(errors).all(axis=0)]
    mean = errors.mean(axis=1) if errors.size else np.full(len(errors), np.nan)
    return (*map(float, mean), errors.shape[1])


@partial(jax.jit, static_argnames=("config", "dt"))
def window_errors(variables: dict, config: ModelConfig, windows: Windows, dt: float) -> dict[str, jax.Array]:
    """Mean mPJE of ImDyS over windows: torque (N·m·s/kg) and force (N/kg), for the log."""
    estimated = estimate_windows(variables, config, windows.markers, dt)
    momentum = estimated.angular_momentum * windows.mass[:, None, None]
    force = estimated.contact_force * windows.mass[:, None, None]
    return {
        "held_out_torque": jnp.mean(mean_per_joint_error(windows.angular_momentum, momentum, windows.mass)),
        "held_out_force": jnp.mean(mean_per_joint_error(windows.contact_force[:, 0], force, windows.mass)),
    }


def _step_errors(sequence: Sequence, predicted: Dynamics, window: int) -> np.ndarray:
    """mPJE of τ, λ, left and right foot (4, steps) of the steps with a whole window."""
    steps = len(sequence.contact_force)
    if len(predicted.contact_force) != steps:
        raise ValueError(
            f"predictions: {len(predicted.contact_force)} steps of sequence {sequence.name}, expected {steps}; make "
            "them from the same dataset"
        )
    inside = slice(window, steps - max(window, 1))
    momentum, force = (np.asarray(x)[inside] for x in predicted)
    true_force, mass = sequence.contact_force[inside], sequence.mass
    torque_error = mean_per_joint_error(sequence.angular_momentum[inside], momentum, mass)
    force_error = mean_per_joint_error(true_force, force, mass)
    return np.stack([torque_error, force_error, *foot_force_error(true_force, force, mass)])


def _estimated(solver: Solver, sequence: Sequence) -> tuple[np.ndarray, np.ndarray]:
    solved = estimate(solver, sequence.markers, solver.fps, sequence.mass)
    return solved.angular_momentum, solved.contact_force


def _constant(sequence: Sequence, momentum: np.ndarray, force: np.ndarray) -> Dynamics:
    markers = sequence.markers[:-1]
    heading = jax.vmap(pelvis_heading)(markers, np.isfinite(markers).all(axis=-1))
    world = rotation.rotate(heading[:, None], force)
    tiled = np.broadcast_to(momentum, (len(markers), *momentum.shape))
    return Dynamics(tiled * sequence.mass, np.asarray(world) * sequence.mass)


@partial(jax.jit, static_argnames="dt")
def _target_sums(windows: Windows, dt: float) -> tuple[jax.Array, jax.Array]:
    features = jax.vmap(partial(window_features, dt=dt))(windows.markers)
    targets = jax.vmap(window_targets)(windows.angular_momentum, windows.contact_force, windows.mass, features.heading)
    return jnp.sum(targets.angular_momentum, axis=0), jnp.sum(targets.contact_force[:, 0], axis=0)
