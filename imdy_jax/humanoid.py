"""Humanoid: the rigid tree that is simulated and analysed. The one source for the analytic model and for MuJoCo."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from imdy_jax.body.person import Body
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
    """The humanoid of a person; gains and effort limits scale with body mass (figures per group in GAINS)."""
    joints = np.asarray(body.joints)
    parents = np.array(PARENTS[1:])
    offset = np.concatenate([np.zeros((1, 3)), joints[1:] - joints[parents]])
    ends, radius = _fit_solids(body)
    scale = float(np.sum(body.mass)) / REFERENCE_MASS
    gains = [GAINS[group] for group in GROUPS[1:]]
    betas = np.zeros(NUM_BETAS)
    count = min(NUM_BETAS, body.betas.shape[0])
    betas[:count] = np.asarray(body.betas)[:count]
    as_array = lambda x: jnp.asarray(x, body.joints.dtype)  # noqa: E731
    return Humanoid(
        offset=as_array(offset),
        mass=body.mass,
        com=body.com,
        inertia=body.inertia,
        solid_ends=as_array(ends),
        solid_radius=as_array(radius),
        stiffness=as_array([g.stiffness * scale for g in gains]),
        damping=as_array([g.damping * scale for g in gains]),
        effort=as_array([g.effort * scale for g in gains]),
        armature=as_array([ARMATURE] * len(gains)),
        betas=as_array(betas),
    )


def stack(humanoids: list[Humanoid]) -> Humanoid:
    """Humanoids of several subjects as one, with a leading subject axis on every leaf."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *humanoids)


def _fit_solids(body: Body) -> tuple[np.ndarray, np.ndarray]:
    """Capsules (G, 2, 3), (G,) from the extent of each segment's own part of the surface."""
    owner = np.argmax(np.asarray(body.skin), axis=1)
    local = np.asarray(body.vertices) - np.asarray(body.joints)[owner]
    ends, radii = [], []
    for k in range(NUM_BODIES):
        points = local[owner == k]
        if len(points) < 4:
            raise ValueError(
                f"body surface: segment {JOINT_NAMES[k]} owns {len(points)} vertices, expected at least 4; "
                "check the skinning weights of the model file"
            )
        low, high = points.min(axis=0), points.max(axis=0)
        fit = _sole_capsules if k in _FEET else _segment_capsule
        for a, b, radius in fit(low, high):
            ends.append((a, b))
            radii.append(radius)
    return np.array(ends), np.array(radii)


def _segment_capsule(low: np.ndarray, high: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """One capsule along the longest side of the box, as thick as the second longest."""
    extent = high - low
    axis = int(np.argmax(extent))
    radius = float(np.sort(extent)[1]) / 2
    reach = np.zeros(3)
    reach[axis] = max(extent[axis] / 2 - radius, 1e-3)
    centre = (low + high) / 2
    return [(centre - reach, centre + reach, radius)]


def _sole_capsules(low: np.ndarray, high: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Two capsules from back to front, tangent to the sole and to both edges of the foot."""
    radius = float(min((high[0] - low[0]) / 4, (high[2] - low[2]) / 4, (high[1] - low[1]) / 2))
    y, back, front = low[1] + radius, low[2] + radius, high[2] - radius
    return [(np.array([x, y, back]), np.array([x, y, front]), radius) for x in (low[0] + radius, high[0] - radius)]
