"""Ground reaction forces from the motion alone, against force plates.

    python experiments/evaluate_contact.py --data ../shared/data/force_plates
    python experiments/evaluate_contact.py --model subject.osim --motion walk_ik.mot --forces walk_grf.mot

Each trial is an OpenSim model, its coordinates and the plates' forces. The plates' forces are compared as they were
measured, unfiltered; the motion is low-passed. One set of contact parameters serves all trials.
"""

import warnings
from pathlib import Path

import numpy as np

from imdy_jax.biomechanics import opensim
from imdy_jax.biomechanics.force_plates import Errors, Measured, Trial, errors, find_trials, measured_reactions
from imdy_jax.biomechanics.ground_reaction import Reactions, estimate_reactions
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.dynamics.contact_sequence import SoftContact
from imdy_jax.humanoid import GRAVITY
from imdy_jax.report import Progress, Table, command, show
from imdy_jax.view.reactions import reactions

SIDES = ("left", "right")
DIRECTIONS = (("vertical", 1), ("fore–aft", 0), ("lateral", 2))  # and their places in Errors


def main(
    data: str = "../shared/data/force_plates", model: str | None = None, motion: str | None = None,
    forces: str | None = None, only: str = "", draw: str = "walking1", cutoff: float = 10.0,
    contact: SoftContact = SoftContact(), out: str = "runs/contact",
) -> None:  # fmt: skip
    """Estimate, compare and draw.

    Args:
      data: folder of trials, each name_ik.mot with name_grf.mot and a model.
      model, motion, forces: the files of one trial, in place of the folder.
      only: leave out trials whose names do not hold this.
      draw: the first trial whose name holds this is drawn.
      cutoff: of the low-pass on the coordinates, Hz.
      contact: how the ground may push.
      out: folder to write.
    """
    enable_compilation_cache()
    trials = choose(data, (model, motion, forces), only)
    drawn = next((trial for trial in trials if draw in trial.name), trials[0])
    results = []
    with Progress(len(trials), "trials") as progress:
        for trial in trials:
            estimate, measured, mass = analyse(trial, cutoff, contact)
            results.append((trial.name, int(measured.valid.sum()), errors(estimate, measured, mass * GRAVITY)))
            if trial is drawn:
                picture = Path(out) / "figures" / f"{trial.name}.png"
                reactions(picture, estimate, measured, mass * GRAVITY, f"{trial.name}, {mass:.1f} kg")
            progress.advance()
    print(f"wrote {picture}")
    show(together_table(results), Path(out) / "tables" / "together.json")
    show(feet_table(results), Path(out) / "tables" / "feet.json")


def choose(data: str, files: tuple[str | None, ...], only: str) -> list[Trial]:
    """The trial of the three files, or those of the folder whose names hold the text."""
    if any(files):
        if not all(files):
            raise ValueError(f"model, motion, forces: found {files}, expected all three; name them, or --data")
        return [Trial(Path(str(files[1])).stem, *(Path(str(file)) for file in files))]
    found = find_trials(data)
    chosen = [trial for trial in found if only in trial.name]
    if not chosen:
        raise ValueError(f"only: found no trial with {only!r}, expected one of {', '.join(t.name for t in found)}")
    return chosen


def analyse(trial: Trial, cutoff: float, contact: SoftContact) -> tuple[Reactions, Measured, float]:
    """Estimated and measured forces of a trial, and the person's mass in kg."""
    model = opensim.read_model(trial.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # coordinates without a column, such as the patella's
        track = opensim.coordinate_motion(model, opensim.read_storage(trial.motion), cutoff)
    estimate = estimate_reactions(model, track, contact)
    return estimate, measured_reactions(opensim.read_storage(trial.forces), estimate), model.mass


def together_table(results: list[tuple[str, int, Errors]]) -> Table:
    """Both feet together, and what the kinematics need before it is shared."""
    rows = []
    for name, frames, error in results:
        needed = (number(error.needed[i]) for _, i in DIRECTIONS)
        rows.append((name, frames, *both_units(error.together), *needed, number(error.unexplained)))
    columns = ("trial", "frames", *unit_columns(), *(f"m(a−g) {way} %" for way, _ in DIRECTIONS), "unexplained %")
    notes = (
        "m(a−g): error of the force that the measured kinematics need, whether feet can supply it or not;",
        "unexplained: rms of the part of it that no admissible contact supplies.",
    )
    return Table("Total ground reaction force: RMSE in % of body weight and in N/kg", columns, mean_row(rows, 2), notes)


def feet_table(results: list[tuple[str, int, Errors]]) -> Table:
    """Each foot, and each foot in double support."""
    rows = []
    for name, _, error in results:
        for foot, side in enumerate(SIDES):
            double = (number(error.double[foot, i]) for _, i in DIRECTIONS)
            rows.append((name, side, *both_units(error.foot[foot]), *double))
    columns = ("trial", "foot", *unit_columns(), *(f"double support {way} %" for way, _ in DIRECTIONS))
    return Table("Force under each foot: RMSE in % of body weight and in N/kg", columns, mean_row(rows, 2))


def unit_columns() -> list[str]:
    return [f"{way} {unit}" for way, _ in DIRECTIONS for unit in ("%", "N/kg")]


def both_units(error: np.ndarray) -> list[float | None]:
    """Errors (3,) in % of body weight → for each direction that, and N/kg."""
    return [x for _, i in DIRECTIONS for x in (number(error[i]), number(error[i] * GRAVITY / 100, 2))]


def number(x: float, digits: int = 1) -> float | None:
    """Rounded for a table; nothing where there was nothing to compare."""
    return None if np.isnan(x) else round(float(x), digits)


def mean_row(rows: list[tuple], first: int) -> tuple[tuple, ...]:
    """The rows and their mean from a column on; a missing number is left out of it."""
    numbers = [[row[i] for row in rows if row[i] is not None] for i in range(first, len(rows[0]))]
    means = tuple(round(float(np.mean(column)), 2) if column else None for column in numbers)
    return (*rows, ("mean", *[None] * (first - 1), *means))


if __name__ == "__main__":
    command(main)
