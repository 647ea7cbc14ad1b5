"""Error bars on torques in closed form: the noise of poses carried through filter, derivatives and dynamics.

To first order in the noise φ of all frames s the generalised force f at frame t errs by

    δf_t = Σ_k [ ∂f/∂q_k  ∂f/∂v_k  ∂f/∂v̇_k ]_t  L_tk  Σ_s (F_ts, V_ts, A_ts) E_sk φ_sk

k the root's position or a joint, E_sk φ_sk the change of its raw coordinates, F, V and A the filter's matrix with its
first and second differences in time, L the derivative of the differencing on the rotation group, and ∂f/∂v̇ the mass
matrix. Nothing else is left out: this is the exact Jacobian of estimate_poses. Noise that is independent from joint
to joint and Markov in time then gives the covariance in one sweep over s.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from imdy_jax import rotation
from imdy_jax.body.person import Body
from imdy_jax.dynamics.contact_sequence import SoftContact
from imdy_jax.dynamics.differentiate import motion
from imdy_jax.dynamics.estimate import estimate_poses
from imdy_jax.dynamics.kinematics import integrate
from imdy_jax.dynamics.mass_matrix import mass_matrix
from imdy_jax.dynamics.newton_euler import generalized_force, inverse_dynamics
from imdy_jax.dynamics.noise import PoseNoise, correlation, stationary
from imdy_jax.humanoid import Humanoid, from_body
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.filters import Butterworth, Filter, Smoothed, continuous, operator
from imdy_jax.skeleton import NUM_BODIES, NUM_V

_VICINITY = 0.25  # s, standard deviation of the window in which a filter's error is averaged
_BATCH = 16  # frames at a time, for memory's sake
NUM_SOURCES = 1 + NUM_BODIES  # of noise: the root's position, then the rotations of the root and the joints
_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def torque_error_bars(
    clip: Clip,
    body: Body,
    noise: PoseNoise,
    smoothing: Filter = Butterworth(),
    wrench: jax.Array | None = None,
    level: float = 0.9,
    bias: float = 0.0,
) -> jax.Array:
    """Half-widths (T, 23, 3), N·m, of the intervals about the torques of `estimate` with the same arguments.

    Each holds the torque of the noise-free poses, estimated in the same way, with probability `level`. Of what the
    filter takes from the motion itself they take account if `bias` is not zero: that times filter_bias is then one
    more standard deviation; experiments/study_noise.py finds the factor that calibrates it. Near the ends of a clip,
    where filters see one side only, that is too little.

    Args:
      clip, body, smoothing: as of estimate.
      noise: of the clip's poses.
      wrench: (T, 24, 6) external forces in the layout of Estimate.wrench, taken as exact; none by default.
      level: probability that an interval holds the torque.
      bias: weight of the filter's own error.

    Raises:
      ValueError: too few frames for the filter, or a cut-off that is not between zero and half the frame rate.
    """
    smoothing.check(clip.num_frames, clip.fps)
    rotations, translation = jnp.asarray(clip.rotations), jnp.asarray(clip.translation)
    matrices = operator(smoothing, clip.num_frames, clip.fps, rotations.dtype)
    poses = from_body(body), matrices, translation + body.joints[0][None], rotations, clip.fps
    sd = standard_deviation(squared_gains(*poses, noise.memory, wrench), noise)[:, 6:].reshape(-1, NUM_BODIES - 1, 3)
    wrench = jnp.zeros((clip.num_frames, NUM_BODIES, 6), sd.dtype) if wrench is None else wrench
    missed = bias * filter_bias(*poses, wrench, jnp.arange(clip.num_frames)) if bias else jnp.zeros_like(sd)
    return ndtri((1.0 + level) / 2.0) * jnp.sqrt(sd**2 + missed**2)


def sampled_error_bars(
    key: jax.Array,
    clip: Clip,
    body: Body,
    noise: PoseNoise,
    smoothing: Filter = Butterworth(),
    contact: SoftContact | None = SoftContact(),
    level: float = 0.9,
    draws: int = 64,
) -> jax.Array:
    """As torque_error_bars where the ground's forces are estimated too, and err with the poses.

    The sharing of the forces couples all frames, so the same Jacobian, now through the contact as well, is not written
    out but applied to `draws` samples of the noise; the bars themselves are uncertain by 1 / √(2 draws).
    """
    smoothing.check(clip.num_frames, clip.fps)
    position = jnp.asarray(clip.translation) + body.joints[0][None]
    rotations = jnp.asarray(clip.rotations)
    white = jax.random.normal(key, (clip.num_frames, draws, NUM_SOURCES, 3), rotations.dtype)
    sd = source_deviations(noise, rotations.dtype)[None, None, :, None]
    changes = sd * jnp.moveaxis(stationary(white, clip.fps, noise.memory), 1, 0)
    spread = _sampled_deviation(from_body(body), position, rotations, clip.fps, smoothing, contact, changes)
    return ndtri((1.0 + level) / 2.0) * spread


@partial(jax.jit, static_argnames="fps")
def _sampled_deviation(
    humanoid: Humanoid,
    position: jax.Array,
    rotations: jax.Array,
    fps: float,
    smoothing: Filter,
    contact: SoftContact | None,
    changes: jax.Array,
) -> jax.Array:
    """Root mean square (T, 23, 3) of the torques' first-order changes under changes (D, T, 25, 3) of the poses."""

    def torque(change: jax.Array) -> jax.Array:
        turned = rotation.multiply(rotations, rotation.exp(change[:, 1:]))
        return estimate_poses(humanoid, position + change[:, 0], turned, fps, smoothing, contact).torque

    _, push = jax.linearize(torque, jnp.zeros_like(changes[0]))
    return jnp.sqrt(jnp.mean(jax.lax.map(push, changes) ** 2, axis=0))


