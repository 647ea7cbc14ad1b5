"""The body is moved as far as its residual asks for, and no further; what then acts on it explains how it moves."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.optimize import lsq_linear

from imdy_jax.analysis.correction import Correction, correct
from imdy_jax.analysis.residual_reduction import (
    Reduction,
    _accelerated,
    _moved,
    _root_inertia,
    reduce_residual,
)
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.dynamics.estimate import estimate, estimate_poses
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.humanoid import GRAVITY, from_body
from imdy_jax.motion.filters import NoFilter
from imdy_jax.motion.procedural import procedural_clip

FPS = 30.0


def percent(found, humanoid):
    weight = float(humanoid.total_mass) * GRAVITY
    return 100 * np.linalg.norm(found.residual[:, :3], axis=1) / weight


@pytest.fixture(scope="module")
def body():
    return anthropometric_body()


@pytest.fixture(scope="module")
def hop(body):
    found = estimate(procedural_clip("hop", body, FPS), body)
    return from_body(body), jax.tree.map(np.asarray, found)


def test_displacements_are_those_of_the_dense_least_squares():
    draw, settings = np.random.default_rng(0), Reduction(size=0.003, tolerance=0.05)
    before, wanted = 1e-3 * draw.normal(size=(40, 3)), draw.normal(size=(40, 3))
    second = np.diff(np.eye(40), 2, axis=0) * FPS**2
    got = _accelerated(before, wanted, FPS, settings, 9.0)
    rows = np.concatenate([np.eye(40) / settings.size, second / settings.tolerance])
    right = np.concatenate([np.zeros((40, 3)), (second @ before + wanted[1:-1]) / settings.tolerance])
    np.testing.assert_allclose(got, np.linalg.lstsq(rows, right, rcond=None)[0], atol=1e-9)


def test_no_displacement_goes_beyond_the_limit_and_the_rest_is_the_best_that_is_left():
    """The oracle is SciPy's bounded least squares."""
    draw, settings, limit = np.random.default_rng(1), Reduction(size=0.01, tolerance=0.05), 0.004
    before, wanted = 1e-3 * draw.normal(size=(40, 3)), draw.normal(size=(40, 3))
    second = np.diff(np.eye(40), 2, axis=0) * FPS**2
    got = _accelerated(before, wanted, FPS, settings, limit)
    rows = np.concatenate([np.eye(40) / settings.size, second / settings.tolerance])
    right = np.concatenate([np.zeros((40, 3)), (second @ before + wanted[1:-1]) / settings.tolerance])
    for k in range(3):
        best = lsq_linear(rows, right[:, k], (-limit, limit), method="bvls").x
        np.testing.assert_allclose(got[:, k], best, atol=1e-7)
    assert np.abs(got).max() > 0.999 * limit


def test_a_turn_that_is_held_costs_the_centre_of_mass_nothing(hop):
    """Whatever turn is allowed, the shift makes the centre of mass accelerate as its force asks for."""
    humanoid, motion = hop
    draw, count = np.random.default_rng(2), len(motion.q)
    residual = draw.normal(size=(count, 6)) * [9.0, 9.0, 9.0, 3.0, 3.0, 3.0]
    inertia = np.asarray(_root_inertia(humanoid, motion.q), float)
    for turn in (9.0, 1e-4):
        moved = _moved(np.zeros((count, 6)), inertia, residual, FPS, Reduction(size=9.0, turn=turn), 9.0)
        assert np.abs(moved[:, 3:]).max() <= turn
        assert turn > 1 or np.abs(moved[:, 3:]).max() > 0.999 * turn
        gained = np.diff(moved, 2, axis=0) * FPS**2
        left = np.abs(np.einsum("tij,tj->ti", inertia[1:-1], gained) + residual[1:-1]).max(axis=0)
        assert left[:3].max() < 0.01 * np.abs(residual[:, :3]).max()
        assert (left[3:].max() < 0.01 * np.abs(residual[:, 3:]).max()) == (turn > 1)


