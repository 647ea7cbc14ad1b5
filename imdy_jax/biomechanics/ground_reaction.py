"""Ground reaction forces under the feet of an OpenSim model, from its motion alone.

The model has no soles: four points per foot stand for them, placed in proportion to the foot's length. Where each of
them comes to rest is taken as its height zero, which makes up for soles, shoes and marker placement. The floor is
the plane of the ground's x and z; it may move, as a treadmill's belt does, with the median velocity of resting points.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.biomechanics.opensim_kinematics import Mechanism, build_mechanism, poses
from imdy_jax.biomechanics.opensim_model import Model
from imdy_jax.biomechanics.opensim_motion import CoordinateMotion
from imdy_jax.biomechanics.opensim_xml import OpenSimFileError
from imdy_jax.dataset.blocks import map_frames
from imdy_jax.dynamics import dalembert
from imdy_jax.dynamics.contact_sequence import SoftContact, Touch, barrier, pressure_centre, share_sequence

SIDES = ("l", "r")  # order of the feet in all results
# Body, and place in its axes as shares of the distance from the calcaneus's origin, at the heel, to the toes' joint;
# z is towards the little toe. Of a shoe's outline; our choice.
_SOLE = (
    ("calcn", (0.02, 0.0, 0.00)),
    ("calcn", (0.95, 0.0, -0.16)),
    ("calcn", (0.80, 0.0, 0.30)),
    ("toes", (0.35, 0.0, -0.10)),
)
_REST_SPEED = 0.4  # m/s, slower points may be at rest
_REST_RANGE = 0.08  # m above a point's lowest height, and
_REST_FRAMES = 5  # more than so many of them, else its lowest heights have to do
_REST_QUANTILE = 0.2  # of their heights then: the level of rest
_REST_HEIGHT = 0.02  # m about the lowest point's usual height, where the floor's own velocity is looked for
_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # OpenSim's axes, y up, to ours, z up


class RigidMotion(NamedTuple):
    """What a motion of B bodies needs from outside, at one or T times; OpenSim's world axes."""

    pose: np.ndarray  # (T, B, 3, 4) rotation body-to-world, position in m
    rate: np.ndarray  # (T, B, 3, 4) its derivative, 1/s
    force: np.ndarray  # (T, 3) N, mass times (acceleration of the centre of mass − g)
    moment: np.ndarray  # (T, 3) N·m about the centre of mass
    centre: np.ndarray  # (T, 3) m


class Reactions(NamedTuple):
    """Ground reaction under the left and the right foot, at T times; OpenSim's world axes, y up."""

    time: np.ndarray  # (T,) s
    force: np.ndarray  # (T, 2, 3) N
    pressure_centre: np.ndarray  # (T, 2, 3) m
    needed: np.ndarray  # (T, 3) N, of both together, by the kinematics
    unexplained: np.ndarray  # (T, 6) N and N·m about the centre of mass: what the feet cannot supply
    resting: np.ndarray  # (T, 2) bool, a point of the foot is low and slow enough to bear load
    heading: np.ndarray  # (3,) the horizontal direction that the pelvis faces on average
    belt: np.ndarray  # (3,) m/s, velocity of the floor


def estimate_reactions(model: Model, track: CoordinateMotion, contact: SoftContact | None = None) -> Reactions:
    """Ground reactions that explain a motion.

    Args:
      model: with bodies calcn, toes and femur of both sides, the pelvis first after the ground.
      track: its coordinates, filtered and differentiated.
      contact: by default SoftContact().

    Raises:
      OpenSimFileError: a model without these bodies.
    """
    sole = _sole(model)
    moved: RigidMotion = map_frames(_rigid_motion, build_mechanism(model), (track.q, track.v, track.a))
    body = np.array([model.body_names.index(name) for name, _ in sole])
    spot = np.concatenate([np.stack([place for _, place in sole]), np.ones((len(sole), 1))], axis=1)
    position = np.einsum("tpij,pj->tpi", moved.pose[:, body], spot)
    velocity = np.einsum("tpij,pj->tpi", moved.rate[:, body], spot)
    belt = _belt(position, velocity)
    speed = np.linalg.norm(velocity - belt, axis=-1)
    height = _above_rest(position[..., 1], speed)
    hips = [moved.pose[:, model.body_names.index(f"femur_{side}"), :, 3] for side in SIDES]
    root = np.repeat(np.stack(hips, axis=1), len(_SOLE), axis=1)
    touch = Touch((position * (1.0, 0.0, 1.0)) @ _UP.T, height, speed, root @ _UP.T)
    wrench = np.concatenate([moved.force @ _UP.T, moved.moment @ _UP.T], axis=1)
    weight, rate = model.mass * float(np.linalg.norm(model.gravity)), 1.0 / float(np.mean(np.diff(track.time)))
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        shared = _share(touch, wrench, moved.centre @ _UP.T, weight, rate, contact or SoftContact())
        force, centre, unexplained, free = map(np.asarray, shared)
    unexplained = (unexplained.reshape(-1, 2, 3) @ _UP).reshape(-1, 6)
    facing = moved.pose[:, 1, :, 0].mean(axis=0) * (1.0, 0.0, 1.0)
    return Reactions(
        track.time, force @ _UP, centre @ _UP, moved.force, unexplained, free > 0.5,
        facing / np.linalg.norm(facing), belt,
    )  # fmt: skip


