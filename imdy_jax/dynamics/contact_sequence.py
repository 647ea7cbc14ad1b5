"""Ground reaction forces of a whole motion from its kinematics: the root wrench shared over what can touch the floor.

Each point may push the more freely the lower it is and the slower it moves: with c = exp((height / reach)⁴ +
(speed / slip)⁴), which contact.py has to first order for height alone, the forces f_i at r_i minimise, in body weights,

    Σ_t ( |Σ_i (f_i, r_i × f_i) − wanted|² + effort Σ_i (c_i |f_i|² + memory² |ḟ_i|²) )

within friction cones. Of the forces that explain the motion equally well, as in double support, the least effort
decides: a force costs less along its limb, towards hip or shoulder, where it asks for no moment, than across it. So
the leading foot brakes while the trailing one pushes, which forces of least size would not do. The rate of change
makes the load pass smoothly from foot to foot. What no admissible contact explains is the motion's implausibility.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from imdy_jax import rotation
from imdy_jax.dynamics.contact import LEVER, POINT_BODY, contact_points
from imdy_jax.dynamics.friction_cone import ConeProblem, solve
from imdy_jax.dynamics.kinematics import Pose, body_velocities, forward_kinematics
from imdy_jax.humanoid import GRAVITY, Humanoid
from imdy_jax.skeleton import LEFT_FOOT, NUM_BODIES, PARENTS, RIGHT_FOOT, joint_index

_POINTS = 24  # that may bear load in one motion: both feet's 16, and others
_BLUR = 0.05  # m: nearer to its limb's root than this a point has no limb to push along


@struct.dataclass
class SoftContact:
    """Who may push, and how dearly. Chosen on all trials of two laboratories at once; none of them is critical."""

    friction: float = 0.8
    reach: float = 0.04  # m
    slip: float = 0.8  # m/s
    effort: float = 0.02
    axial: float = 0.2  # cost of a force along the limb, over that of one across it
    memory: float = 0.05  # s
    tolerance: float = 1e-6  # of the solver, body weights
    iterations: int = 500  # at most


class Touch(NamedTuple):
    """P points that can touch the floor, at T frames; world axes, z up."""

    position: jax.Array  # (T, P, 3) m, where on the floor each pushes
    height: jax.Array  # (T, P) m above the floor
    speed: jax.Array  # (T, P) m/s, over the floor
    root: jax.Array  # (T, P, 3) m, where each one's limb begins


class GroundForces(NamedTuple):
    """What the ground does to the body in a motion of T frames."""

    force: jax.Array  # (T, 24, 3) N, on each segment, world axes
    wrench: jax.Array  # (T, 24, 6) N and N·m about each segment's joint, world axes: the layout of inverse_dynamics
    pressure_centre: jax.Array  # (T, 2, 3) m, under the left and the right foot; under its middle while it is unloaded
    unexplained: jax.Array  # (T, 6) N and N·m about the centre of mass, world axes: the motion's implausibility


def share_sequence(
    touch: Touch,
    wrench: jax.Array,
    centre: jax.Array,
    weight: jax.Array | float,
    fps: float | jax.Array,
    model: SoftContact,
) -> tuple[jax.Array, jax.Array]:
    """Forces (T, P, 3) N at the points that best explain the wrenches, and what they leave unexplained (T, 6).

    wrench (T, 6): force N and moment N·m about `centre` (T, 3) that the ground supplies; weight of the body, N.
    """
    arm = touch.position - centre[:, None]
    identity = jnp.broadcast_to(jnp.eye(3, dtype=arm.dtype), (*arm.shape, 3))
    units = jnp.asarray([1.0] * 3 + [LEVER] * 3, arm.dtype)[None] * weight
    limb = touch.root - touch.position
    as_array = lambda x: jnp.asarray(x, arm.dtype)  # noqa: E731
    problem = ConeProblem(
        columns=jnp.concatenate([identity, _cross_matrix(arm) / LEVER], axis=-2),
        wanted=wrench / units,
        free=jnp.exp(-0.5 * barrier(touch, model)),
        axis=limb / jnp.sqrt(jnp.sum(limb**2, axis=-1, keepdims=True) + _BLUR**2),
        friction=as_array(model.friction),
        effort=as_array(model.effort),
        saving=as_array(1.0 - model.axial),
        coupling=as_array(model.effort * (model.memory * fps) ** 2),
    )
    force = solve(problem, model.iterations, model.tolerance) * weight
    total = jnp.concatenate([jnp.sum(force, axis=1), jnp.sum(jnp.cross(arm, force), axis=1)], axis=-1)
    return force, wrench - total


def barrier(touch: Touch, model: SoftContact) -> jax.Array:
    """log c (T, P), zero for a point at rest on the floor."""
    return (jnp.maximum(touch.height, 0.0) / model.reach) ** 4 + (touch.speed / model.slip) ** 4


def pressure_centre(position: jax.Array, force: jax.Array, weight: jax.Array | float) -> jax.Array:
    """Centre of pressure (T, 3), m, of points (T, P, 3) under forces (T, P, 3); their mean where none bears load."""
    load = force[..., 2] + 1e-6 * weight
    return jnp.sum(load[..., None] * position, axis=1) / jnp.sum(load, axis=1)[:, None]


class Candidates(NamedTuple):
    """The P points of a body that come nearest to bearing load in a motion of T frames."""

    touch: Touch
    body: jax.Array  # (P,) the segment of each, the left foot's first, then the right foot's
    joint: jax.Array  # (T, P, 3) m, that segment's joint
    centre: jax.Array  # (T, 3) m, centre of mass


def candidates(
    humanoid: Humanoid, q: jax.Array, v: jax.Array, model: SoftContact, seen: Sequence[jax.Array] | None = None
) -> Candidates:
    """Both feet, and the points that come nearest to bearing load at any time of q (T, 99), v (T, 75).

    seen: another q and v, whose heights and speeds over the floor count in place of these.
    """
    touching = jax.vmap(_touch, in_axes=(None, 0, 0))
    pose, touch, centre = touching(humanoid, q, v)
    if seen is not None:
        other = touching(humanoid, *seen)[1]
        touch = touch._replace(height=other.height, speed=other.speed)
    _, others = jax.lax.top_k(jnp.max(-barrier(touch, model), axis=0)[_OTHERS], _POINTS - _FEET.size)
    chosen = jnp.concatenate([_FEET.reshape(-1), jnp.asarray(_OTHERS)[others]])
    body = jnp.asarray(POINT_BODY)[chosen]
    return Candidates(Touch(*(x[:, chosen] for x in touch)), body, pose.position[:, body], centre)


def needed_wrench(q: jax.Array, residual: jax.Array, centre: jax.Array) -> jax.Array:
    """Root residuals (T, 6) of inverse dynamics at q (T, 99) as force and moment about `centre` (T, 3), world axes."""
    moment = rotation.rotate(q[:, 3:7], residual[:, 3:]) + jnp.cross(q[:, :3] - centre, residual[:, :3])
    return jnp.concatenate([residual[:, :3], moment], axis=-1)


def ground_forces(
    humanoid: Humanoid, q: jax.Array, v: jax.Array, residual: jax.Array, fps: float, model: SoftContact | None = None
) -> GroundForces:
    """Ground reaction forces that explain the root residuals (T, 6) of inverse dynamics at q (T, 99), v (T, 75).

    The floor is z = 0. Every segment may touch it, at the ends of its capsules.
    """
    model = model or SoftContact()
    points = candidates(humanoid, q, v, model)
    weight = humanoid.total_mass * GRAVITY
    wanted = needed_wrench(q, residual, points.centre)
    force, unexplained = share_sequence(points.touch, wanted, points.centre, weight, fps, model)
    return gather(points, force, unexplained, weight)


def gather(points: Candidates, force: jax.Array, unexplained: jax.Array, weight: jax.Array) -> GroundForces:
    """What forces (T, P, 3) at the points amount to on the segments; weight of the body, N."""
    touch, body = points.touch, points.body
    moment = jnp.cross(touch.position - points.joint, force)
    each = jnp.concatenate([force, moment], axis=-1)
    wrench = jnp.zeros((len(force), NUM_BODIES, 6), force.dtype).at[:, body].add(each)
    left, right = np.arange(_FEET.size, dtype=np.int32).reshape(_FEET.shape)
    centres = [pressure_centre(touch.position[:, foot], force[:, foot], weight) for foot in (left, right)]
    return GroundForces(wrench[..., :3], wrench, jnp.stack(centres, axis=1), unexplained)


def _touch(humanoid: Humanoid, q: jax.Array, v: jax.Array) -> tuple[Pose, Touch, jax.Array]:
    """Pose, points that can touch and centre of mass (3,) at q (99,), v (75,)."""
    pose = forward_kinematics(humanoid, q)
    motion = body_velocities(humanoid, pose, v)
    points, height = contact_points(humanoid, pose)
    arm = points - pose.position[POINT_BODY]
    moving = motion.linear[POINT_BODY] + jnp.cross(motion.angular[POINT_BODY], arm)
    speed = jnp.sqrt(jnp.sum(moving**2, axis=-1) + 1e-12)
    mass = humanoid.mass[:, None]
    centre = jnp.sum(mass * (pose.position + rotation.rotate(pose.rotation, humanoid.com)), axis=0) / jnp.sum(mass)
    root = jnp.where((_LIMB_ROOT >= 0)[POINT_BODY, None], pose.position[_LIMB_ROOT[POINT_BODY]], centre[None])
    return pose, Touch(points.at[:, 2].set(0.0), height, speed, root), centre


def _limb_roots() -> np.ndarray:
    """The hip or shoulder above each segment (24,), -1 for trunk, collars and head."""
    roots = np.full(NUM_BODIES, -1, np.int32)
    for name in ("left_hip", "right_hip", "left_shoulder", "right_shoulder"):
        roots[joint_index(name)] = joint_index(name)
    for k, parent in enumerate(PARENTS[1:], start=1):
        roots[k] = max(roots[k], roots[parent])
    return roots


def _cross_matrix(x: jax.Array) -> jax.Array:
    """Matrices (T, P, 3, 3) of y → x × y."""
    return jnp.cross(x[..., None, :], jnp.eye(3, dtype=x.dtype)[None, None]).swapaxes(-1, -2)


_LIMB_ROOT = _limb_roots()
_FEET = np.array([np.flatnonzero(np.isin(POINT_BODY, foot)) for foot in (LEFT_FOOT, RIGHT_FOOT)], np.int32)
_OTHERS = np.setdiff1d(np.arange(len(POINT_BODY)), _FEET).astype(np.int32)
