"""Live comparison with OpenSim's own InverseDynamicsTool, where it is installed (extra `opensim`)."""

import numpy as np
import pytest
from opensim_format import BodySpec, JointSpec, external_loads, linear, points, polynomial, scaled, version_4, write

from imdy_jax.biomechanics import opensim as ours

pytestmark = [pytest.mark.usefixtures("strict"), pytest.mark.filterwarnings("ignore:.*velocities at")]

TIME = np.linspace(0.0, 1.0, 101)
TURNED = ((0.1, 0.2, -0.3), (0.2, 0.3, -0.4)), ((-0.1, 0.1, 0.2), (0.5, -0.3, 0.1))
KNOTS = np.linspace(-2.0, 2.0, 7)
SPLINE = {
    "rotation1": ("{0}", linear(1.0, 0.0)),
    "rotation2": ("{0}", points("SimmSpline", KNOTS, 0.4 * np.cos(KNOTS))),
    "rotation3": ("{0}", points("PiecewiseLinearFunction", KNOTS, 0.3 * KNOTS)),
    "translation1": ("{0}", scaled(points("SimmSpline", KNOTS, np.sin(KNOTS)), 0.2)),
    "translation2": ("{1}", polynomial(0.3, -0.2, 0.1)),
    "translation3": ("", "<Constant><value>0.15</value></Constant>"),
}
COORDINATES = {"PinJoint": 1, "SliderJoint": 1, "UniversalJoint": 2, "GimbalJoint": 3, "PlanarJoint": 3, "BallJoint": 3,
               "FreeJoint": 6, "CustomJoint": 2}  # fmt: skip


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """OpenSim, which on import opens a log where it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("log"))
        package = pytest.importorskip("opensim", reason="OpenSim is not installed (extra `opensim`)")
        package.Logger.removeFileSink()
    package.Logger.setLevelString("error")
    return package


def two_links(kind):
    """Two bodies joined to the ground and to each other by the same kind of joint, on frames turned every way."""
    joints = []
    for letter, parent, child in (("a", "ground", "first"), ("b", "first", "second")):
        names = tuple(f"{letter}{i}" for i in range(COORDINATES[kind]))
        functions = {slot: (text.format(*names, ""), function) for slot, (text, function) in SPLINE.items()}
        joints.append(JointSpec(kind, f"{letter}_joint", parent, child, names, *TURNED, functions=functions))
    return version_4([BodySpec("first"), BodySpec("second", 1.5, (0.2, 0.1, -0.1))], joints)


def run_tool(theirs, folder, model, motion, loads, cutoff, time=TIME):
    """What OpenSim computes from files."""
    tool, excluded = theirs.InverseDynamicsTool(), theirs.ArrayStr()
    excluded.append("ALL")
    tool.setModelFileName(str(model))
    tool.setCoordinatesFileName(str(motion))
    tool.setExternalLoadsFileName(str(loads))
    tool.setExcludedForces(excluded)
    tool.setLowpassCutoffFrequency(-1.0 if cutoff is None else cutoff)
    tool.setStartTime(time[0])
    tool.setEndTime(time[-1])
    tool.setResultsDir(str(folder))
    tool.setOutputGenForceFileName("theirs.sto")
    tool.run()
    return ours.read_storage(folder / "theirs.sto")


@pytest.mark.parametrize(("kind", "cutoff"), [*((kind, None) for kind in COORDINATES), ("PinJoint", 6.0)])
def test_agrees_with_opensims_tool(theirs, tmp_path, kind, cutoff):
    model = write(tmp_path / "model.osim", two_links(kind))
    names = tuple(f"{letter}{i}" for letter in "ab" for i in range(COORDINATES[kind]))
    angles = np.stack([0.2 * i - 0.4 + 0.3 * np.sin((2 + i) * TIME + i) for i in range(len(names))], axis=1)
    ours.write_storage(tmp_path / "motion.mot", ours.Storage("motion", TIME, names, angles))
    columns = tuple(f"{kind}{axis}" for kind in ("f", "p", "m") for axis in "xyz")
    rows = np.stack([(i + 1.0) * np.cos(3 * TIME[::4] + i) for i in range(9)], axis=1)
    ours.write_storage(tmp_path / "force.mot", ours.Storage("force", TIME[::4], columns, rows))
    push = {
        "name": "push", "applied_to_body": "second", "force_expressed_in_body": "first",
        "point_expressed_in_body": "ground", "force_identifier": "f", "point_identifier": "p", "torque_identifier": "m",
    }  # fmt: skip
    loads = write(tmp_path / "loads.xml", external_loads([push], "force.mot"))

    result = ours.inverse_dynamics(
        ours.read_model(model), ours.read_storage(tmp_path / "motion.mot"), ours.read_external_loads(loads), cutoff
    )
    reference = run_tool(theirs, tmp_path, model, tmp_path / "motion.mot", loads, cutoff)
    assert result.columns == reference.columns
    assert np.abs(reference.values).max() > 1.0
    np.testing.assert_allclose(result.values, reference.values, atol=1e-6 if cutoff is None else 1e-4)


@pytest.mark.filterwarnings("ignore:.*default values")
@pytest.mark.parametrize("trial", ["walking1", "squats1", "DJ1", "run200"])
def test_measured_trials_agree_with_opensims_tool(theirs, shared_data, tmp_path, trial):
    """OpenCap's subject 4 and Hamner's runner: 35 and 37 coordinates; the files have eight decimals."""
    folder = shared_data / "force_plates" / "opencap_subject4"
    model, motion = folder / "models" / "optimized_scale_and_markers.osim", folder / "ik" / f"{trial}_ik.mot"
    loads = folder / "grf" / f"{trial}_external_forces.xml"
    if trial == "run200":
        folder = shared_data / "force_plates" / "hamner_run200"
        model, motion = folder / "final.osim", folder / "run200_ik.mot"
        described = [
            {"name": body, "applied_to_body": body, "force_identifier": f"ground_force_{i}_v",
             "point_identifier": f"ground_force_{i}_p", "torque_identifier": f"ground_force_{i}_m"}
            for i, body in ((1, "calcn_r"), (2, "calcn_l"))
        ]  # fmt: skip
        loads = write(tmp_path / "loads.xml", external_loads(described, folder / "run200_grf.mot"))
    track = ours.read_storage(motion)
    reference = run_tool(theirs, tmp_path, model, motion, loads, 6.0, track.time)
    inside = (reference.time >= track.time[0]) & (reference.time <= track.time[-1])
    result = ours.inverse_dynamics(
        ours.read_model(model), track, ours.read_external_loads(loads), 6.0, reference.time[inside]
    )
    assert inside.sum() > 100
    assert set(result.columns) == set(reference.columns)
    assert max(np.abs(result[column] - reference[column][inside]).max() for column in result.columns) < 1e-6
