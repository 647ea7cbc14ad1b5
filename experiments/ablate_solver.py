"""What the parts of the solver are worth: the paper's ablations on a dataset of imitated dynamics.

    python experiments/ablate_solver.py                     # Table 5: representations, without L_FD, without L_cls
    python experiments/ablate_solver.py --table 6           # Table 6: windows of w = 2, 1 and 3 frames
    python experiments/ablate_solver.py --table beyond      # what is beyond the paper, one by one and together
    python experiments/ablate_solver.py --table beyond --only imdys contact     # some of its variants, by folder

Each variant has a folder of its own in the run folder. Called again, the script goes on where it was: a variant that
is finished is not fitted again, and Table 6 takes w = 2 from Table 5. All are judged on the same steps of the same
held-out clips. Table 2 is what fit_solver.py prints. The paper's Table 6 is of AddBiomechanics' torques, in N·m/kg.
Beyond the paper, "whole body" is the length of the error of all contact forces together: what Newton's law misses.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from fit_solver import SolverConfig, fit_to

from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.report import Table, command, show
from imdy_jax.run import RunFolder
from imdy_jax.solver.architecture import SIZES
from imdy_jax.solver.evaluate import solver_predictions
from imdy_jax.solver.fit import FitConfig
from imdy_jax.solver.loss import LossWeights
from imdy_jax.solver.model import num_parameters
from imdy_jax.solver.scores import paper_errors, score, whole_body_errors
from imdy_jax.solver.tables import BEYOND, COLUMNS, TABLE_5, TABLE_6, Row, interval, row

# By table: each variant's name, its folder, and what of the model and of the weights it changes.
Variant = tuple[str, str, dict[str, Any], dict[str, Any]]
NEWTON_EULER = {"whole_body": 0.001, "each_joint": 0.01}
SUPERVISED = {"forward": 0.0, "plausible": 0.0}  # neither L_FD nor L_cls
LONGER = {"attention": "both", "window": 6}
SEGMENTS = {"representation": "segments", "contact": True}  # what inverse dynamics says without contact is an input
VARIANTS: dict[str, tuple[Variant, ...]] = {
    "5": (
        ("ImDyS", "imdys", {}, {}),
        ("ImDyS-SMPL", "smpl", {"representation": "smpl"}, {}),
        ("ImDyS-Joint", "joints", {"representation": "joints"}, {}),
        ("w/o L_FD", "without_forward", {}, {"forward": 0.0}),
        ("w/o L_cls", "without_plausible", {}, {"plausible": 0.0}),
    ),
    "6": (
        ("ImDyS w = 2", "imdys", {"window": 2}, {}),
        ("ImDyS w = 1", "window_1", {"window": 1}, {}),
        ("ImDyS w = 3", "window_3", {"window": 3}, {}),
    ),
    "beyond": (
        ("paper-faithful", "imdys", {}, {}),
        ("+ Newton–Euler", "newton_euler", {}, NEWTON_EULER),
        ("+ contact logits", "contact", {"contact": True}, {}),
        ("+ time", "time", LONGER, {}),
        ("supervised", "supervised", {}, SUPERVISED),
        ("supervised + Newton–Euler + contact", "forces", {"contact": True}, SUPERVISED | NEWTON_EULER),
        ("supervised + all three", "three", {"contact": True, **LONGER}, SUPERVISED | NEWTON_EULER),
        ("supervised + lengths of errors", "error", {}, SUPERVISED | {"error": 0.01}),
        ("segments", "segments", SEGMENTS, SUPERVISED | NEWTON_EULER | {"error": 0.01}),
        ("segments × 10", "segments_x10", SEGMENTS | SIZES["x10"], SUPERVISED | NEWTON_EULER | {"error": 0.01}),
        ("× 10", "x10", SIZES["x10"], {}),
        ("all", "all", {"contact": True, **LONGER, **SIZES["x10"]}, NEWTON_EULER),
    ),
}
PUBLISHED = {"5": TABLE_5, "6": TABLE_6, "beyond": ()}
WIDEST = {"5": 3, "6": 3, "beyond": 6}  # frames of context: the steps that have as many are judged, of every variant


def main(
    table: Literal["5", "6", "beyond"] = "5", config: SolverConfig = SolverConfig(fit=FitConfig(weights=LossWeights())),
    dataset: str = "runs/default/dataset", run: str = "runs/default/ablation", only: tuple[str, ...] = (),
    overwrite: bool = False, json: str | None = None,
) -> None:  # fmt: skip
    """Fit the variants of one table and judge them.

    Args:
      table: of the paper, or what is beyond it.
      config: of the whole solver, of which each variant changes something.
      dataset: run folder of generate.py; what passes its gates is used.
      run: folder for the variants' run folders.
      only: folders of the variants that are wanted; by default all.
      overwrite: throw away the variants that are in the folder.
      json: where to write the table, in place of the run folder.
    """
    enable_compilation_cache()
    rows, clips, beyond = list[Row](), 0, table == "beyond"
    places = [place for _, place, _, _ in VARIANTS[table]]
    if unknown := sorted(set(only) - set(places)):
        raise ValueError(f"only: found {', '.join(unknown)}, expected some of {', '.join(places)}")
    for name, place, model, weights in VARIANTS[table]:
        if only and place not in only:
            continue
        fit = replace(config.fit, model=replace(config.fit.model, **model))
        variant = replace(config, fit=replace(fit, weights=replace(fit.weights, **weights)))
        folder = RunFolder.create(Path(run) / place, variant, fit.seed, resume=not overwrite, overwrite=overwrite)
        print(f"{name}: {folder.path}")
        packed = fit.model.representation + ("_balance" if variant.fit.weights.newton_euler else "")
        fitted = fit_to(variant, dataset, folder, Path(run) / "windows" / packed)
        sequences = fitted.held_out
        estimates = solver_predictions(fitted.solver, sequences, fitted.data.fps)
        found = score(sequences, estimates, WIDEST[table], whole_body_errors if beyond else paper_errors)
        more = (interval(found, 4), num_parameters(fitted.solver.variables)) if beyond else ()
        rows.append((*row(name, found), *more))
        clips = len({s.clip for s in sequences})
    what = "Beyond the paper" if beyond else f"Table {table} of the paper"
    title = f"{what}, on {clips} held-out clip(s) and {config.fit.steps:,} batches of fitting"
    columns = BEYOND if beyond else COLUMNS
    notes = ("95 %: by bootstrap over clips.",)
    kept = Path(run) / "tables" / (f"{table}.json" if beyond else f"table{table}.json")
    show(Table(title, columns, (*rows, *PUBLISHED[table]), notes), json or kept)


if __name__ == "__main__":
    command(main)
