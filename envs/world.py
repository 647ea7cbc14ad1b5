"""Building the imitation task from people and motions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from envs.guide import Guide
from envs.imitation import ImitationEnv
from envs.jitter import JitterConfig, with_jitter
from envs.make_physics import make_physics
from envs.physics import Physics
from envs.pushes import PushConfig
from envs.recovery import RecoveryConfig
from envs.reference import ReferenceTable, build_table, padded, standard
from envs.switching import SwitchConfig
from envs.task import TaskConfig
from envs.tracker import Tracker
from imdy_jax import humanoid
from imdy_jax.body.person import Body
from imdy_jax.files import check_least
from imdy_jax.humanoid import Humanoid
from imdy_jax.imitation.evaluate import FAILURE_DISTANCE
from imdy_jax.imitation.sharding import spread
from imdy_jax.motion.clip import Clip, generalized_positions
from imdy_jax.motion.resample import is_mirror_image

CONTROL_HZ = 30.0


@dataclass(frozen=True)
class WorldConfig:
    """How the world is simulated."""

    engine: str = "auto"  # c, mjx or warp; auto takes MJX where there is a GPU or TPU
    substeps: int = 2  # physics substeps per control step of 1/30 s
    jitter: JitterConfig = JitterConfig()  # of what humanoids are told of their references
    task: TaskConfig = field(default_factory=TaskConfig)

    def __post_init__(self) -> None:
        check_least(self, "world.", substeps=1)


class Cast(NamedTuple):
    """Who imitates what: row r of the table is clip clips[r] played by subject subjects[r]."""

    bodies: list[Body]
    humanoids: Humanoid  # leaves (S, ...)
    clips: list[Clip]
    subjects: np.ndarray  # (R,)
    table: ReferenceTable
    guide: Guide | None = None  # what leads through the clips, where that is known
    told: ReferenceTable | None = None  # takes of the table, one after the other, that humanoids are told in its place

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


def in_mirror(cast: Cast, motions: Sequence[str]) -> Cast:
    """The cast whose rows are followed in a mirror where their motions (R,), by name, are mirror images of others.

    So a policy follows the mirror image of all that it follows, whether it has learnt that or not.
    """
    mirrored = np.array([is_mirror_image(name) for name in motions])
    return cast._replace(table=replace(cast.table, mirrored=jnp.asarray(mirrored) if mirrored.any() else None))


def jittered(cast: Cast, config: JitterConfig) -> Cast:
    """The cast whose humanoids are told their references with noise; rewarded and judged is the motion itself."""
    if not config.on:
        return cast
    table = cast.table
    noisy = with_jitter(np.split(np.asarray(table.q), np.asarray(table.start)[1:]), CONTROL_HZ, config)
    players = _take(cast.humanoids, np.tile(cast.subjects, config.takes))
    told = build_table(players, noisy, CONTROL_HZ, table.feedforward is not None)
    mirrored = None if table.mirrored is None else jnp.tile(table.mirrored, config.takes)
    return cast._replace(told=replace(told, mirrored=mirrored))


def training_env(cast: Cast, config: WorldConfig, num_envs: int, rows: np.ndarray | None = None) -> ImitationEnv:
    """num_envs environments, the subjects dealt out in turn, each free to play any clip of its subject.

    Several processes (jax.distributed) share them, and step them together.
    rows: of the cast, all of them by default; only these are played, and only by the subjects that have some.
    """
    rows = np.arange(len(cast.clips)) if rows is None else np.asarray(rows)
    players = np.unique(cast.subjects[rows])
    subject = players[np.arange(num_envs) % len(players)]
    physics = make_physics(_take(cast.humanoids, subject), config.engine, config.substeps, shared=True)
    return ImitationEnv(physics, cast.table, config.task, own_clips(cast, rows, subject), cast.guide, cast.told)


def training_mesh(env: ImitationEnv) -> Mesh | None:
    """The devices of all processes, to share the environments; None where there is one.

    With MuJoCo's C engine each process has one device: the engine's threads have all cores of the machine already, and
    to it every environment has to come to the host, whichever device it lies on. Raises ValueError where the
    environments have no equal shares.
    """
    return spread(env.num_envs, env.physics.devices)


def playing_env(
    cast: Cast, config: WorldConfig, subjects: np.ndarray, record: bool = False,
    recovery: RecoveryConfig = RecoveryConfig(),
) -> ImitationEnv:  # fmt: skip
    """One environment for each of the subjects (N,), with no episode ended for straying: for evaluating, recording.

    Nobody is pushed but by its step, nobody lies but as recovery says, and all keep to their clips. Who is led up goes
    on with others, and where falls are harvested is led anew from where it fails, by the measure of the evaluation.
    """
    physics = make_physics(_take(cast.humanoids, subjects), config.engine, config.substeps, record)
    limit = FAILURE_DISTANCE if recovery.led and recovery.harvest else float("inf")
    task = _undisturbed(config.task, stray_limit=limit, recovery=recovery)
    choices = own_clips(cast, np.arange(len(cast.clips)), subjects) if recovery.led else None
    return ImitationEnv(physics, cast.table, task, choices, cast.guide, cast.told)


def switching_env(cast: Cast, config: WorldConfig, subjects: np.ndarray, rate: float) -> ImitationEnv:
    """One environment for each of the subjects (N,), who change to another of their clips so often, per second, and
    start elsewhere once they have failed, by the measure of the evaluation. When that is does not depend on who plays.
    """
    switch, starts = replace(config.task.switch, rate=rate), replace(config.task.starts, floor=1.0)
    task = _undisturbed(config.task, stray_limit=FAILURE_DISTANCE, switch=switch, starts=starts)
    physics = make_physics(_take(cast.humanoids, subjects), config.engine, config.substeps)
    choices = own_clips(cast, np.arange(len(cast.clips)), subjects)
    return ImitationEnv(physics, cast.table, task, choices, cast.guide, cast.told)


def recording_parts(cast: Cast, config: WorldConfig, subjects: np.ndarray) -> tuple[Tracker, Physics]:
    """What envs.recorder records with: the subjects (N,) with all motions, and the physics that they are in."""
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


def _undisturbed(task: TaskConfig, **changes: Any) -> TaskConfig:
    """The task without falls, pushes and changes of clip, but for what is asked for."""
    still: dict[str, Any] = {"recovery": RecoveryConfig(), "push": PushConfig(), "switch": SwitchConfig()}
    return replace(task, **(still | changes))


def own_clips(cast: Cast, rows: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """Those of the rows that each of the subjects (N,) plays (N, K); who has fewer than others has some twice."""
    own = {s: rows[cast.subjects[rows] == s] for s in np.unique(subjects)}
    most = max(len(clips) for clips in own.values())
    return np.stack([np.resize(own[s], most) for s in subjects])


def _take(humanoids: Humanoid, index: np.ndarray) -> Humanoid:
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[index]), humanoids)
