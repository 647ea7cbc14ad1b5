"""Newton–Euler equations of a window: predicted forces have to explain its motion, balance.py tells how.

All is of the step t → t+1, in the heading frame.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from imdy_jax import rotation
from imdy_jax.dynamics.contact import LEVER
from imdy_jax.solver.balance import from_rows
from imdy_jax.tree import build_tree, subtree_sum

_LEAST = 0.01  # N/kg: a segment pressed to the floor by less bears its load at its joint


class Equations(NamedTuple):
    """What one window asks of its forces, per kg, in the heading frame; places from the centre of mass."""

    force: jax.Array  # (3,) N/kg that the motion of the whole body takes
    moment: jax.Array  # (3,) N·m/kg about the centre of mass
    torque: jax.Array  # (23, 3) N·m/kg if nothing touched the body, child axes
    point: jax.Array  # (24, 3) m, where each segment's force acts
    free: jax.Array  # (24, 3) N·m/kg, moment of each segment's recorded load about that point
    joint: jax.Array  # (24, 3) m
    rotation: jax.Array  # (24, 4) body to heading frame


def window_equations(row: jax.Array, contact_force: jax.Array, mass: jax.Array, heading: jax.Array) -> Equations:
    """The equations of one window.

    Args:
      row: (balance.SIZE,) of the step t → t+1.
      contact_force: (24, 3) N recorded, mean over that step, world; it tells with `row` where the loads act.
      mass: () kg, the subject's own.
      heading: (4,) of the window.
    """
    known = from_rows(row)
    force, about_origin = known.wanted[:3], known.wanted[3:]
    turn = lambda x: rotation.inverse_rotate(heading, x)  # noqa: E731
    about_joint = known.moment - jnp.cross(known.joint, contact_force)
    point = known.joint + _pressed(about_joint, contact_force, mass, known.joint)
    return Equations(
        force=turn(force) / mass,
        moment=turn(about_origin - jnp.cross(known.centre, force)) / mass,
        torque=known.torque / mass,
        point=turn(point - known.centre),
        free=turn(about_joint - jnp.cross(point - known.joint, contact_force)) / mass,
        joint=turn(known.joint - known.centre),
        rotation=rotation.multiply(rotation.conjugate(heading), rotation.normalize(known.rotation)),
    )


def whole_body_residual(equations: Equations, force: jax.Array) -> jax.Array:
    """What forces (24, 3), N/kg, miss of the whole body's motion (6,), N/kg: the force, and the moment over LEVER."""
    moment = jnp.sum(jnp.cross(equations.point, force) + equations.free, axis=0) - equations.moment
    return jnp.concatenate([jnp.sum(force, axis=0) - equations.force, moment / LEVER])


def remaining_torque(equations: Equations, force: jax.Array) -> jax.Array:
    """Torques (23, 3), N·m/kg, child axes, that the joints must supply under contact forces (24, 3), N/kg."""
    load = jnp.concatenate([force, jnp.cross(equations.point, force) + equations.free], axis=-1)
    beyond = subtree_sum(build_tree(), load)
    about_joint = beyond[:, 3:] - jnp.cross(equations.joint, beyond[:, :3])
    return equations.torque - rotation.inverse_rotate(equations.rotation, about_joint)[1:]


def _pressed(moment: jax.Array, force: jax.Array, mass: jax.Array, joint: jax.Array) -> jax.Array:
    """From the joints (24, 3) to where forces with these moments about the joints meet the floor, z = 0."""
    x, y, z = (force[:, k] for k in range(3))
    bears = z > _LEAST * mass
    up, down = jnp.where(bears, z, 1.0), -joint[:, 2]
    to = jnp.stack([(down * x - moment[:, 1]) / up, (down * y + moment[:, 0]) / up, down], axis=-1)
    return jnp.where(bears[:, None], to, 0.0)
