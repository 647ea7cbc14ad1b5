"""The least squares behind the fit of a body to markers: residuals, and Gauss–Newton steps of poses and person.

A marker m on segment b of the person g is seen, in frame t, at

    x = p_b(q_t, g) + R_b(q_t) (r_m(g) + δ_m)

r_m: the landmark's place on the person, or a guess where there is none; δ_m: how far from there the marker was put. The
unknowns are the poses q_t, and of the person, the same in all frames, g = (stature, shape vector) and all δ_m. What is
minimised is the mean over the frames of

    Σ_m ρ(|x − y| / σ_m) + Σ_j |log(n_j⁻¹ q_j) / s_j|²    and    Σ_m |δ_m / d_m|² + |g − g_0|²_prior

with ρ Geman and McClure's, since markers are now and then taken for one another; n_j: the joint as a person stands, s_j
how far it may be from there: far about a knee's own axis, hardly about its others. The person is in every frame, the
pose in one, so a step of the person is solved for first (Schur), and the poses follow.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from imdy_jax import rotation
from imdy_jax.dynamics.kinematics import integrate
from imdy_jax.skeleton import JOINT_NAMES, NUM_BODIES, NUM_V, PARENTS
from imdy_jax.tree import ancestor_sum, build_tree, descend

_UPPER = np.array((0, *PARENTS[1:]), np.int32)
_WIDE, _STIFF = 1.5, 0.12  # rad: about an axis that a joint is made for, and about one that it is not
# rad about x (left), y (up), z (forward) of the rest axes; where nothing stands, as far as the spine goes.
_REACH = {
    "hip": (_WIDE, 0.4, 0.4), "knee": (_WIDE, 0.2, _STIFF), "ankle": (0.6, 0.25, 0.25), "foot": (0.15, 0.05, 0.05),
    "spine1": (0.3, 0.2, 0.2), "spine2": (0.2, 0.2, 0.2), "spine3": (0.2, 0.2, 0.2), "neck": (0.3, 0.3, 0.3),
    "head": (0.3, 0.3, 0.3), "collar": (_STIFF, 0.2, 0.2), "shoulder": (_WIDE, _WIDE, _WIDE),
    "elbow": (0.6, _WIDE, _STIFF), "wrist": (0.15, 0.3, 0.3), "hand": (0.1, 0.1, 0.1),
}  # fmt: skip
_ARM = 1.25  # rad that an upper arm hangs below the T


class Person(NamedTuple):
    """What is the same in all frames."""

    shape: jax.Array  # (S,) stature in m, then the shape vector
    shift: jax.Array  # (M, 3) m from each marker's place at rest, in its segment's axes


class Places(NamedTuple):
    """Joints and markers of the persons near one, to first order in the shape."""

    shape: jax.Array  # (S,) of that one
    joints: jax.Array  # (24, 3) m at rest
    places: jax.Array  # (M, 3) m of the markers from their segments' joints, without shift
    joints_by_shape: jax.Array  # (24, 3, S)
    places_by_shape: jax.Array  # (M, 3, S)


class Believed(NamedTuple):
    """What is known beforehand, and how well."""

    segment: jax.Array  # (M,) int
    sigma: jax.Array  # (M,) m of a marker about where its segment carries it
    slack: jax.Array  # (M, 3) m of a marker about its landmark, along its segment's axes
    shape: jax.Array  # (S,) mean
    spread: jax.Array  # (S,) standard deviation
    outlier: float | jax.Array = 4.0  # σ from which a marker is believed half


def neutral() -> np.ndarray:
    """Joint rotations (24, 4) of a person who stands with the arms hanging; the root's is the identity."""
    vectors = np.zeros((NUM_BODIES, 3))
    for side, sign in (("left", -1.0), ("right", 1.0)):
        vectors[JOINT_NAMES.index(f"{side}_shoulder")] = (0.0, 0.0, sign * _ARM)
        vectors[JOINT_NAMES.index(f"{side}_elbow")] = (0.0, sign * 0.3, 0.0)
        vectors[JOINT_NAMES.index(f"{side}_knee")] = (0.2, 0.0, 0.0)
    return Rotation.from_rotvec(vectors).as_quat(scalar_first=True)


def _reach() -> np.ndarray:
    """(23, 3) rad."""
    return np.array([_REACH[name.removeprefix("left_").removeprefix("right_")] for name in JOINT_NAMES[1:]])


_NEUTRAL, _INVERSE_REACH = neutral(), 1.0 / _reach()


def predicted(q: jax.Array, joints: jax.Array, places: jax.Array, segment: jax.Array) -> jax.Array:
    """Markers (M, 3) in the world at pose q (99,); joints (24, 3) and places (M, 3) as in Places."""
    tree = build_tree()
    turned = descend(tree, rotation.multiply, q[3:].reshape(NUM_BODIES, 4))
    offset = (joints - joints[_UPPER]).at[0].set(0.0)
    position = q[:3] + ancestor_sum(tree, rotation.rotate(turned[_UPPER], offset))
    return position[segment] + rotation.rotate(turned[segment], places)


def cost(q: jax.Array, person: Person, near: Places, seen: jax.Array, believed: Believed) -> jax.Array:
    """Half of what one frame adds to the sum of squares; seen (M, 3), NaN where a marker is not."""
    off, there = _off(q, person, near, seen, believed)
    square = jnp.sum(off**2, axis=-1)
    data = jnp.sum(jnp.where(there, square / (1.0 + square / believed.outlier**2), 0.0))
    return 0.5 * (data + jnp.sum(_posture(q) ** 2))


