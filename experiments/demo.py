"""The whole line on one page: train an imitator, record a dataset, certify it, fit the solver, draw the figures.

    make demo                                   # the built-in body and motions
    make demo MOTIONS=folder                    # a folder of motion files

About ten minutes on two CPU cores. Interrupted and called again, it goes on where it was. Each step is a script that
stands by itself (train_imitator.py, generate.py, fit_solver.py); the run folders are runs/demo-<motions>/.
"""

import time
from dataclasses import replace
from pathlib import Path

import draw
import fit_solver
import generate
import numpy as np
import train_imitator

from envs.imitator import ImitatorConfig
from envs.people import PeopleConfig
from imdy_jax.dataset.gates import Gates
from imdy_jax.imitation.ppo import PPOConfig
from imdy_jax.imitation.train import TrainConfig
from imdy_jax.motion.load import PROCEDURAL
from imdy_jax.report import Table, clock, command, read_table, show
from imdy_jax.solver.fit import FitConfig

SOLVER_STEPS = 2500


def main(motions: str = "procedural", minutes: float = 5.0, run: str | None = None) -> None:
    """Run the whole line.

    Args:
      motions: a folder of motion files, one file, or "procedural" for the built-in set.
      minutes: of training the imitator.
      run: folder for all results.
    """
    folder = Path(run or f"runs/demo-{Path(motions).name}")
    imitator, dataset, solver = (folder / part for part in ("imitator", "dataset", "solver"))
    clocks = [time.monotonic()]

    # The built-in motions obey physics, and the controller nearly follows them by itself: little has to be tried out.
    ppo = PPOConfig(spread=0.06, least_spread=0.03) if motions == PROCEDURAL else PPOConfig()
    config = ImitatorConfig(people=PeopleConfig(motions=motions), train=TrainConfig(minutes=minutes, ppo=ppo))
    train_imitator.main(config, str(imitator), resume=True)
    clocks.append(time.monotonic())
    # What minutes of training lose on the way obeys physics up to there, and there would be too little without it.
    gates = Gates(whole=False)
    generate.main(generate.GenerateConfig(), (str(imitator),), str(dataset), gates)
    clocks.append(time.monotonic())
    fit = fit_solver.SolverConfig(fit=replace(FitConfig(), steps=SOLVER_STEPS))
    fit_solver.main(fit, str(dataset), str(solver), resume=True)
    clocks.append(time.monotonic())
    draw.main(str(imitator), str(dataset), str(solver), str(folder / "figures"))
    clocks.append(time.monotonic())
    show(summary(imitator, dataset, solver, np.diff(clocks)), folder / "tables" / "demo.json")
    print(f"figures and film: {folder / 'figures'}")


def summary(imitator: Path, dataset: Path, solver: Path, seconds: np.ndarray) -> Table:
    """The figures of every step in one table."""
    trained = read_table(imitator / "tables" / "imitator.json")
    recorded = read_table(dataset / "tables" / "dataset.json")
    judged = read_table(solver / "tables" / "solver.json")
    last = dict(zip(trained.columns, trained.rows[-1], strict=True))
    found = {row[0]: row[1] for row in recorded.rows}
    rows = [
        ("imitator", "clips followed to the end", last["success %"], "%"),
        ("", "mean joint error (MPJPE) on those", last["MPJPE mm"], "mm"),
        ("dataset", "sequences", found["sequences"], ""),
        ("", "certified", found["certified"], "% of sequences"),
        ("", "motion", found["motion"], "s"),
    ]
    for name, torque, force, *_ in judged.rows:
        rows += [("solver", f"τ, {name}", torque, "N·m·s/kg"), ("", f"λ, {name}", force, "N/kg")]
    for step, passed in zip(("training", "recording", "fitting", "drawing"), seconds, strict=True):
        rows.append(("time", step, clock(passed), "h:mm:ss" if passed > 3600 else "m:ss"))
    return Table(
        "From motions to certified torques and a fitted solver", ("step", "quantity", "value", "unit"), tuple(rows)
    )


if __name__ == "__main__":
    command(main)
