"""A trained imitator as a thing on disk: what it was asked to be, and the policy that came of it."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import tyro

from envs.observation import observation_size
from envs.people import PeopleConfig
from envs.search import SearchConfig
from envs.task import ACTION_SIZE
from envs.tutored import TeachConfig
from envs.ways import find_ways, make_guide
from envs.world import Cast, WorldConfig, in_mirror
from imdy_jax.checkpoints import Checkpoints
from imdy_jax.files import check_least, to_json, write_json
from imdy_jax.imitation.best import BEST, NEWEST, holds_policy, kept_policies
from imdy_jax.imitation.mining import FILE, MiningConfig, read_curriculum
from imdy_jax.imitation.policy import Trained
from imdy_jax.imitation.train import TrainConfig, load
from imdy_jax.run import RunFolder

COLUMN, COMPOSER = "column-", "composer"  # folders of the columns, before their number, and of what weighs them
TABLE = "tables/imitator.json"  # how good it is


@dataclass(frozen=True)
class ImitatorConfig:
    """What is trained on what."""

    people: PeopleConfig = field(default_factory=PeopleConfig)
    world: WorldConfig = field(default_factory=WorldConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    teach: TeachConfig = field(default_factory=TeachConfig)
    mining: MiningConfig = field(default_factory=MiningConfig)
    guide: bool = False  # the policy's action is added to what a search finds for every clip, with feedback about it
    num_envs: int = 1024
    evaluate_at: tuple[float, ...] = ()  # minutes of training at which to evaluate, besides the end
    seed: int = 0
    begun_with: tyro.conf.Suppress[str | None] = None  # as --from-pretrained says

    def __post_init__(self) -> None:
        check_least(self, "", num_envs=1, seed=0)


class Columns(NamedTuple):
    """The policies of a run folder; where it has only one, that is its only column."""

    config: ImitatorConfig
    columns: list[Trained]
    composer: Trained | None  # what weighs the columns, if that has been trained

    def players(self, column: int | None = None) -> list[Trained]:
        """Who is to play: the column of a number; by default the composer, or where there is none all of the columns.

        Raises ValueError where there is no such column.
        """
        if column is None:
            return self.columns if self.composer is None else [self.composer]
        if not 0 <= column < len(self.columns):
            raise ValueError(f"column is {column}, expected one of 0 to {len(self.columns) - 1}")
        return [self.columns[column]]


def open_columns(path: str | Path) -> Columns:
    """Config and policies of a run folder of train_imitator.py; raises ValueError where there is none."""
    folder = RunFolder.open(path)
    config = folder.config(ImitatorConfig)
    if config.mining.columns == 1:
        return Columns(config, [load_policy(folder, config)], None)
    parts = trained_parts(folder.path)
    opened = {part: RunFolder.open(folder.path / part) for part in parts}
    columns = [load_policy(own, config) for part, own in opened.items() if part != COMPOSER]
    return Columns(config, columns, load_policy(opened[COMPOSER], config, columns) if COMPOSER in parts else None)


def open_imitator(path: str | Path) -> tuple[ImitatorConfig, Trained]:
    """Config and policy of a run folder of train_imitator.py, the composer where it has columns.

    Raises ValueError where there is no policy, or columns without a composer.
    """
    opened = open_columns(path)
    if len(players := opened.players()) > 1:
        raise ValueError(
            f"{path}: holds {len(players)} columns and no composer, expected one policy; name {column_name(0)} in it"
        )
    return opened.config, players[0]


def load_policy(folder: RunFolder, config: ImitatorConfig, columns: Sequence[Trained] = ()) -> Trained:
    """The policy of one run folder, or what weighs the columns: of its best evaluation, or where it was not judged on
    its way, the newest. Raises ValueError where there is none.
    """
    return load(folder, config.train, observation_size(len(config.world.task.ahead)), ACTION_SIZE, columns)


def column_name(number: int) -> str:
    """Folder of a column in the folder of its run."""
    return f"{COLUMN}{number}"


def trained_parts(path: Path) -> list[str]:
    """Folders of the columns of a run that have a policy, and of the composer; raises ValueError where none has."""
    names = [*(column_name(k) for k in range(len(read_curriculum(path).columns))), COMPOSER]
    trained = [name for name in names if any(holds_policy(path / name / kept) for kept in (BEST, NEWEST))]
    if not trained:
        raise ValueError(f"{path}: no column has a policy yet; go on with train_imitator.py --resume")
    if COMPOSER in trained and (lacking := [name for name in names if name not in trained]):
        raise ValueError(f"{path}: found no policy in {', '.join(lacking)}, which its composer weighs; copy it again")
    return trained


def performers(path: str | Path) -> list[str]:
    """Run folders, each of one policy, that record what the imitator of a run folder does: the last two of its columns
    and their composer, as in the paper, or where it has no columns itself.

    Columns that have learnt to get up leave the others to imitate, where there are others.
    """
    if not (Path(path) / FILE).exists():
        return [str(path)]
    parts = trained_parts(Path(path))
    columns = [RunFolder.open(Path(path) / part) for part in parts if part != COMPOSER]
    imitate = [own for own in columns if not own.config(ImitatorConfig).world.task.recovery.led] or columns
    return [*(str(own.path) for own in imitate[-2:]), *([str(path)] if COMPOSER in parts else [])]


def learnt(path: str | Path) -> dict[str, Path]:
    """Folders of what has been trained in a run folder, by name: the imitator, or its columns and their composer."""
    path = Path(path)
    return {part: path / part for part in trained_parts(path)} if (path / FILE).exists() else {"imitator": path}


def begin_with(path: str, config: ImitatorConfig) -> Trained:
    """The policy of another run folder, to go on from; raises ValueError where it is not of this config's kind."""
    other, trained = open_imitator(path)
    if trained.policy.columns:
        raise ValueError(f"{path}: is a composer of columns, expected one policy; name {column_name(0)} in it")
    kinds = [
        {"train.ppo.hidden": c.train.ppo.hidden, "train.ppo.critic-hidden": c.train.ppo.critic_hidden,
         "world.task.ahead": c.world.task.ahead}
        for c in (other, config)
    ]  # fmt: skip
    for name, found in kinds[0].items():
        if found != kinds[1][name]:
            raise ValueError(f"{path}: config.{name} is {found} there and {kinds[1][name]} here; pass --config.{name}")
    return trained


