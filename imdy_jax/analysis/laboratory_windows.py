"""What a laboratory has measured, as sequences that a solver learns from like those of the simulator.

Forces are the plates', torques those of inverse dynamics of the fitted body under them, both averaged over the steps of
the solver's frame rate. A foot's force is the ankle's segment's as far as its centre of pressure lies behind the toes'
joint, and the toes' beyond. Only stretches in which all that touches the ground does so on a plate are taken.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import CubicSpline, interp1d

from imdy_jax.analysis.laboratory import Reference
from imdy_jax.biomechanics import opensim
from imdy_jax.body.person import Body
from imdy_jax.dataset.blocks import map_frames
from imdy_jax.dataset.record import make_subject
from imdy_jax.dynamics.estimate import Estimate
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.dynamics.pieces import estimate_in_pieces
from imdy_jax.humanoid import Humanoid, from_body
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.filters import Filter
from imdy_jax.motion.fit import fit
from imdy_jax.motion.resample import mirror, slerp
from imdy_jax.skeleton import LEFT_FOOT, NUM_BODIES, RIGHT_FOOT
from imdy_jax.solver.pack import Sequence
from imdy_jax.solver.representation import Name, represent

_BLEND = 0.06  # m about the toes' joint over which load passes to the toes
_LOADED = 10.0  # N
_SHORTEST = 12  # steps of a stretch
_REFLECTED = np.array([-1.0, 1.0, 1.0])  # forces; moments are axial


class _Track(NamedTuple):
    """A motion of T frames at its own rate with what was measured of it; z up."""

    time: np.ndarray  # (T,) s
    motion: Estimate
    force: np.ndarray  # (T, 2, 3) N under left and right foot
    moment: np.ndarray  # (T, 2, 3) N·m about the world's origin
    valid: np.ndarray  # (T,) bool


def laboratory_sequences(
    truth: Reference, clip: Clip, body: Body, start: float, smoothing: Filter, fps: float, representation: Name,
    person: str, phases: int = 3,
) -> list[Sequence]:  # fmt: skip
    """The stretches of a fitted motion that the plates know of, and their mirror images, in steps of 1/fps.

    Args:
      truth: the trial.
      clip: its motion at its own rate, where the laboratory has it (FittedMotion.clip); it begins at `start`, s.
      smoothing: of its poses.
      fps: frames per second of the sequences.
      representation: of their motions.
      person: who moved.
      phases: into how many parts a step is divided, from each of which the steps are counted once.
    """
    humanoid, subject = from_body(body), make_subject(from_body(body), body)
    made = []
    for mirrored in (False, True):
        track = _track(truth, clip, body, start, smoothing, mirrored)
        moving = track.motion.q, track.motion.v, track.motion.a
        wrench, torque = map_frames(_dynamics, humanoid, (*moving, track.force, track.moment))
        for first, last in _stretches(track.valid):
            for phase in range(phases):
                at = track.time[first] + phase / (phases * fps)
                steps = int((track.time[last] - at) * fps + 1e-6)
                if steps >= _SHORTEST:
                    times = at + np.arange(steps + 1) / fps
                    name = f"{person}/{truth.name}/{first}/{phase}{'/mirrored' if mirrored else ''}"
                    whole = partial(_over_steps, track.time, times)
                    motion = represent(representation, subject, _poses(track, times))
                    made.append(Sequence(
                        name, f"{person}/{truth.name}", person, truth.mass, np.asarray(motion, np.float32),
                        whole(torque).astype(np.float32), (whole(wrench[..., :3]) * fps).astype(np.float32),
                    ))  # fmt: skip
    return made


def _track(truth: Reference, clip: Clip, body: Body, start: float, smoothing: Filter, mirrored: bool) -> _Track:
    time = start + np.arange(clip.num_frames) / clip.fps
    there = lambda x: interp1d(truth.estimate.time, x, axis=0, bounds_error=False, fill_value="extrapolate")(time)  # noqa: E731
    force, moment = (opensim.to_z_up(there(x)) for x in (truth.measured.force, truth.measured.moment))
    placed = fit(clip, body)
    moved = np.asarray(clip.translation)[0] - np.asarray(placed.translation)[0]
    along = opensim.to_z_up(truth.belt) * (time - time[0])[:, None, None]  # the motion is told as over ground
    moment = moment - np.cross(moved + along, force)
    if mirrored:
        placed, force, moment = mirror(placed), force[:, ::-1] * _REFLECTED, moment[:, ::-1] * -_REFLECTED
    valid = there(truth.measured.valid.astype(float)) > 0.99
    return _Track(time, estimate_in_pieces(placed, body, smoothing, None), force, moment, valid)


def _poses(track: _Track, times: np.ndarray) -> np.ndarray:
    """q (N, 99) at other times."""
    q = np.asarray(track.motion.q, float)
    at = (times - track.time[0]) * (len(track.time) - 1) / (track.time[-1] - track.time[0])
    turned = slerp(q[:, 3:].reshape(len(q), NUM_BODIES, 4), at)
    return np.concatenate([CubicSpline(track.time, q[:, :3])(times), turned.reshape(len(times), -1)], axis=1)


def _over_steps(time: np.ndarray, times: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Integrals of x (T, ...) over the steps between times (N + 1,)."""
    flat = x.reshape(len(x), -1)
    area = np.concatenate(
        [np.zeros((1, flat.shape[1])), np.cumsum(0.5 * (flat[1:] + flat[:-1]) * np.diff(time)[:, None], 0)]
    )
    return np.diff(interp1d(time, area, axis=0)(times), axis=0).reshape(len(times) - 1, *x.shape[1:])


def _stretches(valid: np.ndarray) -> list[tuple[int, int]]:
    """First and last frame of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], valid.astype(int), [0]])))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


@jax.jit
def _dynamics(humanoid: Humanoid, frames: tuple) -> tuple[jax.Array, jax.Array]:
    """Contact wrenches (T, 24, 6), torques (T, 23, 3) of q, v, a under forces, moments about the origin (T, 2, 3)."""

    def one(
        q: jax.Array, v: jax.Array, a: jax.Array, force: jax.Array, moment: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        position, wrench = forward_kinematics(humanoid, q).position, jnp.zeros((NUM_BODIES, 6), q.dtype)
        for foot, (ankle, toes) in enumerate((LEFT_FOOT, RIGHT_FOOT)):
            up = jnp.maximum(force[foot, 2], 1.0)
            pressed = jnp.stack([-moment[foot, 1], moment[foot, 0]]) / up
            forward = position[toes, :2] - position[ankle, :2]
            ahead = jnp.dot(pressed - position[toes, :2], forward) / jnp.maximum(jnp.linalg.norm(forward), 1e-6)
            share = jnp.clip(0.5 + ahead / _BLEND, 0.0, 1.0)
            for segment, part in ((ankle, 1.0 - share), (toes, share)):
                about = moment[foot] - jnp.cross(position[segment], force[foot])
                own = part * jnp.concatenate([force[foot], about]) * (force[foot, 2] > _LOADED)
                wrench = wrench.at[segment].set(own)
        return wrench, inverse_dynamics(humanoid, q, v, a, wrench)[0]

    return jax.vmap(one)(*frames)
