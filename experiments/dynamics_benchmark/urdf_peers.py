"""Contenders of benchmark.py that read model files and know hinges only: jaxsim and adam (adam-robotics)."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from dynamics_benchmark.contenders import Contender, in_jax
from dynamics_benchmark.hinges import HINGES, States, describe
from imdy_jax import rotation
from imdy_jax.humanoid import GRAVITY, Humanoid


def jaxsim(humanoid: Humanoid, states: States) -> Iterator[Contender]:
    """jaxsim's inverse_dynamics, the kinematics that it needs included."""
    import jaxsim
    import jaxsim.api as js

    description = describe(humanoid, "sdf")

    def torques(q: jax.Array, a: jax.Array, angle: jax.Array, rate: jax.Array, rise: jax.Array) -> jax.Array:
        with jax.ensure_compile_time_eval():
            model = js.model.JaxSimModel.build_from_model_description(description, is_urdf=False, gravity=GRAVITY)
        order = np.array([model.joint_names().index(name) for name in HINGES])
        place = np.argsort(order)

        def one(q: jax.Array, a: jax.Array, angle: jax.Array, rate: jax.Array, rise: jax.Array) -> jax.Array:
            data = js.data.JaxSimModelData.build(
                model, base_position=q[:3], base_quaternion=q[3:7],
                joint_positions=angle[place], joint_velocities=rate[place],
            )  # fmt: skip
            with data.switch_velocity_representation(jaxsim.VelRepr.Mixed):
                _, torque = js.model.inverse_dynamics(
                    model, data, joint_accelerations=rise[place], base_acceleration=_root_acceleration(q, a)
                )
            return torque[order]

        return jax.vmap(one)(q, a, angle, rate, rise)

    yield from in_jax("jaxsim", torques, _arrays(states), hinges=True)


def adam(humanoid: Humanoid, states: States) -> Iterator[Contender]:
    """adam's M a + b: it has no recursive inverse dynamics with accelerations. It takes batches itself."""
    from adam.jax import KinDynComputations

    description = describe(humanoid)

    def torques(q: jax.Array, a: jax.Array, angle: jax.Array, rate: jax.Array, rise: jax.Array) -> jax.Array:
        robot = KinDynComputations(
            description, list(HINGES), dtype=q.dtype, gravity=jnp.array([0, 0, -GRAVITY, 0, 0, 0], q.dtype)
        )
        base = jnp.zeros((len(q), 4, 4), q.dtype).at[:, 3, 3].set(1.0)
        base = base.at[:, :3, :3].set(rotation.to_matrix(q[:, 3:7])).at[:, :3, 3].set(q[:, :3])
        acceleration = jnp.concatenate([jax.vmap(_root_acceleration)(q, a), rise], axis=1)
        bias = robot.bias_force(base, angle, jnp.zeros((len(q), 6), q.dtype), rate)
        return (jnp.einsum("nij,nj->ni", robot.mass_matrix(base, angle), acceleration) + bias)[:, 6:]

    yield from in_jax("adam", torques, _arrays(states), hinges=True)


def _arrays(states: States) -> tuple[np.ndarray, ...]:
    return states.q[:, :7], states.a[:, :6], states.angle, states.rate, states.rise


def _root_acceleration(q: jax.Array, a: jax.Array) -> jax.Array:
    """Linear and angular acceleration of the root, both in world axes."""
    return jnp.concatenate([a[:3], rotation.rotate(q[3:7], a[3:6])])
