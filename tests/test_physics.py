"""The engines: what they record is what moved the body, they repeat themselves exactly, and they agree."""

import importlib.util
from dataclasses import replace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from toy_humanoid import toy_humanoid

from envs.c_physics import CPhysics
from envs.effort import limit_target
from envs.make_physics import make_physics
from envs.mjx_physics import MjxPhysics
from imdy_jax import mjcf, rotation
from imdy_jax.humanoid import GRAVITY, stack
from imdy_jax.mjcf import TO_MUJOCO, TO_SMPL, build_model, standing_height
from imdy_jax.skeleton import JOINT_NAMES, NUM_JOINTS, joint_index

pytestmark = pytest.mark.usefixtures("strict")
PEOPLE = 6


@pytest.fixture(scope="module")
def pair(strict):
    return [toy_humanoid(), toy_humanoid(1.12, 95.0, skew=0.3)]


@pytest.fixture(scope="module")
def crowd(pair):
    return stack([pair[n % 2] for n in range(PEOPLE)])


def tumble(humanoids, steps, seed=0):
    """q, v and targets (steps, N, 23, 4) of people who start in the air, turning, and flail as they fall."""
    draw = np.random.default_rng(seed)
    people = humanoids.mass.shape[0]
    spin = rotation.exp(jnp.asarray(draw.normal(size=(people, 3)) * 0.7))
    upright = jnp.broadcast_to(jnp.asarray(rotation.UPRIGHT), (people, 4))
    joints = rotation.exp(jnp.asarray(draw.normal(size=(people, NUM_JOINTS, 3)) * 0.2))
    position = np.tile([0.3, -0.2, 1.1], (people, 1))
    with jax.numpy_rank_promotion("allow"):
        root = rotation.multiply(upright, spin)
    q = jnp.concatenate([position, root, joints.reshape(people, -1)], axis=1)
    phase = draw.normal(size=(1, people, NUM_JOINTS, 3)), draw.uniform(4, 9, size=(1, people, NUM_JOINTS, 3))
    time = np.arange(steps).reshape(-1, 1, 1, 1) / 30.0
    return (
        q,
        jnp.asarray(draw.normal(size=(people, 75))),
        rotation.exp(jnp.asarray(0.5 * phase[0] * np.sin(phase[1] * time))),
    )


def play(physics, state, targets, pushes=None):
    """The last state; the states before each control step and the substeps, stacked over time, by one jitted scan."""

    def body(state, told):
        after, substeps = physics.step(state, *told)
        return after, (state, substeps)

    told = (targets,) if pushes is None else (targets, pushes)
    return jax.jit(lambda state: jax.lax.scan(body, state, told))(state)


def drop(physics, start, pushes=None):
    q, v, targets = start
    return play(physics, physics.reset(q, v), targets, pushes)


def shoves(steps, people, newtons=300.0):
    """A push (steps, N, 3) of each person's chest, in a direction of its own, in the second and third step."""
    around = np.linspace(0.0, 5.0, people)
    push = np.zeros((steps, people, 3))
    push[1:3] = newtons * np.stack([np.cos(around), np.sin(around), 0.2 * np.ones(people)], axis=-1)
    return jnp.asarray(push)


def residual(model, data, q, v, v1, torque, wrench, timestep):
    """M a + b − [0; τ] − Σ JᵀW (75,) by MuJoCo's own inverse dynamics of the bare rigid tree."""
    data.qpos[:], data.qvel[:] = q[TO_MUJOCO.qpos_index], v[TO_MUJOCO.dof_index]
    data.qacc[:] = ((v1 - v) / timestep)[TO_MUJOCO.dof_index]
    mujoco.mj_inverse(model, data)
    applied = np.zeros(model.nv)
    for k, body in enumerate(TO_SMPL.body_index + 1):
        mujoco.mj_applyFT(model, data, wrench[k, :3], wrench[k, 3:], data.xpos[body], body, applied)
    return (data.qfrc_inverse - applied)[TO_SMPL.dof_index] - np.concatenate([np.zeros(6), torque.ravel()])


def residuals(pair, physics, last, before, log):
    """Largest component of the residual of every substep, (T, N, S); checks the replay of the positions on the way."""
    models = [build_model(person, 0.01, simulation=False) for person in pair]
    worst = np.zeros(log.converged.shape)
    for n in range(PEOPLE):
        model, data = models[n % 2], mujoco.MjData(models[n % 2])
        positions = np.concatenate([before.q[:, n], last.q[None, n]])
        v = np.asarray(before.v[0, n])
        for t in range(len(worst)):
            q = positions[t][TO_MUJOCO.qpos_index]
            for s in range(physics.substeps):
                step = [np.asarray(x[t, n, s]) for x in (log.v, log.torque, log.wrench)]
                gap = residual(model, data, q[TO_SMPL.qpos_index], v, *step, physics.timestep)
                worst[t, n, s] = np.abs(gap).max()
                v = step[0]
                mujoco.mj_integratePos(model, q, v[TO_MUJOCO.dof_index], physics.timestep)
            np.testing.assert_array_equal(q[TO_SMPL.qpos_index], positions[t + 1])
    return worst


