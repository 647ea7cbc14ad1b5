"""Generate a dataset of imitated dynamics with a trained imitator, and certify every sequence of it.

    python experiments/generate.py                                      # the motions the imitator was trained on
    python experiments/generate.py --config.motions my_clips            # other motions
    python experiments/generate.py --config.substeps 8                  # finer physics

Killed and called again, it goes on with the sequences that are missing. At the end every certified sequence is
imitated once more from its own record: re-imitation, the baseline that experiments/fit_solver.py puts beside the
solver.
"""

import logging
import time
from dataclasses import dataclass, replace

import jax
import numpy as np

from envs.imitator import open_imitator
from envs.people import load_cast
from envs.studio import Studio, make_studio
from envs.world import CONTROL_HZ, make_cast
from imdy_jax.dataset.certify import certified_ids, certify_dataset
from imdy_jax.dataset.record import Record
from imdy_jax.dataset.report import residual_table, summarize
from imdy_jax.dataset.store import Dataset, create_dataset, has_sequence, read_record, sequence_ids, write_record
from imdy_jax.motion.clip import Clip, from_generalized_positions
from imdy_jax.report import Progress, Table, command, show
from imdy_jax.run import RunFolder, enable_compilation_cache
from imdy_jax.solver.evaluate import Dynamics, save_predictions


@dataclass(frozen=True)
class GenerateConfig:
    """What is recorded."""

    motions: str | None = None  # a file or folder; by default what the imitator was trained on
    subjects: int | None = None  # how many people; by default as in training
    mirrored: bool | None = None  # also mirror images; by default as in training
    substeps: int = 4  # physics substeps per control step: finer than in training, for stiffer contact
    seats: int = 64  # humanoids simulated side by side, at most about
    shortest: int = 30  # control steps: what fails earlier is left out
    single: bool = False  # simulate in float32 (MJX on a GPU always does)


def main(
    config: GenerateConfig = GenerateConfig(), imitator: str = "runs/default/imitator",
    run: str = "runs/default/dataset", json: str | None = None,
) -> None:  # fmt: skip
    """Generate and certify a dataset.

    Args:
      config: what to record.
      imitator: run folder of train_imitator.py.
      run: run folder to write; the dataset is dataset.zarr in it.
      json: where to write the table, in place of the run folder.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    enable_compilation_cache()
    jax.config.update("jax_enable_x64", not config.single)
    imitator_config, trained = open_imitator(imitator)
    folder = RunFolder.create(run, config, imitator_config.seed, resume=True)
    wanted = {name: getattr(config, name) for name in ("motions", "subjects", "mirrored")}
    people = replace(imitator_config.people, **{name: x for name, x in wanted.items() if x is not None})
    cast, _ = load_cast(people)
    studio = make_studio(cast, trained, imitator_config, config.substeps, config.seats, config.shortest)
    dataset = create_dataset(folder.path / "dataset.zarr")

    clocks, recorded = [time.monotonic()], 0.0
    missing = [row for row in range(len(cast.clips)) if not has_sequence(dataset, studio.name(row))]
    if missing:
        session = studio.prepare(np.array(missing))

        def keep(_: int, record: Record) -> float:
            write_record(dataset, record)
            return record.duration

        clocks.append(time.monotonic())
        recorded = sum(session.play(keep))
        clocks.append(time.monotonic())
    names = sequence_ids(dataset)
    certify_dataset(dataset, names[:1], renew=True)
    clocks.append(time.monotonic())
    with Progress(len(names), "certifying", "sequence") as progress:
        certificates = certify_dataset(dataset, names, on_done=lambda _: progress.advance(1))
    clocks.append(time.monotonic())
    tables = folder.path / "tables"
    show(residual_table(certificates), tables / "certificate.json")
    if recorded:
        checked = sum(c.duration for c in certificates)
        show(speed_table(np.diff(clocks), recorded, checked, config.substeps), tables / "speed.json")
    show(summarize(dataset), json or tables / "dataset.json")
    save_predictions(folder.path / "reimitation.npz", reimitate(dataset, studio))


def reimitate(dataset: Dataset, studio: Studio) -> dict[str, Dynamics]:
    """Torques and forces of imitating every certified sequence once more, by sequence."""
    bodies, digests = studio.cast.bodies, [subject.digest for subject in studio.subjects]
    clips: list[list[Clip]] = [[] for _ in bodies]
    for name in certified_ids(dataset):
        record = read_record(dataset, name)
        if record.subject.digest in digests:
            who = digests.index(record.subject.digest)
            clips[who].append(from_generalized_positions(record.q, bodies[who], CONTROL_HZ, record.id))
    cast = make_cast(bodies, clips)
    session = replace(studio, cast=cast, shortest=1).prepare(np.arange(len(cast.clips)))
    return dict(session.play(lambda row, record: (cast.clips[row].name, _padded(record, cast.lengths[row] - 1))))


def speed_table(seconds: np.ndarray, recorded: float, checked: float, substeps: int) -> Table:
    """Seconds of motion per second of wall clock; seconds (4,) of compiling and recording, compiling and certifying."""
    rows = (("recording", recorded, *seconds[:2]), ("certifying", checked, *seconds[2:]))
    return Table(
        f"Speed at {substeps} substeps",
        ("step", "motion s", "compiling s", "wall clock s", "s of motion per s"),
        tuple((name, motion, compiling, wall, motion / wall) for name, motion, compiling, wall in rows),
        ("Recording: simulating, packing and writing to disk. Certifying: reading from disk and checking.",),
    )


def _padded(record: Record, steps: int) -> Dynamics:
    """The 30 Hz view over all steps of the sequence, NaN after the imitation failed."""
    fill = lambda x: np.concatenate([x, np.full((steps - len(x), *x.shape[1:]), np.nan, x.dtype)])  # noqa: E731
    return Dynamics(fill(np.asarray(record.angular_momentum)), fill(np.asarray(record.contact_force)))


if __name__ == "__main__":
    command(main)
