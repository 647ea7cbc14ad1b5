"""Re-imitation, the paper's baseline: imitate a recorded motion once more, and read torques and forces off that."""

from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from envs.batches import GenerateConfig, people_of
from envs.imitator import open_imitator
from envs.people import make_bodies
from envs.studio import make_studio, make_subjects
from envs.task import TaskConfig
from envs.world import CONTROL_HZ, Cast, in_mirror, make_cast
from imdy_jax.body.person import Body
from imdy_jax.dataset.record import Record
from imdy_jax.dataset.store import Dataset, read_record, sequence_attributes
from imdy_jax.motion.clip import Clip, from_generalized_positions
from imdy_jax.report import Progress
from imdy_jax.solver.evaluate import Dynamics


def check_reimitates(path: str) -> None:
    """Raises ValueError where the imitator of a run folder cannot imitate again what it has recorded."""
    if open_imitator(path)[0].guide:
        raise ValueError(
            f"{path}: is guided along ways through its clips, and there are none through what it makes of them, "
            "expected an imitator without config.guide to imitate again; pass --no-again"
        )


def reimitate(dataset: Dataset, names: Sequence[str], config: GenerateConfig, path: str) -> dict[str, Dynamics]:
    """Torques and forces of imitating sequences once more, by sequence, with the imitator of the run folder `path`.

    Sequences of people that are not the config's are left out. Portion by portion, as many as memory holds.
    """
    with jax.enable_x64(not config.single):
        return _reimitate(dataset, names, config, path)


def _reimitate(dataset: Dataset, names: Sequence[str], config: GenerateConfig, path: str) -> dict[str, Dynamics]:
    imitator, trained = open_imitator(path)
    bodies = make_bodies(people_of(config, imitator))
    who = {subject.digest: number for number, subject in enumerate(make_subjects(bodies))}
    attributes = {name: sequence_attributes(dataset, name) for name in names}
    seconds = {name: a["duration"] for name, a in attributes.items() if a["subject"] in who}
    said: dict[str, Dynamics] = {}
    with Progress(sum(seconds.values()), "imitating again", "s of motion") as progress:
        for portion in _portions(seconds, 60.0 * config.minutes):
            played = [(who[attributes[name]["subject"]], name) for name in portion]
            cast = _cast(dataset, played, bodies, imitator.world.task)
            if not imitator.people.mirrored:
                cast = in_mirror(cast, [attributes[clip.name]["clip"]["name"] for clip in cast.clips])
            studio = make_studio(cast, trained, imitator, config.substeps, config.seats)
            said |= dict(studio.prepare(np.arange(len(cast.clips))).play(_dynamics(cast), progress.advance))
    return said


def _portions(seconds: dict[str, float], most: float) -> Iterator[list[str]]:
    """Names with at most `most` seconds together, or one."""
    portion: list[str] = []
    for name, length in seconds.items():
        if portion and sum(seconds[other] for other in portion) + length > most:
            yield portion
            portion = []
        portion.append(name)
    if portion:
        yield portion


def _cast(dataset: Dataset, played: list[tuple[int, str]], bodies: list[Body], task: TaskConfig) -> Cast:
    """The people with what they have done, as clips to follow."""
    clips: list[list[Clip]] = [[] for _ in bodies]
    for who, name in played:
        clips[who].append(from_generalized_positions(read_record(dataset, name).q, bodies[who], CONTROL_HZ, name))
    return make_cast(bodies, clips, task)


def _dynamics(cast: Cast) -> Callable[[int, Record], tuple[str, Dynamics]]:
    """A record's sequence and 30 Hz view over all of its steps, NaN after the imitation failed."""

    def keep(row: int, record: Record) -> tuple[str, Dynamics]:
        missing = cast.lengths[row] - 1 - len(record.target)
        fill = lambda x: np.concatenate([x, np.full((missing, *x.shape[1:]), np.nan, x.dtype)])  # noqa: E731
        momentum, force = fill(np.asarray(record.angular_momentum)), fill(np.asarray(record.contact_force))
        return cast.clips[row].name, Dynamics(momentum, force)

    return keep
