"""A fitted solver as a small folder to give away, and those that come with the checkout.

solver.json       rates, config of the fit and of the network, when it was published
weights.npz       parameters of the inverse path and token statistics, plain arrays
calibration.json  of the error bars, where it tells any
data.json         what it was fitted to: hours, clips, people, commits
config.json, run.json, tables/   as in the run folder
"""

import datetime
import logging
import shutil
from pathlib import Path

from imdy_jax.files import read_json, write_json
from imdy_jax.run import RunFolder
from imdy_jax.solver import fitted, weights
from imdy_jax.solver.fit import CALIBRATION, load_solver, read_kept
from imdy_jax.solver.fitted import FittedTo
from imdy_jax.solver.infer import Solver, within

logger = logging.getLogger(__name__)
MOST = 5_000_000  # bytes of a folder
SHIPPED = Path(__file__).parents[2] / "pretrained"
PREFIX = "imdys-"  # of the folders of solvers there
_COPIED = ("run.json", fitted.FILE)


def publish(run: RunFolder, to: str | Path, half: bool = False) -> int:
    """Make the folder `to` of a run folder's newest solver, as a whole or not at all; returns its size in bytes.

    half: parameters in half precision, which halves the folder.

    Raises:
      ValueError: no solver is there, it is not known what it was fitted to, its error bars are not calibrated, the new
        folder is there already, or it would be larger than MOST.
    """
    target, solver = Path(to), load_solver(run)
    FittedTo.read(run.path)
    if solver.config.spread and solver.calibration is None:
        raise ValueError(f"{run.path / CALIBRATION}: not found, expected error bars; go on with fit_solver.py --resume")
    if target.exists():
        raise ValueError(f"{target}: is there already, expected a new folder; name another, or remove it")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _write(partial, run, solver, half)
    size = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    if size > MOST:
        shutil.rmtree(partial)
        raise ValueError(f"{target}: would be {size:,} bytes, expected at most {MOST:,}; pass --half, or fit a smaller")
    partial.rename(target)
    return size


def shipped(folder: Path = SHIPPED) -> Path | None:
    """The solver that was published last of those in a folder, by default the checkout's; None where there is none.

    A wheel has none: the folder is not packaged.
    """
    there = [path for path in folder.glob(f"{PREFIX}*") if (path / "solver.json").exists()]
    dated = [(when, path) for path in there if (when := _published(path))]
    return max(dated)[1] if dated else None


def takes(folder: Path, fps: float) -> bool:
    """Whether a published solver, or one of a run folder, takes motions of this frame rate."""
    return within(read_kept(folder)[0], fps)


def _write(folder: Path, run: RunFolder, solver: Solver, half: bool) -> None:
    weights.write_weights(folder / weights.FILE, solver.variables, half)
    kept = read_json(run.path / "solver.json")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_json(folder / "solver.json", kept | {"published": now})
    settings = read_json(run.path / "config.json")
    named = {"begun_with": Path(settings["begun_with"]).name} if settings.get("begun_with") else {}  # not its place
    write_json(folder / "config.json", settings | named)
    if solver.calibration is not None:
        solver.calibration.write(folder / CALIBRATION)
    for name in (*_COPIED, *(f"tables/{path.name}" for path in sorted(run.path.glob("tables/*.json")))):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(run.path / name, folder / name)


def _published(path: Path) -> str:
    """The time, which as text sorts by age; of a damaged one, which is told, nothing."""
    try:
        return str(read_json(path / "solver.json").get("published", ""))
    except ValueError as error:
        logger.warning("left out: %s", error)
        return ""
