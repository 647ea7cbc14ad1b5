"""The analytic dynamics against MuJoCo's rigid-body algorithms on 1,000 random states of three subjects."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from toy_humanoid import toy_humanoid

from imdy_jax import humanoid as people
from imdy_jax.dynamics.articulated import solve_mass_matrix
from imdy_jax.dynamics.forward import forward_dynamics
from imdy_jax.dynamics.kinematics import (
    body_accelerations,
    body_velocities,
    forward_kinematics,
    integrate,
    relative_pose,
)
from imdy_jax.dynamics.mass_matrix import mass_matrix
from imdy_jax.dynamics.newton_euler import bias, generalized_force
from imdy_jax.mjcf import TO_MUJOCO, TO_SMPL, build_model

pytestmark = pytest.mark.usefixtures("strict")
STATES = 1000


@pytest.fixture(scope="module")
def subjects(strict):
    return [toy_humanoid(), toy_humanoid(0.85, 48.0, skew=0.3), toy_humanoid(1.15, 108.0, skew=-0.2)]


@pytest.fixture(scope="module")
def states(subjects):
    """(subject index, q, v, a, wrench) of the random states: any pose, anywhere, moving fast."""
    draw = np.random.default_rng(0)
    quaternions = draw.normal(size=(STATES, 24, 4))
    quaternions /= np.linalg.norm(quaternions, axis=-1, keepdims=True)
    q = np.concatenate([draw.normal(size=(STATES, 3)) * 3.0, quaternions.reshape(STATES, 96)], axis=1)
    v, a = draw.normal(size=(STATES, 75)) * 4.0, draw.normal(size=(STATES, 75)) * 30.0
    return np.arange(STATES) % len(subjects), q, v, a, draw.normal(size=(STATES, 24, 6)) * 200.0


@pytest.fixture(scope="module")
def mujoco_answers(subjects, states):
    """What MuJoCo computes for every state, in SMPL's order."""
    models = [build_model(subject, 0.01, simulation=False) for subject in subjects]
    answers = []
    for subject, q, v, a, wrench in zip(*states, strict=True):
        model, data = models[subject], mujoco.MjData(models[subject])
        data.qpos[:], data.qvel[:] = q[TO_MUJOCO.qpos_index], v[TO_MUJOCO.dof_index]
        mujoco.mj_forward(model, data)
        answer = _positions_and_velocities(model, data)
        full = np.zeros((model.nv, model.nv))
        mujoco.mj_fullM(model, data, full)
        answer["mass_matrix"] = full[np.ix_(TO_SMPL.dof_index, TO_SMPL.dof_index)]
        answer["bias"] = data.qfrc_bias[TO_SMPL.dof_index].copy()
        applied = np.zeros(model.nv)
        for k, body in enumerate(TO_SMPL.body_index + 1):
            mujoco.mj_applyFT(model, data, wrench[k, :3], wrench[k, 3:], data.xpos[body], body, applied)
        data.qacc[:] = a[TO_MUJOCO.dof_index]
        mujoco.mj_inverse(model, data)
        answer["inverse"] = (data.qfrc_inverse - applied)[TO_SMPL.dof_index]
        data.qfrc_applied[:] = applied
        data.qfrc_applied[6:] += _torque(a)[TO_MUJOCO.dof_index[6:] - 6]
        mujoco.mj_forward(model, data)
        answer["forward"] = data.qacc[TO_SMPL.dof_index].copy()
        answers.append(answer)
    return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}


def _torque(a):
    """Some joint torques (69,), N·m, to go with the random numbers of a state."""
    return 0.5 * a[6:]


def _positions_and_velocities(model, data) -> dict:
    velocity = np.zeros((model.nbody, 6))
    for body in range(model.nbody):
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity[body], 0)
    inertia = np.einsum(
        "kij,kj,klj->kil", data.ximat.reshape(-1, 3, 3), model.body_inertia, data.ximat.reshape(-1, 3, 3)
    )
    rows = TO_SMPL.body_index + 1
    return {
        "position": data.xpos[rows].copy(),
        "rotation": data.xmat[rows].reshape(-1, 3, 3).copy(),
        "angular": velocity[rows, :3],
        "linear": velocity[rows, 3:],
        "inertia": inertia[rows],
    }


@jax.jit
def _our_answers(subject, q, v, a, wrench):
    pose = forward_kinematics(subject, q)
    motion = body_velocities(subject, pose, v)
    turned = jax.vmap(lambda r: jax.vmap(lambda e: _rotate(r, e))(jnp.eye(3, dtype=q.dtype)).T)(pose.rotation)
    return {
        "position": pose.position,
        "rotation": turned,
        "angular": motion.angular,
        "linear": motion.linear,
        "inertia": jnp.einsum("kij,kjl,kml->kim", turned, subject.inertia, turned),
        "mass_matrix": mass_matrix(subject, q),
        "bias": bias(subject, q, v),
        "inverse": generalized_force(subject, q, v, a, wrench),
        "forward": forward_dynamics(subject, q, v, _torque(a).reshape(23, 3), wrench),
    }


