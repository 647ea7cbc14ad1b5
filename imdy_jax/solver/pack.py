"""The sequences of a dataset that may be trained on, packed end to end on disk for the solver.

Packing streams the sequences into three plain arrays that are memory-mapped, so that a batch may draw its windows from
anywhere at the cost of a few page reads, and memory holds what the system can spare, however large the dataset is.
Of a motion it keeps the one representation that is asked for.

The arrays hold the coarsest steps that those of all rates asked for are multiples of (rates.py): control steps, if
there is no other rate.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imdy_jax.dataset.gates import verdicts
from imdy_jax.dataset.store import (
    Dataset,
    open_dataset,
    read_fields,
    read_subject,
    sequence_attributes,
)
from imdy_jax.files import write_json
from imdy_jax.skeleton import NUM_BODIES, NUM_JOINTS
from imdy_jax.solver.balance import SIZE, recorded_balance
from imdy_jax.solver.rates import check_substeps, divisions, read_parts
from imdy_jax.solver.representation import REPRESENTATIONS, Name, represent

logger = logging.getLogger(__name__)


class Sequence(NamedTuple):
    """What the solver learns from one recorded sequence of T steps; float32, SI units, world axes."""

    name: str
    clip: str  # the motion that was imitated; its mirrored, time-scaled and refitted copies share it (clip_groups)
    subject: str  # who moved: the digest
    mass: float  # kg, the subject's own
    motion: np.ndarray  # (T+1, points, channels), see representation.py
    angular_momentum: np.ndarray  # (T, 23, 3) N·m·s imposed over each step, child axes
    contact_force: np.ndarray  # (T, 24, 3) N, mean over each step
    balance: np.ndarray | None = None  # (T, SIZE) what the equation of motion asks for, see balance.py

    def every(self, stride: int) -> "Sequence":
        """The same in steps `stride` times as long, exactly; what is left over at the end is left out."""
        steps = len(self.contact_force) // stride * stride
        parted = lambda x: x[:steps].reshape(-1, stride, *x.shape[1:])  # noqa: E731
        momentum, force = parted(self.angular_momentum).sum(axis=1), parted(self.contact_force).mean(axis=1)
        balance = None if self.balance is None else parted(self.balance).mean(axis=1)
        return self._replace(
            motion=self.motion[: steps + 1 : stride], angular_momentum=momentum, contact_force=force, balance=balance
        )


class PackedSequence(NamedTuple):
    """Where a sequence lies in the packed arrays."""

    name: str
    clip: str
    subject: str
    mass: float
    start: int  # row of frame 0
    steps: int  # T


class PackedDataset:
    """Sequences end to end in memory-mapped arrays of one row per frame; `pack` makes it."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        index = json.loads((self.folder / "index.json").read_text())
        self.source, self.dt, self.representation = index["source"], index["dt"], index["representation"]
        self.strides = tuple(index["strides"])  # rows per step of each rate, the recorded rate's first
        self.sequences = tuple(PackedSequence(*row) for row in index["sequences"])
        self.commits = tuple(index.get("commits", ()))  # of the package that recorded them, where it is known
        rows = sum(s.steps + 1 for s in self.sequences)
        arrays = {
            name: np.memmap(self.folder / name, np.float32, "r", shape=(rows, *shape))
            for name, shape in _shapes(self.representation, index.get("balance", False)).items()
        }
        self.motion, self.angular_momentum, self.contact_force = (arrays[name] for name in list(arrays)[:3])
        self.balance = arrays.get("balance")  # None where it was not asked for

    @property
    def fps(self) -> float:
        """The recorded rate, frames per second."""
        return 1.0 / (self.dt * self.strides[0])

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> Sequence:
        """A sequence at the recorded rate."""
        return self.finest(index).every(self.strides[0])

    def finest(self, index: int) -> Sequence:
        """A sequence in steps of dt."""
        name, clip, subject, mass, start, steps = self.sequences[index]
        rows = slice(start, start + steps)
        motion = self.motion[start : start + steps + 1]
        balance = None if self.balance is None else self.balance[rows]
        return Sequence(
            name, clip, subject, mass, motion, self.angular_momentum[rows], self.contact_force[rows], balance
        )


