"""Ways through the clips of a cast that are known: sought with the controller alone, kept on disk, and as a guide."""

import hashlib
from pathlib import Path
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np

from envs.guide import Guide
from envs.observation import observation_size
from envs.refining import STATE_SIZE
from envs.search import Found, SearchConfig, search
from envs.task import ACTION_SIZE
from envs.world import Cast, WorldConfig
from imdy_jax.files import replacing
from imdy_jax.imitation.policy import Trained, init_normalizer, make_policy
from imdy_jax.skeleton import NUM_Q, NUM_V

Known = dict[str, np.ndarray]  # T steps: q (T, 99), v (T, 75), action (T, A), answer (T, A, 150), stake (T, A, A)


def find_ways(
    cast: Cast, world: WorldConfig, config: SearchConfig, seed: int, folder: Path
) -> tuple[list[Known | None], float]:
    """A way through every clip of the cast, None where none is found, and the seconds that all of them have taken.

    A clip that the folder holds a way through, or that was sought before in vain, is not sought again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    policy = make_policy((1,), (1,), ACTION_SIZE, 1.0)
    size = observation_size(len(world.task.ahead))
    idle = Trained(policy, policy.init(jax.random.PRNGKey(0), size), init_normalizer(size))
    paths = [folder / _name(cast, row) for row in range(len(cast.clips))]
    known = [_load(path) for path in paths]
    missing = [row for row, way in enumerate(known) if way is None]
    for row, found, seconds in search(cast, world, config, idle, missing, seed):
        way = _known(found) | {"seconds": np.array(seconds)}
        _save(paths[row], way)
        known[row] = way
    spent = sum(float(way["seconds"]) for way in known if way is not None)
    return [way if way and "action" in way else None for way in known], spent


def make_guide(cast: Cast, ways: list[Known | None]) -> Guide:
    """The ways side by side, as the reference table of the cast has its frames."""
    q, v = fill(cast, ways, "q", (NUM_Q,)), fill(cast, ways, "v", (NUM_V,))
    nowhere = ~np.any(q, axis=1)
    q[nowhere], v[nowhere] = cast.table.q[nowhere], cast.table.v[nowhere]
    action, answer = fill(cast, ways, "action", (ACTION_SIZE,)), fill(cast, ways, "answer", (ACTION_SIZE, STATE_SIZE))
    return Guide(*(jnp.asarray(x) for x in (q, v, action, answer)))


def fill(cast: Cast, ways: list[Known | None], name: str, size: tuple[int, ...]) -> np.ndarray:
    """An array of the ways on the rows of the cast's table (F, ...), zero where a clip has none, or has ended."""
    array, start = np.zeros((int(cast.lengths.sum()), *size), np.float32), np.asarray(cast.table.start)
    for row, way in enumerate(ways):
        if way is not None:
            steps = cast.lengths[row] - 1
            array[start[row] : start[row] + steps] = way[name][:steps]
    return array


def _known(found: Found | None) -> Known:
    """The arrays of what was found, without its last frame; none where that cannot be repeated."""
    if found is None or found.way is None or found.feedback is None:
        return {}
    way, feedback = found.way, found.feedback
    size = np.trace(feedback.stake, axis1=1, axis2=2)[:, None, None] / ACTION_SIZE
    arrays = {
        "q": way.physics.q[:-1],
        "v": way.physics.v[:-1],
        "action": way.departure,
        "answer": feedback.answer,
        "stake": feedback.stake / size,
    }
    return {name: np.asarray(x, np.float32) for name, x in arrays.items()}


def _name(cast: Cast, row: int) -> str:
    """File name of a way: of what motion, by whose body."""
    clip, body = cast.clips[row], cast.bodies[cast.subjects[row]]
    digest = hashlib.sha256(repr((clip.name, clip.digest)).encode())
    for x in (body.joints, body.mass, body.com, body.inertia):
        digest.update(np.asarray(x, np.float32).tobytes())
    return f"{digest.hexdigest()[:24]}.npz"


def _load(path: Path) -> Known | None:
    """A way, without an action where none was found; None where nothing was sought, or the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files} if "seconds" in file.files else None
    except (FileNotFoundError, BadZipFile, ValueError, EOFError):
        return None


def _save(path: Path, way: Known) -> None:
    with replacing(path) as partial:
        np.savez(partial, **way)