def _rotate(q, x):
    from imdy_jax import rotation

    return rotation.rotate(q, x)


def _ours(subjects, states, dtype):
    subject, *arrays = states
    stacked = jax.tree.map(lambda *x: jnp.stack(x)[subject].astype(dtype), *subjects)
    with jax.numpy_rank_promotion("raise"):
        return jax.vmap(_our_answers)(stacked, *(jnp.asarray(x, dtype) for x in arrays))


@pytest.mark.parametrize(("dtype", "limit"), [(jnp.float64, 1e-9), (jnp.float32, 2e-4)])
def test_every_quantity_agrees(subjects, states, mujoco_answers, dtype, limit):
    ours = _ours(subjects, states, dtype)
    for name, theirs in mujoco_answers.items():
        assert ours[name].dtype == dtype, name
        scale = np.abs(theirs).max(axis=tuple(range(1, theirs.ndim)), keepdims=True)
        error = np.max(np.abs(np.asarray(ours[name], np.float64) - theirs) / scale)
        assert error < limit, f"{name}: relative error {error:.2e}"


def test_forward_dynamics_undoes_inverse_dynamics(subjects, states):
    subject, q, v, a, wrench = (x[:50] if isinstance(x, np.ndarray) else x for x in states)

    @jax.jit
    @jax.vmap
    def there_and_back(person, q, v, a, wrench):
        force = generalized_force(person, q, v, a, wrench)
        # The root residual is handed back as a wrench on the pelvis.
        moment = _rotate(q[3:7], force[3:6])
        supported = wrench.at[0].add(jnp.concatenate([force[:3], moment]))
        return forward_dynamics(person, q, v, force[6:].reshape(23, 3), supported)

    stacked = jax.tree.map(lambda *x: jnp.stack(x)[subject], *subjects)
    back = there_and_back(stacked, *(jnp.asarray(x) for x in (q, v, a, wrench)))
    np.testing.assert_allclose(back, a, rtol=0, atol=1e-9 * np.abs(a).max())


def test_articulated_bodies_invert_the_mass_matrix(subjects, states):
    """The same accelerations, and the same derivative by pose, parameters and force, as from the whole matrix."""
    person, q, force = subjects[1], jnp.asarray(states[1][4]), jnp.asarray(states[3][4])
    draw = np.random.default_rng(1)
    step = jax.tree.map(lambda x: x * draw.normal(size=x.shape), person)
    step = step.replace(inertia=step.inertia + jnp.swapaxes(step.inertia, 1, 2))  # it stays symmetric
    along = (step, jnp.asarray(draw.normal(size=75)), jnp.asarray(draw.normal(size=75)))

    def articulated(person, turn, force):
        return solve_mass_matrix(person, relative_pose(person, integrate(q, turn, 1.0)), force)

    def whole(person, turn, force):
        return jnp.linalg.solve(mass_matrix(person, integrate(q, turn, 1.0)), force)

    at = (person, jnp.zeros(75), force)
    ours, theirs = (jax.jit(lambda f=f: jax.jvp(f, at, along))() for f in (articulated, whole))
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-9 * np.abs(other).max())


def test_accelerations_are_the_derivative_of_velocities(subjects, states):
    _, q, v, a, _ = (x[0] for x in states)
    q, v, a = jnp.asarray(q), jnp.asarray(v), jnp.asarray(a)
    person = subjects[1]

    @jax.jit
    def at(t):
        # Second order in t is enough: the derivative at zero is exact.
        moved = integrate(q, v + a * (t / 2), t)
        return body_velocities(person, forward_kinematics(person, moved), v + a * t)

    pose = forward_kinematics(person, q)
    expected = body_accelerations(person, pose, body_velocities(person, pose, v), v, a)
    measured = jax.jvp(at, (0.0,), (1.0,))[1]
    for ours, theirs in zip(expected, measured, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9 * np.abs(theirs).max())


def test_integration_is_mujocos(subjects, states):
    _, q, v, _, _ = (x[0] for x in states)
    model = build_model(subjects[0], 0.01, simulation=False)
    moved = q[TO_MUJOCO.qpos_index].copy()
    mujoco.mj_integratePos(model, moved, v[TO_MUJOCO.dof_index], 0.01)
    np.testing.assert_allclose(integrate(jnp.asarray(q), jnp.asarray(v), 0.01), moved[TO_SMPL.qpos_index], atol=1e-14)


def test_stacking_keeps_subjects_apart(subjects):
    stacked = people.stack(subjects)
    for i, subject in enumerate(subjects):
        for whole, own in zip(jax.tree.leaves(stacked), jax.tree.leaves(subject), strict=True):
            np.testing.assert_array_equal(whole[i], own)
