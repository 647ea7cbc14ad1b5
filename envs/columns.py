"""Training of columns, one after the other, and of what composes them; it goes on wherever it was interrupted."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from envs.composing import informed_composer
from envs.fall_judges import training_falls
from envs.imitator import COMPOSER, ImitatorConfig, column_name, load_policy, publish
from envs.scoreboard import Scoreboard, summary
from envs.world import Cast, WorldConfig, playing_env, training_env
from imdy_jax.checkpoints import Checkpoints
from imdy_jax.imitation.best import Best
from imdy_jax.imitation.evaluate import ClipScore, make_judge
from imdy_jax.imitation.mining import (
    AFAR,
    ALL,
    FILE,
    Column,
    Curriculum,
    Judged,
    MiningConfig,
    judge,
    mine,
    read_curriculum,
    reason_to_freeze,
    write_curriculum,
)
from imdy_jax.imitation.policy import Trained
from imdy_jax.imitation.train import Method, reinforcement, train
from imdy_jax.run import RunFolder, read_metrics


class Course(NamedTuple):
    """What the columns are trained on, and where they are kept."""

    cast: Cast
    config: ImitatorConfig
    folder: RunFolder

    @property
    def names(self) -> list[str]:
        """A name of each row of the cast that tells it from the others."""
        many = len(self.cast.bodies) > 1
        pairs = zip(self.cast.clips, self.cast.subjects, strict=True)
        return [f"{clip.name}, subject {subject}" if many else clip.name for clip, subject in pairs]

    def board(self, run: RunFolder, label: str, rows: np.ndarray) -> Scoreboard:
        """Scoreboard of a policy that plays rows of the cast."""
        title = f"{label} on {len(rows)} of {len(self.cast.clips)} clips"
        return Scoreboard(run, [self.names[row] for row in rows], title, self.config.world.task.recovery.share > 0)


def train_columns(course: Course, begin: Trained | None = None) -> list[Trained]:
    """Columns, each trained on what the one before it does not follow, until nothing is left or there are enough.

    begin: what the first column begins with. The curriculum is kept in the run folder after every evaluation.
    """
    config, path = course.config, course.folder.path
    curriculum: Curriculum | None = read_curriculum(path, course.names)
    columns: list[Trained] = []
    while curriculum is not None:
        number = len(columns)
        own = replace(config, mining=MiningConfig(), seed=config.seed + number)
        own = replace(own, world=column_world(own.world, curriculum.columns[number].kind, config.mining))
        if curriculum.columns[number].frozen:
            columns.append(load_policy(RunFolder.open(path / column_name(number)), own))
        else:
            run = RunFolder.create(path / column_name(number), own, own.seed, resume=True)
            inherited = begin if not columns else columns[curriculum.ancestor] if config.mining.inherit else None
            trained, curriculum = _train_column(course, own, run, curriculum, inherited)
            columns.append(trained)
        if len(columns) == len(curriculum.columns):
            curriculum = mine(curriculum, config.mining)
            if curriculum is not None:
                write_curriculum(path, curriculum)
    return columns


def column_world(world: WorldConfig, kind: str, mining: MiningConfig) -> WorldConfig:
    """The world of a column of a kind. The ways of hard clips may lead away from the reference before they lead back to
    it, and what is followed from afar has to feel more of a difference when it comes closer."""
    task, scales = world.task, world.task.scales
    if kind == ALL:
        return world
    if kind == AFAR:
        scales = replace(scales, position=max(scales.position, mining.position_scale))
    return replace(world, task=replace(task, stray_limit=max(task.stray_limit, mining.stray_limit), scales=scales))


def adopt(course: Course, paths: Sequence[str]) -> None:
    """Make the policies of other run folders the frozen columns of this one, where it has none yet.

    Where more columns are to be mined, each is judged by all clips: the next one's are hard for all of them.
    """
    rows, folder = tuple(range(len(course.names))), course.folder.path
    if (folder / FILE).exists():
        return
    for number, path in enumerate(paths):
        partial, column = folder / "adopted.partial", folder / column_name(number)
        shutil.rmtree(partial, ignore_errors=True)
        publish(path, str(partial))
        shutil.rmtree(column, ignore_errors=True)
        partial.rename(column)
    columns = [Column(rows, frozen=f"trained apart, {Path(path).name}") for path in paths]
    if len(paths) < course.config.mining.columns:
        cast, config = course.cast, course.config
        play = make_judge(playing_env(cast, config.world, cast.subjects), np.array(rows), cast.lengths)
        policies = [load_policy(RunFolder.open(folder / column_name(k)), config) for k in range(len(paths))]
        judged = [judged_by(play(trained), rows, config.mining, 0.0, 0) for trained in policies]
        columns = [replace(column, best=best) for column, best in zip(columns, judged, strict=True)]
    write_curriculum(folder, Curriculum(tuple(course.names), tuple(columns)))


def judged_by(
    scores: list[ClipScore], rows: Sequence[int], mining: MiningConfig, minutes: float, samples: int,
    down: float = 0.0,
) -> Judged:  # fmt: skip
    """The evaluation in which rows of the cast had these scores; down: falls that were not got up from."""
    pairs = list(zip(rows, scores, strict=True))
    failed = tuple(int(row) for row, s in pairs if not s.success)
    afar = tuple(int(row) for row, s in pairs if s.success and s.mpjpe > mining.afar)
    return Judged(minutes, samples, failed, summary(scores)[1], afar, down)


def train_composer(course: Course, columns: list[Trained], player: np.ndarray) -> Trained:
    """What weighs the columns' actions at every moment, trained on all clips.

    player (R,): number of the column that plays each row of the cast best, which the composer begins with.
    """
    cast, config, mining = course.cast, course.config, course.config.mining
    run = RunFolder.create(course.folder.path / COMPOSER, config, config.seed, resume=True)
    everything = np.arange(len(cast.clips))
    board = course.board(run, f"Composer of {len(columns)} columns", everything)
    env, ppo = training_env(cast, config.world, config.num_envs), config.train.ppo
    begin = None
    if Checkpoints(run.path / "checkpoints").latest_step() is None:
        key = jax.random.PRNGKey(config.seed)
        begin = informed_composer(env, columns, player, _riser(course, len(columns)), ppo, key)
    learning = reinforcement(env, ppo, begin, columns)
    lasting = replace(config, train=replace(config.train, minutes=mining.compose_minutes))

    def assess(judged: Judged, best: Judged, scores: list[ClipScore]) -> bool:
        board.add(judged, scores)
        return False

    _train_assessed(learning, course, lasting, run, everything, assess, begin)
    return load_policy(run, config, columns)


def _riser(course: Course, count: int) -> int | None:
    """Number of the column that has learnt to get up, where one has, others have not, and who has fallen is led."""
    if not course.config.world.task.recovery.led:
        return None
    folders = [RunFolder.open(course.folder.path / column_name(number)) for number in range(count)]
    rising = [folder.config(ImitatorConfig).world.task.recovery.share > 0 for folder in folders]
    return rising.index(True) if 0 < sum(rising) < count else None


def _train_column(
    course: Course, own: ImitatorConfig, run: RunFolder, curriculum: Curriculum, begin: Trained | None
) -> tuple[Trained, Curriculum]:
    """The last column of the curriculum, frozen, and the curriculum that says so."""
    column, mining, path = curriculum.columns[-1], course.config.mining, course.folder.path
    rows = np.array(column.clips)
    board = course.board(run, f"Column {len(curriculum.columns) - 1}", rows)
    learning = reinforcement(training_env(course.cast, own.world, own.num_envs, rows), own.train.ppo, begin)

    def assess(judged: Judged, best: Judged, scores: list[ClipScore]) -> bool:
        nonlocal column
        column = judge(column, judged, best)
        write_curriculum(path, curriculum.with_last(column))
        board.add(judged, scores)
        return bool(reason_to_freeze(column, mining))

    _train_assessed(learning, course, own, run, rows, assess)
    column = replace(column, frozen=reason_to_freeze(column, mining) or "its time is used up")
    print(f"{column_name(len(curriculum.columns) - 1)} is frozen: {column.frozen}", flush=True)
    curriculum = curriculum.with_last(column)
    write_curriculum(path, curriculum)
    return load_policy(run, own), curriculum


def _train_assessed(
    learning: Method, course: Course, own: ImitatorConfig, run: RunFolder, rows: np.ndarray,
    assess: Callable[[Judged, Judged, list[ClipScore]], bool], begin: Trained | None = None,
) -> None:  # fmt: skip
    """Train, with an evaluation on rows of the cast every so many minutes and at the end, of which the best is kept;
    and one before, of what it begins with, where that is given.

    assess is told of each, of the best so far and of the clips' scores, and may call it a day.
    """
    cast, best = course.cast, Best(run)
    play = make_judge(playing_env(cast, own.world, cast.subjects[rows]), rows, cast.lengths[rows])
    falls = training_falls(cast, own.world, rows, own.seed)
    done = set()

    def at_milestone(minutes: float, trained: Trained, samples: int) -> bool:
        done.add(samples)
        scores = play(trained)
        down = len(rows) * (1.0 - falls(trained)) if falls else 0.0
        judged = judged_by(scores, rows, course.config.mining, minutes, samples, down)
        return assess(judged, best.offer(samples // learning.samples, trained, judged), scores)

    if begin is not None:
        at_milestone(0.0, begin, 0)
    every = course.config.mining.evaluate_every
    trained = train(learning, own.train, run, own.seed, (), at_milestone, every=every)
    last = (read_metrics(run.path / "metrics.jsonl") or [{"seconds": 0.0, "samples": 0}])[-1]
    if last["samples"] not in done:
        at_milestone(last["seconds"] / 60, trained, last["samples"])
