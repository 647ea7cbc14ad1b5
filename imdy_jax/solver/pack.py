"""The certified sequences of a dataset, packed end to end on disk for the solver.

Packing streams the sequences into three plain arrays that are memory-mapped, so that a batch may draw its windows from
anywhere at the cost of a few page reads, and memory holds what the system can spare, however large the dataset is.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imdy_jax.body.markers import MARKER_NAMES
from imdy_jax.dataset.certify import certified_ids
from imdy_jax.dataset.store import open_dataset, read_fields, read_subject, sequence_attributes, sequence_ids
from imdy_jax.run import write_json
from imdy_jax.skeleton import NUM_BODIES, NUM_JOINTS

_ARRAYS = {"markers": len(MARKER_NAMES), "angular_momentum": NUM_JOINTS, "contact_force": NUM_BODIES}


class Sequence(NamedTuple):
    """What the solver learns from one recorded sequence of T steps; float32, SI units, world axes."""

    name: str
    clip: str  # the motion that was imitated; its mirrored, time-scaled and refitted copies share it (clip_groups)
    mass: float  # kg, the subject's own
    markers: np.ndarray  # (T+1, 66, 3) m
    angular_momentum: np.ndarray  # (T, 23, 3) N·m·s imposed over each step, child axes
    contact_force: np.ndarray  # (T, 24, 3) N, mean over each step


class PackedSequence(NamedTuple):
    """Where a sequence lies in the packed arrays."""

    name: str
    clip: str
    mass: float
    start: int  # row of frame 0
    steps: int  # T


class PackedDataset:
    """Sequences end to end in memory-mapped arrays of one row per frame; `pack` makes it."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        index = json.loads((self.folder / "index.json").read_text())
        self.source, self.dt = index["source"], index["dt"]
        self.sequences = tuple(PackedSequence(*row) for row in index["sequences"])
        rows = sum(s.steps + 1 for s in self.sequences)
        self.markers, self.angular_momentum, self.contact_force = (
            np.memmap(self.folder / name, np.float32, "r", shape=(rows, count, 3)) for name, count in _ARRAYS.items()
        )

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> Sequence:
        name, clip, mass, start, steps = self.sequences[index]
        rows = slice(start, start + steps)
        markers = self.markers[start : start + steps + 1]
        return Sequence(name, clip, mass, markers, self.angular_momentum[rows], self.contact_force[rows])


def pack_dataset(path: str | Path, folder: str | Path) -> PackedDataset:
    """Pack the certified sequences of a dataset.

    Raises:
      ValueError: there is no dataset, no sequence of it has a certificate, or their frame rates differ.
    """
    dataset = open_dataset(path)
    names = certified_ids(dataset)
    if not names:
        raise ValueError(
            f"{path}: none of {len(sequence_ids(dataset))} sequences is certified, expected some; generate and certify "
            "it with experiments/generate.py"
        )
    attributes = {name: sequence_attributes(dataset, name) for name in names}
    rates = sorted({a["control_rate"] for a in attributes.values()})
    if rates[-1] - rates[0] > 1e-6 * rates[0]:
        raise ValueError(f"{path}: frame rates {rates}, expected one; generate a dataset with one control rate")
    mass = {who: float(np.sum(read_subject(dataset, who).humanoid.mass)) for who in
            {a["subject"] for a in attributes.values()}}  # fmt: skip
    clips = clip_groups([(a["clip"]["name"], a["clip"]["digest"]) for a in attributes.values()])
    sequences = (
        Sequence(name, clip, mass[a["subject"]], **read_fields(dataset, name, _ARRAYS))
        for clip, (name, a) in zip(clips, attributes.items(), strict=True)
    )
    identity = json.dumps([clips, [(name, a["digest"]) for name, a in attributes.items()]])
    return pack(sequences, hashlib.sha256(identity.encode()).hexdigest(), 1.0 / rates[0], folder)


def clip_groups(sources: list[tuple[str, str]]) -> list[str]:
    """The clip that each source (name, digest) is a copy of: what shares a name or a digest is one clip.

    A mirror image has its original's digest under another name; a built-in motion fitted to another body has its
    name with another digest.
    """
    group: dict[tuple[str, str], str] = {}
    for name, digest in sources:
        keys = ("name", name), ("digest", digest)
        found = {group.get(key, name) for key in keys}
        first = min(found)
        group |= {key: first for key, old in group.items() if old in found} | dict.fromkeys(keys, first)
    return [group["name", name] for name, _ in sources]


def pack(sequences: Iterable[Sequence], source: str, dt: float, folder: str | Path) -> PackedDataset:
    """Write sequences one by one into `folder`; kept as it is if it was packed from the same source before.

    Args:
      sequences: read only if something is to be written.
      source: digest of the dataset, by which a change is noticed.
      dt: s between frames, the same for all sequences.
    """
    folder = Path(folder)
    if (folder / "index.json").exists() and PackedDataset(folder).source == source:
        return PackedDataset(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows, start = [], 0
    files = {name: (folder / name).open("wb") for name in _ARRAYS}
    for sequence in sequences:
        steps = len(sequence.contact_force)
        for name, file in files.items():
            array = np.asarray(getattr(sequence, name), np.float32)
            padding = np.zeros((steps + 1 - len(array), *array.shape[1:]), np.float32)  # the last frame has no step
            file.write(np.concatenate([array, padding]).tobytes())
        rows.append(PackedSequence(sequence.name, sequence.clip, float(sequence.mass), start, steps))
        start += steps + 1
    for file in files.values():
        file.close()
    write_json(folder / "index.json", {"source": source, "dt": dt, "sequences": rows})
    return PackedDataset(folder)
