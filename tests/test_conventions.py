"""Proof of CONVENTIONS.md, statement by statement, against independent oracles: scipy, MuJoCo, SMPL's own formula."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from toy_humanoid import toy_humanoid

from imdy_jax import rotation
from imdy_jax.dynamics.contact import supported_torque
from imdy_jax.dynamics.forward import forward_dynamics
from imdy_jax.dynamics.kinematics import body_velocities, forward_kinematics, integrate
from imdy_jax.dynamics.newton_euler import energy, inverse_dynamics
from imdy_jax.humanoid import GRAVITY
from imdy_jax.mjcf import TO_MUJOCO, TO_SMPL, build_model
from imdy_jax.skeleton import JOINT_NAMES, MIRROR, PARENTS, joint_index

pytestmark = pytest.mark.usefixtures("strict")

kinematics = jax.jit(forward_kinematics)
dynamics = jax.jit(forward_dynamics)
inverse = jax.jit(inverse_dynamics)
supported = jax.jit(supported_torque)


@pytest.fixture(scope="module")
def humanoid(strict):
    """Left and right alike, as mirroring needs it."""
    person, swap, flip = toy_humanoid(), np.array(MIRROR), jnp.diag(jnp.array([-1.0, 1.0, 1.0]))
    return person.replace(
        com=0.5 * (person.com + person.com[swap] @ flip),
        inertia=0.5 * (person.inertia + flip @ person.inertia[swap] @ flip),
    )


@pytest.fixture(scope="module")
def state(strict):
    """A moving body in a crooked pose, away from the origin."""
    draw = np.random.default_rng(4)
    bent = Rotation.from_rotvec(0.6 * draw.normal(size=(24, 3))).as_quat(scalar_first=True)
    return jnp.array([1.0, -2.0, 0.9, *bent.ravel()]), jnp.array(draw.normal(size=75))


@pytest.fixture(scope="module")
def load(strict):
    """Joint torques and contact wrenches."""
    draw = np.random.default_rng(6)
    return jnp.array(20.0 * draw.normal(size=(23, 3))), jnp.array(50.0 * draw.normal(size=(24, 6)))


def rest_joints(humanoid):
    joints = np.array(humanoid.offset)
    for k, parent in enumerate(PARENTS[1:], start=1):
        joints[k] += joints[parent]
    return joints


def upright(turn=0.0):
    """q of a person who stands straight, turned about the vertical by `turn` rad."""
    root = rotation.multiply(rotation.exp(jnp.array([0.0, 0.0, turn])), jnp.array(rotation.UPRIGHT))
    return jnp.concatenate([jnp.array([0.0, 0.0, 1.0]), root, jnp.tile(jnp.array([1.0, 0.0, 0.0, 0.0]), 23)])


def test_z_is_up(humanoid, state):
    """Whatever falls freely gains momentum m·(0, 0, -9.81) each second, whatever its limbs do."""
    q, v = state
    a = dynamics(humanoid, q, v, jnp.zeros((23, 3)), jnp.zeros((24, 6)))

    def momentum(t):
        pose = forward_kinematics(humanoid, integrate(q, v, t))
        motion = body_velocities(humanoid, pose, v + t * a)
        arm = rotation.rotate(pose.rotation, humanoid.com)
        return humanoid.mass @ (motion.linear + jnp.cross(motion.angular, arm))

    gained = jax.jit(jax.jacfwd(momentum))(0.0)
    np.testing.assert_allclose(gained / humanoid.total_mass, (0.0, 0.0, -9.81), atol=1e-8)


def test_quaternions_are_w_first_and_compose_like_matrices():
    first, second = Rotation.from_rotvec([0.3, -0.5, 0.7]), Rotation.from_rotvec([-1.0, 0.2, 0.4])
    a, b = (jnp.array(r.as_quat(scalar_first=True)) for r in (first, second))
    np.testing.assert_allclose(rotation.to_matrix(a), first.as_matrix(), atol=1e-12)
    both = np.asarray(rotation.to_matrix(rotation.multiply(a, b)))
    np.testing.assert_allclose(both, (first * second).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(rotation.rotate(a, jnp.array([1.0, 2, 3])), first.apply([1.0, 2, 3]), atol=1e-12)
    np.testing.assert_allclose(rotation.log(a), first.as_rotvec(), atol=1e-12)


def test_rest_axes_are_x_left_y_up_z_forward(humanoid):
    joints = dict(zip(JOINT_NAMES, rest_joints(humanoid), strict=True))
    assert joints["left_shoulder"][0] > 0.1 > -0.1 > joints["right_shoulder"][0]
    assert joints["head"][1] > joints["pelvis"][1] + 0.3 > joints["left_ankle"][1] + 0.3
    assert joints["left_foot"][2] > joints["left_ankle"][2] + 0.05


@pytest.mark.parametrize("turn", [0.0, 0.8, -2.0])
def test_upright_faces_minus_y_and_heading_turns_it(humanoid, turn):
    pose = kinematics(humanoid, upright(turn))
    position = {name: np.array(pose.position[k]) for k, name in enumerate(JOINT_NAMES)}
    assert position["head"][2] > position["pelvis"][2] + 0.3
    facing = position["left_foot"] - position["left_ankle"]
    expected = Rotation.from_euler("z", turn).apply((0.0, -1.0, 0.0))
    np.testing.assert_allclose(facing[:2] / np.linalg.norm(facing[:2]), expected[:2], atol=0.3)
    to_left = position["left_hip"] - position["right_hip"]
    np.testing.assert_allclose(np.cross((0.0, 0.0, 1.0), expected) @ to_left, np.linalg.norm(to_left), rtol=1e-6)
    np.testing.assert_allclose(rotation.log(rotation.heading(upright(turn)[3:7])), (0.0, 0.0, turn), atol=1e-9)


def test_smpl_axis_angles_are_the_joint_rotations(humanoid):
    """SMPL's forward kinematics: a product of 4 × 4 matrices with the joints' rest positions, no change of axes."""
    draw = np.random.default_rng(1)
    axis_angle, root = draw.normal(size=(24, 3)), np.array([0.2, 0.1, 1.3])
    joints, world = rest_joints(humanoid), []
    for k, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = Rotation.from_rotvec(axis_angle[k]).as_matrix()
        local[:3, 3] = root if k == 0 else joints[k] - joints[parent]
        world.append(local if k == 0 else world[parent] @ local)
    q = jnp.concatenate([jnp.array(root), rotation.exp(jnp.array(axis_angle)).reshape(-1)])
    pose = kinematics(humanoid, q)
    np.testing.assert_allclose(rotation.to_matrix(pose.rotation), [m[:3, :3] for m in world], atol=1e-12)
    np.testing.assert_allclose(pose.position, [m[:3, 3] for m in world], atol=1e-12)


def test_q_and_v_are_those_of_a_free_and_23_ball_joints(humanoid, state):
    """MuJoCo integrates the same velocity to the same pose, and finds the bodies in the same places."""
    q, v = state
    model = build_model(humanoid, 0.01, simulation=False)
    data = mujoco.MjData(model)
    moved = np.array(q)[TO_MUJOCO.qpos_index]
    mujoco.mj_integratePos(model, moved, np.array(v)[TO_MUJOCO.dof_index], 0.05)
    ours = np.asarray(integrate(q, v, 0.05))
    np.testing.assert_allclose(moved[TO_SMPL.qpos_index], ours, atol=1e-12)
    data.qpos[:] = moved
    mujoco.mj_kinematics(model, data)
    position = kinematics(humanoid, jnp.array(ours)).position
    np.testing.assert_allclose(data.xpos[TO_SMPL.body_index + 1], position, atol=1e-12)


def test_v_is_in_world_root_and_child_axes(humanoid, state):
    """Each part of v alone, against a small displacement composed by hand."""
    q, _ = state
    pose, angle = kinematics(humanoid, q), 1e-6
    elbow = joint_index("left_elbow")
    linear = jnp.zeros(75).at[:3].set(jnp.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(integrate(q, linear, 0.1)[:3], q[:3] + jnp.array([0.1, 0.2, 0.3]), atol=1e-12)
    for k, dofs in ((0, slice(3, 6)), (elbow, slice(3 + 3 * elbow, 6 + 3 * elbow))):
        axis = np.array([0.6, 0.0, 0.8])
        moved = kinematics(humanoid, integrate(q, jnp.zeros(75).at[dofs].set(axis), angle))
        before, after = (Rotation.from_quat(np.array(p.rotation[k]), scalar_first=True) for p in (pose, moved))
        np.testing.assert_allclose((before.inv() * after).as_rotvec() / angle, axis, atol=1e-6)
        still = [j for j in range(24) if k not in ancestors(j)]
        np.testing.assert_allclose(
            moved.rotation[np.array(still, int)], pose.rotation[np.array(still, int)], atol=1e-15
        )


def ancestors(body):
    """The body itself and all above it."""
    return [] if body < 0 else [body, *ancestors(PARENTS[body])]


def test_equation_of_motion_balances_power(humanoid, state, load):
    """The energy grows by exactly what torques (on the child, in its axes) and wrenches (on the body, about its joint,
    in world axes) do: dE/dt = Σ τ·ω_joint + Σ F·u + M·ω."""
    (q, v), (torque, wrench) = state, load
    a = dynamics(humanoid, q, v, torque, wrench)

    def total_energy(t):
        return sum(energy(humanoid, integrate(q, v, t), v + t * a))

    motion = body_velocities(humanoid, kinematics(humanoid, q), v)
    by_joints = jnp.sum(torque * v[6:].reshape(23, 3))
    by_contacts = jnp.sum(wrench[:, :3] * motion.linear) + jnp.sum(wrench[:, 3:] * motion.angular)
    assert abs(by_joints) > 10.0
    assert abs(by_contacts) > 10.0
    np.testing.assert_allclose(jax.jit(jax.grad(total_energy))(0.0), by_joints + by_contacts, rtol=1e-9)


def test_a_standing_person_needs_its_weight(humanoid):
    """The residual is the missing force on the person, in the world, and its moment about the pelvis, in root axes."""
    q, still = upright(turn=0.7), jnp.zeros(75)
    weight = float(humanoid.total_mass) * GRAVITY
    residual = inverse(humanoid, q, still, still, jnp.zeros((24, 6)))[1]
    np.testing.assert_allclose(residual[:3], (0.0, 0.0, weight), rtol=1e-12, atol=1e-9)
    # Lifted by a force at the pelvis joint, the moment stays, and supplied in root axes it is gone.
    moment = rotation.rotate(q[3:7], residual[3:])
    wrench = jnp.zeros((24, 6)).at[0].set(jnp.array([0.0, 0.0, weight, *moment]))
    np.testing.assert_allclose(inverse(humanoid, q, still, still, wrench)[1], np.zeros(6), atol=1e-9)


def test_mirrored_motion_has_mirrored_torques(humanoid, state, load):
    """x is the mirrored axis: left and right joints change places, and a rotation keeps x and turns y and z about."""
    (q, v), (_, wrench) = state, load
    a, swap, joints = 3.0 * jnp.cos(jnp.arange(75.0)), np.array(MIRROR), np.array(MIRROR[1:]) - 1
    turn, push = jnp.array([1.0, -1.0, -1.0]), jnp.array([-1.0, 1.0, 1.0])
    turned = jnp.array([1.0, 1.0, -1.0, -1.0])

    def mirror_q(q):
        return jnp.concatenate([push * q[:3], (turned[None] * q[3:].reshape(24, 4)[swap]).reshape(-1)])

    def mirror_v(v):
        return jnp.concatenate([push * v[:3], (turn[None] * v[3:].reshape(24, 3)[swap]).reshape(-1)])

    mirrored_wrench = (wrench * jnp.concatenate([push, turn])[None])[swap]
    torque, residual = inverse(humanoid, q, v, a, wrench)
    other, other_residual = inverse(humanoid, mirror_q(q), mirror_v(v), mirror_v(a), mirrored_wrench)
    np.testing.assert_allclose(other, (turn[None] * torque)[joints], atol=1e-8)
    np.testing.assert_allclose(other_residual, jnp.concatenate([push, turn]) * residual, atol=1e-8)


def test_precision_follows_the_input(humanoid, state):
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (humanoid, *state))
    double = inverse(humanoid, *state, jnp.zeros(75), jnp.zeros((24, 6)))[0]
    rounded = inverse(*single, jnp.zeros(75, jnp.float32), jnp.zeros((24, 6), jnp.float32))[0]
    assert (double.dtype, rounded.dtype) == (jnp.float64, jnp.float32)
    np.testing.assert_allclose(rounded, double, atol=2e-4 * float(jnp.abs(double).max()))


def test_both_precisions_in_one_process(humanoid, state):
    """A dataset is certified in float64 by the process that trained in float32: neither may disturb the other."""
    arguments = (humanoid, *state, jnp.zeros(75))
    found = []
    for precision in (np.float32, np.float64, np.float32):
        with jax.enable_x64(precision is np.float64):
            cast = jax.tree.map(lambda x, dtype=precision: np.asarray(x, dtype), arguments)
            found.append(np.asarray(supported(*cast)[0]))
    assert [x.dtype for x in found] == [np.float32, np.float64, np.float32]
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_allclose(found[0], found[1], atol=1e-2 * np.abs(found[1]).max())


def test_every_statement_names_a_test_that_exists():
    page = Path(__file__).parents[1] / "CONVENTIONS.md"
    if not page.exists():
        pytest.skip("CONVENTIONS.md is not installed with the packages")
    named = re.findall(r"`(?:tests/(\w+)\.py)?(?:::)?(test_\w+)?`", page.read_text())
    assert len([test for _, test in named if test]) > 10
    for file, test in named:
        source = Path(__file__).with_name(f"{file or 'test_conventions'}.py")
        assert source.exists(), f"CONVENTIONS.md names {source.name}"
        assert not test or f"def {test}(" in source.read_text(), f"CONVENTIONS.md names {test} in {source.name}"
