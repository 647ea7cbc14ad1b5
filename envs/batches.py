"""A dataset's work in batches: each is what memory holds of some motions and people, with one policy."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, NamedTuple

from envs.imitator import ImitatorConfig, open_imitator
from envs.people import PeopleConfig, make_bodies
from envs.search import SearchConfig
from envs.world import CONTROL_HZ
from imdy_jax.motion.load import list_motions, load_motion

_LATER = 0.75  # of a clip is played in a pass that begins in its first half, on average


@dataclass(frozen=True)
class GenerateConfig:
    """What is recorded."""

    motions: str | None = None  # a file or folder; by default what the imitator was trained on
    subjects: int | None = None  # how many people; by default as in training
    mirrored: bool | None = None  # also mirror images; by default as in training
    speeds: tuple[float, ...] | None = None  # factors of each motion's speed; by default as in training
    check: bool | None = None  # leave out motions that nobody can have made; by default as in training
    up: Literal["y", "z"] | None = None  # axis upward in .npz and .bvh files; by default as in training
    passes: int = 1  # times that each imitator plays everything: from the first frame, then from random ones
    remaining: int = 30  # control steps that those have to go, at least
    substeps: int = 4  # physics substeps per control step: finer than in training, for stiffer contact
    seats: int = 64  # humanoids simulated side by side, at most about
    minutes: float = 20.0  # of motion in memory at a time, about: 1 GB beside the program's own
    ways: SearchConfig = field(default_factory=SearchConfig)  # for --search
    single: bool = False  # simulate in float32 (MJX on a GPU always does)

    def __post_init__(self) -> None:
        for name in ("passes", "remaining", "substeps", "seats", "minutes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"config.{name} is {getattr(self, name)}, expected more than 0")


@dataclass(frozen=True)
class Batch:
    """Some motions by some people, followed by one imitator in all passes: a task that stands by itself."""

    config: GenerateConfig
    dataset: str  # path
    imitator: str  # run folder
    motions: tuple[str, ...]  # names of imdy_jax.motion.load.list_motions
    subjects: tuple[int, ...]  # numbers of envs.people.make_bodies
    search: bool  # for ways through what the policy loses
    seconds: float  # of motion, about
    key: str  # hash of all that determines what it records


class Length(NamedTuple):
    """A motion as it is planned with."""

    digest: str  # of its file
    seconds: float  # of all its copies together, of one person


def people_of(config: GenerateConfig, imitator: ImitatorConfig) -> PeopleConfig:
    """Who plays what: as in training, but for what the config says."""
    wanted = {name: getattr(config, name) for name in ("motions", "subjects", "mirrored", "speeds", "check", "up")}
    return replace(imitator.people, **{name: value for name, value in wanted.items() if value is not None})


def plan(config: GenerateConfig, imitators: Sequence[str], dataset: str, search: bool = False) -> list[Batch]:
    """All the batches of a dataset; every motion is read once, to know how long it takes, and forgotten again.

    Raises ValueError where there is no imitator or no motion.
    """
    return [batch for path in imitators for batch in _plan_one(config, path, dataset, search)]


def _plan_one(config: GenerateConfig, path: str, dataset: str, search: bool) -> Iterator[Batch]:
    imitator, trained = open_imitator(path)
    people = people_of(config, imitator)
    lengths = motion_lengths(people)
    parts = list(portions({name: x.seconds for name, x in lengths.items()}, people.subjects, 60.0 * config.minutes))
    for motions, subjects in parts:
        chosen = [lengths[name] for name in motions]
        what = [asdict(config), asdict(people), trained.digest, motions, chosen, subjects, search]
        key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
        seconds = (1.0 + _LATER * (config.passes - 1)) * len(subjects) * sum(x.seconds for x in chosen)
        yield Batch(config, dataset, path, motions, subjects, search, seconds, key)


def motion_lengths(people: PeopleConfig) -> dict[str, Length]:
    """Every motion by its name; one that cannot be read takes no time."""
    body = make_bodies(replace(people, subjects=1))[0]
    copies = (1 + people.mirrored) * sum(1.0 / speed for speed in people.speeds)
    lengths = {}
    for name, file in list_motions(people.motions).items():
        try:
            clip = load_motion(name, file, body, CONTROL_HZ, check=False, up=people.up)
        except ValueError:
            lengths[name] = Length("", 0.0)
        else:
            lengths[name] = Length(clip.digest, clip.duration * copies)
    return lengths


def portions(
    seconds: Mapping[str, float], subjects: int, most: float
) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
    """Motions times people in rectangles of at most `most` seconds, or of one motion by one person if that is longer.

    seconds: of each motion, by one person. Where all motions of a person fit, several people may be together; where
    they do not, each person plays them portion by portion.
    """
    groups: list[list[str]] = [[]]
    filled = 0.0
    for name, length in seconds.items():
        if groups[-1] and filled + length > most:
            groups, filled = [*groups, []], 0.0
        groups[-1].append(name)
        filled += length
    together = max(1, int(most / filled)) if len(groups) == 1 and filled else 1
    for first in range(0, subjects, together):
        for group in groups:
            yield tuple(group), tuple(range(first, min(first + together, subjects)))
