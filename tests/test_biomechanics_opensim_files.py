"""OpenSim's files: functions, tables over time, markers, external loads, and what is said of those that are amiss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from opensim_format import (
    BodySpec,
    JointSpec,
    coupler,
    external_loads,
    linear,
    points,
    polynomial,
    scaled,
    version_3,
    version_4,
    write,
)
from scipy.interpolate import CubicSpline
from scipy.signal import butter, filtfilt

from imdy_jax.biomechanics import opensim
from imdy_jax.biomechanics.opensim_functions import read_function
from imdy_jax.biomechanics.opensim_motion import low_passed
from imdy_jax.biomechanics.opensim_tables import evaluate, tabulate
from imdy_jax.biomechanics.opensim_xml import Node, OpenSimFileError, read_document

pytestmark = pytest.mark.usefixtures("strict")
X, Y = np.array([0.0, 0.5, 1.2, 1.9, 3.0]), np.array([0.0, 1.0, 0.5, -1.0, 2.0])
PIN = JointSpec("PinJoint", "hinge", "ground", "a", ("angle",))


# Functions


@jax.jit
def derivatives(table, x):
    """Value and first two derivatives of a tabulated function of one coordinate at x (T,)."""
    value = lambda x: evaluate(table, x[None])[0]  # noqa: E731
    return [jax.vmap(f)(x) for f in (value, jax.grad(value), jax.grad(jax.grad(value)))]


def curve(path, text, x, arguments=1):
    """The same of a function in XML."""
    document = f'<OpenSimDocument Version="40000"><Model>{text}</Model></OpenSimDocument>'
    element, _ = read_document(write(path / "function.xml", document), "Model")
    table = tabulate([(("q",), read_function(Node(path, element), arguments))], ["q"])
    return [np.asarray(result) for result in derivatives(table, jnp.asarray(x, float))]


def test_simm_spline_is_opensims(tmp_path):
    """Values that OpenSim 4.6's SimmSpline returns for these points, within the ends and beyond."""
    value, slope, bend = curve(tmp_path, points("SimmSpline", X, Y), [-0.5, 0.0, 0.25, 0.75, 1.5, 3.0, 3.5])
    np.testing.assert_allclose(value, [-1.732118, 0.0, 0.67282, 1.038301, -0.172795, 2.0, 6.367129], atol=1e-6)
    np.testing.assert_allclose(
        slope, [3.464236, 3.464236, 1.959161, -0.369862, -2.378624, 8.734258, 8.734258], atol=1e-6
    )
    np.testing.assert_allclose(bend, [0.0, -6.510362, -5.530233, -4.001742, 0.147592, 14.200704, 0.0], atol=1e-6)


def test_simm_spline_reproduces_cubics_which_the_natural_spline_does_not(tmp_path):
    cubic, x = np.poly1d([0.7, -0.4, 0.9, 0.2]), np.linspace(0.0, 3.0, 31)
    for count in (4, 5):
        value, slope, bend = curve(tmp_path, points("SimmSpline", X[:count], cubic(X[:count])), x[x <= X[count - 1]])
        for given, expected in zip((value, slope, bend), (cubic, cubic.deriv(1), cubic.deriv(2)), strict=True):
            np.testing.assert_allclose(given, expected(x[x <= X[count - 1]]), atol=1e-12)
    assert np.abs(CubicSpline(X, cubic(X), bc_type="natural")(x) - cubic(x)).max() > 0.1
    parabola = np.poly1d([1.0, 2.0, 3.0])
    np.testing.assert_allclose(curve(tmp_path, points("SimmSpline", X[:3], parabola(X[:3])), [1.0])[0], parabola(1.0))
    np.testing.assert_allclose(curve(tmp_path, points("SimmSpline", X[:2], Y[:2]), [0.2, 4.0])[0], [0.4, 8.0])


