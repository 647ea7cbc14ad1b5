"""Kinematics of an OpenSim model as one pure function in JAX: coordinates → poses of the bodies.

Nothing here knows a kind of joint but the ball, whose generalised forces OpenSim states as moments about the axes of
the parent's frame and not about its three angles. Velocities, accelerations and forces follow by differentiation
(imdy_jax/dynamics/dalembert.py).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from imdy_jax.biomechanics.opensim_frames import inverse
from imdy_jax.biomechanics.opensim_functions import Function
from imdy_jax.biomechanics.opensim_joints import TURNING, Joint
from imdy_jax.biomechanics.opensim_model import Model
from imdy_jax.biomechanics.opensim_tables import Functions, evaluate, tabulate
from imdy_jax.dataset.blocks import map_frames
from imdy_jax.tree import build_tree, descend

_EXACT = jax.lax.Precision.HIGHEST  # on GPUs the default would round to TF32


@struct.dataclass
class Mechanism:
    """A model as arrays: J joints, B = J + 1 bodies, the ground first."""

    joints: Functions  # (6 J) displacements
    couplers: Functions  # (n) coordinates that obey the couplers
    directions: jax.Array  # (J, 6, 3) unit axes in the joint's frame
    on_inboard: jax.Array  # (J, 3, 4) pose of the joint's frame on the inboard body
    to_outboard: jax.Array  # (J, 3, 4) pose of the outboard body in the joint's frame on it
    mass: jax.Array  # (B,) kg
    com: jax.Array  # (B, 3) m, in the body's axes
    inertia: jax.Array  # (B, 3, 3) kg·m² about the centre of mass
    gravity: jax.Array  # (3,) m/s²
    parents: tuple[int, ...] = struct.field(pytree_node=False)  # of each body
    reversed: tuple[bool, ...] = struct.field(pytree_node=False)  # of each joint
    turning: tuple[tuple[int, int], ...] = struct.field(pytree_node=False)  # (joint, first angle) of each ball
    ranks: tuple[int, ...] = struct.field(pytree_node=False)  # of each coordinate among those of its joint


def build_mechanism(model: Model) -> Mechanism:
    """The model as arrays in NumPy's float64; JAX rounds them to the precision it runs in."""
    names = [c.name for c in model.coordinates]
    joints = [link.joint for link in model.links]
    place = {body.name: i for i, body in enumerate(model.bodies)}
    first = np.cumsum([0] + [len(joint.coordinates) for joint in joints])
    still = [((), Function())] * 6
    functions = [[(axis.coordinates, axis.function) for axis in joint.axes] or still for joint in joints]
    directions = [[axis.direction for axis in joint.axes] or np.tile(np.eye(3), (2, 1)) for joint in joints]
    coupled = {c.dependent: (c.independent, c.function) for c in model.couplers}
    mass, com, inertia = (np.array([body[field] for body in model.bodies], float) for field in (1, 2, 3))
    return Mechanism(
        joints=tabulate([f for joint in functions for f in joint], names),
        couplers=tabulate([coupled.get(name, ((name,), Function((1.0,)))) for name in names], names),
        directions=np.array(directions, float).reshape(-1, 6, 3),
        on_inboard=np.array([link.on_inboard for link in model.links], float).reshape(-1, 3, 4),
        to_outboard=np.array([inverse(link.on_outboard) for link in model.links], float).reshape(-1, 3, 4),
        mass=mass,
        com=com,
        inertia=inertia,
        gravity=np.asarray(model.gravity),
        parents=(-1, *(place[link.inboard] for link in model.links)),
        reversed=tuple(link.reversed for link in model.links),
        turning=tuple((i, int(first[i])) for i, joint in enumerate(joints) if joint.kind in TURNING),
        ranks=tuple(rank for joint in joints for rank in _ranks(joint)),
    )


def poses(mechanism: Mechanism, q: jax.Array, turn: jax.Array | None = None) -> jax.Array:
    """Poses (B, 3, 4) of the bodies, rotation body-to-world and position in m, for coordinates q (n,), m and rad.

    turn (J, 3): a small further rotation of each joint, rad, in the axes of its frame on the parent; right to second
    order.
    """
    moved = evaluate(mechanism.joints, q).reshape(-1, 6)
    one, two, three = _rotations(mechanism, moved)
    rotation = _matmul(_matmul(one, two), three)
    if turn is not None:
        cross = _skew(turn)
        rotation = _matmul(jnp.eye(3, dtype=q.dtype)[None] + cross + 0.5 * _matmul(cross, cross), rotation)
    shift = jnp.sum(mechanism.directions[:, 3:] * moved[:, 3:, None], axis=1)
    motion = jnp.concatenate([rotation, shift[..., None]], axis=-1)
    if any(mechanism.reversed):
        motion = jnp.where(np.array(mechanism.reversed)[:, None, None], _inverse(motion), motion)
    local = _compose(_compose(mechanism.on_inboard, motion), mechanism.to_outboard)
    ground = jnp.eye(3, 4, dtype=q.dtype)[None]
    return descend(build_tree(mechanism.parents), _compose, jnp.concatenate([ground, local]))


