"""Humanoid: the rigid tree that is simulated and analysed. The one source for the analytic model and for MuJoCo."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from imdy_jax.body.person import Body, array_module
from imdy_jax.skeleton import GROUPS, JOINT_NAMES, LEFT_FOOT, NUM_BODIES, PARENTS, RIGHT_FOOT

GRAVITY = 9.81  # m/s², along -z of the world
REFERENCE_MASS = 71.8  # kg, the body for which the gains below are published (PHC's neutral humanoid)
NUM_BETAS = 10  # length of the shape vector that the policy sees


class JointGains(NamedTuple):
    """PD gains of one actuation group: stiffness N·m/rad, damping N·m·s/rad, effort limit N·m (Luo et al. 2023)."""

    stiffness: float
    damping: float
    effort: float


GAINS = {
    "leg": JointGains(800.0, 80.0, 500.0),
    "toe": JointGains(500.0, 50.0, 500.0),
    "spine": JointGains(1000.0, 100.0, 500.0),
    "arm": JointGains(500.0, 50.0, 300.0),
    "hand": JointGains(300.0, 30.0, 150.0),
}
ARMATURE = 0.01  # kg·m², rotor inertia of every joint axis

# One capsule per segment, two side by side under each foot and each toe segment.
_FEET = (*LEFT_FOOT, *RIGHT_FOOT)
SOLID_BODY = tuple(k for k in range(NUM_BODIES) for _ in range(2 if k in _FEET else 1))
# Where each is found when the feet's first and then their second capsules are put behind one capsule per segment.
_SOLID_ROW = np.array(
    [row for k in range(NUM_BODIES)
     for row in ([NUM_BODIES + _FEET.index(k) + n for n in (0, len(_FEET))] if k in _FEET else [k])], np.int32
)  # fmt: skip


@struct.dataclass
class Humanoid:
    """A free root and 23 ball joints, in SMPL's order and axes; stack the leaves for many subjects.

    q (99,) = root position (3, world), root quaternion (4), 23 joint quaternions (w first, child in parent).
    v (75,) = root linear velocity (world), root angular velocity (root axes), joint angular velocities (child axes).
    """

    offset: jax.Array  # (24, 3) m, joint position in the parent's axes; row 0 is zero
    mass: jax.Array  # (24,) kg
    com: jax.Array  # (24, 3) m, centre of mass from the joint, segment axes
    inertia: jax.Array  # (24, 3, 3) kg·m² about the centre of mass, segment axes
    solid_ends: jax.Array  # (G, 2, 3) m, ends of the contact capsules, axes of segment SOLID_BODY[g]
    solid_radius: jax.Array  # (G,) m
    stiffness: jax.Array  # (23,) N·m/rad
    damping: jax.Array  # (23,) N·m·s/rad
    effort: jax.Array  # (23,) N·m, limit on the spring's torque
    armature: jax.Array  # (23,) kg·m²
    betas: jax.Array  # (NUM_BETAS,) shape vector, zero-padded

    @property
    def total_mass(self) -> jax.Array:
        return jnp.sum(self.mass, axis=-1)


def from_body(body: Body) -> Humanoid:
    """The humanoid of a person, differentiable by the body; gains and effort limits scale with mass (GAINS)."""
    xp = array_module(body)
    joints = xp.asarray(body.joints)
    offset = xp.concatenate([xp.zeros((1, 3), joints.dtype), joints[1:] - joints[np.array(PARENTS[1:], np.int32)]])
    owner = array_module(body.skin).asarray(body.skin).argmax(axis=1)
    ends, radius = _fit_solids(xp, joints, xp.asarray(body.vertices), owner)
    scale = xp.sum(xp.asarray(body.mass)) / REFERENCE_MASS
    gains = np.array([GAINS[group] for group in GROUPS[1:]])
    betas = xp.asarray(body.betas)[:NUM_BETAS]
    as_array = lambda x: jnp.asarray(x, body.joints.dtype)  # noqa: E731
    return Humanoid(
        offset=as_array(offset),
        mass=body.mass,
        com=body.com,
        inertia=body.inertia,
        solid_ends=as_array(ends),
        solid_radius=as_array(radius),
        stiffness=as_array(gains[:, 0] * scale),
        damping=as_array(gains[:, 1] * scale),
        effort=as_array(gains[:, 2] * scale),
        armature=as_array(np.full(len(gains), ARMATURE)),
        betas=as_array(xp.pad(betas, (0, NUM_BETAS - len(betas)))),
    )


def stack(humanoids: list[Humanoid]) -> Humanoid:
    """Humanoids of several subjects as one, with a leading subject axis on every leaf."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *humanoids)


def _fit_solids(xp: Any, joints: Any, vertices: Any, owner: Any) -> tuple[Any, Any]:
    """Capsules (G, 2, 3), (G,) from the extent of each segment's own part of the surface; owner (V,) of each vertex."""
    own = (owner[:, None] == np.arange(NUM_BODIES, dtype=np.int32)[None])[:, :, None]
    _check_owned(own)
    local = (vertices - joints[owner])[:, None, :]
    low = xp.min(xp.where(own, local, np.inf), axis=0)
    high = xp.max(xp.where(own, local, -np.inf), axis=0)
    feet = np.array(_FEET, np.int32)
    parts = zip(_segment_capsules(xp, low, high), _sole_capsules(xp, low[feet], high[feet]), strict=True)
    ends, radius = (xp.concatenate(part)[_SOLID_ROW] for part in parts)
    return ends, radius


def _check_owned(own: Any) -> None:
    """Raises ValueError where a segment has too little surface for a capsule; under a trace nothing is known of it."""
    counts = np.full(NUM_BODIES, 4) if isinstance(own, jax.core.Tracer) else own[:, :, 0].sum(axis=0)
    for k in np.nonzero(counts < 4)[0]:
        raise ValueError(
            f"body surface: segment {JOINT_NAMES[k]} owns {counts[k]} vertices, expected at least 4; "
            "check the skinning weights of the model file"
        )


def _segment_capsules(xp: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """One capsule along the longest side of each box (B, 3), as thick as the second longest: ends, radii."""
    extent, centre = high - low, (low + high) / 2
    middle, longest = xp.sort(extent, axis=1)[:, 1:].T
    half = xp.maximum(longest / 2 - middle / 2, 1e-3)[:, None]
    reach = half * (np.arange(3)[None] == xp.argmax(extent, axis=1)[:, None])
    return xp.stack([centre - reach, centre + reach], axis=1), middle / 2


def _sole_capsules(xp: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """Two capsules per foot's box (F, 3), from back to front, tangent to the sole and to both edges."""
    radius = xp.min((high - low) / np.array([[4, 2, 4]], low.dtype), axis=1)
    y, back, front = low[:, 1] + radius, low[:, 2] + radius, high[:, 2] - radius
    sides = [
        xp.stack([xp.stack([x, y, back], axis=1), xp.stack([x, y, front], axis=1)], axis=1)
        for x in (low[:, 0] + radius, high[:, 0] - radius)
    ]
    return xp.concatenate(sides), xp.concatenate([radius, radius])