def source_deviations(noise: PoseNoise, dtype: jnp.dtype) -> jax.Array:
    """Standard deviations (25,) of the noise of each source: m of the root's position, then rad."""
    turns = jnp.broadcast_to(jnp.asarray(noise.rotation_sd, dtype), (NUM_BODIES,))
    return jnp.concatenate([jnp.asarray(noise.translation_sd, dtype).reshape(1), turns])


def standard_deviation(squares: jax.Array, noise: PoseNoise) -> jax.Array:
    """Standard deviations (..., 75) of the generalised forces, from squared gains (..., 25, 75)."""
    variance = source_deviations(noise, squares.dtype) ** 2
    return jnp.sqrt(jnp.einsum("...ki,k->...i", squares, variance, precision=jax.lax.Precision.HIGHEST))


def squared_gains(
    humanoid: Humanoid,
    matrices: Smoothed,
    position: jax.Array,
    rotations: jax.Array,
    fps: float,
    memory: float | jax.Array = 0.0,
    wrench: jax.Array | None = None,
    frames: jax.Array | None = None,
) -> jax.Array:
    """Variance (N, 25, 75) of the generalised forces per unit variance of the noise of each source.

    Sources: the root's position (per m²), the rotations of the root and the 23 joints (per rad²). Forces: the root
    residual, then the torques, in the layout of v. Variances of independent sources add up.

    Args:
      matrices: filters.operator of the filter.
      position, rotations: (T, 3) m of the pelvis joint, (T, 24, 4) joint quaternions: the poses about which to
        linearise, before the filter.
      fps: frames per second.
      memory: s, of the noise (PoseNoise).
      wrench: (T, 24, 6) external forces, held fixed about the segments' joints in world axes; none by default.
      frames: (N,) at which to compute; all T by default.
    """
    count, dtype = len(position), rotations.dtype
    frames = jnp.arange(count) if frames is None else frames
    # A whole number of batches: one program, compiled once for clips of a length.
    padded = jnp.pad(frames, (0, -len(frames) % _BATCH), mode="edge")
    wrench = jnp.zeros((count, NUM_BODIES, 6), dtype) if wrench is None else wrench
    decay = correlation(fps, memory).astype(dtype)
    return _squared_gains(humanoid, matrices, position, rotations, fps, decay, wrench, padded)[: len(frames)]