def test_who_stands_on_what_nobody_told_of_stays_there(hop):
    humanoid, motion = hop
    q = np.array(motion.q)
    q[:, 2] += 0.5
    moved = reduce_residual(humanoid, replace(motion, q=q), motion.force, FPS, Reduction(passes=1))
    assert np.abs(moved.shift).max() <= 0.02 + 1e-6 and np.abs(moved.turn).max() <= 0.02 + 1e-6
    assert percent(moved.found, humanoid).mean() > 50


@pytest.mark.parametrize("size", [0.01, 0.05])
def test_a_bump_in_flight_is_found_out_and_taken_away(body, size):
    """A body thrown up falls as a stone does, whatever noise says; nothing touches it. A bump that is larger than the
    limit takes the body further."""
    humanoid, count, settings = from_body(body), 30, Reduction(size=2 * size)
    time = np.arange(count) / FPS
    fall = np.stack([0.4 * time, 0 * time, 3.0 + 4.0 * time - GRAVITY / 2 * time**2], axis=1)
    bump = size * np.exp(-(((time - 0.5) / 0.08) ** 2))[:, None] * np.array([1.0, -0.5, 1.0])
    rotations = np.tile(np.asarray(procedural_clip("walk", body, FPS).rotations)[:1], (count, 1, 1))
    motion = jax.tree.map(np.asarray, estimate_poses(humanoid, fall + bump, rotations, FPS, NoFilter()))
    moved = reduce_residual(humanoid, motion, np.zeros((count, 24, 3)), FPS, settings)
    assert percent(moved.given, humanoid).max() > 20
    assert percent(moved.found, humanoid)[2:-2].max() < 1
    rest = bump + moved.shift
    second = np.diff(rest, 2, axis=0) * FPS**2
    assert np.abs(second).max() < 0.05 * np.abs(np.diff(bump, 2, axis=0) * FPS**2).max()
    assert np.abs(moved.found.force).max() == 0
    if size > settings.limit:
        held = reduce_residual(humanoid, motion, np.zeros((count, 24, 3)), FPS, replace(settings, further=0))
        assert np.abs(held.shift).max() <= settings.limit + 1e-6 and percent(held.found, humanoid).max() > 10


def test_what_contact_explains_is_left_where_it_was_and_what_it_does_not_is_moved_a_little(hop):
    humanoid, motion = hop
    moved = reduce_residual(humanoid, motion, motion.force, FPS)
    before, after = (percent(x, humanoid) for x in (moved.given, moved.found))
    assert before.mean() > 0.5
    assert before.mean() > 3 * after.mean() and before.max() > 1 > after.max()
    assert 0 < np.linalg.norm(moved.shift, axis=1).max() < 0.05
    np.testing.assert_allclose(moved.found.q[:, :3], motion.q[:, :3] + moved.shift, atol=1e-5)
    np.testing.assert_array_equal(moved.found.q[:, 7:], motion.q[:, 7:])
    np.testing.assert_array_equal(moved.found.a[:, 6:], motion.a[:, 6:])
    check = jax.jit(jax.vmap(inverse_dynamics, in_axes=(None, 0, 0, 0, 0)))
    found = moved.found
    torque, left = check(humanoid, found.q, found.v, found.a, found.wrench)
    np.testing.assert_allclose(found.torque, torque, atol=0.02)
    np.testing.assert_allclose(found.residual, left, atol=0.02)
    up = found.wrench[..., 2]
    assert up.min() >= 0 and np.all(np.linalg.norm(found.force[..., :2], axis=-1) <= 1.01 * up + 1e-3)


def test_without_passes_it_is_the_correction_alone(hop):
    humanoid, motion = hop
    still = reduce_residual(humanoid, motion, motion.force, FPS, Reduction(passes=0))
    np.testing.assert_array_equal(still.found.wrench, correct(humanoid, motion, motion.force, FPS, Correction()).wrench)
    assert not still.shift.any() and not still.turn.any()
    with pytest.raises(ValueError, match="size, tolerance, limit and turn above zero"):
        Reduction(size=0.0)
