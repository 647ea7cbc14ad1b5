"""The sequences of the published ImDy release, packed for the solver as those of a dataset are."""

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.body.person import Body
from imdy_jax.dataset.record import make_subject
from imdy_jax.dataset.release import FPS, from_release, read_release
from imdy_jax.humanoid import REFERENCE_MASS, from_body
from imdy_jax.solver.pack import PackedDataset, Sequence, pack
from imdy_jax.solver.representation import Name, represent

logger = logging.getLogger(__name__)


def is_release(path: str | Path) -> bool:
    """Whether a folder has the release's files."""
    return (Path(path) / "pos.pkl").exists()


def pack_release(
    path: str | Path, folder: str | Path, representation: Name = "markers", body: Body | None = None
) -> PackedDataset:
    """Pack a release. Sequences that are damaged are logged and left out.

    The release has one body, of SMPL's mean shape, and its files do not carry it: joints and markers are those of
    `body`, by default the embedded neutral one. Where there is no weight, it is PHC's humanoid's. Every sequence counts
    as a clip of its own, since the release does not say which motion was imitated: a clip that was imitated thrice may
    be on both sides of a split.

    Raises ValueError as read_release does, or where no sequence is sound.
    """
    body = body or anthropometric_body()
    subject = make_subject(from_body(body), body)

    def sequences() -> Iterator[Sequence]:
        kept = 0
        for released in read_release(path, lambda error: logger.warning("left out: %s", error)):
            motion, name = from_release(released), f"{kept:06d}"
            mass = motion.mass if motion.mass is not None else REFERENCE_MASS
            points = represent(representation, subject, motion.q)
            yield Sequence(
                name, name, subject.digest, mass, points, motion.angular_momentum[:-1], motion.contact_force[:-1]
            )
            kept += 1
        if not kept:
            raise ValueError(f"{path}: holds no sound sequence, expected some; get the release again")

    files = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in Path(path).glob("*.pkl"))
    identity = json.dumps([str(path), files, representation, subject.digest])
    return pack(sequences(), hashlib.sha256(identity.encode()).hexdigest(), 1.0 / FPS, folder, representation)
