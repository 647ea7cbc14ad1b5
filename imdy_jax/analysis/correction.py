"""The smallest correction of predicted contact forces that makes the equation of motion hold.

A learnt solver predicts a force on each segment that its motion need not be able to explain. Of the forces f_i at the
points r_i that can touch the floor, each within its friction cone, those are taken that minimise in every frame

    |Σ_i (f_i, r_i × f_i) − needed|² + change Σ_i |f_i − p_i|²

in units of body weight and LEVER, so per mass of the subject: as `change` is small, the root's equations come first,
and of the forces that obey them those nearest to the prediction p. The torques are then those of inverse dynamics.

Of a prediction the vertical load of each foot, each hand and every other segment counts (`taken` = "load"). Where under
the foot it acts, and how hard feet push against one another, is taken from the forces that contact_sequence shares:
imitated people strain their legs against the floor as nobody does who stands (docs/laboratory.md). "force" takes every
segment's whole force.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from imdy_jax.dynamics.contact import LEVER
from imdy_jax.dynamics.contact_sequence import (
    Candidates,
    SoftContact,
    candidates,
    gather,
    needed_wrench,
    share_sequence,
)
from imdy_jax.dynamics.estimate import Estimate
from imdy_jax.dynamics.friction_cone import ConeProblem, solve
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.dynamics.pieces import Pieces, in_pieces
from imdy_jax.humanoid import GRAVITY, Humanoid
from imdy_jax.skeleton import JOINT_NAMES, NUM_BODIES, PARENTS

# The segment whose load each shares: toes and foot are one, fingers and hand.
_LIMB = [
    parent if name.endswith(("foot", "hand")) else k
    for k, (name, parent) in enumerate(zip(JOINT_NAMES, PARENTS, strict=True))
]
_LINEAR = 0.03  # size of the row that stands for a linear term: its square is far below one


@struct.dataclass
class Correction:
    """How a prediction is corrected."""

    change: float = 0.003  # weight of the distance from the prediction, over that of the root's equations
    height: float = 0.05  # m, a point that is higher bears nothing
    speed: float = 1.6  # m/s over the floor, nor one that is faster
    contact: SoftContact = SoftContact()  # friction, and how a segment's force is shared over its points
    taken: Literal["load", "force"] = struct.field(pytree_node=False, default="load")  # of a prediction
    iterations: int = 700  # at most, beginning with the prediction


class Corrected(NamedTuple):
    """A motion of T frames with forces that its equation of motion admits; NumPy."""

    found: Estimate
    points: np.ndarray  # (T, P, 3) N at the points that come nearest to bearing load, both feet's first


def correct(
    humanoid: Humanoid, motion: Estimate, force: np.ndarray, fps: float, settings: Correction = Correction(),
    pieces: Pieces = Pieces(),
) -> Estimate:  # fmt: skip
    """The motion's dynamics with the contact forces nearest to a prediction.

    Args:
      humanoid: one subject.
      motion: q, v and a of it are used, T frames.
      force: (T, 24, 3) N predicted on each segment, world axes.
      fps: frames per second.

    Returns:
      An Estimate in NumPy arrays: forces in their friction cones, torques, and the root residual that they leave.
    """
    return correct_points(humanoid, motion, force, fps, settings, pieces).found


def correct_points(
    humanoid: Humanoid, motion: Estimate, force: np.ndarray, fps: float, settings: Correction, pieces: Pieces,
    before: Corrected | None = None,
) -> Corrected:  # fmt: skip
    """As correct, with what the points bear.

    before: of a motion that differs little from this one. What can bear load, by height and speed, is then that of the
      motion before, and a segment's predicted force is shared over its points as they bore it there, which is also
      where the search for forces begins.
    """
    seen, start = (None, None) if before is None else ((before.found.q, before.found.v), before.points)
    frames = motion.q, motion.v, motion.a, np.asarray(force, np.asarray(motion.q).dtype), seen, start
    return in_pieces(partial(_correct, humanoid, settings, fps), frames, fps, pieces)


@partial(jax.jit, static_argnames="fps")
def _correct(humanoid: Humanoid, settings: Correction, fps: float, frames: tuple) -> Corrected:
    q, v, a, force, seen, start = jax.tree.map(jnp.asarray, frames)
    dynamics = jax.vmap(inverse_dynamics, in_axes=(None, 0, 0, 0, 0))
    points, weight = candidates(humanoid, q, v, settings.contact, seen), humanoid.total_mass * GRAVITY
    nothing = jnp.zeros((len(q), NUM_BODIES, 6), q.dtype)
    wanted = needed_wrench(q, dynamics(humanoid, q, v, a, nothing)[1], points.centre)
    shared = start
    if shared is None:
        shared, _ = share_sequence(points.touch, wanted, points.centre, weight, fps, settings.contact)
    touching = _touching(points, settings).astype(q.dtype)
    prediction = _over_points(points, touching, shared, force, weight, settings.taken)
    problem = _problem(points, touching, wanted, prediction / weight, weight, settings)
    begin = (prediction if start is None else start) / weight
    found = solve(problem, settings.iterations, settings.contact.tolerance, begin) * weight
    ground = gather(points, found, wanted, weight)
    torque, residual = dynamics(humanoid, q, v, a, ground.wrench)
    power = jnp.sum(torque * v[:, 6:].reshape(torque.shape), axis=-1)
    return Corrected(Estimate(q, v, a, torque, power, ground.wrench, residual, ground.pressure_centre), found)


def _touching(points: Candidates, settings: Correction) -> jax.Array:
    """Whether each point can bear load (T, P)."""
    return (points.touch.height < settings.height) & (points.touch.speed < settings.speed)


def _over_points(
    points: Candidates, touching: jax.Array, shared: jax.Array, force: jax.Array, weight: jax.Array, taken: str
) -> jax.Array:
    """What is taken of predicted forces (T, 24, 3), on the points (T, P, 3), in proportion to their share of the load.

    shared (T, P, 3): forces that the motion needs, as contact alone shares them.
    """
    load = (jnp.maximum(shared[..., 2], 0.0) + 1e-4 * weight) * touching
    owner = np.array(_LIMB if taken == "load" else range(NUM_BODIES))
    together = jnp.asarray(owner[:, None] == owner[None], load.dtype)  # (24, 24) bear one load
    same = together[points.body][:, points.body]  # (P, P)
    whole = jnp.matmul(load, same, precision=jax.lax.Precision.HIGHEST)
    share = load / jnp.maximum(whole, 1e-6 * weight)
    given = jnp.einsum("bc,tcx->tbx", together, force, precision=jax.lax.Precision.HIGHEST)
    predicted = share[..., None] * given[:, points.body]
    if taken == "force":
        return predicted
    more = jnp.clip(predicted[..., 2:] / jnp.maximum(shared[..., 2:], 1e-3 * weight), 0.0, 2.0)
    return jnp.concatenate([more * shared[..., :2], predicted[..., 2:]], axis=-1)


def _problem(
    points: Candidates, touching: jax.Array, wanted: jax.Array, prediction: jax.Array, weight: jax.Array,
    settings: Correction,
) -> ConeProblem:  # fmt: skip
    """The six root equations, and in a seventh row the linear term −change p·f that the square |f − p|² has."""
    arm = points.touch.position - points.centre[:, None]
    dtype = arm.dtype
    identity = jnp.broadcast_to(jnp.eye(3, dtype=dtype), (*arm.shape, 3))
    turning = jnp.cross(arm[..., None, :], jnp.eye(3, dtype=dtype)[None, None]).swapaxes(-1, -2) / LEVER
    linear = _LINEAR * settings.change * prediction[..., None, :]
    units = jnp.asarray([1.0] * 3 + [LEVER] * 3, dtype)[None] * weight
    zero = jnp.zeros((), dtype)
    return ConeProblem(
        columns=jnp.concatenate([identity, turning, linear], axis=-2),
        wanted=jnp.concatenate([wanted / units, jnp.full((len(arm), 1), 1.0 / _LINEAR, dtype)], axis=-1),
        free=touching,
        axis=jnp.zeros_like(arm),
        friction=jnp.asarray(settings.contact.friction, dtype),
        effort=jnp.asarray(settings.change, dtype),
        saving=zero,
        coupling=zero,
    )
