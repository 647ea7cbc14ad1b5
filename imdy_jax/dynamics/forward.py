"""Forward dynamics: the acceleration that torques and external wrenches produce."""

import jax
import jax.numpy as jnp

from imdy_jax.dynamics.articulated import solve_mass_matrix
from imdy_jax.dynamics.kinematics import integrate, relative_pose
from imdy_jax.dynamics.newton_euler import generalized_force
from imdy_jax.humanoid import Humanoid


def forward_dynamics(
    humanoid: Humanoid, q: jax.Array, v: jax.Array, torque: jax.Array, wrench: jax.Array | None = None
) -> jax.Array:
    """Acceleration v̇ (75,) for joint torques (23, 3) N·m in child axes and wrenches (24, 6) as in inverse_dynamics."""
    applied = jnp.concatenate([jnp.zeros(6, q.dtype), torque.reshape(-1)])
    excess = applied - generalized_force(humanoid, q, v, jnp.zeros_like(v), wrench)
    return solve_mass_matrix(humanoid, relative_pose(humanoid, q), excess)


def step(
    humanoid: Humanoid,
    q: jax.Array,
    v: jax.Array,
    torque: jax.Array,
    wrench: jax.Array | None = None,
    *,
    timestep: float | jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """One semi-implicit Euler step (the velocity first, then the pose with the new velocity): q', v'."""
    v_next = v + timestep * forward_dynamics(humanoid, q, v, torque, wrench)
    return integrate(q, v_next, timestep), v_next
