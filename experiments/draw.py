"""Draw what a run has made: torques and forces over time, the learning curve, and a film beside the reference.

    python experiments/draw.py                                          # the default run folders
    python experiments/draw.py --imitator None --solver pretrained/imdys-name --clips walk jump squat

Torques and forces are those of sequences that are new to the solver, recorded against its estimates with their error
bars, each as it is and below 14 Hz, as in the paper's Figure 4.
"""

from pathlib import Path

import jax
import numpy as np

from envs.imitator import ImitatorConfig, learnt
from envs.people import load_cast
from imdy_jax.body.person import Body
from imdy_jax.dataset.certify import certified_ids
from imdy_jax.dataset.record import Record
from imdy_jax.dataset.statistics import JITTER
from imdy_jax.dataset.store import Dataset, open_dataset, read_record
from imdy_jax.motion.clip import Clip, generalized_positions, is_gait
from imdy_jax.report import command
from imdy_jax.run import RunFolder, read_metrics
from imdy_jax.solver.fit import load_solver
from imdy_jax.solver.fitted import FittedTo, new_ids
from imdy_jax.solver.infer import Solver, estimate
from imdy_jax.solver.intervals import LEVELS
from imdy_jax.solver.representation import represent
from imdy_jax.view import plots
from imdy_jax.view.render import film, film_strip
from imdy_jax.view.surface import skin_surface


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
    jax.config.update("jax_enable_x64", True)
    data, out, folder = open_dataset(Path(dataset) / "dataset.zarr"), Path(figures), RunFolder.open(solver)
    opened, names = load_solver(folder), new_ids(data, FittedTo.read(folder.path))
    for wanted in [clip for clip in clips if any(clip in name for name in names)] or [""]:
        path = out / f"torques_and_forces{wanted and '_'}{wanted}.png"
        draw_dynamics(path, opened, read_record(data, choose(names, wanted)), cutoff)
        print(f"drawn: {path}")
    if imitator is not None:
        draw_learning(out, imitator, data, clips[0] if clips else "")


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


def draw_learning(folder: Path, imitator: str, data: Dataset, wanted: str) -> None:
    """The imitator's learning curve, and a film of a sequence that it recorded, beside its clip."""
    curves = {name: read_metrics(path / "metrics.jsonl") for name, path in learnt(imitator).items()}
    shown = {"reward": "reward", "body_error": "joint error (m)", "failed_share": "episodes that fail"}
    plots.learning_curve(folder / "learning.png", curves, shown, "seconds", "training time (s)")
    cast, _ = load_cast(RunFolder.open(imitator).config(ImitatorConfig).people)
    record = read_record(data, choose(certified_ids(data), wanted))
    row = next(i for i, c in enumerate(cast.clips) if c.digest == record.source.digest)
    draw_film(folder, record, cast.bodies[cast.subjects[row]], cast.clips[row])


def draw_film(folder: Path, record: Record, body: Body, clip: Clip) -> None:
    """Film and film strip of a record beside its clip, with the contact forces."""
    frames = len(record.target)
    reference = np.asarray(generalized_positions(clip, body))[1 : frames + 1]
    acted = np.asarray(record.q)[1 : frames + 1]
    scene = (record.subject.humanoid, skin_surface(body), acted, reference, np.asarray(record.contact_force))
    film(folder / "imitation.gif", *scene)
    film_strip(folder / "imitation.png", *scene)


if __name__ == "__main__":
    command(main)
