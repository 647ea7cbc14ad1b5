"""Inverse dynamics of many states at once, and its gradient: the numbers of newton_euler, several times sooner.

A processor's vector units want the batch along the last axis, its caches want a few hundred states at a time, and XLA
wants components (components.py). The gradient is written by hand, because automatic differentiation of this form takes
a minute to compile and repeats most of its work: the torques times any λ are the virtual power of the inertial forces
when the joints move with λ (d'Alembert), and the derivative of that scalar is again sums over ancestors and subtrees.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.dynamics.components import Matrix, Vector, world_rotations
from imdy_jax.humanoid import GRAVITY, Humanoid
from imdy_jax.skeleton import NUM_BODIES, PARENTS
from imdy_jax.tree import build_tree

BLOCK = 256  # states at a time: the forty or so arrays (24, BLOCK) in use fit into a core's second-level cache

_ANCESTORS = build_tree().ancestors
_ABOVE = _ANCESTORS - np.eye(NUM_BODIES)  # the body itself not counted: its parent's sum, zero for the root
_UPPER = np.array((0, *PARENTS[1:]), np.int32)


class Segments(NamedTuple):
    """What inverse dynamics asks of a humanoid, by components (24, 1) or (24, N)."""

    offset: Vector
    mass: jax.Array
    com: Vector
    inertia: Matrix


class State(NamedTuple):
    """Positions, velocities and accelerations by components (24, N); the root's linear acceleration apart."""

    rotation: Matrix
    upper: Matrix  # the parent's rotation
    velocity: Vector
    acceleration: Vector
    root: Vector  # (1, N) m/s², gravity as an upward acceleration of the whole world included


class Motion(NamedTuple):
    """How the bodies move, world axes; `upper` is the parent's."""

    lever: Vector  # from the parent's joint
    own: Vector  # the joint's angular velocity
    omega: Vector
    omega_upper: Vector
    alpha: Vector
    alpha_upper: Vector
    arm: Vector  # centre of mass from the joint
    linear: Vector  # acceleration of the centre of mass