def pack_dataset(
    path: str | Path, folder: str | Path, representation: Name = "markers", rates: tuple[int, ...] = (),
    balance: bool = False,
) -> PackedDataset:  # fmt: skip
    """Pack the sequences of a dataset that are certified and pass its gates (dataset.gates).

    Args:
      path: the dataset.
      folder: to pack into.
      representation: of the motions.
      rates: frames per second beside the recorded ones.
      balance: also what the equation of motion asks for (balance.py), 1.3 kB a step.

    Raises:
      ValueError: there is no dataset, no sequence of it may be trained on, their frame rates differ, or their substeps
        do not make the rates asked for.
    """
    dataset = open_dataset(path)
    found = verdicts(dataset)
    names = [name for name, faults in found.items() if not faults]
    unsound = [f"{name}: {faults['certificate']}" for name, faults in found.items() if "certificate" in faults]
    if unsound:
        logger.warning("%s: left out for want of a certificate: %d, the first %s", path, len(unsound), unsound[0])
    if not names:
        raise ValueError(
            f"{path}: none of {len(found)} sequences is certified and passes the dataset's gates, "
            "expected some; generate it with experiments/generate.py, whose manifest.json says what each lacks"
        )
    attributes = {name: sequence_attributes(dataset, name) for name in names}
    control = _one_rate(path, attributes)
    parts, strides = divisions(control, rates)
    check_substeps(path, attributes, parts, rates)
    subjects = {who: read_subject(dataset, who) for who in {a["subject"] for a in attributes.values()}}
    clips = clips_of(dataset, names)

    def sequence(name: str, clip: str) -> Sequence:
        subject = subjects[attributes[name]["subject"]]
        q, momentum, force = read_parts(dataset, name, attributes[name]["timestep"], parts)
        mass = float(np.sum(subject.humanoid.mass))
        motion = represent(representation, subject, q)
        whole = Sequence(name, clip, attributes[name]["subject"], mass, motion, momentum, force)
        if not balance:
            return whole
        fields = read_fields(dataset, name, ("q", "v", "substep_v", "wrench"))
        rows = recorded_balance(subject.humanoid, attributes[name]["timestep"], parts, **fields)
        return whole._replace(balance=rows)

    made = (sequence(name, clip) for name, clip in zip(names, clips, strict=True))
    content = [clips, [(name, a["digest"]) for name, a in attributes.items()], representation, parts, strides]
    if balance:
        content.append("balance")
    source = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    commits = tuple(sorted({str(a["software"]["git_commit"]) for a in attributes.values()}))
    return pack(made, source, 1.0 / (control * parts), folder, representation, strides, balance, commits)


def clips_of(dataset: Dataset, names: Iterable[str]) -> list[str]:
    """The clip that each sequence is an imitation of, the same for all copies of it (clip_groups)."""
    clips = [sequence_attributes(dataset, name)["clip"] for name in names]
    return clip_groups([(clip["name"], clip["digest"]) for clip in clips])


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


def pack(
    sequences: Iterable[Sequence], source: str, dt: float, folder: str | Path, representation: Name = "markers",
    strides: tuple[int, ...] = (1,), balance: bool = False, commits: tuple[str, ...] = (),
) -> PackedDataset:  # fmt: skip
    """Write sequences one by one into `folder`; kept as it is if it was packed from the same source before.

    Args:
      sequences: read only if something is to be written.
      source: digest of the dataset and of what is packed of it, by which a change is noticed.
      dt: s between frames, the same for all sequences.
      representation: of the motions.
      strides: frames per step of each rate that windows are wanted at, the recorded rate's first.
      balance: whether the sequences have one.
      commits: of the package that recorded them.
    """
    folder = Path(folder)
    if (folder / "index.json").exists() and json.loads((folder / "index.json").read_text())["source"] == source:
        return PackedDataset(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows, start = [], 0
    files = {name: (folder / name).open("wb") for name in _shapes(representation, balance)}
    for sequence in sequences:
        steps = len(sequence.contact_force)
        for name, file in files.items():
            array = np.asarray(getattr(sequence, name), np.float32)
            padding = np.zeros((steps + 1 - len(array), *array.shape[1:]), np.float32)  # the last frame has no step
            file.write(np.concatenate([array, padding]).tobytes())
        rows.append((*sequence[:3], float(sequence.mass), start, steps))
        start += steps + 1
    for file in files.values():
        file.close()
    index = {"source": source, "dt": dt, "representation": representation, "strides": strides, "balance": balance}
    write_json(folder / "index.json", {**index, "commits": commits, "sequences": rows})
    return PackedDataset(folder)


def _shapes(representation: str, balance: bool) -> dict[str, tuple[int, ...]]:
    """Of one row of each packed array."""
    motion = REPRESENTATIONS[representation].shape
    always = {"motion": motion, "angular_momentum": (NUM_JOINTS, 3), "contact_force": (NUM_BODIES, 3)}
    return always | ({"balance": (SIZE,)} if balance else {})


def _one_rate(path: str | Path, attributes: dict[str, dict[str, Any]]) -> float:
    rates = sorted({a["control_rate"] for a in attributes.values()})
    if rates[-1] - rates[0] > 1e-6 * rates[0]:
        raise ValueError(f"{path}: frame rates {rates}, expected one; generate a dataset with one control rate")
    return rates[0]
