"""What ImDyS and its baselines say of recorded sequences."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax import rotation
from imdy_jax.files import replacing
from imdy_jax.metrics import mean_per_joint_error
from imdy_jax.solver.data import WindowBatches, Windows
from imdy_jax.solver.features import window_features, window_targets
from imdy_jax.solver.infer import Solver, estimate, estimate_windows
from imdy_jax.solver.model import ModelConfig
from imdy_jax.solver.pack import Sequence
from imdy_jax.solver.representation import REPRESENTATIONS, Representation, pelvis_heading


class Dynamics(NamedTuple):
    """What a method says of the T steps of one sequence; NaN where it says nothing."""

    angular_momentum: np.ndarray  # (T, 23, 3) N·m·s, child axes
    contact_force: np.ndarray  # (T, 24, 3) N, world axes


Predictions = Mapping[str, Dynamics]  # by the sequence's name


def solver_predictions(solver: Solver, sequences: list[Sequence], fps: float) -> dict[str, Dynamics]:
    """ImDyS on each sequence."""
    solved = {s.name: estimate(solver, s.motion, fps, s.mass) for s in sequences}
    return {name: Dynamics(said.angular_momentum, said.contact_force) for name, said in solved.items()}


def mean_predictions(batches: WindowBatches, sequences: list[Sequence], fps: float) -> dict[str, Dynamics]:
    """The training windows' mean per kg, forces in the heading frame, as the prediction for every step."""
    kind, count = REPRESENTATIONS[batches.data.representation], len(batches.times)
    blocks = (np.arange(start, min(start + 2048, count)) for start in range(0, count, 2048))
    torque, force = 0.0, 0.0
    for block in blocks:
        sums = _target_sums(batches.windows(block), batches.data.representation)
        torque, force = torque + np.asarray(sums[0]), force + np.asarray(sums[1])
    return {s.name: _constant(kind, s, torque / (count * fps), force / count) for s in sequences}


def load_predictions(path: str | Path) -> dict[str, Dynamics]:
    """Predictions kept in an .npz of arrays "<sequence>/angular_momentum" and "<sequence>/contact_force".

    Raises ValueError where a sequence has only one of them, or the file is no such archive.
    """
    try:
        file = np.load(path, allow_pickle=False)
    except (BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: not an archive of arrays ({error}); remove it and write it again") from error
    with file:
        names = sorted({key.rpartition("/")[0] for key in file.files})
        lacking = [f"{n}/{f}" for n in names for f in Dynamics._fields if f"{n}/{f}" not in file.files]
        if lacking:
            raise ValueError(f"{path}: found no {', '.join(lacking)}, expected both; write it with save_predictions")
        return {n: Dynamics(*(file[f"{n}/{field}"] for field in Dynamics._fields)) for n in names}


def save_predictions(path: str | Path, predictions: Predictions) -> None:
    """Keep predictions for figures and tables; `load_predictions` reads them."""
    arrays = {f"{n}/{field}": np.asarray(x, np.float32) for n, d in predictions.items() for field, x in
              zip(Dynamics._fields, d, strict=True)}  # fmt: skip
    with replacing(path) as partial:
        np.savez_compressed(partial, **arrays)


@partial(jax.jit, static_argnames="config")
def window_errors(variables: dict, config: ModelConfig, windows: Windows) -> dict[str, jax.Array]:
    """Mean mPJE of ImDyS over windows: torque (N·m·s/kg) and force (N/kg), for the log."""
    estimated = estimate_windows(variables, config, windows.motion, windows.dt)
    momentum = estimated.torque * (windows.dt * windows.mass)[:, None, None]
    force = estimated.contact_force * windows.mass[:, None, None]
    return {
        "held_out_torque": jnp.mean(mean_per_joint_error(windows.angular_momentum, momentum, windows.mass)),
        "held_out_force": jnp.mean(mean_per_joint_error(windows.contact_force[:, 0], force, windows.mass)),
    }


def _constant(kind: Representation, sequence: Sequence, momentum: np.ndarray, force: np.ndarray) -> Dynamics:
    points = sequence.motion[:-1, :, :3]
    heading = jax.vmap(partial(pelvis_heading, kind))(points, np.isfinite(points).all(axis=-1))
    world = rotation.rotate(heading[:, None], force)
    tiled = np.broadcast_to(momentum, (len(points), *momentum.shape))
    return Dynamics(tiled * sequence.mass, np.asarray(world) * sequence.mass)


@partial(jax.jit, static_argnames="representation")
def _target_sums(windows: Windows, representation: str) -> tuple[jax.Array, jax.Array]:
    features = jax.vmap(partial(window_features, REPRESENTATIONS[representation]))(windows.motion, windows.dt)
    targets = jax.vmap(window_targets)(
        windows.angular_momentum, windows.contact_force, windows.mass, features.heading, windows.dt
    )
    return jnp.sum(targets.torque, axis=0), jnp.sum(targets.contact_force[:, 0], axis=0)
