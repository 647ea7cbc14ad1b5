"""Building the imitation task from people and motions."""

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from envs.guide import Guide
from envs.imitation import ImitationEnv
from envs.make_physics import make_physics
from envs.physics import Physics
from envs.pushes import PushConfig
from envs.recovery import RecoveryConfig
from envs.reference import ReferenceTable, build_table, padded, standard
from envs.task import TaskConfig
from envs.tracker import Tracker
from imdy_jax import humanoid
from imdy_jax.body.person import Body
from imdy_jax.humanoid import Humanoid
from imdy_jax.imitation.sharding import spread
from imdy_jax.motion.clip import Clip, generalized_positions

CONTROL_HZ = 30.0


@dataclass(frozen=True)
class WorldConfig:
    """How the world is simulated."""

    engine: str = "auto"  # c, mjx or warp; auto takes MJX where there is a GPU or TPU
    substeps: int = 2  # physics substeps per control step of 1/30 s
    task: TaskConfig = field(default_factory=TaskConfig)


class Cast(NamedTuple):
    """Who imitates what: row r of the table is clip clips[r] played by subject subjects[r]."""

    bodies: list[Body]
    humanoids: Humanoid  # leaves (S, ...)
    clips: list[Clip]
    subjects: np.ndarray  # (R,)
    table: ReferenceTable
    guide: Guide | None = None  # what leads through the clips, where that is known

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each row (R,)."""
        return np.asarray(self.table.length)


def make_cast(bodies: list[Body], clips: list[list[Clip]], task: TaskConfig | None = None) -> Cast:
    """The cast of S subjects, each with its own list of clips, already fitted to its body and at 30 fps.

    task: what they are to do; where it is not told yet, the table has all that any task may ask for.
    Raises ValueError if there is nothing to imitate or a clip is not at the control rate.
    """
    rows = [(s, clip) for s, own in enumerate(clips) for clip in own]
    if not rows:
        raise ValueError("no motion to imitate: every clip was rejected, or the folder holds none")
    for _, clip in rows:
        if clip.fps != CONTROL_HZ:
            raise ValueError(f"{clip.source}: {clip.fps} fps, expected {CONTROL_HZ}; resample it first")
    people = humanoid.stack([humanoid.from_body(body) for body in bodies])
    subjects = np.array([s for s, _ in rows])
    trajectories = [np.asarray(generalized_positions(clip, bodies[s]), np.float64) for s, clip in rows]
    feedforward = task is None or (task.feedforward and not task.balance)
    table = build_table(_take(people, subjects), trajectories, CONTROL_HZ, feedforward)
    return Cast(bodies, people, [clip for _, clip in rows], subjects, table)


def training_env(cast: Cast, config: WorldConfig, num_envs: int, rows: np.ndarray | None = None) -> ImitationEnv:
    """num_envs environments, the subjects dealt out in turn, each free to play any clip of its subject.

    rows: of the cast, all of them by default; only these are played, and only by the subjects that have some.
    """
    rows = np.arange(len(cast.clips)) if rows is None else np.asarray(rows)
    players = np.unique(cast.subjects[rows])
    subject = players[np.arange(num_envs) % len(players)]
    own = {s: rows[cast.subjects[rows] == s] for s in players}
    most = max(len(clips) for clips in own.values())
    choices = np.stack([np.resize(own[s], most) for s in subject])
    physics = make_physics(_take(cast.humanoids, subject), config.engine, config.substeps)
    return ImitationEnv(physics, cast.table, config.task, choices, cast.guide)


def training_mesh(env: ImitationEnv) -> Mesh | None:
    """All devices, to share the environments; None where there is one, or where the engine steps them in one call.

    MuJoCo's C engine does: its threads have all cores of the machine already, and to it every environment has to come
    to the host, whichever device it lies on. Raises ValueError where the environments have no equal shares.
    """
    return spread(env.num_envs) if env.physics.partitioned else None


def playing_env(
    cast: Cast, config: WorldConfig, subjects: np.ndarray, record: bool = False,
    recovery: RecoveryConfig = RecoveryConfig(),
) -> ImitationEnv:  # fmt: skip
    """One environment for each of the subjects (N,), with no episode ended for straying: for evaluating, recording.

    Nobody is pushed but by its step, and nobody lies but as recovery says.
    """
    physics = make_physics(_take(cast.humanoids, subjects), config.engine, config.substeps, record)
    task = replace(config.task, stray_limit=float("inf"), recovery=recovery, push=PushConfig())
    return ImitationEnv(physics, cast.table, task, guide=cast.guide)


def recording_parts(cast: Cast, config: WorldConfig, subjects: np.ndarray) -> tuple[Tracker, Physics]:
    """What envs.playback records with: the subjects (N,) with all motions, and the physics that they are in."""
    physics = make_physics(_take(cast.humanoids, subjects), config.engine, config.substeps, record=True)
    return Tracker(physics.humanoid, padded(cast.table), cast.guide, config.task), physics


def deal_seats(cast: Cast, rows: np.ndarray, seats: int) -> tuple[np.ndarray, dict[int, list[int]]]:
    """Share out at most about `seats` environments, each for one subject, over those who play rows of the cast.

    Returns the subject of each environment (N,), and the rows that each subject plays, the longest clips first. Where
    they take turns at whatever is next, no environment waits long for another: there are only as many as have
    something to do for the time of the longest clip, and a few more, so that many casts have as many (standard).
    """
    queues = {int(s): rows[cast.subjects[rows] == s] for s in np.unique(cast.subjects[rows])}
    queues = {s: own[np.argsort(-cast.lengths[own], kind="stable")] for s, own in queues.items()}
    frames = {s: cast.lengths[own].sum() for s, own in queues.items()}
    together = max(cast.lengths[rows].max(), sum(frames.values()) / seats)
    busy = sum(min(len(own), math.ceil(frames[s] / together)) for s, own in queues.items())
    dealt = dict.fromkeys(queues, 1)
    for _ in range(standard(min(busy, max(seats, len(queues)))) - len(queues)):
        dealt[max(queues, key=lambda s: frames[s] / dealt[s] if dealt[s] < len(queues[s]) else 0.0)] += 1
    return np.repeat(list(dealt), list(dealt.values())), {s: own.tolist() for s, own in queues.items()}


def _take(humanoids: Humanoid, index: np.ndarray) -> Humanoid:
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[index]), humanoids)
