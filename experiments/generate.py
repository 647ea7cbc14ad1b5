"""Generate a dataset of imitated dynamics with a trained imitator, and certify every sequence of it.

    python experiments/generate.py                                      # the motions the imitator was trained on
    python experiments/generate.py --config.motions my_clips            # other motions
    python experiments/generate.py --config.substeps 8                  # finer physics
    python experiments/generate.py --column 0                           # by one of its columns, not their composer
    python experiments/generate.py --search                             # and look for a way where the policy is lost
    python experiments/generate.py --report                             # what was recorded, in numbers and figures

Killed and called again, it goes on with the sequences that are missing. At the end every certified sequence is
imitated once more from its own record: re-imitation, the baseline that experiments/fit_solver.py puts beside the
solver.
"""

import logging
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import numpy as np

from envs.imitator import lead, open_columns
from envs.people import load_cast
from envs.reimitation import reimitate
from envs.search import SearchConfig
from envs.studio import Studio, make_studio, share_out
from imdy_jax.dataset.certify import certified_ids, certify_dataset
from imdy_jax.dataset.record import Record
from imdy_jax.dataset.release import to_release, write_release
from imdy_jax.dataset.report import residual_table, speed_table, summarize
from imdy_jax.dataset.statistics import gait_table, people_table, statistics, torque_table
from imdy_jax.dataset.store import (
    Dataset,
    create_dataset,
    has_sequence,
    known_attributes,
    open_dataset,
    read_records,
    sequence_ids,
    write_record,
)
from imdy_jax.motion.clip import is_gait
from imdy_jax.report import Progress, command, show
from imdy_jax.run import RunFolder, enable_compilation_cache
from imdy_jax.solver.evaluate import save_predictions
from imdy_jax.view.plots import distributions


@dataclass(frozen=True)
class GenerateConfig:
    """What is recorded."""

    motions: str | None = None  # a file or folder; by default what the imitator was trained on
    subjects: int | None = None  # how many people; by default as in training
    mirrored: bool | None = None  # also mirror images; by default as in training
    speeds: tuple[float, ...] | None = None  # factors of each motion's speed; by default as in training
    check: bool | None = None  # leave out motions that nobody can have made; by default as in training
    substeps: int = 4  # physics substeps per control step: finer than in training, for stiffer contact
    seats: int = 64  # humanoids simulated side by side, at most about
    shortest: int = 30  # control steps: what fails earlier is left out
    ways: SearchConfig = field(default_factory=SearchConfig)  # for --search
    single: bool = False  # simulate in float32 (MJX on a GPU always does)


def main(
    config: GenerateConfig = GenerateConfig(), imitator: str = "runs/default/imitator",
    run: str = "runs/default/dataset", column: int | None = None, search: bool = False, report: bool = False,
    release: str | None = None, json: str | None = None,
) -> None:  # fmt: skip
    """Generate and certify a dataset.

    Args:
      config: what to record.
      imitator: run folder of train_imitator.py.
      run: run folder to write; the dataset is dataset.zarr in it.
      column: which of its columns plays; by default their composer, or each clip's first column that follows it.
      search: look for a way through the clips that the policy loses; takes minutes per minute of motion.
      report: record nothing; tell what the dataset in the run folder holds, and draw it.
      release: folder; write the certified sequences there, too, in the files of the published ImDy release.
      json: where to write the table, in place of the run folder.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    enable_compilation_cache()
    if report:
        tell(Path(run))
        return
    jax.config.update("jax_enable_x64", not config.single)
    opened = open_columns(imitator)
    imitator_config, players = opened.config, opened.players(column)
    folder = RunFolder.create(run, config, imitator_config.seed, resume=True)
    wanted = {name: getattr(config, name) for name in ("motions", "subjects", "mirrored", "speeds", "check")}
    people = replace(imitator_config.people, **{name: x for name, x in wanted.items() if x is not None})
    cast = lead(load_cast(people)[0], imitator_config, imitator)
    studios = [
        make_studio(cast, trained, imitator_config, config.substeps, config.seats, config.shortest)
        for trained in players
    ]
    dataset, shares = create_dataset(folder.path / "dataset.zarr"), share_out(studios)
    parts = list(zip(studios, shares, strict=True))
    *seconds, recorded = np.sum([record(dataset, studio, rows) for studio, rows in parts], axis=0)
    for studio, rows in parts if search else ():
        search_lost(dataset, studio, rows, config.ways)
    names, clocks = sequence_ids(dataset), [time.monotonic()]
    certify_dataset(dataset, names[:1], renew=True)
    clocks.append(time.monotonic())
    with Progress(len(names), "certifying", "sequence") as progress:
        certificates = certify_dataset(dataset, names, on_done=lambda _: progress.advance(1))
    clocks.append(time.monotonic())
    tables = folder.path / "tables"
    show(residual_table(certificates), tables / "certificate.json")
    if recorded:
        checked = sum(c.duration for c in certificates)
        show(speed_table([*seconds, *np.diff(clocks)], recorded, checked, config.substeps), tables / "speed.json")
    show(summarize(dataset), json or tables / "dataset.json")
    if release:
        count = write_release(map(to_release, read_records(dataset, certified_ids(dataset))), release)
        print(f"{count} certified sequences written to {release}")
    imitated = [reimitate(dataset, studio, own=len(studios) > 1) for studio in studios]
    save_predictions(folder.path / "reimitation.npz", {name: x for own in imitated for name, x in own.items()})


def record(dataset: Dataset, studio: Studio, rows: np.ndarray) -> np.ndarray:
    """Record rows of the cast that are missing; the seconds of preparing, of recording, and of motion recorded."""
    begun = time.monotonic()
    missing = [row for row in rows if not has_sequence(dataset, studio.name(row))]
    if not missing:
        return np.zeros(3)
    session = studio.prepare(np.array(missing))

    def keep(_: int, record: Record) -> float:
        write_record(dataset, record)
        return record.duration

    ready = time.monotonic()
    recorded = sum(session.play(keep))
    return np.array([ready - begun, time.monotonic() - ready, recorded])


def search_lost(dataset: Dataset, studio: Studio, among: np.ndarray, config: SearchConfig) -> None:
    """Add what a search finds for the clips that the policy alone has lost; what is there already is not sought."""
    searching = studio.searching(config)

    def lost(row: int) -> bool:
        plain = known_attributes(dataset, studio.name(row))
        return not (plain and plain["success"]) and not has_sequence(dataset, searching.name(row))

    rows = [int(row) for row in among if lost(row)]
    found = sum(1 for _ in searching.search(rows, config, lambda _, record: write_record(dataset, record)))
    print(f"a way to the end found through {found} of {len(rows)} clips that the policy alone had lost")


def tell(run: Path) -> None:
    """Statistics of the certified sequences of a run folder."""
    dataset = open_dataset(run / "dataset.zarr")
    names = certified_ids(dataset)
    found, tables = statistics(dataset, names), run / "tables"
    show(people_table(found, str(run)), tables / "people.json")
    show(torque_table(found), tables / "torques.json")
    gaits = [name for name in names if is_gait(known_attributes(dataset, name)["clip"]["name"])]
    if gaits:
        show(gait_table(dataset, gaits), tables / "gait.json")
    title = f"{len(names)} certified sequences, {found.seconds:,.0f} s"
    distributions(run / "figures" / "distributions.png", found.counted, title)
    print(f"drawn: {run / 'figures' / 'distributions.png'}")


if __name__ == "__main__":
    command(main)
