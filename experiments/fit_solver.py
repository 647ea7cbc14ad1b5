"""Fit the solver ImDyS to a dataset of imitated dynamics, and say how well it does on clips it has not seen.

    python experiments/fit_solver.py                                    # the dataset of experiments/generate.py
    python experiments/fit_solver.py --config.fit.steps 20000           # longer
    python experiments/fit_solver.py --resume                           # go on after an interruption

The run folder then holds the solver (solver.json, checkpoints), its estimates on the held-out clips (estimates.npz)
and the table. On ImDy the paper reports mPJE of 0.021 N·m·s/kg for torques and 0.289 N/kg for contact forces.
"""

from dataclasses import dataclass, field
from pathlib import Path

from imdy_jax.report import Table, command, show
from imdy_jax.run import RunFolder, enable_compilation_cache
from imdy_jax.solver.data import WindowBatches, split_by_clip
from imdy_jax.solver.evaluate import (
    Predictions,
    error_table,
    load_predictions,
    mean_predictions,
    save_predictions,
    solver_predictions,
)
from imdy_jax.solver.fit import FitConfig, fit
from imdy_jax.solver.infer import Solver
from imdy_jax.solver.model import PUBLISHED_PARAMETERS, num_parameters
from imdy_jax.solver.pack import PackedDataset, pack_dataset


@dataclass(frozen=True)
class SolverConfig:
    """What is fitted, and what is kept to judge it by."""

    fit: FitConfig = field(default_factory=FitConfig)
    test_share: float = 0.2  # of the clips, at least one: held out with all their copies


def main(
    config: SolverConfig = SolverConfig(), dataset: str = "runs/default/dataset", run: str = "runs/default/solver",
    resume: bool = False, overwrite: bool = False, json: str | None = None,
) -> None:  # fmt: skip
    """Fit and judge a solver.

    Args:
      config: what to fit.
      dataset: run folder of generate.py; its certified sequences are used.
      run: run folder to write.
      resume: go on with the run that is in the folder.
      overwrite: throw away the run that is in the folder.
      json: where to write the table, in place of the run folder.
    """
    enable_compilation_cache()
    folder = RunFolder.create(run, config, config.fit.seed, resume=resume, overwrite=overwrite)
    data = pack_dataset(Path(dataset) / "dataset.zarr", folder.path / "windows")
    train, test = split_by_clip([s.clip for s in data.sequences], config.test_share, config.fit.seed)
    window, seed = config.fit.model.window, config.fit.seed
    batches = WindowBatches(data, train, window, config.fit.batch_size, seed)
    held_out = WindowBatches(data, test, window, 256, seed)
    counts = (len(batches.times), len(train), len(held_out.times), len(test))
    print("{:,} windows of {} sequences to fit, {:,} of {} held out".format(*counts))
    solver = fit(config.fit, batches, held_out, folder)

    sequences = [data[i] for i in test]
    estimates = solver_predictions(solver, sequences)
    save_predictions(folder.path / "estimates.npz", estimates)
    methods: list[tuple[str, Predictions]] = [("mean of the training windows", mean_predictions(batches, sequences))]
    again = Path(dataset) / "reimitation.npz"
    if again.exists():
        methods.append(("re-imitation", load_predictions(again)))
    table = error_table(sequences, [*methods, ("ImDyS", estimates)], window)
    show(with_size(table, solver, batches, data), json or folder.path / "tables" / "solver.json")


def with_size(table: Table, solver: Solver, batches: WindowBatches, data: PackedDataset) -> Table:
    """The table with a note on the network and on what it was fitted to."""
    hours = len(batches.times) * data.dt / 3600
    size = num_parameters(solver.variables)
    note = f"ImDyS: {size:,} parameters (released: {PUBLISHED_PARAMETERS:,}), fitted to {hours:.2g} h of motion."
    return Table(table.title, table.columns, table.rows, (*table.notes, note))


if __name__ == "__main__":
    command(main)