def test_gcv_spline_is_scipys_natural_spline(tmp_path):
    x = np.linspace(0.0, 3.0, 17)
    given = curve(tmp_path, points("GCVSpline", X, Y, "<half_order>2</half_order>"), x)
    spline = CubicSpline(X, Y, bc_type="natural")
    for order in range(3):
        np.testing.assert_allclose(given[order], spline(x, order), atol=1e-12)
    value, _, bend = curve(tmp_path, points("GCVSpline", X, Y, "<half_order>2</half_order>"), [-1.0, 4.0])
    np.testing.assert_allclose(value, [Y[0] - spline(0.0, 1), Y[-1] + spline(3.0, 1)], atol=1e-12)
    np.testing.assert_allclose(bend, 0.0, atol=1e-12)


def test_the_other_functions(tmp_path):
    x = np.array([-0.4, 0.3, 0.8, 1.5, 3.4])
    bent = np.interp(x, X, Y)
    bent[[0, -1]] = [-0.4 * 2.0, 2.0 + 0.4 * 3.0 / 1.1]
    np.testing.assert_allclose(curve(tmp_path, points("PiecewiseLinearFunction", X, Y), x)[0], bent)
    np.testing.assert_allclose(curve(tmp_path, polynomial(2.0, -1.0, 3.0), x)[0], np.polyval([2.0, -1.0, 3.0], x))
    np.testing.assert_allclose(curve(tmp_path, linear(-2.0, 0.5), x)[0], 0.5 - 2.0 * x)
    np.testing.assert_allclose(curve(tmp_path, "<Constant><value>4</value></Constant>", x, 0)[0], 4.0)
    np.testing.assert_allclose(curve(tmp_path, scaled(linear(3.0, 1.0), -0.5), x)[0], -1.5 * x - 0.5)
    doubled = curve(tmp_path, scaled(points("SimmSpline", X, Y), 2.0), x)[0]
    np.testing.assert_allclose(doubled, 2.0 * curve(tmp_path, points("NaturalCubicSpline", X, Y), x)[0])
    np.testing.assert_allclose(curve(tmp_path, "<function/>", x)[0], x)


# Tables


@pytest.fixture(scope="module")
def hinge(tmp_path_factory):
    return opensim.read_model(write(tmp_path_factory.mktemp("hinge") / "hinge.osim", version_4([BodySpec("a")], [PIN])))


def test_storage_survives_writing_and_reading(tmp_path):
    draw = np.random.default_rng(0)
    table = opensim.Storage("walk", np.arange(5) * 0.1, ("a", "b"), draw.normal(size=(5, 2)), in_degrees=True)
    opensim.write_storage(tmp_path / "walk.sto", table)
    again = opensim.read_storage(tmp_path / "walk.sto")
    assert (again.name, again.columns, again.in_degrees) == ("walk", ("a", "b"), True)
    np.testing.assert_array_equal(again.values, table.values)
    np.testing.assert_array_equal(again.time, table.time)
    np.testing.assert_array_equal(again["b"], table.values[:, 1])
    assert again.rate == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("header", "degrees"),
    [
        ("walk\nversion=1\nnRows=2\nnColumns=2\ninDegrees=yes\n\nnotes with inDegrees\n", True),
        ("inDegrees=no\nDataType=double\nversion=3\nOpenSimVersion=4.1\n", False),
        ("name walk\ndatacolumns 2\ndatarows 2\nrange 0 1\n", False),
        ("walk\nversion=1\nUnits are S.I.\nAngles are in degrees.\n", True),
    ],
)
def test_headers_of_every_version(tmp_path, header, degrees):
    table = opensim.read_storage(write(tmp_path / "t.mot", f"{header}endheader\ntime\tthe angle\t\n0 1\n 1\t-2e0\t\n"))
    assert table.columns == ("the angle",)
    assert table.in_degrees is degrees
    np.testing.assert_array_equal(table["the angle"], [1.0, -2.0])


