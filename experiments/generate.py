"""Generate a dataset of imitated dynamics with trained imitators, and certify every sequence of it.

    python experiments/generate.py                                      # the motions the imitator was trained on
    python experiments/generate.py --config.motions my_clips            # other motions
    python experiments/generate.py --config.passes 3                    # again from random frames of the clips
    python experiments/generate.py --imitator runs/a runs/b runs/c      # by several imitators, as the paper does
    python experiments/generate.py --search                             # and look for a way where the policy is lost
    python experiments/generate.py --processes 2                        # batches side by side
    python experiments/generate.py --ray local                          # or on a cluster (extra `distributed`)
    python experiments/generate.py --report                             # what was recorded, in numbers and figures

Killed and called again, it goes on with the sequences that are missing. manifest.json in the run folder says of each
what it was made from, and whether it may be trained on, or why not (docs/dataset.md). At the end those that may be are
imitated once more from their own records: re-imitation, the baseline that experiments/fit_solver.py puts beside the
solver.
"""

import logging
from pathlib import Path

from envs.batches import GenerateConfig, plan
from envs.imitator import performers
from envs.recording import record
from envs.reimitation import check_reimitates, reimitate
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.dataset.certify import certify_dataset, read_certificate
from imdy_jax.dataset.gates import Gates, set_gates, trainable_ids
from imdy_jax.dataset.manifest import gate_table, manifest
from imdy_jax.dataset.release import to_release, write_release
from imdy_jax.dataset.report import residual_table, speed_table, summarize
from imdy_jax.dataset.statistics import gait_table, people_table, statistics, torque_table
from imdy_jax.dataset.store import (
    create_dataset,
    known_attributes,
    open_dataset,
    read_records,
    sequence_ids,
)
from imdy_jax.files import write_json
from imdy_jax.motion.clip import is_gait
from imdy_jax.report import command, show
from imdy_jax.run import RunFolder
from imdy_jax.solver.evaluate import save_predictions
from imdy_jax.solver.pack import clips_of
from imdy_jax.view.plots import distributions


def main(
    config: GenerateConfig = GenerateConfig(), imitator: tuple[str, ...] = ("runs/default/imitator",),
    run: str = "runs/default/dataset", gates: Gates = Gates(), search: bool = False, again: bool = True,
    report: bool = False, release: str | None = None, processes: int = 1, ray: str | None = None, cores: int = 2,
    json: str | None = None,
) -> None:  # fmt: skip
    """Generate and certify a dataset.

    Args:
      config: what to record.
      imitator: run folders of train_imitator.py; each plays everything, of one with columns the last two
        that imitate and their composer.
      run: run folder to write; the dataset is dataset.zarr in it.
      gates: what a sequence has to be like to be trained on; may be changed afterwards, nothing is recorded again.
      search: look for a way through the clips that the policy loses; takes minutes per minute of motion.
      again: imitate once more what may be trained on; takes as long as recording it.
      report: record nothing; tell what the dataset in the run folder holds, and draw it.
      release: folder; write what may be trained on there, too, in the files of the published ImDy release.
      processes: that record side by side on this machine; each holds as much in memory as one alone.
      ray: address of a Ray cluster to record on, or "local" for processes on this machine.
      cores: of each of its tasks.
      json: where to write the table, in place of the run folder.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    enable_compilation_cache()
    if report:
        tell(Path(run))
        return
    if processes < 1 or (ray and processes > 1):
        raise ValueError(f"found processes {processes} and ray {ray}, expected 1 or more without ray, or ray alone")
    played = [one for path in imitator for one in performers(path)]
    if again:
        check_reimitates(performers(imitator[0])[-1])
    batches = plan(config, played, str(Path(run) / "dataset.zarr"), search)
    folder = RunFolder.create(run, config, 0, resume=True)
    dataset, tables = create_dataset(folder.path / "dataset.zarr"), folder.path / "tables"
    set_gates(dataset, gates)
    outcome = record(batches, folder.path / "batches", ray, cores, processes)
    if search:
        found, sought = outcome.counts["found"], outcome.counts["sought"]
        print(f"a way to the end found through {found} of {sought} clips that the policy alone had lost")
    names = sequence_ids(dataset)
    certify_dataset(dataset, [name for name in names if read_certificate(dataset, name) is None])
    show(residual_table(c for name in names if (c := read_certificate(dataset, name))), tables / "certificate.json")
    if outcome.motion["recording"]:
        done = outcome.motion, outcome.wall, outcome.cores, outcome.elapsed, outcome.counts["prepared"]
        show(speed_table(*done, config.minutes, config.substeps, outcome.memory), tables / "speed.json")
    made = manifest(dataset, outcome.lost, outcome.left_out)
    write_json(folder.path / "manifest.json", made)
    show(gate_table(made), tables / "quality.json")
    if not names:
        raise ValueError(f"{run}: nothing was recorded, expected some motion to imitate; manifest.json says why")
    show(summarize(dataset), json or tables / "dataset.json")
    kept = trainable_ids(dataset)
    if release:
        records = zip(read_records(dataset, kept), clips_of(dataset, kept), strict=True)
        count = write_release((to_release(each)._replace(clip=clip) for each, clip in records), release)
        print(f"{count} sequences written to {release}")
    if again:
        save_predictions(folder.path / "reimitation.npz", reimitate(dataset, kept, config, performers(imitator[0])[-1]))


def tell(run: Path) -> None:
    """Statistics of the sequences of a run folder that may be trained on."""
    dataset = open_dataset(run / "dataset.zarr")
    names = trainable_ids(dataset)
    found, tables = statistics(dataset, names), run / "tables"
    show(people_table(found, str(run)), tables / "people.json")
    show(torque_table(found), tables / "torques.json")
    gaits = [name for name in names if is_gait(known_attributes(dataset, name)["clip"]["name"])]
    if gaits:
        show(gait_table(dataset, gaits), tables / "gait.json")
    title = f"{len(names)} sequences, {found.seconds:,.0f} s"
    distributions(run / "figures" / "distributions.png", found.counted, title)
    print(f"drawn: {run / 'figures' / 'distributions.png'}")


if __name__ == "__main__":
    command(main)