def external_wrench(mechanism: Mechanism, q: jax.Array, v: jax.Array, a: jax.Array) -> RigidMotion:
    """Force and moment that a model's motion needs from outside, at coordinates q with derivatives v, a (n,)."""
    second = jax.vmap(dalembert.second_moment)(mechanism.mass, mechanism.com, mechanism.inertia)
    path = lambda t: poses(mechanism, q + t * v + 0.5 * t * t * a)  # noqa: E731
    now, tick = jnp.zeros((), q.dtype), jnp.ones((), q.dtype)
    (pose, rate), (_, acceleration) = jax.jvp(lambda t: jax.jvp(path, (t,), (tick,)), (now,), (tick,))
    weightless = acceleration.at[..., 3].add(-jnp.asarray(mechanism.gravity)[None])
    exact = jax.lax.Precision.HIGHEST
    mass = second[:, 3, 3]
    centre = jnp.einsum("bij,bj->i", pose, second[:, :, 3], precision=exact) / jnp.sum(mass)
    inertial = jnp.einsum("bij,bjk->bik", weightless, second, precision=exact)  # ∫ (ẍ − g) [r; 1]ᵀ dm
    about = pose.at[..., 3].add(-centre[None])
    turning = jnp.einsum("bij,bkj->ik", inertial, about, precision=exact)  # ∫ (ẍ − g) (x − centre)ᵀ dm
    moment = jnp.stack([turning[2, 1] - turning[1, 2], turning[0, 2] - turning[2, 0], turning[1, 0] - turning[0, 1]])
    return RigidMotion(pose, rate, jnp.sum(inertial[..., 3], axis=0), moment, centre)


_rigid_motion = jax.jit(jax.vmap(lambda mechanism, frame: external_wrench(mechanism, *frame), in_axes=(None, 0)))


@jax.jit
def _share(
    touch: Touch, wrench: jax.Array, centre: jax.Array, weight: jax.Array, rate: jax.Array, contact: SoftContact
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Force (T, 2, 3) and centre of pressure of each foot, what is left, and how free each one's freest point is."""
    force, unexplained = share_sequence(touch, wrench, centre, weight, rate, contact)
    by_foot = lambda x: jnp.split(x, len(SIDES), axis=1)  # noqa: E731
    centres = [pressure_centre(p, f, weight) for p, f in zip(by_foot(touch.position), by_foot(force), strict=True)]
    forces = jnp.stack([jnp.sum(f, axis=1) for f in by_foot(force)], axis=1)
    free = jnp.exp(-barrier(touch, contact))
    return forces, jnp.stack(centres, axis=1), unexplained, jnp.stack([f.max(axis=1) for f in by_foot(free)], axis=1)


def _sole(model: Model) -> list[tuple[str, np.ndarray]]:
    """Body and place (3,), m, of the points of both soles, left first."""
    wanted = [f"{body}_{side}" for side in SIDES for body in ("calcn", "toes", "femur")]
    missing = [name for name in wanted if name not in model.body_names]
    if missing:
        expected = "feet and thighs with OpenSim's usual names"
        raise OpenSimFileError(model.path, "bodies", f"no {', '.join(missing)}", expected, "rename them")
    points = []
    for side, outward in zip(SIDES, (-1.0, 1.0), strict=True):
        toes = next(link.joint for link in model.links if link.outboard == f"toes_{side}")
        length = float(np.linalg.norm(toes.on_parent[:, 3]))
        points += [(f"{body}_{side}", length * np.array(place) * (1.0, 1.0, outward)) for body, place in _SOLE]
    return points


def _belt(position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """Horizontal velocity (3,) of the floor: the median of the points near the level that the lowest one keeps to."""
    lowest = position[..., 1].min(axis=1)
    near = position[..., 1] < np.quantile(lowest, _REST_QUANTILE) + _REST_HEIGHT
    return np.median(velocity[near], axis=0) * (1.0, 0.0, 1.0)


def _above_rest(height: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """Heights (T, P) above the level at which each point comes to rest: on the floor, and not on a box or a step."""
    low = height < height.min(axis=0) + _REST_RANGE
    rests = low & (speed < _REST_SPEED)
    rests = np.where(rests.sum(axis=0) > _REST_FRAMES, rests, low)
    return height - np.nanquantile(np.where(rests, height, np.nan), _REST_QUANTILE, axis=0)