def test_markers_are_in_metres_with_gaps(tmp_path):
    text = (
        "PathFileType\t4\t(X/Y/Z)\tw.trc\nDataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\n100\t100\t2\t2\tmm\n"
        "Frame#\tTime\tHEEL\t\t\tTOE\t\t\n\t\tX1\tY1\tZ1\tX2\tY2\tZ2\n\n"
        "1\t0.00\t100\t200\t300\t1\t2\t3\n2\t0.01\t110\t210\t310\t\t\t\n"
    )
    markers = opensim.read_markers(write(tmp_path / "w.trc", text))
    assert (markers.names, markers.rate) == (("HEEL", "TOE"), 100.0)
    np.testing.assert_allclose(markers.positions[:, 0], [[0.1, 0.2, 0.3], [0.11, 0.21, 0.31]])
    np.testing.assert_allclose(markers.positions[0, 1], [0.001, 0.002, 0.003])
    assert np.isnan(markers.positions[1, 1]).all()


def test_low_pass_is_a_zero_phase_butterworth_of_third_order():
    """scipy's filtfilt in the middle; straight lines whole; uneven rows are resampled."""
    time, middle = np.arange(0.0, 3.0, 0.01), np.linspace(1.0, 2.0, 77)
    signal = np.stack([np.sin(6 * time) + 0.2 * np.sin(90 * time), 3.0 - 2.0 * time], axis=1)
    at = lambda rows: CubicSpline(*rows)(middle)  # noqa: E731
    padded, smooth = low_passed(time, signal, 6.0)
    assert padded[0] < -1.45
    assert padded[-1] > 4.45
    reference = filtfilt(*butter(3, 6.0, fs=100.0), signal, axis=0)
    np.testing.assert_allclose(at((padded, smooth)), at((time, reference)), atol=1e-6)
    np.testing.assert_allclose(at((padded, smooth))[:, 1], 3.0 - 2.0 * middle, atol=1e-9)
    uneven = np.delete(np.arange(len(time)), [40, 120, 121])
    np.testing.assert_allclose(at(low_passed(time[uneven], signal[uneven], 6.0)), at((padded, smooth)), atol=0.02)


