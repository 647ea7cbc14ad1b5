"""The solver's input and targets: what may not change when a motion is moved, and what must."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from swaying_people import DT, swaying_people
from toy_humanoid import toy_humanoid

from imdy_jax import rotation
from imdy_jax.body.markers import MARKER_NAMES
from imdy_jax.solver.features import (
    advance,
    finite_difference,
    history,
    tokens,
    window_features,
    window_targets,
)
from imdy_jax.solver.representation import PELVIS, REPRESENTATIONS, pelvis_heading, reflected

MARKERS = REPRESENTATIONS["markers"]
features = jax.jit(partial(window_features, MARKERS), static_argnames="dt")


@pytest.fixture(scope="module")
def window():
    return swaying_people()[0].motion[10:16]


def about_vertical(angle):
    return jnp.array([np.cos(angle / 2), 0, 0, np.sin(angle / 2)])


@pytest.mark.parametrize("angle", [0.7, 2.9, -3.1])
def test_moving_along_the_floor_and_turning_changes_the_heading_alone(window, angle):
    turn = about_vertical(angle)
    moved = rotation.rotate(turn, window) + jnp.array([1.5, -2.0, 0.0])
    before, after = features(window, DT), features(moved, DT)
    np.testing.assert_allclose(tokens(after), tokens(before), atol=5e-5)  # float32 positions over dt
    expected = rotation.multiply(turn, before.heading)
    np.testing.assert_allclose(rotation.between(expected, after.heading), 0, atol=1e-5)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_in_double_precision_nothing_is_left_of_where_and_which_way(name):
    frames = swaying_people(representation=name)[3].motion[10:16]
    see = jax.jit(partial(window_features, REPRESENTATIONS[name]))
    with jax.enable_x64(True):
        turn, motion = about_vertical(2.4), jnp.asarray(frames, jnp.float64)
        placed = rotation.rotate(turn, motion[..., :3]) + jnp.array([90.0, -70.0, 0.0])
        turned = motion[..., 3:]
        if turned.shape[-1]:
            turned = turned.at[:, 0, :4].set(rotation.multiply(turn, turned[:, 0, :4]))
        before, after = see(motion, DT), see(jnp.concatenate([placed, turned], axis=-1), DT)
        np.testing.assert_allclose(tokens(after), tokens(before), atol=1e-10)
        np.testing.assert_allclose(
            rotation.between(rotation.multiply(turn, before.heading), after.heading), 0, atol=1e-12
        )


def test_height_is_kept_and_the_pelvis_faces_minus_y(window):
    seen = features(window, DT)
    now = np.asarray(seen.states)[2, :, :3]
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
        found = pelvis_heading(MARKERS, rotation.rotate(q, at_rest), jnp.ones(66, bool))
        np.testing.assert_allclose(rotation.between(found, rotation.heading(q)), 0, atol=1e-4)


def test_heading_of_joints_turns_with_the_pelvis_whatever_its_tilt():
    """Hips and spine stand still in the pelvis: their frame is the pelvis's but for one tilt about its x axis."""
    offset = np.asarray(toy_humanoid().offset)
    at_rest = np.zeros((24, 3), np.float32)
    at_rest[[1, 2, 3]] = offset[[1, 2, 3]]
    up = offset[3] - (offset[1] + offset[2]) / 2
    tilt = rotation.exp(jnp.array([np.arctan2(up[2], up[1]), 0.0, 0.0]))
    for key in jax.random.split(jax.random.PRNGKey(1), 20):
        q = rotation.normalize(jax.random.normal(key, (4,)))
        found = pelvis_heading(REPRESENTATIONS["joints"], rotation.rotate(q, at_rest), jnp.ones(24, bool))
        np.testing.assert_allclose(rotation.between(found, rotation.heading(rotation.multiply(q, tilt))), 0, atol=1e-3)


def test_rotations_are_joints_in_their_parents_and_the_root_in_the_heading_frame():
    motion = swaying_people(representation="smpl")[1].motion[10:16]
    seen = jax.jit(partial(window_features, REPRESENTATIONS["smpl"]))(motion, DT)
    matrices = Rotation.from_quat(motion[2, :, 3:], scalar_first=True).as_matrix()
    facing = Rotation.from_quat(np.asarray(seen.heading), scalar_first=True).as_matrix()
    matrices[0] = facing.T @ matrices[0]
    np.testing.assert_allclose(
        seen.states[2, :, 3:9], np.concatenate([matrices[..., 0], matrices[..., 1]], -1), atol=1e-5
    )
    np.testing.assert_allclose(seen.states[2, :, :3], features_of_joints(motion)[2, :, :3], atol=1e-6)


