"""Contenders of benchmark.py: pinocchio (`pip install pin`) and MuJoCo, both in float64, and MuJoCo in JAX."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from dynamics_benchmark.contenders import CORES, Contender, Ready, in_jax
from dynamics_benchmark.hinges import HINGES, States, describe
from imdy_jax import rotation
from imdy_jax.humanoid import Humanoid
from imdy_jax.mjcf import TO_MUJOCO, TO_SMPL, build_model
from imdy_jax.skeleton import JOINT_NAMES, PARENTS


def pinocchio(humanoid: Humanoid, states: States) -> Iterator[Contender]:
    """With spherical joints and with three hinges each, in one thread and in several; its analytic derivatives."""
    import pinocchio as pin

    count = len(states.q)
    quaternions = np.roll(states.q[:, 3:].reshape(count, 24, 4), -1, axis=-1).reshape(count, -1)  # w comes last
    v, a = _into_root_axes(states.q, states.v), _into_root_axes(states.q, states.a)
    balls = _spherical_model(pin, humanoid)
    inputs = np.concatenate([states.q[:, :3], quaternions], axis=1), v, a
    yield from _pinocchio(pin, "pinocchio, spherical", balls, inputs, np.arange(6, 75), False)

    model = pin.buildModelFromXML(describe(humanoid), pin.JointModelFreeFlyer())
    order = np.array([model.joints[model.getJointId(name)].idx_v for name in HINGES])
    place = np.argsort(order)
    inputs = (
        np.concatenate([states.q[:, :3], quaternions[:, :4], states.angle[:, place]], axis=1),
        np.concatenate([v[:, :6], states.rate[:, place]], axis=1),
        np.concatenate([a[:, :6], states.rise[:, place]], axis=1),
    )
    yield from _pinocchio(pin, "pinocchio, hinges", model, inputs, order, True)


def mujoco(humanoid: Humanoid, states: States) -> Iterator[Contender]:
    """mj_inverse of the bare tree, called state by state from Python."""
    import mujoco

    model = build_model(humanoid, 0.01, simulation=False)
    data = mujoco.MjData(model)
    q, v, a = states.q[:, TO_MUJOCO.qpos_index], states.v[:, TO_MUJOCO.dof_index], states.a[:, TO_MUJOCO.dof_index]

    def prepare(n: int) -> Ready:
        answer = np.empty((n, model.nv))
        qpos, qvel, qacc, force = data.qpos, data.qvel, data.qacc, data.qfrc_inverse

        def run() -> np.ndarray:
            for i in range(n):
                qpos[:], qvel[:], qacc[:] = q[i], v[i], a[i]
                mujoco.mj_inverse(model, data)
                answer[i] = force
            return answer

        return Ready(run)

    yield Contender("MuJoCo mj_inverse", "torques", "float64", prepare, lambda f: f[:, TO_SMPL.dof_index[6:]])


def mjx(humanoid: Humanoid, states: States) -> Iterator[Contender]:
    """mjx.inverse, ball joints."""
    from mujoco import mjx as engine

    model = build_model(humanoid, 0.01, simulation=False)

    def torques(q: jax.Array, v: jax.Array, a: jax.Array) -> jax.Array:
        device = engine.put_model(model)
        data = engine.make_data(model)

        def one(q: jax.Array, v: jax.Array, a: jax.Array) -> jax.Array:
            return engine.inverse(device, data.replace(qpos=q, qvel=v, qacc=a)).qfrc_inverse[6:]

        return jax.vmap(one)(q, v, a)

    arrays = states.q[:, TO_MUJOCO.qpos_index], states.v[:, TO_MUJOCO.dof_index], states.a[:, TO_MUJOCO.dof_index]
    yield from in_jax("mjx.inverse", torques, arrays, order=TO_SMPL.dof_index[6:] - 6)


def _pinocchio(
    pin: Any, name: str, model: Any, inputs: tuple[np.ndarray, ...], order: np.ndarray, hinges: bool
) -> Iterator[Contender]:
    def torques(threads: int) -> Callable[[int], Ready]:
        pool = pin.ModelPool(model, threads)

        def prepare(n: int) -> Ready:
            columns = [np.asfortranarray(x[:n].T) for x in inputs]
            answer = np.empty((model.nv, n), order="F")

            def run() -> np.ndarray:
                pin.rneaInParallel(threads, pool, *columns, answer)
                return answer

            return Ready(run)

        return prepare

    def derivatives(n: int) -> Ready:
        data, rows = model.createData(), list(zip(*(x[:n] for x in inputs), strict=True))

        def run() -> None:
            for row in rows:
                pin.computeRNEADerivatives(model, data, *row)

        return Ready(run)

    read = lambda answer: answer[order].T  # noqa: E731
    yield Contender(name, "torques", "float64", torques(1), read, hinges)
    yield Contender(f"{name}, {CORES} threads", "torques", "float64", torques(CORES), read, hinges)
    yield Contender(name, "gradient", "float64", derivatives)


def _spherical_model(pin: Any, humanoid: Humanoid) -> Any:
    model, joints = pin.Model(), [0]
    model.gravity = pin.Motion(np.array([0.0, 0.0, -9.81, 0.0, 0.0, 0.0]))
    offset, mass, com, inertia = (
        np.asarray(x, np.float64) for x in (humanoid.offset, humanoid.mass, humanoid.com, humanoid.inertia)
    )
    for k, name in enumerate(JOINT_NAMES):
        kind = pin.JointModelSpherical() if k else pin.JointModelFreeFlyer()
        joints.append(model.addJoint(joints[PARENTS[k] + 1], kind, pin.SE3(np.eye(3), offset[k]), name))
        model.appendBodyToJoint(joints[-1], pin.Inertia(float(mass[k]), com[k], inertia[k]), pin.SE3.Identity())
    return model


def _into_root_axes(q: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """The linear part in the root's axes; the root rests, so that its acceleration turns as a vector does."""
    linear = rotation.inverse_rotate(q[:, 3:7], motion[:, :3])
    return np.concatenate([linear, motion[:, 3:]], axis=1)
