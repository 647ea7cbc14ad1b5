"""A trained imitator as a thing on disk: what it was asked to be, and the policy that came of it."""

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from envs.imitation import ACTION_SIZE
from envs.observation import observation_size
from envs.people import PeopleConfig
from envs.search import SearchConfig
from envs.tutored import TeachConfig
from envs.ways import find_ways, make_guide
from envs.world import Cast, WorldConfig
from imdy_jax.imitation.policy import Trained
from imdy_jax.imitation.train import TrainConfig, load
from imdy_jax.run import Checkpoints, RunFolder, to_json, write_json


@dataclass(frozen=True)
class ImitatorConfig:
    """What is trained on what."""

    people: PeopleConfig = field(default_factory=PeopleConfig)
    world: WorldConfig = field(default_factory=WorldConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    teach: TeachConfig = field(default_factory=TeachConfig)
    guide: bool = False  # the policy's action is added to what a search finds for every clip, with feedback about it
    num_envs: int = 1024
    evaluate_at: tuple[float, ...] = ()  # minutes of training at which to evaluate, besides the end
    seed: int = 0


def open_imitator(path: str) -> tuple[ImitatorConfig, Trained]:
    """Config and newest policy of a run folder of train_imitator.py; raises ValueError where there is none."""
    folder = RunFolder.open(path)
    config = folder.config(ImitatorConfig)
    return config, load(folder, config.train, observation_size(len(config.world.task.ahead)), ACTION_SIZE)


def begin_with(path: str, config: ImitatorConfig) -> Trained:
    """The policy of another run folder, to go on from; raises ValueError where it is not of this config's kind."""
    other, trained = open_imitator(path)
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
    """Copy what it takes to act, and to go on learning, from a run folder to a new one: the newest policy, its config
    without the people and motions, which have paths, its provenance and its table.

    Raises ValueError where there is no policy, or something at the new place.
    """
    source, target = RunFolder.open(path), Path(to)
    config = source.config(ImitatorConfig)
    step = Checkpoints(source.path / "policy").latest_step()
    if step is None:
        raise ValueError(f"{source.path / 'policy'}: holds no policy; train one with train_imitator.py")
    if target.exists():
        raise ValueError(f"{target}: is there already, expected a new folder; name another, or remove it")
    target.mkdir(parents=True)
    write_json(target / "config.json", to_json(replace(config, people=PeopleConfig())))
    shutil.copytree(source.path / "policy" / str(step), target / "policy" / str(step))
    for mark in target.rglob("commit_success.txt"):  # it says where it was written, and counts by being there
        mark.write_text("")
    for name in ("run.json", "tables/imitator.json"):
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copy(source.path / name, target / name)


def lead(cast: Cast, config: ImitatorConfig, path: str) -> Cast:
    """The cast as an imitator needs it: a guided one with its ways; those that its folder lacks are sought."""
    if not config.guide:
        return cast
    ways, _ = find_ways(cast, config.world, config.search, config.seed, Path(path) / "ways")
    return cast._replace(guide=make_guide(cast, ways))