def features_of_joints(smpl):
    return window_features(REPRESENTATIONS["joints"], smpl[..., :3], DT).states


def test_at_thirty_frames_per_second_the_states_are_positions_and_velocities(window):
    seen = features(window, DT)
    turn = np.asarray(rotation.conjugate(seen.heading))
    velocity = np.asarray(rotation.rotate(turn, np.diff(window, axis=0) / DT))
    np.testing.assert_allclose(seen.states[:-1, :, 3:], velocity, atol=2e-4)
    np.testing.assert_allclose(np.diff(seen.states[..., :3], axis=0), velocity * DT, atol=1e-5)
    assert float(seen.step) == pytest.approx(0, abs=1e-6)


def test_the_same_movement_looks_the_same_at_every_rate_but_for_the_time_step(window):
    """Constant velocity: the same states. Constant acceleration: the same change of velocity from frame to frame."""
    now, drift, pull = window[2].astype(float), np.array([0.5, -0.2, 0.1]), np.array([3.0, -5.0, 4.0])

    def at(dt, a):
        time = dt * np.arange(-2, 4)
        return now + (np.outer(time, drift) + np.outer(time**2 / 2, a))[:, None]

    for a in (0 * pull, pull):
        slow, fast = (np.asarray(features(at(dt, a).astype(np.float32), dt).states) for dt in (1 / 30, 1 / 120))
        np.testing.assert_allclose(np.diff(fast[..., 3:], axis=0), np.diff(slow[..., 3:], axis=0), atol=2e-2)
        np.testing.assert_allclose(fast[2, :, :3], slow[2, :, :3], atol=1e-6)
        if not a.any():
            np.testing.assert_allclose(fast, slow, atol=2e-3)
    assert float(features(window, 1 / 120).step) == pytest.approx(-2, abs=1e-5)


@pytest.mark.parametrize("dt", [1 / 30, 1 / 90])
def test_history_knows_nothing_of_the_next_frame_and_the_advance_is_all_that_lacks(window, dt):
    later = window.copy()
    later[3:] += np.random.default_rng(0).normal(size=later[3:].shape).astype(np.float32)
    seen, other = features(window, dt), features(later, dt)
    np.testing.assert_array_equal(history(other), history(seen))
    assert history(seen).shape == (66, 3 * 5)
    assert np.abs(advance(other) - advance(seen)).max() > 1
    turn = rotation.conjugate(seen.heading)
    second = rotation.rotate(turn, window[3] - 2 * window[2] + window[1]) / dt**2
    np.testing.assert_allclose(advance(seen), second / 30, atol=1e-2)


def test_an_odd_extension_goes_on_as_before():
    motion = swaying_people(representation="smpl")[0].motion[:6].astype(float)
    beyond = reflected(motion[1:], motion[:1])
    np.testing.assert_allclose(
        beyond[..., :3] + motion[1:, :, :3], np.broadcast_to(2 * motion[:1, :, :3], beyond[..., :3].shape)
    )
    first = Rotation.from_quat(motion[0, :, 3:], scalar_first=True)
    for back, forth in zip(beyond, motion[1:], strict=True):
        turns = [first.inv() * Rotation.from_quat(x[:, 3:], scalar_first=True) for x in (back, forth)]
        np.testing.assert_allclose(turns[0].as_rotvec(), -turns[1].as_rotvec(), atol=1e-5)


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
    assert np.all(tokens(seen)[gap] == 0)
    np.testing.assert_array_equal(tokens(seen)[others], tokens(whole)[others])


@pytest.mark.parametrize("name", ["left_asis", "right_psis"])
def test_three_pelvis_markers_give_nearly_the_same_heading(window, name):
    broken = window.copy()
    broken[:, MARKER_NAMES.index(name)] = np.nan
    whole, seen = features(window, DT), features(broken, DT)
    assert 0 < np.linalg.norm(rotation.between(whole.heading, seen.heading)) < 0.3


def test_targets_are_per_kg_and_forces_face_with_the_person():
    force = np.zeros((2, 24, 3), np.float32)
    force[0, 7] = [0, 100.0, 700.0]
    targets = window_targets(np.ones((23, 3)), force, 50.0, about_vertical(np.pi / 2), 0.1)
    np.testing.assert_allclose(targets.contact_force[0, 7], [2.0, 0, 14.0], atol=1e-5)
    np.testing.assert_allclose(targets.torque, 0.2, rtol=1e-6)