@jax.jit
def pose_step(
    q: jax.Array, damping: jax.Array, person: Person, near: Places, seen: jax.Array, believed: Believed
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Poses q (T, 99) after one damped step each, with damping (T,) for the next, and costs (T,)."""

    def one(q: jax.Array, damping: jax.Array, seen: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        now = cost(q, person, near, seen, believed)
        residual, rows = _linear(lambda step: _residuals(integrate(q, step, 1.0), person, near, seen, believed), NUM_V)
        system = rows.T @ rows
        system = system + damping * (jnp.eye(NUM_V) + jnp.diag(jnp.diag(system)))
        moved = integrate(q, -jnp.linalg.solve(system, rows.T @ residual), 1.0)
        after = cost(moved, person, near, seen, believed)
        better = after < now
        return jnp.where(better, moved, q), jnp.where(better, damping / 5.0, damping * 5.0), jnp.minimum(after, now)

    return jax.vmap(one)(q, damping, seen)


@jax.jit
def person_step(
    q: jax.Array, damping: jax.Array, person: Person, near: Places, seen: jax.Array, believed: Believed
) -> tuple[jax.Array, Person]:
    """Poses (T, 99) and person after one step of both together."""
    count, size = person.shift.size, person.shape.size

    def one(q: jax.Array, seen: jax.Array) -> tuple[jax.Array, ...]:
        def both(step: jax.Array) -> jax.Array:
            shape, shift = step[NUM_V : NUM_V + size], step[NUM_V + size :].reshape(-1, 3)
            other = Person(person.shape + shape, person.shift + shift)
            return _residuals(integrate(q, step[:NUM_V], 1.0), other, near, seen, believed)

        residual, rows = _linear(both, NUM_V + size + count)
        pose, rest = rows[:, :NUM_V], rows[:, NUM_V:]
        own = pose.T @ pose
        own = own + damping * (jnp.eye(NUM_V) + jnp.diag(jnp.diag(own)))
        solved = jnp.linalg.solve(own, jnp.concatenate([pose.T @ rest, (pose.T @ residual)[:, None]], axis=1))
        mixed = rest.T @ pose
        return rest.T @ rest - mixed @ solved[:, :-1], rest.T @ residual - mixed @ solved[:, -1], solved

    left, right, solved = jax.vmap(one)(q, seen)
    weight = jnp.concatenate([1.0 / believed.spread**2, (1.0 / believed.slack**2).reshape(-1)])
    gone = jnp.concatenate([person.shape - believed.shape, person.shift.reshape(-1)])
    left = jnp.mean(left, axis=0) + jnp.diag(weight) + damping * jnp.eye(size + count)
    step = -jnp.linalg.solve(left, jnp.mean(right, axis=0) + weight * gone)
    moved = jax.vmap(lambda q, s: integrate(q, -(s[:, :-1] @ step + s[:, -1]), 1.0))(q, solved)
    return moved, Person(person.shape + step[:size], person.shift + step[size:].reshape(-1, 3))


@jax.jit
def mean_cost(q: jax.Array, person: Person, near: Places, seen: jax.Array, believed: Believed) -> jax.Array:
    """What person_step lowers."""
    frames = jax.vmap(cost, in_axes=(0, None, None, 0, None))(q, person, near, seen, believed)
    shape = (person.shape - believed.shape) / believed.spread
    shift = person.shift / believed.slack
    return jnp.mean(frames) + 0.5 * (jnp.sum(shape**2) + jnp.sum(shift**2))


def _off(
    q: jax.Array, person: Person, near: Places, seen: jax.Array, believed: Believed
) -> tuple[jax.Array, jax.Array]:
    """Errors (M, 3) in σ, zero where a marker is not there, and where it is (M,)."""
    there = jnp.all(jnp.isfinite(seen), axis=-1)
    further = person.shape - near.shape
    joints, places = near.joints + near.joints_by_shape @ further, near.places + near.places_by_shape @ further
    told = predicted(q, joints, places + person.shift, believed.segment)
    off = (told - jnp.where(there[:, None], seen, 0.0)) / believed.sigma[:, None]
    return jnp.where(there[:, None], off, 0.0), there


def _residuals(q: jax.Array, person: Person, near: Places, seen: jax.Array, believed: Believed) -> jax.Array:
    """All that is squared of one frame, with the weights that the errors as they are give to the markers."""
    off, _ = _off(q, person, near, seen, believed)
    square = jax.lax.stop_gradient(jnp.sum(off**2, axis=-1, keepdims=True))
    return jnp.concatenate([(off / (1.0 + square / believed.outlier**2)).reshape(-1), _posture(q)])


def _posture(q: jax.Array) -> jax.Array:
    """How far the joints are from standing, (69,) in what is usual."""
    return (rotation.between(jnp.asarray(_NEUTRAL[1:], q.dtype), q[7:].reshape(-1, 4)) * _INVERSE_REACH).reshape(-1)


def _linear(function, size: int) -> tuple[jax.Array, jax.Array]:
    """Value (R,) and derivative (R, size) at zero."""
    zero = jnp.zeros(size)
    value, slope = jax.linearize(function, zero)
    return value, jax.vmap(slope, out_axes=1)(jnp.eye(size))
