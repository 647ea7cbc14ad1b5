"""The published ImDy release's files: written from a dataset, and read as motions with their dynamics.

A folder holds five lists over the sequences, each a file of joblib's: `pos.pkl` (T, 24, 3) m, joint positions;
`rot.pkl` (T, 24, 4), body-to-world quaternions, w first; `torque.pkl` (T, 24, 3) N·m, the sum of the torques of the two
60 Hz substeps, the root's row zero; `grf.pkl` (T, 24, 3) N, mean contact force, world axes; `weight.pkl`, kg. 30 frames
per second, z up, SMPL's order of joints. What this package writes has a sixth list, `clip.pkl`: the name of the clip
that was imitated, the same for its copies and repetitions.

Its quaternions are those of the imitator's bodies: SMPL's rotation is theirs turned first by (½, ½, ½, ½), which
carries x to y, y to z and z to x (`smpl_rotation`). The release does not say in which axes its torques are; they are
taken to be in those of the same bodies (`smpl_torque`), where the simulator applies them.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import joblib
import numpy as np

from imdy_jax import rotation
from imdy_jax.dataset.blocks import map_frames
from imdy_jax.dataset.joblib_file import read_arrays
from imdy_jax.dataset.record import Record
from imdy_jax.dynamics.kinematics import Pose, forward_kinematics
from imdy_jax.humanoid import Humanoid
from imdy_jax.skeleton import NUM_BODIES, NUM_JOINTS, PARENTS

FPS = 30.0
_SUBSTEPS_PER_SECOND = 60.0  # of the simulation whose torques are added up in pairs
_TURN = np.full(4, 0.5)
_OPTIONAL = ("weight", "clip")
_WIDTHS = {"pos": 3, "rot": 4, "torque": 3, "grf": 3}  # of the arrays (T, 24, ·) by file


class Released(NamedTuple):
    """One sequence of the release as its files have it, T frames; see the module's text for axes and units."""

    pos: np.ndarray  # (T, 24, 3)
    rot: np.ndarray  # (T, 24, 4)
    torque: np.ndarray  # (T, 24, 3)
    grf: np.ndarray  # (T, 24, 3)
    weight: float | None  # kg; None where the release does not carry it
    clip: str | None = None  # that was imitated; None where the release does not carry it


class ReleasedMotion(NamedTuple):
    """The same in the conventions of this package: T frames, and what happened from each to the next."""

    q: np.ndarray  # (T, 99), layout of humanoid.Humanoid
    angular_momentum: np.ndarray  # (T, 23, 3) N·m·s imposed over the step, child axes
    contact_force: np.ndarray  # (T, 24, 3) N, mean over the step, on each segment, world axes
    mass: float | None  # kg


def smpl_rotation(rot: np.ndarray) -> np.ndarray:
    """SMPL's body-to-world rotations (..., 4) from those of the release's bodies (..., 4)."""
    return np.asarray(rotation.multiply(np.asarray(rot), _TURN.astype(rot.dtype)))


def released_rotation(smpl: np.ndarray) -> np.ndarray:
    """Inverse of smpl_rotation."""
    return np.asarray(rotation.multiply(np.asarray(smpl), np.asarray(rotation.conjugate(_TURN.astype(smpl.dtype)))))


