"""Refinement of noisy poses until they obey dynamics: the most likely motion, by Gauss–Newton.

Unknown is a correction of every coordinate in every frame, in the frame's own tangent space. It minimises

    |correction|² by the covariance of the noise  +  |jerk|² by that of the motion (both from pose_prior.py)
    + change and effort of the joint torques  +  root wrench that no contact explains
    + slip and sinking of resting feet

each over its variance. Torques are those after the ground has taken its share, by the least effort without friction
cones: then share and torque are linear in the root wrench, and one step of Gauss–Newton sees through the contact. Who
may push, which points rest, how much of the root wrench contact can explain and how hard the motion jerks in each
frame are taken from the step before (iteratively reweighted least squares).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from imdy_jax import rotation
from imdy_jax.dynamics.banded import NormalEquations, add_terms, no_terms, solve
from imdy_jax.dynamics.contact import LEVER, POINT_BODY, contact_points
from imdy_jax.dynamics.contact_sequence import SoftContact, Touch, barrier
from imdy_jax.dynamics.kinematics import body_velocities, difference, forward_kinematics, integrate
from imdy_jax.dynamics.newton_euler import generalized_force, no_wrench
from imdy_jax.dynamics.pose_prior import PosePrior, learn_prior
from imdy_jax.humanoid import Humanoid
from imdy_jax.skeleton import NUM_V

_POINTS = 24  # that may bear load in one motion
AT_ONCE = 4  # motions refined side by side: about 0.2 GB each at 150 frames
_FRAMES = 30  # of which the padded length is a multiple
_LEAST_TORQUE = 0.01  # N·m: joints that do nothing need not be stiller than this
_HIGHEST = jax.lax.Precision.HIGHEST


@struct.dataclass
class Refinement:
    """Standard deviations of what is to be small.

    Chosen on built-in motions, among them walk, squat, side step and hop; half or twice of those
    that were tried there changed the torque error by a tenth at most.
    """

    torque_change: float = 6.0  # of a torque from frame to frame, over its rms in the smoothed motion
    torque: float = 20.0  # of a torque, over its rms in the smoothed motion: the weight of effort
    unexplained: float = 15.0  # N, of the root force that no contact explains, its moment by LEVER; far beyond it the
    # contact model is doubted and not the motion (Geman & McClure 1987)
    slip: float = 0.03  # m/s, of a resting point
    sink: float = 0.003  # m
    resting_speed: float = 0.05  # m/s: much faster points are not taken to rest,
    resting_height: float = 0.01  # m: nor higher ones
    bursts: float = 0.1  # least share of the mean square jerk in a quiet frame; infinite: the same in every frame
    prior: float = 1.0  # weight of the noise's covariance; the poses stay as they are where it is infinite
    contact: SoftContact = SoftContact()
    iterations: int = struct.field(pytree_node=False, default=4)


class _Frames(NamedTuple):
    """Of each inner frame, or its derivative by the corrections of three neighbouring frames, behind it."""

    force: jax.Array  # (T-2, 75) M v̇ + b
    acceleration: jax.Array  # (T-2, 75)
    points: jax.Array  # (T-2, 4 P) velocity m/s and height m of each contact point


class _Scales(NamedTuple):
    """What stays the same through the iterations."""

    chosen: jax.Array  # (P,) contact points
    change: jax.Array  # (69,) N·m per frame
    torque: jax.Array  # (69,) N·m
    whitening: jax.Array  # (75, 75) of the changes of acceleration


class Refined(NamedTuple):
    """Refined motions, and what was learnt of each."""

    motions: list[np.ndarray]  # (T, 99) each
    priors: list[PosePrior]


def refine(
    humanoid: Humanoid,
    motions: Sequence[np.ndarray],
    fps: float,
    settings: Refinement = Refinement(),
    advance: Callable[..., None] = lambda amount, **values: None,
) -> Refined:
    """Refine noisy motions q (T, 99) of one person on a floor at z = 0; several are worked on at once.

    `advance` is called after each iteration with the number of motions that it moved.

    Raises:
      ValueError: a motion of fewer than pose_prior.MIN_FRAMES frames; or JAX in single precision, which the
        accelerations of rounded poses would spoil.
      FloatingPointError: a result that is not finite; names the motion.
    """
    if jnp.result_type(float) != jnp.float64:
        raise ValueError("refine: found JAX in float32, expected float64; set jax_enable_x64")
    humanoid = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), humanoid)
    learnt = [learn_prior(q, fps) for q in motions]
    found: list[np.ndarray] = []
    for start in range(0, len(motions), AT_ONCE):
        chunk = slice(start, start + AT_ONCE)
        found += _refine_some(humanoid, motions[chunk], learnt[chunk], fps, settings, advance)
    for i, q in enumerate(found):
        if not np.isfinite(q).all():
            frame = int(np.flatnonzero(~np.isfinite(q).all(axis=1))[0])
            raise FloatingPointError(f"refine: motion {i}: not finite from frame {frame}; check its poses for jumps")
    return Refined(found, [prior for prior, _ in learnt])


def _refine_some(
    humanoid: Humanoid, motions: Sequence[np.ndarray], learnt: list[tuple[PosePrior, np.ndarray]], fps: float,
    settings: Refinement, advance: Callable[..., None],
) -> list[np.ndarray]:  # fmt: skip
    """A few motions side by side, padded to a common length so that few programs are compiled."""
    length = np.array([len(q) for q in motions])
    frames = -(-max(length) // _FRAMES) * _FRAMES
    pad = lambda x: np.pad(x, ((0, frames - len(x)), (0, 0)), mode="edge")  # noqa: E731
    noisy = jnp.asarray(np.stack([pad(np.asarray(q, float)) for q in motions]))
    correction = np.stack([np.pad(x, ((0, frames - len(x)), (0, 0))) for _, x in learnt])
    prior = PosePrior(*(jnp.asarray(np.stack(x)) for x in zip(*(prior for prior, _ in learnt), strict=True)))
    q = _move(noisy, jnp.asarray(correction))
    scales = _measure(humanoid, q, prior, length, fps, settings)
    for _ in range(settings.iterations):
        q, cost = _improve(humanoid, q, noisy, prior, scales, length, fps, settings)
        advance(len(motions), cost=float(jnp.mean(cost)))
    return [np.asarray(x)[:frames] for x, frames in zip(q, length, strict=True)]


_move = jax.jit(jax.vmap(jax.vmap(partial(integrate, dt=1.0))))


@partial(jax.jit, static_argnames="fps")
@partial(jax.vmap, in_axes=(None, 0, 0, 0, None, None))
def _measure(
    humanoid: Humanoid, q: jax.Array, prior: PosePrior, length: jax.Array, fps: float, settings: Refinement
) -> _Scales:
    """Contact points and the sizes of torques in the smoothed motion q (T, 99)."""
    every, inner = jnp.arange(len(POINT_BODY)), _inside(3, length, len(q))[:, None]
    still = jnp.zeros((3, NUM_V), q.dtype)
    frames = jax.vmap(partial(_frame, humanoid, every, fps), in_axes=(0, None))(_triples(q), still)
    _, chosen = jax.lax.top_k(-jnp.min(_reluctance(frames.points, settings.contact), axis=0), _POINTS)
    points = frames.points.reshape(len(inner), -1, 4)[:, chosen].reshape(len(inner), -1)
    share = jax.vmap(partial(_share, humanoid, chosen, settings.contact))(q[1:-1], points)
    torque = _product(share[:, 6:], frames.force)
    rms = lambda x, inside: jnp.sqrt(jnp.sum(inside * x**2, axis=0) / jnp.sum(inside)) + _LEAST_TORQUE  # noqa: E731
    change = settings.torque_change * rms(jnp.diff(torque, axis=0), _inside(4, length, len(q))[:, None])
    whitening = jnp.linalg.inv(jnp.linalg.cholesky(prior.jerk)) / fps**2
    return _Scales(chosen, change, settings.torque * rms(torque, inner), whitening)


@partial(jax.jit, static_argnames="fps")
@partial(jax.vmap, in_axes=(None, 0, 0, 0, 0, 0, None, None))
def _improve(
    humanoid: Humanoid, q: jax.Array, noisy: jax.Array, prior: PosePrior, scales: _Scales, length: jax.Array,
    fps: float, settings: Refinement,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """One step of Gauss–Newton from q (T, 99), and the mean square residual before it."""
    frame, still = partial(_frame, humanoid, scales.chosen, fps), jnp.zeros((3, NUM_V), q.dtype)
    linearise = lambda q: (frame(q, still), jax.jacfwd(frame, argnums=1)(q, still))  # noqa: E731
    value, slope = jax.lax.map(linearise, _triples(q), batch_size=16)
    share = jax.vmap(partial(_share, humanoid, scales.chosen, settings.contact))(q[1:-1], value.points)
    resting = _resting(value.points, settings)
    units = settings.unexplained * jnp.asarray([1.0] * 3 + [LEVER] * 3, q.dtype)
    explicable = 1.0 / (1.0 + jnp.mean((_product(share[:, :6], value.force) / units[None]) ** 2, axis=1))

    def in_frame(x: _Frames) -> jax.Array:
        """What is to be small in each frame, (T-2, m, ...)."""
        size = jnp.concatenate([explicable[:, None] / units[None], _rows(1.0 / scales.torque, len(share))], axis=1)
        return jnp.concatenate([_scaled(size, _product(share, x.force)), _scaled(resting, x.points)], axis=1)

    def changing(x: _Frames) -> jax.Array:
        """What is to change little from frame to frame."""
        jerk = _product(scales.whitening[None], x.acceleration)
        return jnp.concatenate([_product(share[:, 6:], x.force), jerk], axis=1)

    equations, cost = _noise_terms(q, noisy, prior, settings.prior, length)
    change = changing(slope)
    gap = jnp.zeros_like(change[1:, :, :1])
    by_change = jnp.concatenate([gap, change[1:]], axis=2) - jnp.concatenate([change[:-1], gap], axis=2)
    calm = _calm(jnp.diff(_product(scales.whitening[None], value.acceleration), axis=0), length, settings)
    size = jnp.concatenate([_rows(1.0 / scales.change, len(calm)), _rows(calm, NUM_V).T], axis=1)
    steady = _scaled(size, jnp.diff(changing(value), axis=0)), _scaled(size, by_change)
    terms = (in_frame(value), in_frame(slope)), steady
    for residual, jacobian in terms:
        inside = _inside(jacobian.shape[2], length, len(q))[:, None]
        residual = residual * inside
        equations = add_terms(equations, _scaled(inside, jacobian), residual)
        cost = cost + jnp.sum(residual**2)
    return jax.vmap(integrate, in_axes=(0, 0, None))(q, solve(equations), 1.0), cost / (length * NUM_V)


def _triples(q: jax.Array) -> jax.Array:
    """Neighbouring frames (T-2, 3, 99)."""
    return jnp.stack([q[:-2], q[1:-1], q[2:]], axis=1)


def _inside(width: int, length: jax.Array, frames: int) -> jax.Array:
    """1 for the windows of that many frames that hold no padding, 0 for others."""
    return (jnp.arange(frames - width + 1) + width <= length).astype(jnp.result_type(float))


def _rows(x: jax.Array, count: int) -> jax.Array:
    """x (m,) over and over, (count, m)."""
    return jnp.broadcast_to(x[None], (count, len(x)))


def _scaled(factor: jax.Array, x: jax.Array) -> jax.Array:
    """factor (T, m) times x (T, m, ...)."""
    return factor.reshape(*factor.shape, *[1] * (x.ndim - 2)) * x


def _product(matrix: jax.Array, x: jax.Array) -> jax.Array:
    """matrix (T or 1, i, j) times x (T, j, ...)."""
    return jnp.matmul(matrix, x.reshape(*x.shape[:2], -1), precision=_HIGHEST).reshape(len(x), -1, *x.shape[2:])


def _frame(humanoid: Humanoid, chosen: jax.Array, fps: float, q: jax.Array, correction: jax.Array) -> _Frames:
    """The middle one of three frames q (3, 99), corrected by (3, 75)."""
    q = jax.vmap(integrate, in_axes=(0, 0, None))(q, correction, 1.0)
    before, after = difference(q[0], q[1]) * fps, difference(q[1], q[2]) * fps
    v, a = (before + after) / 2, (after - before) * fps
    pose = forward_kinematics(humanoid, q[1])
    motion = body_velocities(humanoid, pose, v)
    points, height = contact_points(humanoid, pose)
    body = jnp.asarray(POINT_BODY)[chosen]
    arm = points[chosen] - pose.position[body]
    velocity = motion.linear[body] + jnp.cross(motion.angular[body], arm)
    state = jnp.concatenate([velocity, height[chosen, None]], axis=1)
    return _Frames(generalized_force(humanoid, q[1], v, a), a, state.reshape(-1))


def _reluctance(points: jax.Array, model: SoftContact) -> jax.Array:
    """Logarithm (T, P) of what a force at each point costs, from their states (T, 4 P)."""
    state = points.reshape(len(points), -1, 4)
    speed = jnp.sqrt(jnp.sum(state[..., :3] ** 2, axis=-1) + 1e-12)
    return barrier(Touch(state[..., :3], state[..., 3], speed, state[..., :3]), model)


def _resting(points: jax.Array, settings: Refinement) -> jax.Array:
    """Weights (T, 4 P) of velocities and heights, gone for points that move or are lifted (Geman & McClure 1987)."""
    state = points.reshape(len(points), -1, 4)
    speed = jnp.sum(state[..., :3] ** 2, axis=-1) / settings.resting_speed**2
    rests = 1.0 / (1.0 + speed + (state[..., 3] / settings.resting_height) ** 2)
    size = jnp.asarray([settings.slip] * 3 + [settings.sink], points.dtype)
    return (rests[..., None] / size).reshape(points.shape)


def _calm(jerk: jax.Array, length: jax.Array, settings: Refinement) -> jax.Array:
    """Weights (T-3,) of the whitened jerks (T-3, 75): less where all of them together are large, as at an impact."""
    inside = _inside(4, length, len(jerk) + 3)
    power = jnp.convolve(jnp.mean(jerk**2, axis=1) * inside, jnp.asarray([0.25, 0.5, 0.25], jerk.dtype), mode="same")
    power = power * jnp.sum(inside) / jnp.sum(power * inside)
    return jnp.sqrt((1.0 + settings.bursts) / (power + settings.bursts))


def _share(humanoid: Humanoid, chosen: jax.Array, model: SoftContact, q: jax.Array, points: jax.Array) -> jax.Array:
    """The matrix (75, 75) that takes inverse dynamics to the root wrench left unexplained and the torques left over.

    The forces at the chosen points minimise |explained − wanted|² + effort Σ cost |force|², in body weights.
    """
    pose = forward_kinematics(humanoid, q)
    at, body = contact_points(humanoid, pose)[0][chosen], jnp.asarray(POINT_BODY)[chosen]
    free = jnp.exp(-_reluctance(points[None], model)[0]) / model.effort
    arm = (at - q[None, :3])[:, None]
    turn = rotation.rotate(rotation.conjugate(q[3:7])[None, None], jnp.cross(arm, jnp.eye(3, dtype=q.dtype)[None]))
    supply = jnp.concatenate([jnp.broadcast_to(jnp.eye(3, dtype=q.dtype), turn.shape), turn / LEVER], axis=-1)
    units = jnp.asarray([1.0] * 3 + [LEVER] * 3, q.dtype)
    normal = jnp.eye(6, dtype=q.dtype) + jnp.einsum("p,pxi,pxj->ij", free, supply, supply, precision=_HIGHEST)
    unexplained = jnp.linalg.inv(normal)  # of a wrench in units of N and LEVER N·m

    def carried(wrench: jax.Array) -> jax.Array:
        force = free[:, None] * jnp.matmul(supply, unexplained @ (wrench / units), precision=_HIGHEST)
        moment = jnp.cross(at - pose.position[body], force)
        each = no_wrench(q.dtype).at[body].add(jnp.concatenate([force, moment], axis=-1))
        return generalized_force(humanoid, q, still, still) - generalized_force(humanoid, q, still, still, each)

    still = jnp.zeros(NUM_V, q.dtype)
    taken = jax.vmap(carried, out_axes=1)(jnp.eye(6, dtype=q.dtype))
    return jnp.eye(NUM_V, dtype=q.dtype).at[:, :6].add(-taken)


def _noise_terms(
    q: jax.Array, noisy: jax.Array, prior: PosePrior, weight: float | jax.Array, length: jax.Array
) -> tuple[NormalEquations, jax.Array]:
    """The correction's terms; its derivative by a further one is taken for the identity, which it is to first order."""
    x, unit = jax.vmap(difference)(noisy, q), jnp.diag(jnp.sqrt(weight) / prior.noise_sd)
    fresh = unit / jnp.sqrt(1.0 - prior.correlation**2)
    inside = _inside(2, length, len(q))
    # The first frame has no predecessor; those of the padding are held where they are.
    alone = jnp.concatenate([jnp.ones_like(inside[:1]), 1.0 - inside])
    equations = no_terms(len(q), NUM_V, q.dtype)
    cost = jnp.zeros((), q.dtype)
    pair = jnp.stack([-prior.correlation * fresh, fresh], axis=1)
    for jacobian, seen in ((unit[:, None], alone), (pair, inside)):
        windows = jnp.stack([x[i : i + len(seen)] for i in range(jacobian.shape[1])], axis=1)
        residual = jnp.einsum("mwn,twn->tm", jacobian, windows, precision=_HIGHEST) * seen[:, None]
        equations = add_terms(equations, jacobian[None] * seen[:, None, None, None], residual)
        cost = cost + jnp.sum(residual**2)
    return equations, cost
