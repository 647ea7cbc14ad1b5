"""Who is simulated, and what they do: from names and paths to a cast."""

import functools
import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from envs.world import CONTROL_HZ, Cast, make_cast
from imdy_jax.body.anthropometric import anthropometric_body, random_subject
from imdy_jax.body.person import Body
from imdy_jax.body.person_file import read_person
from imdy_jax.body.smpl import smpl_body
from imdy_jax.files import check_least
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.load import PROCEDURAL, Rejected, load_clips

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PeopleConfig:
    """The people and their motions."""

    motions: str = PROCEDURAL  # a motion file, a folder of them, or the built-in set
    mirrored: bool = False  # also every motion's mirror image
    speeds: tuple[float, ...] = (1.0,)  # every motion at each of these factors of its speed
    check: bool = True  # leave out motions that nobody can have made
    up: Literal["y", "z"] | None = None  # axis upward in .npz and .bvh files; by default z and y
    sex: str = "neutral"  # female, male or neutral
    stature: float | None = None  # m, of the embedded body; its sex's mean by default
    mass: float | None = None  # kg; the mean by default
    smpl_model: str | None = None  # SMPL model file or folder to use in place of the embedded body
    person: str | None = None  # file that fit_markers.py wrote, in place of sex, stature and mass
    subjects: int = 1  # the person above, then people drawn at random
    subject_seed: int = 0  # of that draw

    def __post_init__(self) -> None:
        check_least(self, "people.", subjects=1)
        if not self.speeds or not all(0.0 < speed < math.inf for speed in self.speeds):
            raise ValueError(f"people.speeds is {self.speeds}, expected factors above 0, such as 0.85 1 1.2")


def make_bodies(config: PeopleConfig, subjects: Sequence[int] | None = None) -> list[Body]:
    """The person described, and subjects − 1 random others (always embedded bodies).

    subjects: of these numbers alone; by default all.
    """
    numbers = range(config.subjects) if subjects is None else subjects
    real = jnp.result_type(float)
    return [_other(config.subject_seed, config.subjects, n, real) if n else _described(config) for n in numbers]


def _described(config: PeopleConfig) -> Body:
    if config.smpl_model is not None:
        return smpl_body(config.smpl_model, sex=config.sex, mass=config.mass)
    if config.person is not None:
        return read_person(config.person)
    return anthropometric_body(config.sex, config.stature, config.mass)


@functools.lru_cache(maxsize=64)
def _other(seed: int, subjects: int, number: int, real: jnp.dtype) -> Body:
    """One of the random people; kept for each precision, since in a dataset each comes again with other motions."""
    return random_subject(jax.random.split(jax.random.PRNGKey(seed), max(subjects - 1, 1))[number - 1])


def load_cast(config: PeopleConfig) -> tuple[Cast, list[Rejected]]:
    """Everybody with every motion, fitted to them; motions left out are logged and returned with the reason."""
    bodies, clips, rejected = load_people(config)
    return make_cast(bodies, clips), rejected


def load_people(
    config: PeopleConfig, motions: Collection[str] | None = None, subjects: Sequence[int] | None = None
) -> tuple[list[Body], list[list[Clip]], list[Rejected]]:
    """Bodies, and for each its clips, fitted to it; motions left out are logged and returned with the reason.

    motions, subjects: of these names (imdy_jax.motion.load.list_motions) and numbers alone; by default all.
    """
    bodies = make_bodies(config, subjects)
    loaded = [
        load_clips(config.motions, body, CONTROL_HZ, config.check, config.mirrored, config.speeds, motions, config.up)
        for body in bodies
    ]
    rejected = list({item.source: item for _, items in loaded for item in items}.values())
    for item in rejected:
        logger.warning("left out: %s", item.reason)
    return bodies, [clips for clips, _ in loaded], rejected