@pytest.mark.parametrize("substeps", [2, 4])
def test_recorded_torques_and_wrenches_are_the_motion(pair, crowd, substeps):
    physics = CPhysics(crowd, substeps=substeps, record=True)
    pushes = shoves(36, PEOPLE)
    last, (before, log) = drop(physics, tumble(crowd, 36), pushes)
    assert np.all(log.converged)
    # The push is among what acts on the chest; in the air it is all that does.
    pushed = np.repeat(np.asarray(pushes[2])[:, None], substeps, axis=1)
    np.testing.assert_allclose(log.wrench[2, ..., joint_index("spine3"), :3], pushed, atol=1e-6)
    assert residuals(pair, physics, last, before, log).max() < 1e-9
    # Everybody has fallen on more than feet, with thousands of newtons.
    loudest = np.linalg.norm(log.wrench[..., :3], axis=-1).max(axis=(0, 1, 2))
    assert loudest.max() > 2000
    assert np.sum(loudest > 0) > 8


def test_what_the_solver_left_unsolved_is_named(pair, crowd, monkeypatch):
    monkeypatch.setattr(mjcf, "SOLVER_ITERATIONS", 2)
    physics = CPhysics(crowd, record=True)
    last, (before, log) = drop(physics, tumble(crowd, 36))
    gap = residuals(pair, physics, last, before, log)
    assert gap[~np.asarray(log.converged)].max() > 1.0
    assert gap[np.asarray(log.converged)].max() < 1e-9


