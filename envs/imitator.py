"""A trained imitator as a thing on disk: what it was asked to be, and the policy that came of it."""

from dataclasses import dataclass, field
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
from imdy_jax.run import RunFolder


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


def lead(cast: Cast, config: ImitatorConfig, path: str) -> Cast:
    """The cast as an imitator needs it: a guided one with its ways; those that its folder lacks are sought."""
    if not config.guide:
        return cast
    ways, _ = find_ways(cast, config.world, config.search, config.seed, Path(path) / "ways")
    return cast._replace(guide=make_guide(cast, ways))
