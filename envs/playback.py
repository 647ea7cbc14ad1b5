"""What a recorded sequence was to follow: its clip, read again and put on its person again."""

from typing import NamedTuple

import jax
import numpy as np

from envs.people import PeopleConfig, make_bodies
from envs.studio import make_subjects
from envs.world import CONTROL_HZ
from imdy_jax.body.person import Body
from imdy_jax.dataset.record import Record, body_points
from imdy_jax.metrics import joint_position_error
from imdy_jax.motion.clip import Clip, generalized_positions
from imdy_jax.motion.load import list_motions, load_clips

_SLACK = 0.01, 1e-4  # mm, and share: rounding of the MPJPE where a sequence was simulated in single precision


class Followed(NamedTuple):
    """A record's person, and the motion that it was to do."""

    body: Body
    reference: np.ndarray  # (T+1, 99) q of the clip at the record's frames


def followed(records: list[Record], people: PeopleConfig) -> list[Followed]:
    """For each record its person and reference.

    people: as the records were made from them (envs.batches.people_of); the motions may have been moved.

    Raises:
      ValueError: a person is not of these people, a clip is not there or has changed since, or what it gives is not
        what was imitated, by the MPJPE of the record.
    """
    single = not records or records[0].precision == "float32"
    with jax.enable_x64(not single):
        bodies = make_bodies(people)
        known = {subject.digest: body for subject, body in zip(make_subjects(bodies), bodies, strict=True)}
        return [_followed(record, people, known) for record in records]


def _followed(record: Record, people: PeopleConfig, known: dict[str, Body]) -> Followed:
    body = known.get(record.subject.digest)
    if body is None:
        raise ValueError(
            f"{record.id}: its subject is {record.subject.digest}, expected one of {', '.join(sorted(known))}; name "
            "the imitator and the dataset's run folder that it was recorded with"
        )
    clip = reread(record, people, body)
    begun = record.provenance.start_frame
    reference = np.asarray(generalized_positions(clip, body))[begun : begun + len(record.q)]
    found = _position_error(record, reference)
    if not abs(found - record.position_error) <= _SLACK[0] + _SLACK[1] * record.position_error:
        raise ValueError(
            f"{record.id}: MPJPE against {clip.source} is {found:.2f} mm, expected the recorded "
            f"{record.position_error:.2f} mm; this version puts the clip on its person in another way: record it again"
        )
    return Followed(body, reference)


def reread(record: Record, people: PeopleConfig, body: Body) -> Clip:
    """The clip of a record, of the body; raises ValueError where it is not there or not what it was."""
    source = record.source
    names = [name for name in list_motions(people.motions) if source.name.startswith(name)]
    clips, bad = load_clips(people.motions, body, CONTROL_HZ, False, people.mirrored, people.speeds, names, people.up)
    clip = next((clip for clip in clips if clip.name == source.name), None)
    if clip is None:
        reason = bad[0].reason if bad else "no motion of that name"
        raise ValueError(
            f"{people.motions}: found no clip {source.name!r} ({reason}), expected what {record.id} was recorded "
            f"from, {source.path}; name the folder where it is now"
        )
    if clip.digest != source.digest:
        raise ValueError(
            f"{clip.source}: its sha256 is {clip.digest[:16]}…, expected {source.digest[:16]}…: it has changed since "
            f"{record.id} was recorded; put the old file back, or record it again"
        )
    return clip


def _position_error(record: Record, reference: np.ndarray) -> float:
    """mm, of the recorded motion against the reference; nan where they differ in length."""
    if len(reference) != len(record.q):
        return float("nan")
    joints = [body_points(record.subject, np.asarray(q))[0] for q in (record.q, reference)]
    return 1000.0 * joint_position_error(*joints)