@jax.custom_vjp
def batched_inverse_dynamics(
    humanoid: Humanoid, q: jax.Array, v: jax.Array, a: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Joint torques (N, 23, 3) and root residuals (N, 6) of the states q (N, 99), v (N, 75), a (N, 75).

    As `jax.vmap(inverse_dynamics)` without external wrenches. The humanoid is one subject or has N, stacked.
    Reverse differentiation only, by the humanoid too; the gradient by each quaternion of q is tangential to the unit
    sphere, as the derivative on the rotation group is. Fast with XLA's default flags, so also within a jit.
    Raises ValueError where the shapes do not fit.
    """
    _check(humanoid, q, v, a)
    force = _in_blocks(_torques, _subject(humanoid), (q, v, a))
    return force[:, 6:].reshape(-1, NUM_BODIES - 1, 3), force[:, :6]


def _forward(humanoid: Humanoid, *state: jax.Array) -> Any:
    return batched_inverse_dynamics(humanoid, *state), (humanoid, *state)


def _backward(saved: Any, cotangent: Any) -> Any:
    humanoid, *state = saved
    torque, residual = cotangent
    weight = jnp.concatenate([residual, torque.reshape(-1, 3 * (NUM_BODIES - 1))], axis=1)
    subject = _subject(humanoid)
    by_subject, *by_state = _in_blocks(_gradient, subject, (*state, weight))
    if humanoid.mass.ndim == 1:
        by_subject = jax.tree.map(lambda x: jnp.sum(x, axis=0), by_subject)
    nothing = jax.tree.map(jnp.zeros_like, humanoid)
    return nothing.replace(**by_subject), *by_state


batched_inverse_dynamics.defvjp(_forward, _backward)


def _torques(subject: dict[str, jax.Array], q: jax.Array, v: jax.Array, a: jax.Array) -> jax.Array:
    """Generalized force (75, N) from q (99, N), v and a (75, N)."""
    segments, state = _segments(subject), _state(q, v, a)
    motion = _motion(segments, state)
    force, moment = _inertial_force(segments, state, motion)
    position = _sum(_ANCESTORS, motion.lever)
    moment = moment + (position + motion.arm).cross(force)
    total_force, total_moment = _sum(_ANCESTORS.T, force), _sum(_ANCESTORS.T, moment)
    local = state.rotation.T @ (total_moment - position.cross(total_force))
    return _join(total_force, local)


def _gradient(subject: dict[str, jax.Array], q: jax.Array, v: jax.Array, a: jax.Array, weight: jax.Array) -> Any:
    """Derivatives of the scalar product of the torques with weight (75, N): by the subject, q, v and a.

    With the virtual motion η, ẋ that the weight generates, it is Σ_bodies force · ẋ + moment · η. Names that begin
    with by_ are derivatives of this sum; a rotation's are by an infinitesimal rotation in world axes.
    """
    segments, state = _segments(subject), _state(q, v, a)
    motion = _motion(segments, state)
    lever, own, omega, omega_upper, alpha, alpha_upper, arm, linear = motion
    force, moment = _inertial_force(segments, state, motion)
    virtual = state.rotation @ Vector.of(weight[3:].reshape(NUM_BODIES, 3, -1))
    eta, eta_upper = _sum(_ANCESTORS, virtual), _sum(_ABOVE, virtual)
    moved = Vector(weight[0:1], weight[1:2], weight[2:3]) + _sum(_ANCESTORS, eta_upper.cross(lever)) + eta.cross(arm)

    # moment · η, with the world's inertia J: it does not change when everything turns, which gives the derivative by J
    spin = _turned(segments.inertia, state.rotation)
    by_alpha = spin(eta)
    by_omega = spin(omega).cross(eta) + spin(eta.cross(omega))
    by_turn = by_alpha.cross(alpha) + by_omega.cross(omega) + moment.cross(eta)
    by_eta = moment + arm.cross(force)

    # force · ẋ = m (linear · ẋ)
    push = moved.scaled(segments.mass)
    by_alpha = by_alpha + arm.cross(push)
    by_omega = by_omega + _by_swing(omega, arm, push)
    by_arm = push.cross(alpha) + omega.cross(omega.cross(push)) + force.cross(eta)
    by_turn = by_turn + arm.cross(by_arm)

    # through the accelerations of the joints, and the virtual motion of the joints
    pushed, loaded = _sum(_ANCESTORS.T, push), _sum(_ANCESTORS.T, force)
    by_alpha_upper, by_omega_upper = lever.cross(pushed), _by_swing(omega_upper, lever, pushed)
    by_eta_upper = lever.cross(loaded)
    by_lever = pushed.cross(alpha_upper) + omega_upper.cross(omega_upper.cross(pushed)) + loaded.cross(eta_upper)
    by_turn_upper = lever.cross(by_lever)

    by_acceleration = _sum(_ANCESTORS.T, by_alpha) + _sum(_ABOVE.T, by_alpha_upper)
    by_omega = by_omega + own.cross(by_acceleration)
    by_own = by_acceleration.cross(omega) + _sum(_ANCESTORS.T, by_omega) + _sum(_ABOVE.T, by_omega_upper)
    by_virtual = _sum(_ANCESTORS.T, by_eta) + _sum(_ABOVE.T, by_eta_upper)
    acceleration = state.rotation @ state.acceleration
    by_turn = by_turn + own.cross(by_own) + acceleration.cross(by_acceleration) + virtual.cross(by_virtual)
    by_joint = _sum(_ANCESTORS.T, by_turn) + _sum(_ABOVE.T, by_turn_upper)

    into_body = state.rotation.T
    nothing = jnp.zeros_like(q[:3])
    by_q = jnp.concatenate([nothing, _quaternions(q, into_body @ by_joint)])
    by_v = jnp.concatenate([nothing, (into_body @ by_own).array().reshape(3 * NUM_BODIES, -1)])
    by_a = _join(pushed, into_body @ by_acceleration)
    by_subject = {
        "offset": (state.upper.T @ by_lever).array(),
        "mass": linear.dot(moved),
        "com": (into_body @ by_arm).array(),
        "inertia": _by_inertia(into_body, omega, alpha, eta),
    }
    return by_subject, by_q, by_v, by_a


def _join(linear: Vector, angular: Vector) -> jax.Array:
    """The layout of v (75, N): the root's row of the linear part, all of the angular part."""
    root = jnp.stack([linear.x[0], linear.y[0], linear.z[0]])
    return jnp.concatenate([root, angular.array().reshape(3 * NUM_BODIES, -1)])


def _motion(segments: Segments, state: State) -> Motion:
    lever, own = state.upper @ segments.offset, state.rotation @ state.velocity
    omega, omega_upper = _sum(_ANCESTORS, own), _sum(_ABOVE, own)
    angular = state.rotation @ state.acceleration + omega.cross(own)
    alpha, alpha_upper = _sum(_ANCESTORS, angular), _sum(_ABOVE, angular)
    joint = state.root + _sum(_ANCESTORS, alpha_upper.cross(lever) + omega_upper.cross(omega_upper.cross(lever)))
    arm = state.rotation @ segments.com
    linear = joint + alpha.cross(arm) + omega.cross(omega.cross(arm))
    return Motion(lever, own, omega, omega_upper, alpha, alpha_upper, arm, linear)


def _inertial_force(segments: Segments, state: State, motion: Motion) -> tuple[Vector, Vector]:
    """Force on each body, and moment about its centre of mass, that its motion takes (Newton, Euler)."""
    spin = _turned(segments.inertia, state.rotation)
    return motion.linear.scaled(segments.mass), spin(motion.alpha) + motion.omega.cross(spin(motion.omega))


def _turned(inertia: Matrix, rotation: Matrix) -> Callable[[Vector], Vector]:
    """x ↦ R I Rᵀ x."""
    return lambda x: rotation @ (inertia @ (rotation.T @ x))


def _by_swing(omega: Vector, arm: Vector, push: Vector) -> Vector:
    """Derivative of push · (ω × (ω × arm)) by ω."""
    return omega.cross(arm).cross(push) + arm.cross(push.cross(omega))


def _by_inertia(into_body: Matrix, *world: Vector) -> jax.Array:
    """Derivative of η · (I α + ω × I ω) by I (24, 3, 3, N), all in the body's axes."""
    omega, alpha, eta = (into_body @ x for x in world)
    outer = lambda a, b: a.array()[:, :, None] * b.array()[:, None, :]  # noqa: E731
    return outer(eta, alpha) + outer(eta.cross(omega), omega)


def _quaternions(q: jax.Array, tangent: Vector) -> jax.Array:
    """Derivatives by the quaternions (96, N) of q (99, N) from those by rotation vectors in the child's axes."""
    w, x, y, z = jnp.moveaxis(2.0 * q[3:].reshape(NUM_BODIES, 4, -1), 1, 0)
    real, imaginary = w, Vector(x, y, z)
    product = tangent.scaled(real) + imaginary.cross(tangent)
    return jnp.stack([-imaginary.dot(tangent), product.x, product.y, product.z], axis=1).reshape(4 * NUM_BODIES, -1)


def _sum(mask: np.ndarray, x: Vector) -> Vector:
    """Sums over the bodies that each row of the mask names."""
    mask = jnp.asarray(mask, x.x.dtype)
    return Vector(*(jnp.matmul(mask, part, precision=jax.lax.Precision.HIGHEST) for part in (x.x, x.y, x.z)))


def _segments(subject: dict[str, jax.Array]) -> Segments:
    rows = [Vector.of(subject["inertia"][:, i]) for i in range(3)]
    return Segments(Vector.of(subject["offset"]), subject["mass"], Vector.of(subject["com"]), Matrix(*rows))


def _state(q: jax.Array, v: jax.Array, a: jax.Array) -> State:
    rotation = world_rotations(q[3:].reshape(NUM_BODIES, 4, -1))
    upper = jax.tree.map(lambda x: x[_UPPER], rotation)
    velocity, acceleration = (Vector.of(x[3:].reshape(NUM_BODIES, 3, -1)) for x in (v, a))
    return State(rotation, upper, velocity, acceleration, Vector(a[0:1], a[1:2], a[2:3] + GRAVITY))


def _subject(humanoid: Humanoid) -> dict[str, jax.Array]:
    """The leaves that inverse dynamics asks for."""
    return {name: getattr(humanoid, name) for name in ("offset", "mass", "com", "inertia")}


def _in_blocks(function: Callable[..., Any], subject: dict[str, jax.Array], states: tuple[jax.Array, ...]) -> Any:
    """function(subject, *states), which has the batch along the last axis, with it along the first.

    The loop carries the block that it works on next: XLA copies what is carried, whereas a slice taken where it is
    used would be read again, number by number, in every loop that it is fused into, which takes four times as long.
    """
    count = states[0].shape[0]
    size = max(min(BLOCK, count), 1)
    blocks = max(-(-count // size), 1)
    shared = jax.tree.map(lambda x: x[..., None], subject) if subject["mass"].ndim == 1 else None

    def cut(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, [(0, blocks * size - count)] + [(0, 0)] * (x.ndim - 1))
        return padded.reshape(blocks, size, *x.shape[1:])

    batch = jax.tree.map(cut, (subject if shared is None else None, states))
    take = lambda i: jax.tree.map(lambda x: jnp.moveaxis(x[i], 0, -1), batch)  # noqa: E731

    def step(block: Any, following: jax.Array) -> Any:
        own, states = block
        return take(following), function(own if shared is None else shared, *states)

    _, results = jax.lax.scan(step, take(0), jnp.minimum(jnp.arange(1, blocks + 1), blocks - 1))
    return jax.tree.map(lambda x: jnp.moveaxis(x, -1, 1).reshape(blocks * size, *x.shape[1:-1])[:count], results)


def _check(humanoid: Humanoid, q: jax.Array, v: jax.Array, a: jax.Array) -> None:
    count = len(q)
    for name, array, width in (("q", q, 99), ("v", v, 75), ("a", a, 75)):
        if array.shape != (count, width):
            raise ValueError(f"{name} has shape {array.shape}, expected {(count, width)}: one row for each state")
    if humanoid.mass.shape not in ((NUM_BODIES,), (count, NUM_BODIES)):
        raise ValueError(
            f"humanoid.mass has shape {humanoid.mass.shape}, expected ({NUM_BODIES},), one subject, or "
            f"({count}, {NUM_BODIES}), one for each state; index the leaves of stacked humanoids by subject first"
        )
