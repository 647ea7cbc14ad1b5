"""How far one recorded control step is from the laws of motion, by the analytic dynamics.

The record holds, for each substep k of length h, the velocity v_{k+1} after it, the joint torques and the contact
wrenches. The poses in between follow from q_{k+1} = integrate(q_k, v_{k+1}, h), the accelerations from
(v_{k+1} − v_k) / h, and four things can then be asked:

    equation of motion   M(q_k) a_k + b(q_k, v_k) − Σ J_bᵀ W_b − [0₆; τ_k] = 0
    continuity           the pose and the velocity after the last substep are the next frame's
    replay               forward dynamics under (τ_k, W_k) alone leads from this frame's state to the next frame's;
                         a deviation weighs as the force that makes it within the step: M Δv / T and M Δq / T²
    actuation            τ_k = kp log(q_k⁻¹∘target) − (kd + h kp) v_{k+1} − armature a_k, the stable PD of the simulator

The last one ties the torques to the target, so that a torque and a contact force forged together are still found.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from imdy_jax import rotation
from imdy_jax.dataset.contact_law import contact_violations
from imdy_jax.dynamics.forward import step
from imdy_jax.dynamics.kinematics import difference, integrate
from imdy_jax.dynamics.mass_matrix import mass_matrix
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.humanoid import Humanoid
from imdy_jax.skeleton import NUM_JOINTS

_LEAD = 2.5  # rad: the furthest that the controller leads a spring ahead of a moving joint


class ControlStep(NamedTuple):
    """One control step as it was recorded, and the frame after it."""

    q: jax.Array  # (99,)
    v: jax.Array  # (75,)
    target: jax.Array  # (23, 4)
    substep_v: jax.Array  # (S, 75)
    torque: jax.Array  # (S, 23, 3)
    wrench: jax.Array  # (S, 24, 6)
    next_q: jax.Array  # (99,)
    next_v: jax.Array  # (75,)


class World(NamedTuple):
    """What is the same for all control steps of a sequence."""

    humanoid: Humanoid
    timestep: jax.Array  # s
    friction: jax.Array
    margin: jax.Array  # m, by which a solid may be above the floor and still touch it


@jax.jit
def step_residuals(world: World, steps: ControlStep) -> dict[str, jax.Array]:
    """Largest residuals of each control step; leaves of `steps` and of the result are stacked (T, ...).

    SI units; the names are those of certify.CHECKS.
    """
    return jax.vmap(_one_step, in_axes=(None, 0))(world, steps)


def _one_step(world: World, record: ControlStep) -> dict[str, jax.Array]:
    h = world.timestep

    def advance(q: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        return integrate(q, v, h), q

    end, q = jax.lax.scan(advance, record.q, record.substep_v)
    before = jnp.concatenate([record.v[None], record.substep_v[:-1]])
    a = (record.substep_v - before) / h
    explained = jax.vmap(inverse_dynamics, in_axes=(None, 0, 0, 0, 0))
    torque, root = explained(world.humanoid, q, before, a, record.wrench)
    actuated = _actuation(world.humanoid, h, record, q, a)
    touching = jax.vmap(contact_violations, in_axes=(None, 0, 0, None, None))
    contact = touching(world.humanoid, q, record.wrench, world.friction, world.margin)
    following = record.next_q, record.next_v
    replayed = _replay(world, record)
    return {
        "root_force": _longest(root[:, :3]),
        "root_moment": _longest(root[:, 3:]),
        "joint_torque": _longest(torque - record.torque),
        "actuation": _longest(actuated - record.torque),
        **_gaps("continuity", (end, record.substep_v[-1]), following),
        **_replay_force(world.humanoid, replayed, following, h * len(a)),
        **_gaps("replay", replayed, following),
        **{name: jnp.max(value) for name, value in contact.items()},
    }


def _replay(world: World, record: ControlStep) -> tuple[jax.Array, jax.Array]:
    """State after the control step, by forward dynamics from the state before it."""

    def advance(state: tuple, applied: tuple) -> tuple[tuple, None]:
        return step(world.humanoid, *state, *applied, timestep=world.timestep), None

    return jax.lax.scan(advance, (record.q, record.v), (record.torque, record.wrench))[0]


def _replay_force(humanoid: Humanoid, found: tuple, recorded: tuple, duration: jax.Array) -> dict[str, jax.Array]:
    """Forces N and moments N·m that would bend the recorded motion into the replayed one within `duration`."""
    moved = difference(recorded[0], found[0]) / duration
    change = jnp.stack([found[1] - recorded[1], moved]) / duration
    force = jnp.matmul(change, mass_matrix(humanoid, recorded[0]), precision=jax.lax.Precision.HIGHEST)
    return {"replay_force": _longest(force[:, :3]), "replay_moment": _longest(force[:, 3:].reshape(-1, 24, 3))}


def _actuation(humanoid: Humanoid, h: jax.Array, record: ControlStep, q: jax.Array, a: jax.Array) -> jax.Array:
    """Torques (S, 23, 3) of the stable PD controller."""
    joints = q[:, 7:].reshape(-1, NUM_JOINTS, 4)
    held = _held_target(humanoid, joints[0], record.v[6:].reshape(NUM_JOINTS, 3), record.target)
    kp = humanoid.stiffness[:, None]
    spring = kp * rotation.between(joints, held[None])
    spin = record.substep_v[:, 6:].reshape(-1, NUM_JOINTS, 3)
    rotor = humanoid.armature[:, None] * a[:, 6:].reshape(-1, NUM_JOINTS, 3)
    return spring - (humanoid.damping[:, None] + h * kp) * spin - rotor


def _held_target(humanoid: Humanoid, joints: jax.Array, spin: jax.Array, target: jax.Array) -> jax.Array:
    """Target (23, 4) as the controller draws it in when it is set, with the joints at (23, 4) turning at spin (23, 3).

    Spring and damper together ask for no more than the effort limit: |kp·log(joint⁻¹∘target) − kd·spin| ≤ effort.
    """
    error = rotation.between(joints, target)
    lead = (humanoid.damping / humanoid.stiffness)[:, None] * spin
    lead = lead * _LEAD / jnp.maximum(_length(lead), _LEAD)[:, None]
    asked = humanoid.stiffness * _length(error - lead)
    share = humanoid.effort / jnp.maximum(asked, humanoid.effort)
    return rotation.multiply(joints, rotation.exp(lead + share[:, None] * (error - lead)))


def _gaps(name: str, found: tuple, recorded: tuple) -> dict[str, jax.Array]:
    """Distances between two states (q, v)."""
    (q, v), (q_recorded, v_recorded) = found, recorded
    turn, turn_recorded = q[3:].reshape(24, 4), q_recorded[3:].reshape(24, 4)
    # For small angles the rotation is twice the distance of the quaternions, and their lengths are compared too.
    apart = jnp.minimum(_length(turn - turn_recorded), _length(turn + turn_recorded))
    return {
        f"{name}_position": _longest(q[:3] - q_recorded[:3]),
        f"{name}_rotation": 2.0 * jnp.max(apart),
        f"{name}_speed": _longest(v[:3] - v_recorded[:3]),
        f"{name}_spin": _longest((v - v_recorded)[3:].reshape(24, 3)),
    }


def _length(x: jax.Array) -> jax.Array:
    return jnp.linalg.norm(x, axis=-1)


def _longest(x: jax.Array) -> jax.Array:
    return jnp.max(_length(x))
