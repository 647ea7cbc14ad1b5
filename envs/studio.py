"""Recording: an imitator plays motions, and a record of each is made behind it while it plays on."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import jax
import numpy as np

from envs.imitator import ImitatorConfig
from envs.planning import make_replay
from envs.search import SearchConfig, search
from envs.world import CONTROL_HZ, Cast, WorldConfig, deal_seats, playing_env
from imdy_jax.dataset.background import in_background
from imdy_jax.dataset.collect import Recorder, as_rollout, collect, make_recorder
from imdy_jax.dataset.record import (
    Provenance,
    Record,
    Subject,
    body_points,
    make_subject,
    record_rollout,
    sequence_id,
)
from imdy_jax.imitation.evaluate import ClipScore, evaluate_together
from imdy_jax.imitation.policy import Trained
from imdy_jax.imitation.rollout import Rollout
from imdy_jax.motion.clip import Clip
from imdy_jax.report import Progress

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
    shortest: int  # control steps: what fails earlier is left out

    def identity(self, row: int) -> tuple[Subject, Clip, Provenance]:
        """Subject, clip and provenance of a row of the cast, known before it is simulated."""
        return self.subjects[self.cast.subjects[row]], self.cast.clips[row], self.provenance

    def name(self, row: int) -> str:
        """Name of a row's sequence in a dataset."""
        subject, clip, provenance = self.identity(row)
        return sequence_id(clip, subject, provenance)

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
            humanoid = jax.tree.map(lambda x, k=who: np.asarray(x[k]), cast.humanoids)
            played = replays[who](row, found.target[: cast.lengths[row] - 1])
            rollout, score = as_rollout(played, humanoid)
            yield use(row, record_rollout(rollout, *self.identity(row), score.success))

    def prepare(self, rows: np.ndarray) -> "Session":
        """Compile the recording of rows of the cast."""
        subjects, queues = deal_seats(self.cast, rows, self.seats)
        env = playing_env(self.cast, self.world, subjects, record=True)
        body_points(self.subjects[0], np.asarray(self.cast.table.q[:1]))  # compiles what every record calls
        return Session(self, rows, make_recorder(self.trained, env, env.physics.humanoid), subjects, queues)


@dataclass(frozen=True)
class Session:
    """A recording that can begin."""

    studio: Studio
    rows: np.ndarray
    recorder: Recorder
    subjects: np.ndarray
    queues: dict[int, list[int]]

    def play(self, use: Callable[[int, Record], Result]) -> Iterator[Result]:
        """use(row, record) of each row that lasts; it runs in a thread, while others are still being played."""
        cast = self.studio.cast
        motion = float(np.sum(cast.lengths[self.rows] - 1)) / CONTROL_HZ

        def finish(taken: _Taken) -> Result:
            row, rollout, score = taken
            return use(row, record_rollout(rollout, *self.studio.identity(row), score.success))

        with Progress(motion, "imitating", "s of motion") as progress:
            played = collect(
                self.recorder, self.subjects.tolist(), self.queues, cast.lengths,
                lambda steps: progress.advance(steps / CONTROL_HZ),
            )  # fmt: skip
            yield from in_background(finish, filter(self._lasts, played))

    def _lasts(self, taken: _Taken) -> bool:
        row, _, score = taken
        if score.frames < self.studio.shortest:
            logger.warning("left out: %s fails after %d steps", self.studio.cast.clips[row].name, score.frames)
        return score.frames >= self.studio.shortest


def make_studio(
    cast: Cast, trained: Trained, imitator: ImitatorConfig, substeps: int, seats: int, shortest: int
) -> Studio:
    """The studio of a trained imitator, with a number of physics substeps of its own."""
    people = [jax.tree.map(lambda x, k=k: x[k], cast.humanoids) for k in range(len(cast.bodies))]
    on_cpu = imitator.world.engine in ("c", "auto") and jax.default_backend() == "cpu"
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
    subjects = [make_subject(person, body) for person, body in zip(people, cast.bodies, strict=True)]
    return Studio(cast, subjects, trained, replace(imitator.world, substeps=substeps), provenance, seats, shortest)


def share_out(studios: Sequence[Studio]) -> list[np.ndarray]:
    """Rows of the cast for each of several studios: a clip goes to the first whose policy follows it to the end.

    What none follows goes to the one that follows it longest.
    """
    cast, world = studios[0].cast, studios[0].world
    if len(studios) == 1:
        return [np.arange(len(cast.clips))]
    env = playing_env(cast, world, cast.subjects)
    _, who = evaluate_together([studio.trained for studio in studios], env, cast.lengths)
    return [np.flatnonzero(who == number) for number in range(len(studios))]
