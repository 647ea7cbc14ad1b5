"""The solver's input and targets: what may not change when a motion is moved, and what must."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from swaying_people import DT, swaying_people

from imdy_jax import rotation
from imdy_jax.body.markers import MARKER_NAMES
from imdy_jax.solver.features import PELVIS, finite_difference, pelvis_heading, window_features, window_targets

features = jax.jit(window_features, static_argnames="dt")


@pytest.fixture(scope="module")
def window():
    return swaying_people()[0].markers[10:16]


def about_vertical(angle):
    return jnp.array([np.cos(angle / 2), 0, 0, np.sin(angle / 2)])


@pytest.mark.parametrize("angle", [0.7, 2.9, -3.1])
def test_moving_along_the_floor_and_turning_changes_the_heading_alone(window, angle):
    turn = about_vertical(angle)
    moved = rotation.rotate(turn, window) + jnp.array([1.5, -2.0, 0.0])
    before, after = features(window, DT), features(moved, DT)
    np.testing.assert_allclose(after.tokens, before.tokens, atol=5e-5)  # float32 positions over dt
    expected = rotation.multiply(turn, before.heading)
    np.testing.assert_allclose(rotation.between(expected, after.heading), 0, atol=1e-5)


def test_height_is_kept_and_the_pelvis_faces_minus_y(window):
    seen = features(window, DT)
    now = np.asarray(seen.tokens).reshape(66, 2, 6, 3)[:, 0, 2]
    np.testing.assert_allclose(now[:, 2], window[2, :, 2], atol=1e-6)
    np.testing.assert_allclose(now[list(PELVIS)].mean(axis=0)[:2], 0, atol=1e-6)
    left, right = (now[MARKER_NAMES.index(f"{side}_asis")] for side in ("left", "right"))
    back = now[MARKER_NAMES.index("left_psis")]
    assert left[0] > 0.05 > -0.05 > right[0]
    assert left[1] < back[1] - 0.05


def test_heading_is_that_of_the_pelvis_however_it_is_tilted():
    at_rest = np.zeros((66, 3), np.float32)  # body axes: x left, y up, z forward
    at_rest[list(PELVIS)] = [(0.1, 0, 0.1), (-0.1, 0, 0.1), (0.05, 0, -0.1), (-0.05, 0, -0.1)]
    for key in jax.random.split(jax.random.PRNGKey(0), 20):
        q = rotation.normalize(jax.random.normal(key, (4,)))
        found = pelvis_heading(rotation.rotate(q, at_rest), jnp.ones(66, bool))
        np.testing.assert_allclose(rotation.between(found, rotation.heading(q)), 0, atol=1e-4)


def test_velocities_are_metres_per_second():
    seconds = np.arange(6) * DT
    positions = seconds[:, None] * np.array([[1.0, -2.0, 0.5]])
    np.testing.assert_allclose(finite_difference(positions, DT), np.tile([1.0, -2.0, 0.5], (6, 1)), rtol=1e-5)


def test_a_missing_marker_is_masked_and_leaves_the_others_alone(window):
    gap = MARKER_NAMES.index("left_heel")
    broken = window.copy()
    broken[4, gap, 1] = np.nan
    whole, seen = features(window, DT), features(broken, DT)
    others = np.arange(66) != gap
    assert np.array_equal(seen.mask, others)
    assert np.all(seen.tokens[gap] == 0)
    np.testing.assert_array_equal(seen.tokens[others], whole.tokens[others])


@pytest.mark.parametrize("name", ["left_asis", "right_psis"])
def test_three_pelvis_markers_give_nearly_the_same_heading(window, name):
    broken = window.copy()
    broken[:, MARKER_NAMES.index(name)] = np.nan
    whole, seen = features(window, DT), features(broken, DT)
    assert 0 < np.linalg.norm(rotation.between(whole.heading, seen.heading)) < 0.3


def test_targets_are_per_kg_and_forces_face_with_the_person():
    force = np.zeros((2, 24, 3), np.float32)
    force[0, 7] = [0, 100.0, 700.0]
    targets = window_targets(np.ones((23, 3)), force, 50.0, about_vertical(np.pi / 2))
    np.testing.assert_allclose(targets.contact_force[0, 7], [2.0, 0, 14.0], atol=1e-5)
    np.testing.assert_allclose(targets.angular_momentum, 0.02, rtol=1e-6)
