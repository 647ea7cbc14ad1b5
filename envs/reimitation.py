"""Re-imitation, the paper's baseline: imitate a recorded motion once more, and read torques and forces off that."""

from dataclasses import replace

import numpy as np

from envs.studio import Studio
from envs.world import CONTROL_HZ, make_cast
from imdy_jax.dataset.certify import certified_ids
from imdy_jax.dataset.record import Record
from imdy_jax.dataset.store import Dataset, read_record
from imdy_jax.motion.clip import Clip, from_generalized_positions
from imdy_jax.solver.evaluate import Dynamics


def reimitate(dataset: Dataset, studio: Studio, own: bool = False) -> dict[str, Dynamics]:
    """Torques and forces of imitating every certified sequence once more, by sequence.

    own: leave out the sequences that another policy than the studio's has recorded.
    """
    bodies, digests = studio.cast.bodies, [subject.digest for subject in studio.subjects]
    clips: list[list[Clip]] = [[] for _ in bodies]
    for name in certified_ids(dataset):
        record = read_record(dataset, name)
        if own and record.provenance.policy != studio.trained.digest:
            continue
        if record.subject.digest in digests:
            who = digests.index(record.subject.digest)
            clips[who].append(from_generalized_positions(record.q, bodies[who], CONTROL_HZ, record.id))
    if own and not any(clips):
        return {}
    cast = make_cast(bodies, clips)
    session = replace(studio, cast=cast, shortest=1).prepare(np.arange(len(cast.clips)))
    return dict(session.play(lambda row, record: (cast.clips[row].name, _padded(record, cast.lengths[row] - 1))))


def _padded(record: Record, steps: int) -> Dynamics:
    """The 30 Hz view over all steps of the sequence, NaN after the imitation failed."""
    fill = lambda x: np.concatenate([x, np.full((steps - len(x), *x.shape[1:]), np.nan, x.dtype)])  # noqa: E731
    return Dynamics(fill(np.asarray(record.angular_momentum)), fill(np.asarray(record.contact_force)))
