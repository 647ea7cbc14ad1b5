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
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import numpy as np

from envs.imitator import ImitatorConfig, open_imitator
from envs.people import load_cast
from envs.world import CONTROL_HZ, Cast, deal_seats, make_cast, playing_env
from imdy_jax.dataset.certify import certified_ids, certify_dataset
from imdy_jax.dataset.collect import collect, make_recorder
from imdy_jax.dataset.record import Provenance, Record, Subject, make_subject, record_rollout, sequence_id
from imdy_jax.dataset.report import residual_table, summarize
from imdy_jax.dataset.store import Dataset, create_dataset, has_sequence, read_record, sequence_ids, write_record
from imdy_jax.imitation.policy import Trained
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
    seats: int = 64  # humanoids simulated side by side
    shortest: int = 30  # control steps: what fails earlier is left out
    single: bool = False  # simulate in float32 (MJX on a GPU always does)


class Studio(NamedTuple):
    """Everything a recording needs."""

    cast: Cast
    trained: Trained
    imitator: ImitatorConfig
    config: GenerateConfig

    def prepare(self, rows: np.ndarray) -> Iterator[tuple[int, Record]]:
        """Compile the recording of rows of the cast; what it returns plays them and yields each record that lasts."""
        subjects, seats = deal_seats(self.cast, rows, self.config.seats)
        env = playing_env(self.cast, replace(self.imitator.world, substeps=self.config.substeps), subjects, record=True)
        recorder = make_recorder(self.trained, env)
        motion = float(np.sum(self.cast.lengths[rows] - 1)) / CONTROL_HZ

        def play() -> Iterator[tuple[int, Record]]:
            with Progress(motion, "imitating", "s of motion") as progress:
                advance = lambda steps: progress.advance(steps / CONTROL_HZ)  # noqa: E731
                for row, rollout, score in collect(recorder, env.physics.humanoid, seats, self.cast.lengths, advance):
                    if score.frames >= self.config.shortest:
                        subject, clip, provenance = self.identity(row)
                        yield row, record_rollout(rollout, subject, clip, provenance, score.success)
                    else:
                        logging.warning("left out: %s fails after %d steps", self.cast.clips[row].name, score.frames)

        return play()

    def identity(self, row: int) -> tuple[Subject, Clip, Provenance]:
        """Subject, clip and provenance of a row of the cast, known before it is simulated."""
        who = self.cast.subjects[row]
        person = jax.tree.map(lambda x: x[who], self.cast.humanoids)
        engine = "mujoco" if self.imitator.world.engine in ("c", "auto") and jax.default_backend() == "cpu" else "mjx"
        provenance = Provenance(
            policy=self.trained.digest,
            seed=self.imitator.seed,
            repetition=0,
            start_frame=0,
            engine=engine,
            timestep=1 / (CONTROL_HZ * self.config.substeps),
            substeps=self.config.substeps,
        )
        return make_subject(person, self.cast.bodies[who]), self.cast.clips[row], provenance


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
    studio = Studio(cast, trained, imitator_config, config)
    dataset = create_dataset(folder.path / "dataset.zarr")

    clocks, recorded = [time.monotonic()], 0.0
    missing = np.array([r for r in range(len(cast.clips)) if not has_sequence(dataset, _name(studio, r))], int)
    if len(missing):
        played = studio.prepare(missing)
        clocks.append(time.monotonic())
        for _, record in played:
            write_record(dataset, record)
            recorded += record.duration
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
    records = [read_record(dataset, name) for name in certified_ids(dataset)]
    digests = [make_subject(jax.tree.map(lambda x, k=k: x[k], studio.cast.humanoids), body).digest
               for k, body in enumerate(studio.cast.bodies)]  # fmt: skip
    clips: list[list[Clip]] = [[] for _ in studio.cast.bodies]
    for record in records:
        if record.subject.digest in digests:
            who = digests.index(record.subject.digest)
            clips[who].append(from_generalized_positions(record.q, studio.cast.bodies[who], CONTROL_HZ, record.id))
    again = studio._replace(cast=make_cast(studio.cast.bodies, clips), config=replace(studio.config, shortest=1))
    played = again.prepare(np.arange(len(again.cast.clips)))
    return {again.cast.clips[row].name: _padded(r, again.cast.lengths[row] - 1) for row, r in played}


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


def _name(studio: Studio, row: int) -> str:
    subject, clip, provenance = studio.identity(row)
    return sequence_id(clip, subject, provenance)


if __name__ == "__main__":
    command(main)
