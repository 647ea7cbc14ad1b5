"""Train a policy that imitates motions, and say how well it does.

    python experiments/train_imitator.py                                    # the built-in motions
    python experiments/train_imitator.py --config.people.motions my_clips   # a folder of motion files
    python experiments/train_imitator.py --config.teach.minutes 15          # learn from a search to begin with
    python experiments/train_imitator.py --config.guide                     # or be guided by one all the time
    python experiments/train_imitator.py --config.mining.columns 3          # columns for what the first does not follow
    python experiments/train_imitator.py --columns runs/a runs/b            # compose policies that were trained apart
    python experiments/train_imitator.py --from-pretrained pretrained/imitator-clips   # go on from another's policy
    python experiments/train_imitator.py --resume                           # go on after an interruption
    python experiments/train_imitator.py --processes 2 --process 0 --coordinator host:4567   # one of two, on two hosts

The run folder then holds what experiments/generate.py needs. Every evaluation plays each clip once from its first
frame, without noise; a clip is a success if the body is never more than 0.5 m (mean over joints) from its reference.
The policy of the best evaluation plays from then on: most clips followed, and of equals the least error.
"""

import logging
from dataclasses import replace

import jax
import numpy as np

from envs.columns import Course, adopt, judged_by, train_columns, train_composer
from envs.fall_judges import training_falls
from envs.imitation import ImitationEnv
from envs.imitator import COMPOSER, ImitatorConfig, column_name
from envs.preparing import composing, make_folder, prepare
from envs.scoreboard import Scoreboard, overview, summary
from envs.tutored import TutoredEnv, make_lessons
from envs.ways import Known, find_ways, make_guide
from envs.world import Cast, playing_env, training_env, training_mesh
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.imitation.best import Best
from imdy_jax.imitation.evaluate import evaluate, evaluate_together
from imdy_jax.imitation.policy import Trained
from imdy_jax.imitation.processes import connect
from imdy_jax.imitation.train import reinforcement, train, tuition
from imdy_jax.report import Table, command, show
from imdy_jax.run import RunFolder, read_metrics


def main(
    config: ImitatorConfig = ImitatorConfig(), run: str = "runs/default/imitator", resume: bool = False,
    overwrite: bool = False, from_pretrained: str | None = None, columns: tuple[str, ...] = (),
    json: str | None = None,
    processes: int = 1, process: int = 0, coordinator: str | None = None,
) -> None:  # fmt: skip
    """Train an imitator.

    Args:
      config: what to train.
      run: run folder.
      resume: go on with the run that is in the folder.
      overwrite: throw away the run that is in the folder.
      from_pretrained: run folder whose policy to begin with.
      columns: run folders whose policies to compose; they are taken along and not trained any further. With
        config.mining.columns beyond their number, columns for what is hard for them are trained beside them.
      json: where to write the table, in place of the run folder.
      processes: how many train together, each its share of the environments (docs/speed.md).
      process: number of this one, from 0.
      coordinator: host:port of process 0; "auto" where SLURM or Open MPI tells this and the numbers.
    """
    connect(processes, process, coordinator)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    enable_compilation_cache()
    config = replace(composing(config, columns, from_pretrained), begun_with=from_pretrained)
    # Before there is a folder: an error leaves none behind.
    cast, rejected, begin = prepare(config, from_pretrained, columns)
    folder = make_folder(run, config, resume, overwrite)
    ways, spent = seek(cast, config, folder)
    cast = cast._replace(guide=make_guide(cast, ways)) if config.guide else cast
    title = f"Imitator on {len(cast.clips)} clips of {len(cast.bodies)} subject(s), {len(rejected)} left out"
    if columns:
        adopt(Course(cast, config, folder), columns)
    if config.mining.columns > 1:
        table = mined(Course(cast, config, folder), title, begin)
    else:
        table = trained_once(cast, config, folder, title, begin, ways, spent, resume)
    if json:
        table.write(json)


def mined(course: Course, title: str, begin: Trained | None) -> Table:
    """Columns and their composer, and each clip with the column that follows it best."""
    cast, config, path = course.cast, course.config, course.folder.path
    columns = train_columns(course, begin)
    motions = [clip.name for clip in cast.clips]
    scores, player = evaluate_together(columns, playing_env(cast, config.world, cast.subjects), cast.lengths, motions)
    names = [column_name(k) for k in range(len(columns))]
    if len(columns) > 1 and config.mining.compose_minutes:
        train_composer(course, columns, player)
        names.append(COMPOSER)
    table = overview(path, title, names, summary(scores))
    show(table, path / "tables" / "imitator.json")
    return table


def trained_once(
    cast: Cast, config: ImitatorConfig, folder: RunFolder, title: str, begin: Trained | None,
    ways: list[Known | None], spent: float, resume: bool,
) -> Table:  # fmt: skip
    """One policy for all clips."""
    judge = playing_env(cast, config.world, cast.subjects)
    env = training_env(cast, config.world, config.num_envs)
    falls = training_falls(cast, config.world, np.arange(len(cast.clips)), config.seed)
    board = Scoreboard(folder, [clip.name for clip in cast.clips], title, falls is not None)
    best = Best(folder) if jax.process_count() == 1 else None

    def assess(minutes: float, trained: Trained, samples: int) -> None:
        scores = evaluate(trained, judge, cast.lengths)
        down = len(scores) * (1.0 - falls(trained)) if falls else 0.0
        judged = judged_by(scores, range(len(scores)), config.mining, minutes, samples, down)
        if best:
            best.offer(samples // learning.samples, trained, judged)
        board.add(judged, scores)

    if config.teach.minutes:
        school = RunFolder.create(folder.path / "school", config, config.seed, resume=resume)
        begin = attend(school, cast, ways, env, config, spent)
        spent += 60 * config.teach.minutes
    on_the_clock = replace(config.train, minutes=config.train.minutes + spent / 60)
    learning = reinforcement(env, config.train.ppo, begin, mesh=training_mesh(env))
    if (spent or begin) and not board.rows:  # a run that is resumed has been assessed here before
        assess(spent / 60, begin or learning.trained(jax.jit(learning.init)(jax.random.PRNGKey(config.seed))), 0)
    trained = train(learning, on_the_clock, folder, config.seed, config.evaluate_at, assess, spent)
    for last in read_metrics(folder.path / "metrics.jsonl")[-1:]:  # none where train.minutes is 0
        assess(last["seconds"] / 60, trained, last["samples"])
    return board.table


def seek(cast: Cast, config: ImitatorConfig, folder: RunFolder) -> tuple[list[Known | None], float]:
    """Ways through the clips, where something asks for them, and the seconds that seeking them has taken."""
    if not (config.guide or config.teach.minutes):
        return [None] * len(cast.clips), 0.0
    return find_ways(cast, config.world, config.search, config.seed, folder.path / "ways")


def attend(
    school: RunFolder, cast: Cast, ways: list[Known | None], env: ImitationEnv, config: ImitatorConfig, spent: float
) -> Trained:
    """A policy that has learnt to do along the ways, and beside them, what a search has found."""
    minutes = config.teach.minutes + spent / 60
    learning = tuition(TutoredEnv(env), make_lessons(cast, ways), config.teach.distil, config.train.ppo)
    return train(learning, replace(config.train, minutes=minutes), school, config.seed, spent=spent)


if __name__ == "__main__":
    command(main)
