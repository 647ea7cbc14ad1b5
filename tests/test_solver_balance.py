"""Newton–Euler as a loss: recorded forces obey it, wrong ones miss it in proportion, wherever and facing any way."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recorded_falls

from imdy_jax import rotation
from imdy_jax.run import RunFolder
from imdy_jax.solver.balance import SIZE, Balance, as_rows, from_rows, recorded_balance
from imdy_jax.solver.data import WindowBatches
from imdy_jax.solver.equations import remaining_torque, whole_body_residual, window_equations
from imdy_jax.solver.fit import FitConfig, fit, fit_step, start
from imdy_jax.solver.loss import LossWeights
from imdy_jax.solver.model import ModelConfig
from imdy_jax.solver.pack import pack_dataset

WEIGHT = 9.81  # N/kg
FORWARD = np.array([1.0, 0.0, 0.0, 0.0])


@pytest.fixture(scope="module")
def record():
    return recorded_falls.records(frames=30)[1][0]


def steps_of(record, parts):
    """Rows of the balance, mean forces (P, 24, 3) N, mean torques (P, 23, 3) N·m of the parts of all control steps."""
    fields = {name: getattr(record, name) for name in ("q", "v", "substep_v", "wrench")}
    humanoid, timestep = record.subject.humanoid, record.provenance.timestep
    rows = recorded_balance(humanoid, timestep, parts, **fields)
    count = len(rows)
    force = record.wrench[..., :3].reshape(count, -1, 24, 3).mean(axis=1)
    return rows, force, record.torque.reshape(count, -1, 23, 3).mean(axis=1), float(np.sum(humanoid.mass))


@jax.jit
def judged(rows, recorded, force, mass, heading=FORWARD):
    """What forces (P, 24, 3), N, world, leave of the whole body (P, 6), and to the joints (P, 23, 3), all per kg."""

    def one(row, recorded, force):
        equations = window_equations(row, recorded, mass, heading)
        seen = rotation.inverse_rotate(heading, force) / mass
        return whole_body_residual(equations, seen), remaining_torque(equations, seen)

    return jax.vmap(one)(rows, recorded, force)


@pytest.mark.parametrize("parts", [1, recorded_falls.SUBSTEPS])
def test_recorded_forces_explain_how_the_whole_body_moves(record, parts):
    rows, force, _, mass = steps_of(record, parts)
    assert np.linalg.norm(force.sum(axis=1), axis=1).max() > 2 * WEIGHT * mass  # it falls, and lands
    with jax.enable_x64(True):
        left, _ = judged(rows, force, force, mass)
        np.testing.assert_allclose(left, 0, atol=1e-9)
        nothing, _ = judged(rows, force, 0 * force, mass)
        assert np.linalg.norm(np.asarray(nothing)[:, :3], axis=1).mean() > 0.5 * WEIGHT
    left, _ = judged(*(x.astype(np.float32) for x in (rows, force, force)), mass)
    np.testing.assert_allclose(left, 0, atol=1e-4 * WEIGHT)


def test_recorded_forces_leave_the_joints_the_recorded_torques(record):
    """Exactly in the steps of the simulator; in control steps but for forces that change while the body turns."""
    with jax.enable_x64(True):
        rows, force, torque, mass = steps_of(record, recorded_falls.SUBSTEPS)
        np.testing.assert_allclose(judged(rows, force, force, mass)[1], torque / mass, atol=1e-9)
    rows, force, torque, mass = steps_of(record, 1)
    error = np.abs(judged(rows, force, force, mass)[1] - torque / mass)
    without = np.abs(judged(rows, force, 0 * force, mass)[1] - torque / mass)
    assert error.mean() < 0.02 * np.abs(torque / mass).mean() < 0.1 * without.mean()


def test_a_scaled_force_is_missed_in_proportion(record):
    rows, force, torque, mass = steps_of(record, recorded_falls.SUBSTEPS)
    with jax.enable_x64(True):
        total = force.sum(axis=1) / mass
        missed = [judged(rows, force, (1 + x) * force, mass) for x in (0.1, 0.2, -0.3)]
        for (left, remaining), x in zip(missed, (0.1, 0.2, -0.3), strict=True):
            np.testing.assert_allclose(left[:, :3], x * total, atol=1e-9)
            np.testing.assert_allclose(left[:, 3:] / x, missed[0][0][:, 3:] / 0.1, atol=1e-7)
            np.testing.assert_allclose((remaining - torque / mass) / x, (missed[0][1] - torque / mass) / 0.1, atol=1e-7)
        assert np.abs(missed[0][0][:, 3:]).max() > 0.1


def test_load_moved_to_the_other_foot_is_found_by_its_moment_alone(record):
    rows, force, _, mass = steps_of(record, 1)
    standing = slice(2, 8)
    moved = force[standing].copy()
    left, right = ([7, 10], [8, 11])
    moved[:, left], moved[:, right] = moved[:, left] * 1.2, moved[:, right] - 0.2 * moved[:, left]
    residual = np.asarray(judged(rows[standing], force[standing], moved, mass)[0])
    np.testing.assert_allclose(residual[:, :3], 0, atol=1e-3)
    assert (np.linalg.norm(residual[:, 3:], axis=1) > 0.2).all()


def test_no_heading_and_no_place_matters(record):
    rows, force, _, mass = steps_of(record, 1)
    wrong = force + 30.0 * np.random.default_rng(0).normal(size=force.shape)
    with jax.enable_x64(True):
        known = from_rows(jnp.asarray(rows))
        turn, shift = rotation.exp(jnp.array([0.0, 0.0, 2.2])), jnp.array([3.0, -7.0, 0.0])
        turned = lambda x: rotation.rotate(turn, x)  # noqa: E731
        total, moment = turned(known.wanted[:, :3]), turned(known.wanted[:, 3:])
        elsewhere = Balance(
            jnp.concatenate([total, moment + jnp.cross(shift, total)], axis=-1), turned(known.centre) + shift,
            known.torque, turned(known.moment) + jnp.cross(shift, turned(force)), turned(known.joint) + shift,
            rotation.multiply(turn, known.rotation),
        )  # fmt: skip
        here = judged(rows, force, wrong, mass)
        there = judged(as_rows(elsewhere), turned(force), turned(wrong), mass, np.asarray(turn))
        assert np.abs(here[0]).max() > 1
        for a, b in zip(here, there, strict=True):
            np.testing.assert_allclose(b, a, atol=1e-6)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return recorded_falls.half_certified(tmp_path_factory.mktemp("dataset") / "dataset.zarr")[0]


def test_it_is_packed_on_demand_and_a_slow_step_is_the_mean_of_its_parts(record, dataset, tmp_path):
    data = pack_dataset(dataset, tmp_path / "fine", rates=(120,), balance=True)
    rows = steps_of(record, recorded_falls.SUBSTEPS)[0]
    np.testing.assert_allclose(data.finest(0).balance, rows, rtol=1e-5, atol=1e-4)
    whole = from_rows(data[0].balance)
    for mean, kept in zip(from_rows(steps_of(record, 1)[0]), whole, strict=True):
        np.testing.assert_allclose(kept, mean, rtol=1e-4, atol=1e-3)
    batches = WindowBatches(data, [0], window=2, batch_size=4, seed=0)
    windows = batches.windows(np.flatnonzero(batches.strides == 4)[[0, 4]])
    np.testing.assert_allclose(windows.balance, data[0].balance[[2, 3]], rtol=1e-4, atol=1e-3)
    plain = pack_dataset(dataset, tmp_path / "plain")
    assert plain.balance is None and plain[0].balance is None
    assert windows.balance.shape == (2, SIZE)


def test_fitting_by_it_makes_it_smaller_and_asks_for_it_in_the_windows(dataset, tmp_path):
    weights = LossWeights(magnitude=0.0, direction=0.0, forward=0.0, plausible=0.0, whole_body=0.01, each_joint=0.01)
    small = ModelConfig(width=16, layers=1, heads=2, hidden=16, representation="joints")
    config = FitConfig(model=small, weights=weights, steps=40, batch_size=8, learning_rate=3e-2)
    data = pack_dataset(dataset, tmp_path / "windows", "joints", balance=True)
    batches = WindowBatches(data, [0], 2, 8, seed=0)
    state, rows = start(config), []
    for n in range(40):
        state, row = fit_step(config, state, batches[n])
        rows.append((float(row["whole_body"]), float(row["each_joint"])))
    before, after = np.mean(rows[:3], axis=0), np.mean(rows[-10:], axis=0)
    assert (after < 0.6 * before).all(), (before, after)
    plain = WindowBatches(pack_dataset(dataset, tmp_path / "plain", "joints"), [0], 2, 8, seed=0)
    with pytest.raises(ValueError, match=r"packed without what the equation of motion asks for.*balance=True"):
        fit(dataclasses.replace(config, steps=1), plain, plain, RunFolder.create(tmp_path / "run", config, 0))