@jax.jit
def _squared_gains(
    humanoid: Humanoid,
    matrices: Smoothed,
    position: jax.Array,
    rotations: jax.Array,
    fps: float,
    decay: jax.Array,
    wrench: jax.Array,
    frames: jax.Array,
) -> jax.Array:
    """As squared_gains, for noise whose neighbours in time have the correlation `decay`."""
    count = len(position)
    quaternions, raw = continuous(rotations), raw_coordinates(position, rotations)
    smooth = Smoothed(_matmul(matrices.value, raw), _matmul(matrices.step, raw))
    q, v, a = motion(smooth, fps)
    # What a rotation vector in child axes adds to a quaternion: (T, 24, 4, 3).
    turned = 0.5 * jnp.swapaxes(rotation.multiply(quaternions[:, :, None], _units(raw.dtype)), -1, -2)

    def at(t: jax.Array) -> jax.Array:
        middle = jnp.clip(t, 1, count - 2)
        before, after = matrices.step[middle - 1], matrices.step[middle]
        rows = jnp.stack([matrices.value[middle], (before + after) / 2, after - before])
        place = _Place(smooth.value[middle], smooth.step[middle - 1], smooth.step[middle], t - middle)
        covariance = _coordinate_covariance(rows, turned, place, fps, decay)
        slope = _force_slopes(humanoid, q[t], v[t], a[t], wrench[t])
        return jnp.einsum("kia,kab,kib->ki", slope, covariance, slope, precision=jax.lax.Precision.HIGHEST)

    return jax.lax.map(at, frames, batch_size=_BATCH)


def filtered_torques(
    humanoid: Humanoid,
    matrices: Smoothed,
    position: jax.Array,
    rotations: jax.Array,
    fps: float,
    wrench: jax.Array,
    frames: jax.Array,
) -> jax.Array:
    """Torques (N, 23, 3), N·m, that estimate_poses finds at some frames; arguments as of squared_gains."""
    raw = raw_coordinates(position, rotations)
    q, v, a = motion(Smoothed(_matmul(matrices.value, raw), _matmul(matrices.step, raw)), fps)
    chosen = (x[frames] for x in (q, v, a, wrench))
    return jax.vmap(inverse_dynamics, in_axes=(None, 0, 0, 0, 0))(humanoid, *chosen)[0]


@jax.jit
def filter_bias(
    humanoid: Humanoid,
    matrices: Smoothed,
    position: jax.Array,
    rotations: jax.Array,
    fps: float,
    wrench: jax.Array,
    frames: jax.Array,
) -> jax.Array:
    """Likely size (N, 23, 3), N·m, of what the filter takes from the torques, from the motion itself.

    Tukey's twicing: filtering again changes the filtered motion as filtering changed the true one. The root mean square
    of the change over a quarter of a second around each frame; zero without a filter. Arguments as of squared_gains.
    """
    again = Smoothed(_matmul(matrices.value, matrices.value), _matmul(matrices.step, matrices.value))
    every = jnp.arange(len(position))
    poses = position, rotations, fps, wrench, every
    change = filtered_torques(humanoid, matrices, *poses) - filtered_torques(humanoid, again, *poses)
    weight = jnp.exp(-0.5 * ((frames[:, None] - every[None]) / (_VICINITY * fps)) ** 2).astype(change.dtype)
    weight = weight / jnp.sum(weight, axis=1, keepdims=True)
    return jnp.sqrt(jnp.einsum("nt,tji->nji", weight, change**2, precision=jax.lax.Precision.HIGHEST))


def raw_coordinates(position: jax.Array, rotations: jax.Array) -> jax.Array:
    """What the filter sees (T, 99): positions (T, 3) and quaternions (T, 24, 4) made continuous in sign."""
    return jnp.concatenate([position, continuous(rotations).reshape(len(position), -1)], axis=1)


class _Place(NamedTuple):
    """Smooth coordinates (99,) at an inner frame, the steps to and from it, and where the frame in question is."""

    value: jax.Array
    before: jax.Array
    after: jax.Array
    offset: jax.Array  # -1 at the first frame, 1 at the last, else 0: ends take their derivatives from inside


