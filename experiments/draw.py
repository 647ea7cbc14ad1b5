"""Draw what a run has made: torques and forces over time, the learning curve, and a film beside the reference.

    python experiments/draw.py                                          # the default run folders
    python experiments/draw.py --imitator None --solver pretrained/imdys-name --clips walk jump squat

Torques and forces are those of sequences that are new to the solver, recorded against its estimates with their error
bars, each as it is and below 14 Hz, as in the paper's Figure 4.
"""

from pathlib import Path

import numpy as np
from film import recorded_people, scene

from envs.imitator import learnt
from envs.playback import followed
from imdy_jax.dataset.certify import certified_ids
from imdy_jax.dataset.record import Record
from imdy_jax.dataset.statistics import JITTER
from imdy_jax.dataset.store import open_dataset, read_record
from imdy_jax.motion.clip import is_gait
from imdy_jax.report import command
from imdy_jax.run import RunFolder, read_metrics
from imdy_jax.solver.fit import load_solver
from imdy_jax.solver.fitted import FittedTo, new_ids
from imdy_jax.solver.infer import Solver, estimate
from imdy_jax.solver.intervals import LEVELS
from imdy_jax.solver.representation import represent
from imdy_jax.view import plots
from imdy_jax.view.film import film
from imdy_jax.view.render import film_strip


def main(
    imitator: str | None = "runs/default/imitator", dataset: str = "runs/default/dataset",
    solver: str = "runs/default/solver", figures: str = "runs/default/figures",
    clips: tuple[str, ...] = ("walk", "jump", "squat"), cutoff: float = JITTER,
) -> None:  # fmt: skip
    """Draw the figures.

    Args:
      imitator: run folder of train_imitator.py; without one there is neither learning curve nor film.
      dataset: run folder of generate.py.
      solver: run folder of fit_solver.py, or a published one.
      figures: folder to write.
      clips: each is drawn by a sequence whose name holds it, where there is one, and one sequence in any case.
      cutoff: Hz, of the low-pass on torques and forces.
    """
    data, out, folder = open_dataset(Path(dataset) / "dataset.zarr"), Path(figures), RunFolder.open(solver)
    opened, names = load_solver(folder), new_ids(data, FittedTo.read(folder.path))
    for wanted in [clip for clip in clips if any(clip in name for name in names)] or [""]:
        path = out / f"torques_and_forces{wanted and '_'}{wanted}.png"
        draw_dynamics(path, opened, read_record(data, choose(names, wanted)), cutoff)
        print(f"drawn: {path}")
    if imitator is not None:
        draw_learning(out, imitator, dataset, clips[0] if clips else "")


def choose(names: list[str], wanted: str) -> str:
    """The first name that holds the wanted text; a gait's, where there is a choice."""
    return min(names, key=lambda name: (wanted not in name, not is_gait(name), name))


def draw_dynamics(path: Path, solver: Solver, record: Record, cutoff: float) -> None:
    """Sagittal torques and foot forces of a record, at every substep, and of the solver's estimate."""
    provenance, mass = record.provenance, float(np.sum(record.subject.humanoid.mass))
    torque, wrench = (np.asarray(x).reshape(-1, *x.shape[2:]) for x in (record.torque, record.wrench))
    recorded = plots.Curves("recorded", 1.0 / provenance.timestep, torque, wrench[..., :3])
    motion = represent(solver.config.representation, record.subject, record.q)
    told = estimate(solver, motion, provenance.control_rate, mass)
    halves = told.intervals and (told.intervals.torque[-1], told.intervals.force[-1])
    estimated = plots.Curves("estimated", told.fps, told.torque, told.contact_force, halves)
    title = f"{record.source.name}, {mass:.1f} kg"
    plots.gait(path, mass, [recorded, estimated], title, cutoff, f"holds {100 * LEVELS[-1]:.0f} %")


def draw_learning(folder: Path, imitator: str, dataset: str, wanted: str) -> None:
    """The imitator's learning curve, and a film of a sequence that it recorded, beside its clip."""
    curves = {name: read_metrics(path / "metrics.jsonl") for name, path in learnt(imitator).items()}
    shown = {"reward": "reward", "body_error": "joint error (m)", "failed_share": "episodes that fail"}
    plots.learning_curve(folder / "learning.png", curves, shown, "seconds", "training time (s)")
    data = open_dataset(Path(dataset) / "dataset.zarr")
    record = read_record(data, choose(certified_ids(data), wanted))
    beside = scene(record, *followed([record], recorded_people(dataset, imitator)))
    film(folder / "imitation.gif", [beside])
    film_strip(folder / "imitation.png", beside)


if __name__ == "__main__":
    command(main)
