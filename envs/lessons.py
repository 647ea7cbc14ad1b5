"""What a policy can learn from the search: what to do at every moment of a clip, and what if one is elsewhere."""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.imitation import ACTION_SIZE, ImitationEnv
from envs.observation import OBSERVATION_SIZE
from envs.planning import PlanConfig, Planner
from envs.refining import STATE_SIZE, RefineConfig, Refiner
from envs.world import CONTROL_HZ, Cast, WorldConfig, playing_env
from imdy_jax.imitation.distil import DistilConfig
from imdy_jax.imitation.policy import Trained, init_normalizer, make_policy
from imdy_jax.report import Progress
from imdy_jax.skeleton import NUM_Q, NUM_V

logger = logging.getLogger(__name__)


@struct.dataclass
class Lessons:
    """For F rows of a reference table; where a clip has no way, its rows are not among `moments`."""

    q: jax.Array  # (F, 99) on the way
    v: jax.Array  # (F, 75)
    action: jax.Array  # (F, A)
    answer: jax.Array  # (F, A, 150) of the action to straying from the way (envs.refining.strayed)
    stake: jax.Array  # (F, A, A) what a wrong action costs, of mean diagonal 1
    moments: jax.Array  # (M, 2) clip and frame of every row that has a lesson


@dataclass(frozen=True)
class TeachConfig:
    """Whether and how the policy learns from a search before it learns by itself."""

    # Of practising what the search has found; the search takes minutes of its own, and train.minutes come after.
    minutes: float = 0.0  # 0: no lessons
    plan: PlanConfig = field(default_factory=PlanConfig)
    refine: RefineConfig = field(default_factory=lambda: RefineConfig(rounds=1))
    distil: DistilConfig = field(default_factory=DistilConfig)


def find_lessons(cast: Cast, world: WorldConfig, config: TeachConfig, seed: int, folder: Path) -> tuple[Lessons, float]:
    """Search for a way through every clip of the cast, with the controller alone, and keep each in the folder.

    A clip that is in the folder already is not sought again. Also returns the seconds that all of them have taken.
    Raises ValueError where nothing is found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    policy = make_policy((1,), (1,), ACTION_SIZE, 1.0)
    idle = Trained(policy, policy.init(jax.random.PRNGKey(0), OBSERVATION_SIZE), init_normalizer(OBSERVATION_SIZE))
    seconds = (cast.lengths - 1) / CONTROL_HZ
    known = [_load(folder / f"{row}.npz") for row in range(len(cast.clips))]
    there = float(sum(seconds[row] for row, lesson in enumerate(known) if lesson is not None))
    with Progress(float(seconds.sum()), "searching for lessons", "s of motion", initial=there) as progress:
        for subject in np.unique(cast.subjects):
            rows = [row for row in np.flatnonzero(cast.subjects == subject).tolist() if known[row] is None]

            def env(size: int, who: int = subject) -> ImitationEnv:
                return playing_env(cast, world, np.full(size, who))

            if rows:
                planner = Planner(env(config.plan.particles), config.plan, idle)
                refiner = Refiner(env, config.refine, idle)
            for row in rows:
                begun = time.monotonic()
                lesson = _lesson(planner, refiner, row, seed, config.plan.lost)
                lesson["seconds"] = np.array(time.monotonic() - begun)
                _save(folder / f"{row}.npz", lesson)
                known[row] = lesson
                progress.advance(float(seconds[row]))
    lessons = [lesson or {} for lesson in known]
    spent = sum(float(lesson.pop("seconds")) for lesson in lessons)
    without = [clip.name for clip, lesson in zip(cast.clips, lessons, strict=True) if not lesson]
    if without:
        logger.warning("no way found through %s: no lesson on it", ", ".join(without))
    return _assemble(cast, lessons), spent


def _lesson(planner: Planner, refiner: Refiner, row: int, seed: int, lost: float) -> dict[str, np.ndarray]:
    """The arrays of Lessons for one clip, without the last frame; none where no way is found."""
    plan = planner.plan(row, seed)
    refined = None if plan is None else refiner.refine(row, plan, lost)
    if refined is None:
        return {}
    way, feedback = refined
    size = np.trace(feedback.stake, axis1=1, axis2=2)[:, None, None] / ACTION_SIZE
    arrays = {
        "q": way.physics.q[:-1],
        "v": way.physics.v[:-1],
        "action": way.departure,
        "answer": feedback.answer,
        "stake": feedback.stake / size,
    }
    return {name: np.asarray(x, np.float32) for name, x in arrays.items()}


def _assemble(cast: Cast, known: list[dict[str, np.ndarray]]) -> Lessons:
    start, total = np.asarray(cast.table.start), int(cast.lengths.sum())
    sizes: dict[str, tuple[int, ...]] = {"q": (NUM_Q,), "v": (NUM_V,), "action": (ACTION_SIZE,)}
    sizes |= {"answer": (ACTION_SIZE, STATE_SIZE), "stake": (ACTION_SIZE, ACTION_SIZE)}
    arrays = {name: np.zeros((total, *size), np.float32) for name, size in sizes.items()}
    moments = []
    for row, lesson in enumerate(known):
        steps = cast.lengths[row] - 1
        for name, x in lesson.items():
            arrays[name][start[row] : start[row] + steps] = x[:steps]
        if lesson:
            moments.append(np.stack([np.full(steps, row), np.arange(steps)], axis=1))
    if not moments:
        raise ValueError("no way was found through any of the clips: nothing to learn from; train without lessons")
    return Lessons(**jax.tree.map(jnp.asarray, arrays), moments=jnp.asarray(np.concatenate(moments)))


def _load(path: Path) -> dict[str, np.ndarray] | None:
    """A lesson, empty where none was found; None where the clip has not been looked at, or its file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files} if "seconds" in file.files else None
    except (FileNotFoundError, BadZipFile, ValueError, EOFError):
        return None


def _save(path: Path, lesson: dict[str, np.ndarray]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **lesson)
    partial.replace(path)
