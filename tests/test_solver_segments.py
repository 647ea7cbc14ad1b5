"""A motion that tells inertia: what inverse dynamics says of it, and what the network makes of that."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from swaying_people import DT, FPS, swaying_people
from toy_humanoid import toy_humanoid

from imdy_jax import rotation
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.run import RunFolder
from imdy_jax.skeleton import NUM_BODIES
from imdy_jax.solver.architecture import ModelConfig
from imdy_jax.solver.data import WindowBatches
from imdy_jax.solver.features import free_frames, tokens, window_features
from imdy_jax.solver.fit import FitConfig, fit
from imdy_jax.solver.infer import estimate
from imdy_jax.solver.loss import LossWeights
from imdy_jax.solver.model import ImDyS, init
from imdy_jax.solver.pack import pack
from imdy_jax.solver.representation import REPRESENTATIONS
from imdy_jax.solver.segments import as_channels, from_channels

SEGMENTS = REPRESENTATIONS["segments"]
SMALL = ModelConfig(representation="segments", width=16, layers=1, heads=2, hidden=32, contact=True)


def test_a_person_comes_back_per_kg():
    person = toy_humanoid(mass=58.0)
    back = from_channels(as_channels(person))
    for name, scale in {"offset": 1, "com": 1, "mass": 1 / 58, "inertia": 1 / 58}.items():
        np.testing.assert_allclose(getattr(back, name), getattr(person, name) * scale, rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize("fps", [30.0, 120.0])
def test_forces_of_the_floor_and_torques_above_them_are_those_of_the_motion(fps):
    """Feet alone touch the floor: the sum of the forces, and every torque beyond the legs, need no contact."""
    sequence = swaying_people(representation="segments", fps=fps)[1]
    legs = {1, 2, 4, 5, 7, 8, 10, 11}
    above = [j for j in range(1, NUM_BODIES) if j not in legs]
    worst = {"force": 0.0, "torque": 0.0}
    see = jax.jit(lambda motion: window_features(SEGMENTS, motion, 1 / fps))
    for t in range(5, 50, 9):
        seen = see(sequence.motion[t - 2 : t + 4])
        step = (seen.free[1] + seen.free[2]) / 2
        force = rotation.inverse_rotate(seen.heading, sequence.contact_force[t].sum(axis=0)) / sequence.mass
        torque = sequence.angular_momentum[t][np.array(above) - 1] * fps / sequence.mass
        worst["force"] = max(worst["force"], float(jnp.abs(step[:, 3:] - force).max()))
        worst["torque"] = max(worst["torque"], float(jnp.abs(step[np.array(above), :3] - torque).max()))
        assert np.abs(torque).max() > 0.02
        assert force[2] > 5
    limit = (30.0 / fps) ** 2  # second order in the time step
    assert worst["force"] < 0.15 * limit + 0.02
    assert worst["torque"] < 0.03 * limit + 0.01


def test_the_moment_about_the_pelvis_is_what_the_feet_supply():
    humanoid = toy_humanoid(size=1.05, mass=85.0)
    sequence = swaying_people(representation="segments")[1]
    seen = window_features(SEGMENTS, sequence.motion[10:16], DT)
    moment = (seen.free[1, 0, :3] + seen.free[2, 0, :3]) / 2
    assert float(humanoid.total_mass) == pytest.approx(sequence.mass)
    assert float(jnp.linalg.norm(moment)) > 0.01  # N·m/kg
    flat = window_features(SEGMENTS, np.repeat(sequence.motion[12:13], 6, axis=0), DT).free
    weight = np.tile([0, 0, 9.81], (4, NUM_BODIES, 1))
    np.testing.assert_allclose(flat[..., 3:], weight, atol=2e-2)
    offset = _centre_of_mass(humanoid, sequence.motion[12]) - sequence.motion[12, 0, :3]
    held = rotation.inverse_rotate(seen.heading, np.cross(offset, [0, 0, 9.81]))
    np.testing.assert_allclose(flat[0, 0, :3], held, atol=5e-3)


def _centre_of_mass(humanoid, frame):
    pose = forward_kinematics(humanoid, jnp.concatenate([frame[0, :3], frame[:, 3:7].reshape(-1)]))
    mass = humanoid.mass[:, None]
    return np.asarray(jnp.sum(mass * (pose.position + rotation.rotate(pose.rotation, humanoid.com)), 0) / mass.sum())


def test_tokens_carry_it_and_a_network_that_says_nothing_of_its_own_repeats_it():
    sequence = swaying_people(representation="segments")[0]
    seen = window_features(SEGMENTS, sequence.motion[10:16], DT)
    told = tokens(seen)
    assert told.shape == (NUM_BODIES, SMALL.token_size)
    np.testing.assert_array_equal(free_frames(told, 2), jnp.moveaxis(seen.free, 0, 1))
    variables = init(SMALL, jax.random.PRNGKey(0))
    silent = jax.tree.map(jnp.zeros_like, variables["params"]["remainder"]["Dense_0"])
    variables["params"]["remainder"]["Dense_0"] = silent
    said = ImDyS(SMALL).apply(variables, told, seen.mask)
    np.testing.assert_allclose(said.torque, (seen.free[1, 1:, :3] + seen.free[2, 1:, :3]) / 2, atol=1e-5)
    whole = jnp.stack([seen.free[1, 0, 3:] + seen.free[2, 0, 3:], seen.free[2, 0, 3:] + seen.free[3, 0, 3:]]) / 2
    np.testing.assert_allclose(said.contact_force.sum(axis=1), whole, rtol=0.02, atol=0.02)
    assert float(jnp.std(jnp.linalg.norm(said.contact_force[0], axis=-1))) > 0.01  # shared out by the heads


def test_it_is_learnt_from_and_refuses_what_has_no_dynamics(tmp_path):
    sequences = swaying_people(representation="segments")
    data = pack(sequences, "swaying", DT, tmp_path / "windows", "segments")
    train, held = WindowBatches(data, list(range(10)), 2, 64, 0), WindowBatches(data, [10, 11], 2, 64, 0)
    config = FitConfig(SMALL, LossWeights(forward=0.0, plausible=0.0, error=0.01), steps=60, batch_size=64)
    run = RunFolder.create(tmp_path / "run", config, 0)
    solver = fit(config, train, held, run)
    told = estimate(solver, sequences[10].motion, FPS, sequences[10].mass)
    error = np.linalg.norm(told.contact_force - sequences[10].contact_force, axis=-1).mean() / sequences[10].mass
    assert error < 0.5 * np.linalg.norm(sequences[10].contact_force, axis=-1).mean() / sequences[10].mass
    whole = np.sum(told.contact_force - sequences[10].contact_force, axis=1)
    assert np.linalg.norm(whole, axis=-1).mean() < 0.15 * 9.81 * sequences[10].mass
    for name, bad in {
        "weights.plausible": dataclasses.replace(config, weights=LossWeights(forward=0.0)),
        "hidden_markers": dataclasses.replace(config, hidden_markers=0.1),
        "model.window": dataclasses.replace(config, model=dataclasses.replace(SMALL, window=0)),
    }.items():
        with pytest.raises(ValueError, match=name):
            fit(bad, train, held, run)
    gap = sequences[10].motion.copy()
    gap[7, 16] = np.nan
    with pytest.raises(ValueError, match="left_shoulder"):
        estimate(solver, gap, FPS, sequences[10].mass)
