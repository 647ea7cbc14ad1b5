"""Clean motions whose torques are known: what a study of errors starts from.

A motion at 240 frames/s is limited to 12 Hz, so that every frame rate of a study shows the same motion. The ground's
forces are those that it needs, shared over the feet by contact_sequence; the torques follow from them and from the
derivatives at 240 frames/s, by the equation of motion.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from imdy_jax.body.person import Body
from imdy_jax.dataset.certify import certified_ids
from imdy_jax.dataset.record import Record
from imdy_jax.dataset.store import open_dataset, read_record
from imdy_jax.dynamics.contact_sequence import ground_forces
from imdy_jax.dynamics.differentiate import accelerations, velocities
from imdy_jax.dynamics.kinematics import integrate
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.humanoid import Humanoid, from_body
from imdy_jax.motion.clip import generalized_positions
from imdy_jax.motion.filters import lowpass
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.motion.resample import slerp

RATE = 120.0  # Hz, of the known torques; a study's frame rates divide it
COARSEST = 30.0  # Hz: the frames compared are among those that every rate has
BAND = 12.0  # Hz, to which the clean motion is limited
_FINE = 240.0  # Hz, at which the torques are derived
_MARGIN = 0.3  # s left out at both ends, where filters see one side only


@struct.dataclass
class Scene:
    """A clean motion at RATE, the forces that act on it, and the torques of its exact equation of motion."""

    humanoid: Humanoid
    q: jax.Array  # (T, 99)
    wrench: jax.Array  # (T, 24, 6) external forces, N and N·m, taken as known
    torque: jax.Array  # (T, 23, 3) N·m
    clip: str = struct.field(pytree_node=False)
    subject: int = struct.field(pytree_node=False)


class View(NamedTuple):
    """A scene as a camera with fewer frames per second sees it."""

    humanoid: Humanoid
    position: jax.Array  # (T, 3) m
    rotations: jax.Array  # (T, 24, 4)
    wrench: jax.Array  # (T, 24, 6)
    torque: jax.Array  # (T, 23, 3) N·m, true


def procedural_scenes(clips: tuple[str, ...], bodies: list[Body], seconds: float) -> Iterator[Scene]:
    """Every built-in clip of every body, `seconds` from its middle."""
    for subject, body in enumerate(bodies):
        for name in clips:
            q = np.asarray(generalized_positions(procedural_clip(name, body, _FINE), body))
            yield make_scene(from_body(body), q, seconds, name, subject)


def dataset_scenes(path: str | Path, seconds: float, most: int) -> Iterator[Scene]:
    """The middle of up to `most` certified sequences that last longer; people are told apart by their digests."""
    data, subjects = open_dataset(path), dict[str, int]()
    for name in certified_ids(data):
        record = read_record(data, name)
        if len(record.target) / record.provenance.control_rate > seconds + 1.0 / COARSEST and most > 0:
            most -= 1
            subject = subjects.setdefault(record.subject.digest, len(subjects))
            humanoid = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(float)), record.subject.humanoid)
            yield make_scene(humanoid, _fine_motion(record), seconds, record.source.name, subject)


def make_scene(humanoid: Humanoid, q: np.ndarray, seconds: float, name: str, subject: int = 0) -> Scene:
    """The middle of a motion q (N, 99) at 240 frames/s. Raises ValueError where it is too short."""
    count = round(seconds * RATE) + 1
    if len(q) < 2 * count:
        longest = (len(q) // 2 - 1) / RATE
        raise ValueError(f"{name}: seconds: found {seconds:g}, expected at most {longest:.2f}; study fewer seconds")
    q = lowpass(np.asarray(q, float), _FINE, BAND)
    start = (len(q) - 2 * count) // 2
    window = slice(start, start + 2 * count - 1, 2)
    track = tuple(jnp.asarray(x[window]) for x in (q, velocities(q, _FINE), accelerations(q, _FINE)))
    wrench, torque = _known_forces(humanoid, *track)
    return Scene(humanoid, track[0], wrench, torque, name, subject)


def _fine_motion(record: Record) -> np.ndarray:
    """q (N, 99) at 240 frames/s of a recorded sequence, from the simulator's own substeps."""
    steps = np.asarray(record.substep_v, float)
    advance = lambda q, v: (integrate(q, v, record.provenance.timestep),) * 2  # noqa: E731
    sweep = jax.jit(jax.vmap(lambda q, v: jax.lax.scan(advance, q, v)[1]))
    q = np.asarray(sweep(jnp.asarray(record.q, float)[:-1], jnp.asarray(steps))).reshape(-1, steps.shape[-1] + 24)
    at = np.arange(0.0, len(q) - 1, 1.0 / (record.provenance.timestep * _FINE))
    before, part = np.floor(at).astype(int), (at % 1.0)[:, None]
    position = q[before, :3] * (1.0 - part) + q[before + 1, :3] * part
    return np.concatenate([position, slerp(q[:, 3:].reshape(len(q), -1, 4), at).reshape(len(at), -1)], axis=1)


@jax.jit
def _known_forces(humanoid: Humanoid, q: jax.Array, v: jax.Array, a: jax.Array) -> tuple[jax.Array, jax.Array]:
    solve = jax.vmap(inverse_dynamics, in_axes=(None, 0, 0, 0, 0))
    _, residual = solve(humanoid, q, v, a, jnp.zeros((len(q), *humanoid.mass.shape, 6), q.dtype))
    wrench = ground_forces(humanoid, q, v, residual, RATE).wrench
    return wrench, solve(humanoid, q, v, a, wrench)[0]


def view(scene: Scene, fps: float) -> View:
    """The scene at a frame rate. Raises ValueError for one that is not 30, 60 or 120 frames/s."""
    step = round(RATE / fps)
    if step * fps != RATE or fps % COARSEST:
        raise ValueError(f"rates: found {fps:g} frames/s, expected 30, 60 or 120")
    q = scene.q[::step]
    rotations = q[:, 3:].reshape(len(q), -1, 4)
    return View(scene.humanoid, q[:, :3], rotations, scene.wrench[::step], scene.torque[::step])


def inner_frames(count: int, fps: float) -> np.ndarray:
    """All frames of a clip of `count` but those near its ends."""
    margin = min(round(_MARGIN * fps), (count - 1) // 3)
    return np.arange(margin, count - margin, dtype=np.int32)


def compared_frames(seconds: float, fps: float, count: int) -> jax.Array:
    """Frames (count,) at fps, evenly spread and at the same times at every rate."""
    last = round(seconds * COARSEST)
    margin = min(round(_MARGIN * COARSEST), last // 3)
    return jnp.asarray(np.linspace(margin, last - margin, count).round().astype(np.int32) * round(fps / COARSEST))
