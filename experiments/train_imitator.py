"""Train a policy that imitates motions, and say how well it does.

    python experiments/train_imitator.py                                    # the built-in motions
    python experiments/train_imitator.py --config.people.motions my_clips   # a folder of motion files
    python experiments/train_imitator.py --config.teach.minutes 15          # learn from a search to begin with
    python experiments/train_imitator.py --config.guide                     # or be guided by one all the time
    python experiments/train_imitator.py --from-pretrained pretrained/imitator-clips   # go on from another's policy
    python experiments/train_imitator.py --resume                           # go on after an interruption

The run folder then holds what experiments/generate.py needs. Every evaluation plays each clip once from its first
frame, without noise; a clip is a success if the body is never more than 0.5 m (mean over joints) from its reference.
"""

import logging
import shutil
from dataclasses import replace

import jax
import numpy as np

from envs.imitation import ImitationEnv
from envs.imitator import ImitatorConfig, begin_with
from envs.people import load_cast
from envs.tutored import TutoredEnv, make_lessons
from envs.ways import Known, find_ways, make_guide
from envs.world import Cast, playing_env, training_env, training_mesh
from imdy_jax.imitation.evaluate import ClipScore, evaluate
from imdy_jax.imitation.policy import Trained
from imdy_jax.imitation.train import reinforcement, train, tuition
from imdy_jax.report import Table, command, read_table, show
from imdy_jax.run import RunFolder, enable_compilation_cache, read_metrics


def main(
    config: ImitatorConfig = ImitatorConfig(), run: str = "runs/default/imitator", resume: bool = False,
    overwrite: bool = False, from_pretrained: str | None = None, json: str | None = None,
) -> None:  # fmt: skip
    """Train an imitator.

    Args:
      config: what to train.
      run: run folder.
      resume: go on with the run that is in the folder.
      overwrite: throw away the run that is in the folder.
      from_pretrained: run folder whose policy to begin with.
      json: where to write the table, in place of the run folder.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    enable_compilation_cache()
    check(config, from_pretrained)
    begin = begin_with(from_pretrained, config) if from_pretrained else None
    cast, rejected = load_cast(config.people)  # before there is a folder: what is wrong with them leaves none behind
    folder = RunFolder.create(run, config, config.seed, resume=resume, overwrite=overwrite)
    if overwrite:
        for name in ("ways", "school"):
            shutil.rmtree(folder.path / name, ignore_errors=True)
    ways, spent = seek(cast, config, folder)
    cast = cast._replace(guide=make_guide(cast, ways)) if config.guide else cast
    judge = playing_env(cast, config.world, cast.subjects)
    env = training_env(cast, config.world, config.num_envs)
    written = folder.path / "tables" / "imitator.json"
    rows = list(read_table(written).rows) if written.exists() else []  # of the run that is resumed

    def assess(minutes: float, trained: Trained, samples: int) -> None:
        scores = evaluate(trained, judge, cast.lengths)
        # What was measured after the checkpoint that the run goes on from is measured again.
        rows[:] = [row for row in rows if row[1] < samples]
        rows.append((round(minutes, 1), samples, *summary(scores)))
        show(table(rows, cast, rejected), written)
        lost = [cast.clips[i].name for i, s in enumerate(scores) if not s.success]
        print(f"not followed to the end: {', '.join(lost) or 'none'}", flush=True)

    if config.teach.minutes:
        school = RunFolder.create(folder.path / "school", config, config.seed, resume=resume)
        begin = attend(school, cast, ways, env, config, spent)
        spent += 60 * config.teach.minutes
    on_the_clock = replace(config.train, minutes=config.train.minutes + spent / 60)
    learning = reinforcement(env, config.train.ppo, begin, training_mesh(env))
    if (spent or begin) and not rows:  # a run that is resumed has been assessed here before
        assess(spent / 60, begin or learning.trained(jax.jit(learning.init)(jax.random.PRNGKey(config.seed))), 0)
    trained = train(learning, on_the_clock, folder, config.seed, config.evaluate_at, assess, spent)
    for last in read_metrics(folder.path / "metrics.jsonl")[-1:]:  # none where train.minutes is 0
        assess(last["seconds"] / 60, trained, last["samples"])
    if json:
        table(rows, cast, rejected).write(json)


def check(config: ImitatorConfig, from_pretrained: str | None) -> None:
    """Raises ValueError where a guide, lessons and a policy to begin with are in each other's way, or lessons are for
    several subjects.
    """
    if from_pretrained and config.teach.minutes:
        raise ValueError(
            f"--from-pretrained {from_pretrained} beside config.teach.minutes {config.teach.minutes}: lessons begin "
            "with a policy that knows nothing; leave one out"
        )
    if config.guide and config.teach.minutes:
        raise ValueError(
            "config.guide beside config.teach.minutes: a policy is guided by what is found or learns it; choose"
        )
    if config.teach.minutes and config.people.subjects > 1:
        raise ValueError(
            f"config.teach.minutes is {config.teach.minutes} with config.people.subjects {config.people.subjects}, "
            "expected one subject: lessons are not shared out by subject; leave teach.minutes at 0, or train one"
        )


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


def summary(scores: list[ClipScore]) -> tuple:
    """Success rate in %, then the mean errors over the successes, and the number of diverged simulations."""
    done = [s for s in scores if s.success]
    mean = lambda name: float(np.mean([getattr(s, name) for s in done])) if done else None  # noqa: E731
    errors = (mean("mpjpe"), mean("mpjpe_root"), mean("velocity"), mean("acceleration"))
    return (100 * len(done) / len(scores), *errors, sum(s.diverged for s in scores))


def table(rows: list[tuple], cast: Cast, rejected: list) -> Table:
    """Quality against training time."""
    return Table(
        f"Imitator on {len(cast.clips)} clips of {len(cast.bodies)} subject(s), {len(rejected)} left out, "
        f"{jax.default_backend()}",
        ("min", "samples", "success %", "MPJPE mm", "root-rel. mm", "vel. mm/frame", "acc. mm/frame²", "diverged"),
        tuple(rows),
        ("errors are means over the successful clips; every clip from its first frame, mean action",),
    )


if __name__ == "__main__":
    command(main)
