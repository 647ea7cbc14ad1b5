"""Draw what a run has made: torques and forces over time, the learning curve, and a film beside the reference.

    python experiments/draw.py                                          # the default run folders

The torques and forces are those of a held-out clip (a gait, if there is one), recorded against estimated by the solver.
"""

from pathlib import Path

import numpy as np
from film import recorded_people, scene

from envs.imitator import learnt
from envs.playback import followed
from imdy_jax.dataset.certify import certified_ids
from imdy_jax.dataset.record import Record
from imdy_jax.dataset.store import open_dataset, read_record
from imdy_jax.motion.clip import is_gait
from imdy_jax.report import command
from imdy_jax.run import read_metrics
from imdy_jax.solver.evaluate import Dynamics, load_predictions
from imdy_jax.view import plots
from imdy_jax.view.film import film
from imdy_jax.view.render import film_strip


def main(
    imitator: str = "runs/default/imitator", dataset: str = "runs/default/dataset", solver: str = "runs/default/solver",
    figures: str = "runs/default/figures", clip: str = "",
) -> None:  # fmt: skip
    """Draw the figures.

    Args:
      imitator, dataset, solver: run folders of the three scripts.
      figures: folder to write.
      clip: the clip to show is one whose name holds this, where there is one; by default a gait.
    """
    data, out = open_dataset(Path(dataset) / "dataset.zarr"), Path(figures)
    estimates = load_predictions(Path(solver) / "estimates.npz")
    record = read_record(data, choose(list(estimates), clip))
    draw_gait(out / "torques_and_forces.png", record, estimates[record.id])
    curves = {name: read_metrics(path / "metrics.jsonl") for name, path in learnt(imitator).items()}
    shown = {"reward": "reward", "body_error": "joint error (m)", "failed_share": "episodes that fail"}
    plots.learning_curve(out / "learning.png", curves, shown, "seconds", "training time (s)")

    record = read_record(data, choose(certified_ids(data), clip))
    beside = scene(record, *followed([record], recorded_people(dataset, imitator)))
    film(out / "imitation.gif", [beside])
    film_strip(out / "imitation.png", beside)


def choose(names: list[str], wanted: str) -> str:
    """The first name that holds the wanted text; a gait's, where there is a choice."""
    return min(names, key=lambda name: (wanted not in name, not is_gait(name), name))


def draw_gait(path: Path, record: Record, estimate: Dynamics) -> None:
    """Sagittal torques and foot forces of a record, and of the solver's estimate."""
    rate, mass = record.provenance.control_rate, float(np.sum(record.subject.humanoid.mass))
    recorded = (np.asarray(record.angular_momentum) * rate, np.asarray(record.contact_force))
    estimated = (np.asarray(estimate.angular_momentum) * rate, np.asarray(estimate.contact_force))
    plots.gait(path, rate, mass, recorded, estimated, title=record.source.name)


if __name__ == "__main__":
    command(main)
