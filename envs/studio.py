"""Recording: an imitator plays motions, and a record of each is made behind it while it plays on."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import jax
import numpy as np

from envs.imitator import ImitatorConfig
from envs.planning import make_replay
from envs.recorder import make_recorder
from envs.search import SearchConfig, search
from envs.world import CONTROL_HZ, Cast, WorldConfig, deal_seats, playing_env, recording_parts
from imdy_jax import humanoid
from imdy_jax.body.person import Body
from imdy_jax.dataset.background import in_background
from imdy_jax.dataset.collect import Recorder, as_rollout, collect
from imdy_jax.dataset.record import (
    Provenance,
    Record,
    Subject,
    body_points,
    make_subject,
    record_rollout,
    sequence_id,
)
from imdy_jax.imitation.evaluate import ClipScore
from imdy_jax.imitation.policy import Trained
from imdy_jax.imitation.rollout import Rollout
from imdy_jax.motion.clip import Clip

Result = TypeVar("Result")
_Taken = tuple[int, Rollout, ClipScore]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Studio:
    """Everything a recording needs."""

    cast: Cast
    subjects: list[Subject]  # of the cast
    trained: Trained
    world: WorldConfig
    provenance: Provenance
    seats: int  # humanoids simulated side by side, at most about
    starts: np.ndarray | None = None  # frame at which each row begins; by default the first

    def identity(self, row: int) -> tuple[Subject, Clip, Provenance]:
        """Subject, clip and provenance of a row of the cast, known before it is simulated."""
        table, start = self.cast.table, 0 if self.starts is None else int(self.starts[row])
        mirrored = table.mirrored is not None and bool(table.mirrored[row])
        begun = replace(self.provenance, start_frame=start, in_mirror=mirrored)
        return self.subjects[self.cast.subjects[row]], self.cast.clips[row], begun

    def name(self, row: int) -> str:
        """Name of a row's sequence in a dataset."""
        subject, clip, provenance = self.identity(row)
        return sequence_id(clip, subject, provenance)

    def repeating(self, repetition: int, keep: int) -> tuple["Studio", np.ndarray]:
        """The studio of a further pass over the motions, and the rows of the cast that it plays (R,).

        The first pass begins each clip at its first frame, the others somewhere in its first half, each elsewhere
        (random_start), with at least `keep` control steps to go; a clip too short for that has no further pass.
        """
        starts = [
            random_start(clip, self.subjects[who], self.provenance.seed, repetition, keep)
            for clip, who in zip(self.cast.clips, self.cast.subjects, strict=True)
        ]
        again = replace(
            self,
            provenance=replace(self.provenance, repetition=repetition),
            starts=np.array([start or 0 for start in starts]),
        )
        return again, np.flatnonzero([start is not None for start in starts])

    def searching(self, config: SearchConfig) -> "Studio":
        """The same studio with a search helping the policy: its sequences have names of their own."""
        return replace(self, provenance=replace(self.provenance, particles=config.plan.particles))

    def search(
        self, rows: Sequence[int], config: SearchConfig, use: Callable[[int, Record], Result]
    ) -> Iterator[Result]:
        """use(row, record) of each row through which a search (envs.search) finds a way to the end."""
        cast, replays = self.cast, {}
        for row, found, _ in search(cast, self.world, config, self.trained, rows, self.provenance.seed, record=True):
            who = int(cast.subjects[row])
            if found is None:
                continue
            if who not in replays:
                replays = {who: make_replay(playing_env(cast, self.world, np.array([who]), record=True))}
            person = jax.tree.map(lambda x, k=who: np.asarray(x[k]), cast.humanoids)
            played = replays[who](row, found.target[: cast.lengths[row] - 1])
            rollout, score = as_rollout(played, person)
            yield use(row, record_rollout(rollout, *self.identity(row), score.success))

    def prepare(self, rows: np.ndarray) -> "Session":
        """Get ready to record rows of the cast; compiles what has not been compiled for as many humanoids before."""
        subjects, queues = deal_seats(self.cast, rows, self.seats)
        body_points(self.subjects[0], np.asarray(self.cast.table.q[:1]))  # compiles what every record calls
        tracker, physics = recording_parts(self.cast, self.world, subjects)
        return Session(self, make_recorder(self.trained, tracker, physics), subjects, queues)


@dataclass(frozen=True)
class Session:
    """A recording that can begin."""

    studio: Studio
    recorder: Recorder
    subjects: np.ndarray
    queues: dict[int, list[int]]

    def only(self, studio: Studio, rows: np.ndarray) -> "Session":
        """Some of the rows, perhaps of another pass, in the same seats: as many humanoids give the same bits."""
        idle: dict[int, list[int]] = {subject: [] for subject in self.queues}
        queues = idle | deal_seats(studio.cast, rows, studio.seats)[1]
        return replace(self, studio=studio, queues=queues)

    def play(self, use: Callable[[int, Record], Result], advance: Callable[[float], None]) -> Iterator[Result]:
        """use(row, record) of each row, up to where it is lost; in a thread, while others are still being played.

        advance: told of the seconds of motion as they are done.
        """
        cast = self.studio.cast
        played = collect(
            self.recorder, self.subjects.tolist(), self.queues, cast.lengths,
            lambda steps: advance(steps / CONTROL_HZ), self.studio.starts,
        )  # fmt: skip

        def finish(taken: _Taken) -> Result:
            row, rollout, score = taken
            return use(row, record_rollout(rollout, *self.studio.identity(row), score.success))

        yield from in_background(finish, filter(self._lasts, played))

    def _lasts(self, taken: _Taken) -> bool:
        row, _, score = taken
        if not score.frames:
            logger.warning("left out: %s fails at its first step", self.studio.cast.clips[row].name)
        return score.frames > 0


def make_studio(cast: Cast, trained: Trained, imitator: ImitatorConfig, substeps: int, seats: int) -> Studio:
    """The studio of a trained imitator, with a number of physics substeps of its own."""
    on_cpu = {"c": True, "auto": jax.default_backend() == "cpu"}.get(imitator.world.engine, False)
    provenance = Provenance(
        policy=trained.digest,
        seed=imitator.seed,
        repetition=0,
        start_frame=0,
        engine="mujoco" if on_cpu else "mjx",
        timestep=1 / (CONTROL_HZ * substeps),
        substeps=substeps,
        guided=cast.guide is not None,
    )
    world = replace(imitator.world, substeps=substeps)
    return Studio(cast, make_subjects(cast.bodies), trained, world, provenance, seats)


def make_subjects(bodies: list[Body]) -> list[Subject]:
    """People as a dataset knows them."""
    people = humanoid.stack([humanoid.from_body(body) for body in bodies])
    return [make_subject(jax.tree.map(lambda x, k=k: x[k], people), body) for k, body in enumerate(bodies)]


def random_start(clip: Clip, subject: Subject, seed: int, repetition: int, keep: int) -> int | None:
    """Frame at which a pass begins a clip: the first in pass 0, in each other one a new one of the first half.

    A function of the arguments alone. keep: control steps that are left after it. None where all have been used.
    """
    if repetition == 0:
        return 0
    last = clip.num_frames - 1
    identity = json.dumps([seed, clip.name, clip.digest, subject.digest])
    draw = np.random.default_rng(int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8]))
    choices = 1 + draw.permutation(max(min(last // 2, last - keep), 0))
    return int(choices[repetition - 1]) if repetition <= len(choices) else None