def test_a_step_is_a_pure_function(crowd):
    q, v, targets = tumble(crowd, 24)
    physics = CPhysics(crowd, threads=2)
    last, (before, log) = play(physics, physics.reset(q, v), targets)
    # From the middle, after the engine has been elsewhere, on another number of threads: the same bits.
    middle = jax.tree.map(lambda x: x[12], before)
    for engine in (physics, CPhysics(crowd, threads=1)):
        again, (_, tail) = play(engine, middle, targets[12:])
        for found, expected in zip(
            jax.tree.leaves((again, tail.torque)), jax.tree.leaves((last, log.torque[12:])), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
    # The solver's warm start is part of the state: without it the bits differ.
    cold, _ = play(physics, replace(middle, warmstart=jnp.zeros_like(middle.warmstart)), targets[12:])
    assert np.any(np.asarray(cold.v) != np.asarray(last.v))


def test_each_person_has_their_own_body(pair, crowd):
    q, v, targets = tumble(crowd, 24)
    together, _ = drop(CPhysics(crowd), (q, v, targets))
    for n in (0, 1):
        alone, _ = drop(CPhysics(stack([pair[n]])), (q[n : n + 1], v[n : n + 1], targets[:, n : n + 1]))
        np.testing.assert_array_equal(alone.q[0], together.q[n])


@pytest.mark.parametrize("substeps", [2, 4])
def test_standing_weighs_what_the_person_weighs(pair, substeps):
    physics = CPhysics(stack([pair[0]]), substeps=substeps, record=True)
    model = build_model(pair[0], physics.timestep)
    # Dropped from 5 mm, so that a bounce would show.
    q = jnp.asarray(model.qpos0[TO_SMPL.qpos_index])[None].at[:, 2].add(0.005)
    hold = jnp.tile(jnp.asarray(rotation.IDENTITY), (12, 1, NUM_JOINTS, 1))
    last, (_, log) = drop(physics, (q, jnp.zeros((1, 75)), hold))
    feet = [JOINT_NAMES.index(name) for name in ("left_ankle", "left_foot", "right_ankle", "right_foot")]
    force = np.asarray(log.wrench)[-2:, 0, :, feet, 2].sum(axis=0).mean()
    np.testing.assert_allclose(force, float(pair[0].total_mass) * GRAVITY, rtol=0.02)
    sunk = standing_height(pair[0]) - float(last.q[0, 2])
    assert -1e-4 < sunk < 3e-3
    # It lands at a third of a metre per second and comes up again at less than a seventh of that.
    assert float(log.v[..., 2].min()) < -0.3
    assert float(log.v[..., 2].max()) < 0.045


def test_spring_and_damper_never_ask_for_more_than_the_limit(pair, crowd):
    person = pair[1]
    q, v, _ = tumble(crowd, 1)
    joints, spin = q[1, 7:].reshape(NUM_JOINTS, 4), 4.0 * v[1, 6:].reshape(NUM_JOINTS, 3)
    draw = np.random.default_rng(3).normal(size=(NUM_JOINTS, 3))
    size = np.where(np.arange(NUM_JOINTS) % 2, 0.05, 2.0)
    error = jnp.asarray(size[:, None] * draw / np.linalg.norm(draw, axis=1, keepdims=True))
    target = rotation.multiply(joints, rotation.exp(error))
    with jax.numpy_rank_promotion("allow"):
        drawn_in = limit_target(person, q[1], v[1].at[6:].set(spin.reshape(-1)), target)
        found = rotation.between(joints, drawn_in)
    stiffness, damping, effort = (np.asarray(x)[:, None] for x in (person.stiffness, person.damping, person.effort))
    wanted, asked = (stiffness * x - damping * np.asarray(spin) for x in (error, found))
    far = np.linalg.norm(wanted, axis=1) > effort[:, 0]
    assert far.any()
    assert not far.all()
    np.testing.assert_allclose(np.linalg.norm(asked, axis=1)[far], effort[far, 0], rtol=1e-9)
    np.testing.assert_allclose(np.cross(asked, wanted), 0.0, atol=1e-6)
    np.testing.assert_array_equal(drawn_in[~far], target[~far])


def test_a_joint_may_move_faster_than_its_damper_alone_allows(pair):
    """A spring alone, held to the effort limit, cannot drive a joint beyond effort / damping."""
    person = pair[1]
    q = jnp.concatenate([jnp.zeros(3), jnp.asarray(rotation.UPRIGHT), jnp.tile(jnp.asarray(rotation.IDENTITY), 23)])
    fast = 2.0 * person.effort[0] / person.damping[0]
    v = jnp.zeros(75).at[6].set(fast)
    lead = jnp.asarray([float(fast * person.damping[0] / person.stiffness[0]), 0.0, 0.0])
    target = jnp.tile(jnp.asarray(rotation.IDENTITY), (NUM_JOINTS, 1)).at[0].set(rotation.exp(lead))
    with jax.numpy_rank_promotion("allow"):
        kept = limit_target(person, q, v, target)
    np.testing.assert_array_equal(kept[0], target[0])  # no torque at that speed: nothing to draw in


def test_a_torque_beyond_the_limit_is_reported(crowd):
    weak = replace(crowd, effort=jnp.full_like(crowd.effort, 5.0))
    start = tumble(crowd, 12)
    for people, low, high in ((crowd, 0.0, 0.05), (weak, 0.2, 1.0)):
        _, (_, log) = drop(CPhysics(people), start)
        beyond = np.linalg.norm(log.torque, axis=-1) > np.asarray(people.effort)[:, None]
        np.testing.assert_array_equal(log.clipped, beyond)
        assert low <= beyond.mean() <= high


def test_a_diverged_simulation_is_named_and_leaves_the_others_alone(crowd):
    q, v, targets = tumble(crowd, 1)
    physics = CPhysics(crowd)
    good, _ = physics.step(physics.reset(q, v), targets[0])
    bad, log = physics.step(physics.reset(q, v.at[2].set(jnp.nan)), targets[0])
    np.testing.assert_array_equal(np.all(log.converged, axis=1), np.arange(PEOPLE) != 2)
    others = np.arange(PEOPLE) != 2
    np.testing.assert_array_equal(bad.q[others], good.q[others])


def test_mjx_agrees_with_the_c_engine(crowd):
    people = jax.tree.map(lambda leaf: leaf[:2], crowd)
    start, pushes = tumble(people, 20), shoves(20, 2)
    _, (states, log) = drop(CPhysics(people, record=True), start, pushes)
    with jax.numpy_rank_promotion("allow"):
        _, (mjx_states, mjx_log) = drop(MjxPhysics(people, record=True), start, pushes)
    assert np.linalg.norm(log.wrench[..., :3], axis=-1).max() > 1000
    np.testing.assert_allclose(mjx_states.q, states.q, atol=1e-10)
    np.testing.assert_allclose(mjx_states.v, states.v, atol=1e-8)
    np.testing.assert_allclose(mjx_log.v, log.v, atol=1e-8)
    np.testing.assert_allclose(mjx_log.torque, log.torque, atol=1e-7)
    np.testing.assert_allclose(mjx_log.wrench, log.wrench, atol=1e-6)
    np.testing.assert_array_equal(mjx_log.converged, log.converged)


@pytest.mark.skipif(importlib.util.find_spec("warp") is None, reason="warp-lang is not installed")
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="JAX has no GPU here; set JAX_PLATFORMS=cuda where one is")
def test_warp_agrees_with_the_c_engine(crowd):
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        people = jax.tree.map(lambda leaf: jnp.asarray(leaf[:2], jnp.float32), crowd)
        start = [jnp.asarray(x, jnp.float32) for x in tumble(people, 12)]
        _, (states, log) = drop(CPhysics(people, record=True), start)
        _, (warp_states, warp_log) = drop(MjxPhysics(people, record=True, impl="warp"), start)
    np.testing.assert_allclose(warp_states.q, states.q, atol=1e-4)
    np.testing.assert_allclose(warp_log.torque, log.torque, atol=0.1)
    np.testing.assert_allclose(warp_log.wrench, log.wrench, atol=0.5)


def test_unknown_or_missing_engines_are_named(crowd):
    with pytest.raises(ValueError, match="known engines: auto, c, mjx, warp"):
        make_physics(crowd, "bullet")
    with pytest.raises(ValueError, match="known: jax, warp"):
        MjxPhysics(crowd, impl="cuda")
    if importlib.util.find_spec("warp") is None:
        with pytest.raises(ValueError, match="needs the package warp-lang"):
            make_physics(crowd, "warp")
    assert isinstance(make_physics(crowd, "c"), CPhysics)