def _coordinate_covariance(
    rows: jax.Array, turned: jax.Array, place: _Place, fps: float, decay: jax.Array
) -> jax.Array:
    """Covariance (25, 9, 9) of each source's position or rotation, velocity and acceleration, for unit noise.

    rows (3, T): of the smooth value, its mean step and its second difference; turned (T, 24, 4, 3): E_sk.
    """
    moved = _whiten(rows.T[:, :, None, None] * jnp.eye(3, dtype=rows.dtype)[None, None], decay)
    spread = _whiten(rows.T[:, None, :, None, None] * turned[:, :, None], decay)
    shift = jax.jacfwd(partial(_move, place.offset, fps))(jnp.zeros((3, 3), rows.dtype)).reshape(9, 9)
    split = (x[3:].reshape(NUM_BODIES, 4) for x in place[:3])
    turn = jax.vmap(partial(_turn_slope, place.offset, fps))(*split)
    position = _matmul(shift, moved.reshape(-1, 9, 3)).swapaxes(0, 1).reshape(1, 9, -1)
    rotations = _matmul(turn, spread.reshape(-1, NUM_BODIES, 12, 3)).transpose(1, 2, 0, 3).reshape(NUM_BODIES, 9, -1)
    response = jnp.concatenate([position, rotations])
    return _matmul(response, response.swapaxes(-1, -2))


def _whiten(response: jax.Array, decay: jax.Array) -> jax.Array:
    """Responses (T, ...) to correlated noise → to the white noise that noise.stationary makes it from."""

    def sweep(later: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
        total = now + decay * later
        return total, total

    _, total = jax.lax.scan(sweep, jnp.zeros_like(response[0]), response, reverse=True)
    return jnp.concatenate([total[:1], jnp.sqrt(1.0 - decay**2) * total[1:]])


def _move(offset: jax.Array, fps: float, change: jax.Array) -> jax.Array:
    """Change of a position, its velocity and its acceleration (3, 3), from those of value, mean step and bend."""
    value, mean, bend = change
    before, after = mean - bend / 2, mean + bend / 2
    step = jnp.where(offset < 0, -before, jnp.where(offset > 0, after, 0.0))
    return jnp.stack([value + step, fps * _velocity(offset, before, after), fps**2 * bend])


def _turn_slope(offset: jax.Array, fps: float, value: jax.Array, before: jax.Array, after: jax.Array) -> jax.Array:
    """L (9, 12): rotation vector, velocity and acceleration by the quaternion's value, mean step and bend."""
    at = value + jnp.where(offset < 0, -before, jnp.where(offset > 0, after, 0.0))
    origin = jax.lax.stop_gradient(rotation.normalize(at))

    def derivatives(change: jax.Array) -> jax.Array:
        value_, mean, bend = change
        x, into, out = value + value_, before + mean - bend / 2, after + mean + bend / 2
        at = x + jnp.where(offset < 0, -into, jnp.where(offset > 0, out, 0.0))
        unit = [rotation.normalize(y) for y in (x - into, x, x + out)]
        slow, fast = rotation.between(unit[0], unit[1]) * fps, rotation.between(unit[1], unit[2]) * fps
        turn = rotation.between(origin, rotation.normalize(at))
        return jnp.stack([turn, _velocity(offset, slow, fast), (fast - slow) * fps])

    return jax.jacfwd(derivatives)(jnp.zeros((3, 4), value.dtype)).reshape(9, 12)


def _velocity(offset: jax.Array, before: jax.Array, after: jax.Array) -> jax.Array:
    """The mean of both sides, or the side there is."""
    return jnp.where(offset < 0, before, jnp.where(offset > 0, after, (before + after) / 2))


def _force_slopes(humanoid: Humanoid, q: jax.Array, v: jax.Array, a: jax.Array, wrench: jax.Array) -> jax.Array:
    """Derivatives (25, 75, 9) of the generalised forces by each source's coordinates, velocity and acceleration."""

    def force(change: jax.Array, v: jax.Array) -> jax.Array:
        return generalized_force(humanoid, integrate(q, change, 1.0), v, a, wrench)

    by_place, by_velocity = jax.jacfwd(force, argnums=(0, 1))(jnp.zeros_like(v), v)
    slopes = jnp.stack([by_place, by_velocity, mass_matrix(humanoid, q)], axis=1)
    return slopes.reshape(NUM_V, 3, NUM_SOURCES, 3).transpose(2, 0, 1, 3).reshape(NUM_SOURCES, NUM_V, 9)


def _units(dtype: jnp.dtype) -> jax.Array:
    """The three pure unit quaternions (1, 1, 3, 4)."""
    return jnp.asarray(np.eye(4)[None, None, 1:], dtype)