def body_poses(model: Model, q: np.ndarray) -> np.ndarray:
    """Poses (T, B, 3, 4) of model.bodies, rotation body-to-world and position in m, for q (T, n); in float64."""
    return map_frames(_pose_frames, build_mechanism(model), q)


def ball_turns(mechanism: Mechanism, delta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Displacements delta (n,) parted into those of plain coordinates (n,) and turns (J, 3) of the ball joints.

    The three of a ball joint are a turn about the axes of its frame on the parent, rad.
    """
    joints = np.array([joint for joint, _ in mechanism.turning], np.int32)
    angles = np.array([range(first, first + 3) for _, first in mechanism.turning], np.int32).reshape(-1, 3)
    turns = jnp.zeros((len(mechanism.reversed), 3), delta.dtype).at[joints].set(delta[angles])
    return delta.at[angles.reshape(-1)].set(0.0), turns


def simbody_excess(mechanism: Mechanism, q: jax.Array, v: jax.Array) -> jax.Array:
    """Angular acceleration (J, 3) that OpenSim wrongly adds at custom joints, rad/s², axes of the frame on the parent.

    Simbody turns the second axis of such a joint with what the first coordinate does, and the third axis with what all
    but the third coordinate do, which is right only where each coordinate turns about one axis. Where one coordinate
    drives three rotations, as at the knee of Rajagopal et al. (2016), it gives too much: θ̇₂ θ̇₃ (axis₃ × axis₂).
    """
    ranks = np.array(mechanism.ranks)
    displacements = lambda x: evaluate(mechanism.joints, x).reshape(-1, 6)  # noqa: E731
    rates = lambda which: jax.jvp(displacements, (q,), (v * jnp.asarray(which, q.dtype),))[1]  # noqa: E731
    true, by_first, but_third = rates(ranks >= 0), rates(ranks == 0), rates(ranks != 2)
    one, two, _ = _rotations(mechanism, displacements(q))
    axis = [mechanism.directions[:, i, :, None] for i in range(3)]
    axis = [axis[0], _matmul(one, axis[1]), _matmul(one, _matmul(two, axis[2]))]
    spin = lambda rate, count: sum(rate[:, i, None] * axis[i][..., 0] for i in range(count))  # noqa: E731
    second = jnp.cross(spin(by_first, 3) - spin(true, 1), axis[1][..., 0]) * true[:, 1, None]
    third = jnp.cross(spin(but_third, 3) - spin(true, 2), axis[2][..., 0]) * true[:, 2, None]
    return second + third


def _ranks(joint: Joint) -> list[int]:
    """Place of each coordinate in the order in which the joint's axes name them."""
    order = list(dict.fromkeys(name for axis in joint.axes for name in axis.coordinates))
    return [order.index(c.name) if c.name in order else len(order) for c in joint.coordinates]


def _rotations(mechanism: Mechanism, moved: jax.Array) -> list[jax.Array]:
    """The three rotations (J, 3, 3) of each joint by Rodrigues' formula; moved (J, 6) displacements."""
    factors = []
    for i in range(3):
        cross, angle = _skew(mechanism.directions[:, i]), moved[:, i, None, None]
        still = jnp.eye(3, dtype=angle.dtype)[None]
        factors.append(still + jnp.sin(angle) * cross + (1.0 - jnp.cos(angle)) * _matmul(cross, cross))
    return factors


def _skew(x: jax.Array) -> jax.Array:
    """Matrices (J, 3, 3) of the cross product with x (J, 3)."""
    return jnp.swapaxes(jnp.cross(x[:, None, :], jnp.eye(3, dtype=x.dtype)[None]), -1, -2)


def _matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=_EXACT)


def _compose(outer: jax.Array, inner: jax.Array) -> jax.Array:
    rotation = outer[..., :3]
    return jnp.concatenate([_matmul(rotation, inner[..., :3]), _matmul(rotation, inner[..., 3:]) + outer[..., 3:]], -1)


def _inverse(pose: jax.Array) -> jax.Array:
    back = jnp.swapaxes(pose[..., :3], -1, -2)
    return jnp.concatenate([back, -_matmul(back, pose[..., 3:])], axis=-1)


_pose_frames = jax.jit(jax.vmap(poses, in_axes=(None, 0)))
