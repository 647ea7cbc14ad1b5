"""Fit the solver ImDyS to a dataset of imitated dynamics, and say how well it does on clips it has not seen.

    python experiments/fit_solver.py                                    # the dataset of experiments/generate.py
    python experiments/fit_solver.py --config.fit.steps 20000           # longer
    python experiments/fit_solver.py --config.rates 60 120              # for motions of 30 to 120 frames per second
    python experiments/fit_solver.py --config.fit.model.representation smpl
    python experiments/fit_solver.py --config.fit.model.spread          # with error bars, held to what they promise
    python experiments/fit_solver.py --config.hold-out both             # clips and people that it has not seen
    python experiments/fit_solver.py --dataset imdy/raw_train           # the published ImDy release's files
    python experiments/fit_solver.py --from-pretrained pretrained/imdys-name   # go on from a published solver
    python experiments/fit_solver.py --resume                           # go on after an interruption

The run folder then holds the solver (solver.json, checkpoints), what it was fitted to (data.json), its estimates on the
held-out clips (estimates.npz) and the tables; publish_solver.py makes a small folder of it. On ImDy the paper reports
mPJE of 0.021 N·m·s/kg for torques and 0.289 N/kg for contact forces (Table 2). The supervised losses alone are on by
default; with --config.fit.weights.forward 0.01 and --config.fit.weights.plausible 1, all of the paper's are.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import tyro

from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.dataset.store import open_dataset
from imdy_jax.motion.clip import family
from imdy_jax.report import command, show
from imdy_jax.run import RunFolder
from imdy_jax.solver.architecture import Size, sized
from imdy_jax.solver.coverage import coverage_table, hold
from imdy_jax.solver.data import WindowBatches
from imdy_jax.solver.evaluate import (
    Predictions,
    load_predictions,
    mean_predictions,
    save_predictions,
    solver_predictions,
)
from imdy_jax.solver.fit import CALIBRATION, FitConfig, check_losses, fit, load_solver
from imdy_jax.solver.fitted import FittedTo
from imdy_jax.solver.infer import Solver
from imdy_jax.solver.intervals import Calibration
from imdy_jax.solver.pack import PackedDataset, Sequence, pack_dataset
from imdy_jax.solver.pack_release import is_release, pack_release
from imdy_jax.solver.split import HoldOut, novelty, split
from imdy_jax.solver.tables import error_table, group_table, joint_table, rate_table, with_size
from imdy_jax.solver.throughput import throughput_table


@dataclass(frozen=True)
class SolverConfig:
    """What is fitted, and what is kept to judge it by."""

    fit: FitConfig = field(default_factory=FitConfig)
    rates: tuple[int, ...] = ()  # frames per second that it is fitted to beside the recorded ones
    hold_out: HoldOut = "clip"  # clips with all their copies, people, or both
    test_share: float = 0.2  # of the clips, and of the people, at least one each
    size: Size = "given"  # of the network: as fit.model says, or ten times the paper's
    begun_with: tyro.conf.Suppress[str | None] = None  # as --from-pretrained says


class Fitted(NamedTuple):
    """A solver, and the sequences that it was fitted to and those held out."""

    solver: Solver
    data: PackedDataset
    batches: WindowBatches
    train: list[int]
    test: list[int]

    @property
    def held_out(self) -> list[Sequence]:
        """The held-out sequences at the recorded rate."""
        return [self.data[i] for i in self.test]


def main(
    config: SolverConfig = SolverConfig(), dataset: str = "runs/default/dataset", run: str = "runs/default/solver",
    resume: bool = False, overwrite: bool = False, from_pretrained: str | None = None, json: str | None = None,
) -> None:  # fmt: skip
    """Fit and judge a solver.

    Args:
      config: what to fit.
      dataset: run folder of generate.py, of which what passes its gates is used, or the published ImDy release's files.
      run: run folder to write.
      resume: go on with the run that is in the folder.
      overwrite: throw away the run that is in the folder.
      from_pretrained: folder of a published solver, or run folder, to begin with.
      json: where to write the table, in place of the run folder.
    """
    enable_compilation_cache()
    config = replace(config, begun_with=from_pretrained)
    check(config, dataset)
    folder = RunFolder.create(run, config, config.fit.seed, resume=resume, overwrite=overwrite)
    fitted = fit_to(config, dataset, folder, folder.path / "windows")
    data, sequences, window = fitted.data, fitted.held_out, config.fit.model.window
    estimates = solver_predictions(fitted.solver, sequences, data.fps)
    save_predictions(folder.path / "estimates.npz", estimates)

    tables = folder.path / "tables"
    show(throughput_table(config.fit, fitted.batches), tables / "throughput.json")
    show(joint_table(sequences, estimates, window), tables / "joints.json")
    if fitted.solver.config.spread:
        held = hold(fitted.solver, sequences, data.fps)
        Calibration.of(h.ratios for h in held).write(folder.path / CALIBRATION)
        show(coverage_table(held), tables / "coverage.json")
    activities = [family(s.clip) for s in sequences]
    show(group_table("By activity", sequences, activities, estimates, window), tables / "activities.json")
    new = novelty(data.sequences, fitted.train, fitted.test)
    if len(set(new)) > 1:
        show(group_table("By what was not fitted", sequences, new, estimates, window), tables / "novelty.json")
    if len(data.strides) > 1:
        show(rate_table(fitted.solver, data, fitted.test), tables / "rates.json")
    mean = mean_predictions(fitted.batches, sequences, data.fps)
    methods: list[tuple[str, Predictions]] = [("mean of the training windows", mean)]
    again = Path(dataset) / "reimitation.npz"
    if again.exists():
        methods.append(("re-imitation", load_predictions(again)))
    table = error_table(sequences, [*methods, ("ImDyS", estimates)], window)
    table = with_size(table, fitted.solver.variables, fitted.batches.hours)
    show(table, json or tables / "solver.json")


def fit_to(config: SolverConfig, dataset: str, folder: RunFolder, windows: Path) -> Fitted:
    """Fit a solver in a run folder, going on where it was; the dataset is packed into the folder `windows`."""
    fit_config = replace(config.fit, model=sized(config.fit.model, config.size))
    model, seed, balance = fit_config.model, fit_config.seed, fit_config.weights.newton_euler
    if is_release(dataset):
        data = pack_release(dataset, windows, model.representation)
    else:
        data = pack_dataset(Path(dataset) / "dataset.zarr", windows, model.representation, config.rates, balance)
    train, test = split(data.sequences, config.hold_out, config.test_share, seed)
    batches = WindowBatches(data, train, model.window, config.fit.batch_size, seed)
    held_out = WindowBatches(data, test, model.window, 256, seed)
    counts = (len(batches.times), len(train), len(held_out.times), len(test))
    print("{:,} windows of {} sequences to fit, {:,} of {} held out".format(*counts))
    begun = RunFolder.open(config.begun_with) if config.begun_with else None
    known = FittedTo.read(begun.path) if begun else None
    solver = fit(fit_config, batches, held_out, folder, load_solver(begun) if begun else None)
    FittedTo.of(batches, train, known).write(folder.path)
    return Fitted(solver, data, batches, train, test)


def check(config: SolverConfig, dataset: str) -> None:
    """Raises ValueError where dataset or beginning is missing, or the losses do not go with the network, before there
    is a folder that would be left behind.
    """
    check_losses(config.fit)
    if not is_release(dataset):
        open_dataset(Path(dataset) / "dataset.zarr")
    if config.begun_with:
        load_solver(RunFolder.open(config.begun_with))


if __name__ == "__main__":
    command(main)
