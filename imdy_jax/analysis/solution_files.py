"""A motion's dynamics as files: everything in an .npz, and OpenSim's tables of ground reactions and joint torques."""

import json
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from imdy_jax.analysis.solution import Solution
from imdy_jax.biomechanics.opensim import write_storage
from imdy_jax.biomechanics.opensim_export import reaction_storage, torque_storage
from imdy_jax.files import replacing
from imdy_jax.solver.intervals import LEVELS


def arrays(solution: Solution) -> dict[str, np.ndarray]:
    """Everything by name, as docs/solve.md lists it."""
    found, feet = solution.found, solution.feet
    kept: dict[str, Any] = {
        "fps": solution.fps, "mass": solution.mass, "q": found.q, "v": found.v, "torque": found.torque,
        "power": found.power, "wrench": found.wrench, "residual": found.residual, "contact": solution.contact,
        "foot_force": np.stack([foot.force for foot in feet], axis=1),
        "foot_pressure_centre": np.stack([foot.point for foot in feet], axis=1),
        "foot_moment": np.stack([foot.moment for foot in feet], axis=1),
        "pressure_centre": solution.whole.point, "positive_work": solution.work.positive,
        "negative_work": solution.work.negative, "floor_work": np.array(solution.floor_work),
        "plausibility": solution.score, **{f"measure_{k}": x for k, x in solution.measures._asdict().items()},
    }  # fmt: skip
    if solution.predicted is not None:
        kept |= {"predicted_torque": solution.predicted.torque, "predicted_force": solution.predicted.force}
        bars = solution.predicted.intervals
        for name, halves in bars._asdict().items() if bars else ():
            kept |= {f"predicted_{name}_{100 * p:.0f}": half for p, half in zip(LEVELS, halves, strict=True)}
    if solution.reduced is not None:
        kept |= {"shift": solution.reduced.shift, "turn": solution.reduced.turn}
    single = lambda x: x.astype(np.float32) if x.dtype == np.float64 and x.ndim else x  # noqa: E731
    return {name: single(np.asarray(x)) for name, x in kept.items()}


def write(folder: str | Path, solution: Solution, row: tuple) -> None:
    """name_grf.mot, name_torque.sto and name.npz, the last of which tells that all are there and holds the row."""
    folder, name = Path(folder), solution.name
    data = arrays(solution)
    time = np.arange(len(solution.score)) / solution.fps
    (folder / f"{name}.npz").unlink(missing_ok=True)
    feet = (data["foot_force"], data["foot_pressure_centre"], data["foot_moment"])
    write_storage(folder / f"{name}_grf.mot", reaction_storage(f"{name}_grf", time, *feet))
    write_storage(folder / f"{name}_torque.sto", torque_storage(f"{name}_torque", time, data["torque"]))
    with replacing(folder / f"{name}.npz") as partial:
        np.savez_compressed(partial, summary=np.array(json.dumps(row)), **data)


def written_row(folder: str | Path, name: str) -> tuple | None:
    """The row of a motion that is written already, None where it is not; raises ValueError for another's file."""
    path = Path(folder) / f"{name}.npz"
    if not path.exists():
        return None
    try:
        with np.load(path) as kept:
            return tuple(json.loads(str(kept["summary"])))
    except (KeyError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        expected = "expected a file of solve.py; move it, or name another --out"
        raise ValueError(f"{path}: found no summary in it, {expected}") from error


def remove_written(folder: str | Path, names: Iterable[str]) -> None:
    """Remove what is written of motions; raises ValueError, before it removes anything, for another's file."""
    for name in [name for name in names if written_row(folder, name) is not None]:
        (Path(folder) / f"{name}.npz").unlink()
