"""What a solver has been fitted to, kept beside it: where its knowledge comes from, and what is new to it."""

import dataclasses
from pathlib import Path
from typing import Self

from imdy_jax.dataset.gates import trainable_ids
from imdy_jax.dataset.store import Dataset, sequence_attributes
from imdy_jax.files import from_json, read_json, to_json, write_json
from imdy_jax.solver.data import WindowBatches
from imdy_jax.solver.pack import clips_of

FILE = "data.json"  # in the run folder


@dataclasses.dataclass(frozen=True)
class FittedTo:
    """The sequences that a solver was fitted to."""

    source: str  # digest of the windows' dataset
    hours: float  # of motion around which there was a window
    sequences: int
    clips: tuple[str, ...]  # as pack.clips_of names them
    people: tuple[str, ...]  # digests of the subjects
    commits: tuple[str, ...] = ()  # of the package that recorded them

    @classmethod
    def of(cls, batches: WindowBatches, train: list[int], before: Self | None = None) -> Self:
        """Of batches of the sequences numbered `train`; before: what the solver knew before that."""
        data, chosen = batches.data, [batches.data.sequences[i] for i in train]
        union = lambda name, own: tuple(sorted({*own, *(getattr(before, name) if before else ())}))  # noqa: E731
        return cls(
            data.source, batches.hours, len(chosen), union("clips", (s.clip for s in chosen)),
            union("people", (s.subject for s in chosen)), union("commits", data.commits),
        )  # fmt: skip

    def knows(self, clip: str, person: str) -> bool:
        """Whether neither the clip nor the person is new."""
        return clip in self.clips and person in self.people

    def write(self, folder: Path) -> None:
        write_json(folder / FILE, to_json(self))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises ValueError where the folder does not say it."""
        path = folder / FILE
        if not path.exists():
            raise ValueError(
                f"{path}: not found, expected what the solver was fitted to; fit_solver.py --resume writes it once the "
                "fit is done"
            )
        return from_json(cls, read_json(path), path)


def new_ids(dataset: Dataset, known: FittedTo) -> list[str]:
    """Names of the sequences of a dataset that may be trained on, and that a solver has not been fitted to, sorted.

    Raises ValueError where there is none.
    """
    names = trainable_ids(dataset)
    people = [sequence_attributes(dataset, name)["subject"] for name in names]
    new = [n for n, c, p in zip(names, clips_of(dataset, names), people, strict=True) if not known.knows(c, p)]
    if not new:
        raise ValueError(
            f"{dataset.path}: the solver has been fitted to all of its {len(names)} sequences that pass the gates, "
            "expected some of other clips or people; name another dataset"
        )
    return new
