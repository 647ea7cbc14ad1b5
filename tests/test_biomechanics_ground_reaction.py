"""Ground reactions of OpenSim models: the wrench that a motion needs, and force plates that measured it."""

from pathlib import Path

import numpy as np
import pytest

from imdy_jax.biomechanics import opensim
from imdy_jax.biomechanics.force_plates import errors, find_trials, measured_reactions, plate_loads
from imdy_jax.biomechanics.ground_reaction import estimate_reactions
from imdy_jax.humanoid import GRAVITY
from imdy_jax.view.reactions import reactions


@pytest.fixture(scope="module")
def walk(shared_data):
    """Model, coordinates, estimate and plates of a walk."""
    trial = next(t for t in find_trials(shared_data / "force_plates") if t.name == "walking1")
    model = opensim.read_model(trial.model)
    track = opensim.coordinate_motion(model, opensim.read_storage(trial.motion), 10.0)
    estimate = estimate_reactions(model, track)
    return trial, model, track, estimate, measured_reactions(opensim.read_storage(trial.forces), estimate)


@pytest.mark.filterwarnings("ignore:.*default values")
def test_the_force_needed_is_the_residual_of_the_pelvis(walk):
    """Inverse dynamics without any load has nowhere else to put it; another route to the same number."""
    trial, model, _, estimate, _ = walk
    motion = opensim.read_storage(trial.motion)
    forces = opensim.inverse_dynamics(model, motion, None, 10.0, kinematics="exact")
    by_pelvis = np.stack([forces[f"pelvis_t{axis}_force"] for axis in "xyz"], axis=1)
    np.testing.assert_allclose(estimate.needed, by_pelvis, atol=1e-6 * model.mass * GRAVITY)


@pytest.mark.filterwarnings("ignore:.*default values")
def test_a_walk_agrees_with_the_force_plates(walk):
    _, model, _, estimate, measured = walk
    found = errors(estimate, measured, model.mass * GRAVITY)
    assert measured.valid.sum() > 100
    forward, up, aside = 0, 1, 2
    assert found.together[up] < 5.0
    assert found.together[forward] < 4.0
    assert found.together[aside] < 3.0
    assert found.foot[:, up].max() < 6.0
    assert found.foot[:, forward].max() < 4.0
    assert found.double[:, up].max() < 9.0
    nothing = errors(estimate._replace(force=0.0 * estimate.force), measured, model.mass * GRAVITY)
    assert nothing.foot[:, up].min() > 50.0


@pytest.mark.filterwarnings("ignore:.*default values")
def test_forces_are_admissible_and_their_centres_under_the_feet(walk):
    _, model, _, estimate, _ = walk
    assert (estimate.force[..., 1] >= -1e-9).all()
    left, right = (estimate.pressure_centre[:, foot] @ np.cross(estimate.heading, [0.0, 1.0, 0.0]) for foot in (0, 1))
    assert (right > left).mean() > 0.9, "the person faces the way that says so"
    np.testing.assert_allclose(estimate.pressure_centre[..., 1], 0.0, atol=1e-9)
    np.testing.assert_allclose(
        estimate.force.sum(axis=1) + estimate.unexplained[:, :3], estimate.needed, atol=1e-6 * model.mass
    )


@pytest.mark.filterwarnings("ignore:.*default values")
def test_the_figure_is_written(walk, tmp_path):
    _, model, _, estimate, measured = walk
    reactions(tmp_path / "walk.png", estimate, measured, model.mass * GRAVITY, "walk")
    assert (tmp_path / "walk.png").stat().st_size > 20_000


def test_errors_say_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"found no pair name_ik\.mot and name_grf\.mot"):
        find_trials(tmp_path)
    for name in ("walk_ik.mot", "walk_grf.mot", "one.osim", "two.osim"):
        Path(tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"walk_ik.mot: model: found 2 beside it, expected one"):
        find_trials(tmp_path)
    empty = opensim.Storage("forces", np.array([0.0, 1.0]), ("force_x",), np.zeros((2, 1)))
    with pytest.raises(opensim.OpenSimFileError, match="columns such as ground_force_1_vx"):
        plate_loads(empty)
