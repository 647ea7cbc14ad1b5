"""What comes before an imitator is trained: is it possible as it was asked for, on what, and where is it kept."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np

from envs.imitator import COLUMN, COMPOSER, ImitatorConfig, begin_with
from envs.people import load_cast
from envs.rises import find_rises
from envs.world import Cast, jittered, own_clips
from imdy_jax.files import to_json
from imdy_jax.imitation.mining import FILE, check_mining
from imdy_jax.imitation.policy import Trained
from imdy_jax.imitation.processes import in_turn, same, together
from imdy_jax.run import RunFolder


def composing(config: ImitatorConfig, columns: Sequence[str], from_pretrained: str | None) -> ImitatorConfig:
    """The config of composing policies that were trained apart, if there are any, and of mining on from them, where
    mining.columns is more than they are.

    Raises ValueError where that cannot be.
    """
    if not columns:
        return config
    most = max(len(columns), config.mining.columns)
    if most < 2 or from_pretrained:
        raise ValueError(
            f"--columns names {len(columns)} with config.mining.columns {config.mining.columns} and --from-pretrained "
            f"{from_pretrained}, expected two or more columns in all and no policy to begin with: columns that were "
            "trained apart are composed, or others mined for what is hard for them"
        )
    return replace(config, mining=replace(config.mining, columns=most))


def prepare(
    config: ImitatorConfig, from_pretrained: str | None, columns: Sequence[str] = ()
) -> tuple[Cast, Sequence, Trained | None]:
    """The cast, what was rejected of its motions, and the policy to begin with, the same in all processes.

    columns: of others that are to be composed; they have to be of the config's kind.

    Raises ValueError where something is wrong with what is asked for, or processes are asked for different things.
    """

    def load() -> tuple:
        check(config, from_pretrained)
        for path in columns:
            begin_with(path, config)
        begin = begin_with(from_pretrained, config) if from_pretrained else None
        cast, rejected = load_cast(config.people)
        cast = jittered(cast, config.world.jitter)
        if config.world.task.recovery.led:
            find_rises(cast.table, own_clips(cast, np.arange(len(cast.clips)), np.unique(cast.subjects)))
        return cast, rejected, begin

    cast, rejected, begin = together(load)
    same("config", json.dumps(to_json(config)))
    same(
        "people, motions, or the policy to begin with", (cast.humanoids, cast.table, cast.told, begin and begin.arrays)
    )
    return cast, rejected, begin


def make_folder(run: str, config: ImitatorConfig, resume: bool, overwrite: bool) -> RunFolder:
    """The run folder, as RunFolder.create; of several processes the first makes it, and all have to see it."""

    def create() -> RunFolder:
        if overwrite:  # first, so that nothing of it is left where this is interrupted
            for name in ("run.json", FILE):
                (Path(run) / name).unlink(missing_ok=True)
            for name in ("ways", "school", COMPOSER, *(own.name for own in Path(run).glob(f"{COLUMN}*"))):
                shutil.rmtree(Path(run) / name, ignore_errors=True)
        return RunFolder.create(run, config, config.seed, resume=resume, overwrite=overwrite)

    return in_turn(create, partial(RunFolder.open, Path(run)))


def check(config: ImitatorConfig, from_pretrained: str | None) -> None:
    """Raises ValueError where a guide, lessons, columns, changes of clip, several processes and a policy to begin with
    are in each other's way, or lessons are for several subjects.
    """
    if from_pretrained and config.teach.minutes:
        raise ValueError(
            f"--from-pretrained {from_pretrained} beside config.teach.minutes {config.teach.minutes}: lessons begin "
            "with a policy that knows nothing; leave one out"
        )
    check_mining(config.mining)
    config.world.task.switch.check_unguided(config.guide)
    for name, asked in {"teach.minutes": config.teach.minutes, "evaluate_at": config.evaluate_at}.items():
        if asked and config.mining.columns > 1:
            raise ValueError(
                f"config.{name} is {asked} with config.mining.columns {config.mining.columns}, expected one column: "
                "columns begin with each other and are evaluated every mining.evaluate-every minutes; leave one out"
            )
    if config.guide and config.teach.minutes:
        raise ValueError(
            "config.guide beside config.teach.minutes: a policy is guided by what is found or learns it; choose"
        )
    if config.world.jitter.on and (config.guide or config.teach.minutes):
        raise ValueError(
            "config.world.jitter beside config.guide or config.teach.minutes: ways are sought along motions as they "
            "are; leave one out"
        )
    if config.teach.minutes and config.people.subjects > 1:
        raise ValueError(
            f"config.teach.minutes is {config.teach.minutes} with config.people.subjects {config.people.subjects}, "
            "expected one subject: lessons are not shared out by subject; leave teach.minutes at 0, or train one"
        )
    if jax.process_count() > 1:
        check_shared(config, jax.process_count())


def check_shared(config: ImitatorConfig, processes: int) -> None:
    """Raises ValueError where several processes cannot do together what is asked for."""
    if config.num_envs % processes:
        raise ValueError(
            f"config.num_envs is {config.num_envs} with {processes} processes, expected a multiple of {processes}; "
            "each simulates as many"
        )
    alone = {"guide": config.guide, "teach.minutes": config.teach.minutes, "mining.columns": config.mining.columns - 1}
    for name, asked in alone.items():
        if asked:
            raise ValueError(
                f"config.{name} is asked for with {processes} processes: searches, lessons and columns are for one; "
                "leave it out, or start one process"
            )
