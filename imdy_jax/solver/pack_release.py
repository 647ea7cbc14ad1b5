"""The sequences of the published ImDy release, packed for the solver as those of a dataset are."""

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.body.person import Body
from imdy_jax.dataset.record import make_subject
from imdy_jax.dataset.release import FPS, from_release, read_release
from imdy_jax.humanoid import REFERENCE_MASS, from_body
from imdy_jax.skeleton import NUM_BODIES
from imdy_jax.solver.pack import PackedDataset, Sequence, pack
from imdy_jax.solver.representation import Name, represent

logger = logging.getLogger(__name__)
_ALIKE = 0.02  # m, rms over the joints: imitations that begin closer together are taken to be of one clip


def is_release(path: str | Path) -> bool:
    """Whether a folder has the release's files."""
    return (Path(path) / "pos.pkl").exists()


def pack_release(
    path: str | Path, folder: str | Path, representation: Name = "markers", body: Body | None = None
) -> PackedDataset:
    """Pack a release. Sequences that are damaged are logged and left out.

    The release has one body, of SMPL's mean shape, and its files do not carry it: joints and markers are those of
    `body`, by default the embedded neutral one. Where there is no weight, it is PHC's humanoid's.

    Sequences of one clip are told by its name where the release has clip.pkl. Elsewhere those are taken for one clip
    that begin alike (same_start): an imitation begins in the pose of its clip, at the place where that was recorded.

    Raises ValueError as read_release does, or where no sequence is sound.
    """
    body = body or anthropometric_body()
    subject = make_subject(from_body(body), body)

    def sequences() -> Iterator[Sequence]:
        sound = list(read_release(path, lambda error: logger.warning("left out: %s", error)))  # memory-mapped
        if not sound:
            raise ValueError(f"{path}: holds no sound sequence, expected some; get the release again")
        starts = same_start(np.stack([released.pos[0] for released in sound]))
        for number, (released, start) in enumerate(zip(sound, starts, strict=True)):
            motion, clip = from_release(released), f"start {start}" if released.clip is None else released.clip
            mass = motion.mass if motion.mass is not None else REFERENCE_MASS
            points = represent(representation, subject, motion.q)
            dynamics = motion.angular_momentum[:-1], motion.contact_force[:-1]
            yield Sequence(f"{number:06d}", clip, subject.digest, mass, points, *dynamics)

    files = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in Path(path).glob("*.pkl"))
    identity = json.dumps([str(path), files, representation, subject.digest, _ALIKE])
    return pack(sequences(), hashlib.sha256(identity.encode()).hexdigest(), 1.0 / FPS, folder, representation)


def same_start(first: np.ndarray) -> np.ndarray:
    """Number of the group (N,) of each sequence by its joints in the first frame (N, 24, 3), m, world axes.

    Whatever begins within 2 cm of each other, rms over the joints, is in one group, and so is what links them: too
    large a group costs test data, too small a one would let a clip be on both sides of a split.
    """
    count = len(first)
    pairs = cKDTree(first.reshape(count, -1)).query_pairs(_ALIKE * NUM_BODIES**0.5, output_type="ndarray")
    linked = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(linked, directed=False)[1]
