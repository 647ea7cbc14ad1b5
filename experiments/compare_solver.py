"""Is a solver nearer to what was recorded than analytic dynamics: both on sequences that are new to the solver.

    python experiments/compare_solver.py --solver pretrained/imdys-name --dataset runs/default/dataset
    python experiments/compare_solver.py --sequences 100 --cutoffs 6 12

Compared are ImDyS by itself, ImDyS with the smallest correction that makes the equation of motion hold, the same with
the body moved until its residual is small, and analytic dynamics, which shares the force that the motion needs over
what touches the floor; the last two as solve.py has them.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from imdy_jax.analysis.comparison import Methods, as_sequence, compare, comparison_table, difference_table
from imdy_jax.analysis.correction import Correction
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.dataset.store import open_dataset, read_record
from imdy_jax.report import Progress, command, show
from imdy_jax.run import RunFolder
from imdy_jax.solver.fit import load_solver
from imdy_jax.solver.fitted import FittedTo, new_ids
from imdy_jax.solver.pack import Sequence, clips_of


def main(
    solver: str = "runs/default/solver", dataset: str = "runs/default/dataset", sequences: int = 36, seed: int = 0,
    cutoffs: tuple[float, ...] = (6.0,), taken: Literal["load", "force"] = "load", out: str = "runs/comparison",
) -> None:  # fmt: skip
    """Compare.

    Args:
      solver: run folder of fit_solver.py, or a published one.
      dataset: run folder of generate.py.
      sequences: how many, drawn from those whose clip or person the solver was not fitted to.
      seed: of the draw.
      cutoffs: Hz, of the low-pass on poses; solve.py has 6.
      taken: what the correction takes of ImDyS, the load of each foot, hand and segment, or each segment's whole force.
      out: folder to write.
    """
    enable_compilation_cache()
    folder, data = RunFolder.open(solver), open_dataset(Path(dataset) / "dataset.zarr")
    opened, names = load_solver(folder), new_ids(data, FittedTo.read(folder.path))
    clips = dict(zip(names, clips_of(data, names), strict=True))
    chosen = sorted(np.random.default_rng(seed).permutation(names)[:sequences].tolist())
    compared, methods = list[Sequence](), Methods()
    with Progress(len(chosen), "comparing", "sequence") as progress:
        for name in chosen:
            record = read_record(data, name)
            sequence = as_sequence(record, clips[name], opened.config.representation)
            for method, said in compare(opened, record, sequence, cutoffs, Correction(taken=taken)).items():
                methods.setdefault(method, {})[name] = said
            compared.append(sequence)
            progress.advance()
    window, tables = opened.config.window, Path(out) / "tables"
    show(comparison_table(compared, methods, window), tables / "comparison.json")
    show(difference_table(compared, methods, window), tables / "differences.json")


if __name__ == "__main__":
    command(main)
