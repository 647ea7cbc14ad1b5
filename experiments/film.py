"""Film recorded sequences: the simulated humanoid beside its reference, with the forces of the floor.

    python experiments/film.py                                  # eight sequences of different activities
    python experiments/film.py --sequences walk squat           # whose names hold these
    python experiments/film.py --to film.mp4                    # or .gif; by default .webp

The arrows are the mean forces over a control step about the frame (1/30 s), from the centre of pressure, in true
proportion to the bar at the bottom left, which is one body weight. The reference is its clip read again: a clip that
has changed since is refused. MP4 needs ffmpeg, or the extra `film`.
"""

from dataclasses import replace
from pathlib import Path

from envs.batches import GenerateConfig, people_of
from envs.imitator import ImitatorConfig
from envs.people import PeopleConfig
from envs.playback import Followed, followed
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.dataset.at_frames import wrench_at_frames
from imdy_jax.dataset.choose import choose_named, choose_various
from imdy_jax.dataset.record import Record
from imdy_jax.dataset.store import open_dataset, read_record
from imdy_jax.report import command
from imdy_jax.run import RunFolder
from imdy_jax.view.film import film
from imdy_jax.view.render import Scene
from imdy_jax.view.surface import skin_surface


def main(
    dataset: str = "runs/default/dataset", imitator: str = "runs/default/imitator", to: str | None = None,
    sequences: tuple[str, ...] = (), count: int = 8, motions: str | None = None, fps: float = 15.0,
    size: tuple[int, int] = (640, 360),
) -> None:  # fmt: skip
    """Film recorded sequences.

    Args:
      dataset: run folder of generate.py.
      imitator: run folder of the imitator that it was recorded with, which knows the people.
      to: film to write, .webp, .gif or .mp4; by default figures/film.webp in the dataset's run folder.
      sequences: of each text the sequence whose name holds it, the best if several do; by default a choice.
      count: how many, where they are chosen: of different activities, followed to the end, as far as there are such.
      motions: where the clips are now, if not where they were.
      fps: pictures per second, 30 at most.
      size: pixels.
    """
    enable_compilation_cache()
    data = open_dataset(Path(dataset) / "dataset.zarr")
    names = choose_named(data, sequences) if sequences else choose_various(data, count)
    if not names:
        raise ValueError(f"{data.path}: found no certified sequence, expected some; record them with generate.py")
    records = [read_record(data, name) for name in names]
    people = recorded_people(dataset, imitator)
    if motions:
        people = replace(people, motions=motions)
    scenes = [scene(*both) for both in zip(records, followed(records, people), strict=True)]
    path = Path(to) if to else Path(dataset) / "figures" / "film.webp"
    film(path, scenes, fps, size)
    print(f"filmed: {path}, {len(scenes)} sequences, {sum(record.duration for record in records):.1f} s")


def recorded_people(dataset: str, imitator: str) -> PeopleConfig:
    """Who was recorded in the one run folder by what is in the other."""
    return people_of(RunFolder.open(dataset).config(GenerateConfig), RunFolder.open(imitator).config(ImitatorConfig))


def scene(record: Record, source: Followed) -> Scene:
    """A record beside its reference, with the floor's forces at each frame."""
    begun = record.provenance.start_frame / record.provenance.control_rate
    notes = [f"from {begun:.2f} s"] if begun else []
    notes += [] if record.success else ["lost at the end"]
    return Scene(
        humanoid=record.subject.humanoid,
        surface=skin_surface(source.body),
        simulated=record.q,
        reference=source.reference,
        wrench=wrench_at_frames(record),
        fps=record.provenance.control_rate,
        title=", ".join([record.source.name, *notes]),
    )


if __name__ == "__main__":
    command(main)