def publish(path: str, to: str) -> None:
    """Copy what it takes to act, and to go on learning, from a run folder to a new one, as a whole or not at all: the
    policy, its config without the people and motions, which have paths, its provenance and its table.

    Where it has columns, all of them go along. Raises ValueError where there is no policy or no table, or something at
    the new place.
    """
    target = Path(to)
    if target.exists():
        raise ValueError(f"{target}: is there already, expected a new folder; name another, or remove it")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _copy(RunFolder.open(path), partial)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy(source: RunFolder, target: Path) -> None:
    """Put what is given away of a run, and of its parts, into a folder that is there."""
    config = source.config(ImitatorConfig)
    mined = (source.path / FILE).exists()
    kept = kept_policies(source.path)
    step = None if mined else Checkpoints(kept).latest_step()
    if not mined and step is None:
        raise ValueError(f"{kept}: holds no policy; train one with train_imitator.py")
    if not (source.path / TABLE).exists():
        raise ValueError(
            f"{source.path / TABLE}: not found, expected how good it is; go on with train_imitator.py --resume"
        )
    begun = Path(config.begun_with).name if config.begun_with else None
    people = PeopleConfig(mirrored=config.people.mirrored)
    write_json(target / "config.json", to_json(replace(config, people=people, begun_with=begun)))
    for part in trained_parts(source.path) if mined else []:
        (target / part).mkdir()
        _copy(RunFolder.open(source.path / part), target / part)
    if step is not None:
        shutil.copytree(kept / str(step), target / kept.name / str(step))
    for mark in target.rglob("commit_success.txt"):  # it says where it was written, and counts by being there
        mark.write_text("")
    for name in ("run.json", TABLE, *([FILE] if mined else [])):
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copy(source.path / name, target / name)


def lead(cast: Cast, config: ImitatorConfig, path: str) -> Cast:
    """The cast as an imitator needs it: one that has not learnt mirror images follows them in a mirror; a guided one
    has its ways, and those that its folder lacks are sought.
    """
    if not config.people.mirrored:
        cast = in_mirror(cast, [clip.name for clip in cast.clips])
    if not config.guide:
        return cast
    ways, _ = find_ways(cast, config.world, config.search, config.seed, Path(path) / "ways")
    return cast._replace(guide=make_guide(cast, ways))
