"""A trained imitator as a thing on disk: what it was asked to be, and the policy that came of it."""

from dataclasses import dataclass, field

from envs.imitation import ACTION_SIZE
from envs.lessons import TeachConfig
from envs.observation import OBSERVATION_SIZE
from envs.people import PeopleConfig
from envs.world import WorldConfig
from imdy_jax.imitation.policy import Trained
from imdy_jax.imitation.train import TrainConfig, load
from imdy_jax.run import RunFolder


@dataclass(frozen=True)
class ImitatorConfig:
    """What is trained on what."""

    people: PeopleConfig = field(default_factory=PeopleConfig)
    world: WorldConfig = field(default_factory=WorldConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    teach: TeachConfig = field(default_factory=TeachConfig)
    num_envs: int = 1024
    evaluate_at: tuple[float, ...] = ()  # minutes of training at which to evaluate, besides the end
    seed: int = 0


def open_imitator(path: str) -> tuple[ImitatorConfig, Trained]:
    """Config and newest policy of a run folder of train_imitator.py; raises ValueError where there is none."""
    folder = RunFolder.open(path)
    config = folder.config(ImitatorConfig)
    return config, load(folder, config.train, OBSERVATION_SIZE, ACTION_SIZE)