def smpl_torque(torque: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) in SMPL's segment axes from those in the axes of the release's bodies."""
    return np.roll(torque, -1, axis=-1)


def released_torque(torque: np.ndarray) -> np.ndarray:
    """Inverse of smpl_torque."""
    return np.roll(torque, 1, axis=-1)


def to_release(record: Record) -> Released:
    """A record as the release has it, float32; the state after the last step is left out, as nothing follows it.

    Raises ValueError for a record at another rate than 30 frames per second.
    """
    if abs(record.provenance.control_rate - FPS) > 1e-3:
        raise ValueError(f"{record.id}: {record.provenance.control_rate:g} frames per second, expected {FPS:g}")
    pose = map_frames(_poses, record.subject.humanoid, np.asarray(record.q)[:-1])
    torque = np.zeros((len(record.target), NUM_BODIES, 3), np.float32)
    torque[:, 1:] = released_torque(np.asarray(record.angular_momentum) * _SUBSTEPS_PER_SECOND)
    return Released(
        pos=np.asarray(pose.position, np.float32),
        rot=released_rotation(np.asarray(pose.rotation)).astype(np.float32),
        torque=torque,
        grf=np.asarray(record.contact_force, np.float32),
        weight=float(record.subject.humanoid.total_mass),
        clip=record.source.name,
    )


def from_release(sequence: Released) -> ReleasedMotion:
    """A sequence of the release in the conventions of this package."""
    world = smpl_rotation(sequence.rot)
    parent = rotation.conjugate(world[:, np.array(PARENTS[1:])])
    local = np.concatenate([world[:, :1], np.asarray(rotation.multiply(parent, world[:, 1:]))], axis=1)
    q = np.concatenate([sequence.pos[:, 0], local.reshape(len(local), -1)], axis=1)
    momentum = smpl_torque(np.asarray(sequence.torque[:, 1 : 1 + NUM_JOINTS])) / _SUBSTEPS_PER_SECOND
    return ReleasedMotion(q, momentum, np.asarray(sequence.grf), sequence.weight)


def write_release(sequences: Iterable[Released], folder: str | Path) -> int:
    """Write sequences as the files of a release, each under a temporary name first; returns how many.

    All of them are in memory at a time: 130 MB per hour of motion.
    """
    folder, rows = Path(folder), list(sequences)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*_WIDTHS, *_OPTIONAL):
        partial = folder / f"{name}.pkl.partial"
        joblib.dump([getattr(row, name) for row in rows], partial)
        partial.replace(folder / f"{name}.pkl")
    return len(rows)


def read_release(folder: str | Path, on_error: Callable[[ValueError], None] | None = None) -> Iterator[Released]:
    """The sequences of a release, memory-mapped; weight.pkl and clip.pkl may be missing.

    Raises ValueError where a file is missing, is no list of arrays, or holds another number of sequences than the
    others. A sequence of the wrong shape, or with numbers that are not finite, is handed to on_error and skipped, or
    raises without one.
    """
    folder = Path(folder)
    lists = {name: read_arrays(folder / f"{name}.pkl") for name in _WIDTHS}
    for name in _OPTIONAL:
        file = folder / f"{name}.pkl"
        lists[name] = read_arrays(file) if file.exists() else [None] * len(lists["pos"])
    counts = {name: len(rows) for name, rows in lists.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"{folder}: its files hold {counts} sequences, expected as many in each; get all of it again")
    for number, row in enumerate(zip(*lists.values(), strict=True)):
        sequence = Released(*row)
        try:
            _check(sequence, f"{folder}: sequence {number}")
        except ValueError as error:
            if on_error is None:
                raise
            on_error(error)
        else:
            yield sequence


def _check(sequence: Released, where: str) -> None:
    for name, width in _WIDTHS.items():
        array = getattr(sequence, name)
        shape = (len(sequence.pos), NUM_BODIES, width)
        if np.shape(array) != shape:
            raise ValueError(f"{where} of {name}.pkl has shape {np.shape(array)}, expected {shape}; leave it out")
        if not np.isfinite(array).all():
            frame = int(np.argwhere(~np.isfinite(array))[0, 0])
            raise ValueError(f"{where} of {name}.pkl is not finite at frame {frame}, expected numbers; leave it out")
    if sequence.weight is not None and not 0 < float(sequence.weight) < np.inf:
        raise ValueError(f"{where} of weight.pkl is {sequence.weight}, expected kg above zero; leave it out")
    clip: object = sequence.clip  # a stranger's file may hold anything
    if clip is not None and not isinstance(clip, str):
        found = type(clip).__name__
        raise ValueError(f"{where} of clip.pkl is a {found}, expected the name of a clip; leave it out")


@jax.jit
def _poses(humanoid: Humanoid, q: jax.Array) -> Pose:
    return jax.vmap(forward_kinematics, in_axes=(None, 0))(humanoid, q)
