"""Our results as OpenSim's tables: a proper turn of the world, the exact header, and the same wrench when read back."""

import numpy as np
import pytest

from imdy_jax.biomechanics import opensim
from imdy_jax.biomechanics.opensim_export import reaction_storage, torque_storage
from imdy_jax.biomechanics.opensim_loads import sample
from imdy_jax.skeleton import joint_index

TIME = np.arange(40) / 30.0


@pytest.fixture
def feet():
    """Force, point and moment (T, 2, 3) under two feet."""
    draw = np.random.default_rng(0)
    smooth = lambda: np.sin(draw.uniform(1, 4, (1, 2, 3)) * TIME[:, None, None] + draw.uniform(0, 6, (1, 2, 3)))  # noqa: E731
    point = smooth() * (1.0, 1.0, 0.0)
    return 300.0 * smooth() + (0.0, 0.0, 400.0), point, 5.0 * smooth() * (0.0, 0.0, 1.0)


def test_worlds_differ_by_a_turn_that_keeps_up_up():
    np.testing.assert_array_equal(opensim.to_y_up(np.array([0.0, 0.0, 1.0])), [0.0, 1.0, 0.0])
    np.testing.assert_array_equal(opensim.to_y_up(np.array([1.0, 0.0, 0.0])), [1.0, 0.0, 0.0])
    assert np.linalg.det(opensim.to_y_up(np.eye(3))) == pytest.approx(1.0), "no mirror image"
    x = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_array_equal(opensim.to_z_up(opensim.to_y_up(x)), x)
    a, b = np.random.default_rng(1).normal(size=(2, 3))
    np.testing.assert_allclose(opensim.to_y_up(np.cross(a, b)), np.cross(opensim.to_y_up(a), opensim.to_y_up(b)))


def test_the_header_is_opensims_own(feet, tmp_path):
    opensim.write_storage(tmp_path / "walk_grf.mot", reaction_storage("walk_grf", TIME, *feet))
    lines = (tmp_path / "walk_grf.mot").read_text().splitlines()
    assert lines[:6] == ["walk_grf", "version=1", "nRows=40", "nColumns=19", "inDegrees=no", "endheader"]
    labels = lines[6].split("\t")
    assert labels[:7] == ["time", *(f"ground_force_l_{x}" for x in ("vx", "vy", "vz", "px", "py", "pz"))]
    assert labels[-3:] == [f"ground_torque_r_{x}" for x in "xyz"]
    assert len(lines) == 7 + 40 and all(len(line.split("\t")) == 19 for line in lines[7:])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["walk_grf.mot"], "no temporary file is left"


def test_external_loads_read_back_are_the_forces_written(feet, tmp_path):
    force, point, moment = feet
    opensim.write_storage(tmp_path / "grf.mot", reaction_storage("grf", TIME, *feet))
    data = opensim.read_storage(tmp_path / "grf.mot")
    loads = opensim.loads_on(data, {"ground_force_l": "calcn_l", "ground_force_r": "calcn_r"})
    found = sample(loads, TIME)
    assert [f.moment for f in loads.forces] == ["ground_torque_l_", "ground_torque_r_"]
    for ours, theirs in zip((force, point, moment), (found.force, found.point, found.moment), strict=True):
        np.testing.assert_allclose(opensim.to_z_up(theirs), ours, atol=1e-9)
    assert (data["ground_force_l_vy"] > 0).any() and np.abs(data["ground_force_r_py"]).max() == 0.0


def test_torques_read_back_are_those_written(tmp_path):
    torque = np.random.default_rng(0).normal(size=(len(TIME), 23, 3))
    opensim.write_storage(tmp_path / "torque.sto", torque_storage("torque", TIME, torque))
    data = opensim.read_storage(tmp_path / "torque.sto")
    np.testing.assert_array_equal(data["left_knee_moment_x"], torque[:, joint_index("left_knee") - 1, 0])
    np.testing.assert_array_equal(data.values.reshape(torque.shape), torque)
    np.testing.assert_array_equal(data.time, TIME)
    assert not data.in_degrees