def test_derivatives_of_a_motion_and_names_of_states(hinge):
    time = np.linspace(0.0, 2.0, 201)
    motion = opensim.Storage("swing", time, ("/jointset/hinge/angle/value", "/jointset/hinge/angle/speed"),
                             np.stack([np.sin(3 * time), 99 * time], axis=1))  # fmt: skip
    track = opensim.coordinate_motion(hinge, motion, cutoff=None, time=np.array([0.5, 1.003]))
    np.testing.assert_allclose(track.q[:, 0], np.sin(3 * track.time), atol=1e-8)
    np.testing.assert_allclose(track.v[:, 0], 3 * np.cos(3 * track.time), atol=1e-6)
    np.testing.assert_allclose(track.a[:, 0], -9 * np.sin(3 * track.time), atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*toe move")
def test_what_a_motion_lacks_or_has_too_much_is_said(tmp_path):
    joints = [PIN, JointSpec("SliderJoint", "rail", "a", "b", ("x",))]
    model = opensim.read_model(write(tmp_path / "m.osim", version_4([BodySpec("a"), BodySpec("b")], joints)))
    time = np.linspace(0.0, 1.0, 20)
    motion = opensim.Storage("m", time, ("angle", "toe"), np.stack([time, time], axis=1))
    with pytest.warns(UserWarning, match="has no x; they keep") as heard:
        opensim.coordinate_motion(model, motion, None)
    assert any("toe move" in str(warning.message) for warning in heard)


def test_names_of_a_plates_columns(hinge):
    for prefix, moment in (("ground_force_r", "ground_torque_r_"), ("ground_force_1", "ground_force_1_m")):
        stems = (f"{prefix}_v", f"{prefix}_p", moment)
        names = tuple(f"{stem}{axis}" for stem in stems for axis in "xyz")
        data = opensim.Storage("p", np.arange(9) * 0.1, names, np.tile(np.arange(9.0), (9, 1)))
        loads = opensim.loads_on(data, {prefix: "a"})
        assert (loads.forces[0].force, loads.forces[0].point, loads.forces[0].moment) == stems
        samples = opensim.sample(loads, np.array([0.25]))
        np.testing.assert_allclose(np.concatenate(samples, axis=-1).ravel(), np.arange(9.0), atol=1e-12)


def test_external_loads_of_both_versions(tmp_path):
    """The data file is found beside the XML, wherever the XML says it was."""
    force = {"applied_to_body": "/bodyset/a", "force_identifier": "f", "torque_identifier": "m"}
    off = [{"name": "off", "isDisabled": "true", **force}, {"name": "away", "appliesForce": "false", **force}]
    text = external_loads([{"name": "on", "isDisabled": "false", **force}, *off], "C:/lab/data.mot", 30000)
    names = tuple(f"{kind}{axis}" for kind in "fm" for axis in "xyz")
    opensim.write_storage(tmp_path / "data.mot", opensim.Storage("d", np.arange(6.0), names, np.ones((6, 6))))
    loads = opensim.read_external_loads(write(tmp_path / "loads.xml", text.replace("C:/lab", "elsewhere")))
    assert [(f.name, f.body, f.point, f.force_frame) for f in loads.forces] == [("on", "a", "", "ground")]
    np.testing.assert_array_equal(opensim.sample(loads, np.array([2.5])).point, 0.0)


def test_offset_frames_are_followed_and_named_in_every_way(tmp_path):
    """On a body, on another offset frame, by absolute and by relative path."""
    frame = '<PhysicalOffsetFrame name="{}"><socket_parent>{}</socket_parent><translation>0 -1 0</translation>{}'
    nested = frame.format("low", "..", "</PhysicalOffsetFrame>")
    inner = frame.format("deep", "..", f"<components>{nested}</components></PhysicalOffsetFrame>")
    text = version_4([BodySpec("a"), BodySpec("b")], [PIN, JointSpec("PinJoint", "knee", "a", "b", ("bend",))])
    text = text.replace('<Body name="a">', f'<Body name="a"><components>{inner}</components>')
    for named in ("/bodyset/a/deep/low", "../../bodyset/a/deep/low", "low"):
        changed = text.replace(
            "<socket_parent_frame>a_offset</socket_parent_frame>", f"<socket_parent_frame>{named}</socket_parent_frame>"
        )
        model = opensim.read_model(write(tmp_path / "m.osim", changed))
        pose = opensim.poses(opensim.build_mechanism(model), jnp.zeros(2))
        np.testing.assert_allclose(pose[2, :, 3], [0.0, -2.0, 0.0], atol=1e-15)


def test_kinds_of_coordinates(tmp_path):
    """As OpenSim 4 tells them: what an axis follows one to one; version 3 states them."""
    slots = {"rotation1": ("r", linear(-1.0, 0.3)), "translation1": ("s", linear(1.0, 0.0)),
             "translation2": ("c", linear(2.0, 0.0))}  # fmt: skip
    joint = JointSpec("CustomJoint", "j", "ground", "a", ("r", "s", "c"), functions=slots)
    model = opensim.read_model(write(tmp_path / "4.osim", version_4([BodySpec("a")], [joint])))
    assert [c.motion for c in model.coordinates] == ["rotational", "translational", "coupled"]
    assert [opensim.force_label(model, c) for c in "rsc"] == ["r_moment", "s_force", "c_force"]
    stated = version_3([BodySpec("a")], [joint], {"c": "rotational", "s": "coupled"})
    model = opensim.read_model(write(tmp_path / "3.osim", stated))
    assert [c.motion for c in model.coordinates] == ["rotational", "coupled", "rotational"]


def test_every_shared_model_is_read(shared_data):
    models = [opensim.read_model(path) for path in sorted(shared_data.rglob("*.osim"))]
    assert len(models) >= 7
    for model in models:
        assert 60.0 < model.mass < 80.0
        assert model.other_constraints == ()
        assert len(model.bodies) == len(model.links) + 1


def test_z_up_turns_opensims_world_upright():
    """Ahead stays ahead, OpenSim's up becomes z, its right the right of a person who looks along x."""
    np.testing.assert_array_equal(opensim.to_z_up(np.eye(3)), [[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    assert np.linalg.det(opensim.to_z_up(np.eye(3))) == pytest.approx(1.0)


# Errors: the file, the field, what was found, what was expected, the mend

GOOD = version_4([BodySpec("a")], [PIN])
SLOPE = linear(1.0, 0.0)
CUSTOM = version_4(
    [BodySpec("a")], [JointSpec("CustomJoint", "j", "ground", "a", ("q",), functions={"rotation1": ("q", SLOPE)})]
)
LOOP = [PIN, JointSpec("WeldJoint", "w", "a", "b"), JointSpec("WeldJoint", "v", "ground", "b")]
LOST = '<BodySet><objects><Body name="lost"><mass>1</mass></Body>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<!DOCTYPE x [<!ENTITY e "ee">]>' + GOOD.partition("\n")[2], "DOCTYPE"),
        (GOOD[:-20], "well-formed"),
        (GOOD.replace("Model", "Muddle"), "OpenSimDocument> with Muddle"),
        (GOOD.replace("40000", "10901"), "Version: found '10901', expected 20000"),
        (GOOD.replace("PinJoint", "RubberJoint"), "RubberJoint>, expected one of WeldJoint"),
        (GOOD.replace('<Coordinate name="angle"/>', ""), "0 coordinates, expected 1"),
        (GOOD.replace("/bodyset/a", "/bodyset/z"), "frame '/bodyset/z'"),
        (GOOD.replace("/bodyset/a", "/jointset/hinge/a_offset"), "a circle of frames"),
        (GOOD.replace("<mass>2.0</mass>", "<mass>-2</mass>"), "mass -2 kg"),
        (GOOD.replace("<mass>2.0</mass>", "<mass>0</mass>"), "bodies of no mass"),
        (GOOD.replace("<mass>2.0</mass>", "<mass>heavy</mass>"), "<mass> 'heavy', expected 1 finite"),
        (GOOD.replace("<BodySet><objects>", LOST), "no joints from lost"),
        (version_3([BodySpec("a")], [PIN._replace(parent="z")]), "no joints from a, z"),
        (version_3([BodySpec("a")], [PIN]).replace(">false<", ">maybe<"), "<reverse> 'maybe', expected true or false"),
        (version_4([BodySpec("a"), BodySpec("b")], LOOP), "closes a loop"),
        (version_4([BodySpec("a"), BodySpec("a")], [PIN]), "more than one a"),
        (CUSTOM.replace("SpatialTransform", "Transform"), "no <SpatialTransform>"),
        (CUSTOM.replace("LinearFunction", "SineFunction"), "SineFunction>, expected one of LinearFunction"),
        (CUSTOM.replace("<coordinates>q</coordinates>", "<coordinates>p</coordinates>"), "coordinates p, expected"),
        (CUSTOM.replace("<axis>0 0 1</axis>", "<axis>0 0 0</axis>"), "axis of length zero"),
        (CUSTOM.replace(SLOPE, linear(1.0, 2.0, 0.0)), "a function of 2 coordinates, given 1"),
        (CUSTOM.replace(SLOPE, points("SimmSpline", [0, 1, 1], [0, 1, 2])), "x ascending"),
        (CUSTOM.replace(SLOPE, points("GCVSpline", X, Y, "<error_variance>1</error_variance>")), "smoothing"),
        (CUSTOM.replace(SLOPE, "<MultiplierFunction><function/></MultiplierFunction>"), "no function to scale"),
        (version_4([BodySpec("a")], [PIN], coupler("angle", "other", SLOPE)), "coordinates other"),
    ],
)
def test_models_that_cannot_be_used(tmp_path, text, said):
    path = write(tmp_path / "bad.osim", text)
    with pytest.raises(OpenSimFileError, match="expected") as caught:
        opensim.read_model(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


HEAD = "walk\nversion=1\nnRows=2\nnColumns=2\ninDegrees=no\nendheader\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time a\n0 1\n", "no line `endheader`"),
        (HEAD + "frame\ta\n0\t1\n1\t2\n", "time in the first column"),
        (HEAD + "time\ta\n", "rows: found none"),
        (HEAD + "time\ta\n0\t1\n1\t2\t3\n", "row 2: found 3 numbers, expected 2"),
        (HEAD + "time\ta\n0\t1\n1\tx\n", "expected numbers"),
        (HEAD + "time\ta\n0\t1\n0\t2\n", "not ascending at row 2"),
        (HEAD + "time\ta\n0\t1\n", "nrows: found 1 in the table"),
        (HEAD.replace("inDegrees=no", "DataType=Vec3") + "time\ta\n0\t1\n1\t2\n", "DataType: found Vec3"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, said):
    with pytest.raises(OpenSimFileError) as caught:
        opensim.read_storage(write(tmp_path / "bad.mot", text))
    assert said in str(caught.value)


def test_markers_that_cannot_be_used(tmp_path):
    with pytest.raises(OpenSimFileError, match="PathFileType"):
        opensim.read_markers(write(tmp_path / "bad.trc", "no\n" * 8))
    head = "PathFileType\t4\nDataRate\tUnits\n100\tfurlongs\nFrame#\tTime\tA\n\t\tX1\tY1\tZ1\n\n1\t0\t1\t2\t3\n"
    with pytest.raises(OpenSimFileError, match=r"Units: found 'furlongs', expected one of m, cm, mm"):
        opensim.read_markers(write(tmp_path / "bad.trc", head))
    with pytest.raises(OpenSimFileError, match="check the path"):
        opensim.read_markers(tmp_path / "none.trc")


def test_motions_that_do_not_fit(hinge):
    time = np.linspace(0.0, 1.0, 11)
    swing = lambda **changes: opensim.Storage(**{"name": "m", "time": time, "columns": ("angle",),  # noqa: E731
                                                 "values": time[:, None], **changes})  # fmt: skip
    for motion, arguments, said in (
        (swing(columns=("elbow",)), {}, "coordinates of"),
        (swing(values=np.full((11, 1), np.nan)), {}, "NaN or infinity in 11 rows, first at 0 s"),
        (swing(time=time[:5], values=time[:5, None]), {}, "more than 5"),
        (swing(), {"cutoff": -6.0}, "cutoff: found -6 Hz"),
        (swing(), {"time": np.array([2.0])}, "ask for times within the motion"),
    ):
        with pytest.raises(OpenSimFileError) as caught:
            opensim.coordinate_motion(hinge, motion, **arguments)
        assert said in str(caught.value)
    with pytest.raises(OpenSimFileError, match="no 'knee', expected one of angle"):
        swing()["knee"]


def test_loads_that_do_not_fit(hinge, tmp_path):
    time, names = np.linspace(0.0, 1.0, 11), ("fx", "fy", "fz", "gx", "gy")
    data = opensim.Storage("plate", time, names, np.ones((11, 5)))
    holed = opensim.Storage("plate", time, names, np.full((11, 5), np.nan))

    def push(data=data, **changes):
        described = {"name": "p", "body": "a", "force": "f", **changes}
        return opensim.ExternalLoads((opensim.ExternalForce(**described),), data)

    with pytest.raises(OpenSimFileError, match="no 'z', expected one of ground, a"):
        opensim.route(push(body="z"), hinge)
    with pytest.raises(OpenSimFileError, match="2 that begin with 'g', expected three"):
        opensim.sample(push(force="g"), time)
    with pytest.raises(OpenSimFileError, match="forces that belong to the motion"):
        opensim.sample(push(), time + 5.0)
    with pytest.raises(OpenSimFileError, match="NaN at 0 s"):
        opensim.sample(push(holed), time)
    with pytest.raises(OpenSimFileError, match="what the columns' names begin with"):
        opensim.loads_on(data, {"f": "a"})
    described = {"name": "p", "applied_to_body": "a", "force_identifier": "f"}
    with pytest.raises(OpenSimFileError, match="a file beside the XML"):
        opensim.read_external_loads(write(tmp_path / "l.xml", external_loads([described], "none.mot")))
    with pytest.raises(OpenSimFileError, match="neither force_identifier nor torque_identifier"):
        opensim.read_external_loads(write(tmp_path / "l.xml", external_loads([{"name": "p"}], "")), data)
