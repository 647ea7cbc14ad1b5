"""Inverse dynamics of OpenSim models: laws, systems small enough for pencil and paper, OpenSim's published results."""

import os
import re
import subprocess
import sys
from pathlib import Path

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

from imdy_jax.biomechanics import opensim
from imdy_jax.biomechanics.opensim_gait import contact_events, gait, root_force
from imdy_jax.biomechanics.opensim_kinematics import simbody_excess
from imdy_jax.biomechanics.opensim_tables import evaluate
from imdy_jax.dynamics import dalembert
from imdy_jax.view.joint_moments import joint_moments

pytestmark = pytest.mark.usefixtures("strict")
GRAVITY = 9.80665

# A cart of 3 kg on the x axis and a pendulum hung from it, its joint's frame 0.1 m above the cart's origin.
LENGTH, MASS, INERTIA = 0.4, 2.0, 0.05
CART = [
    BodySpec("cart", 3.0, (0.0, 0.0, 0.0), (0.1, 0.1, 0.1, 0.0, 0.0, 0.0)),
    BodySpec("bob", MASS, (0.0, -LENGTH, 0.0), (0.02, 0.02, INERTIA, 0.0, 0.0, 0.0)),
]
RAILS = [
    JointSpec("SliderJoint", "rail", "ground", "cart", ("x",)),
    JointSpec("PinJoint", "hinge", "cart", "bob", ("angle",), on_parent=((0.0, 0.1, 0.0), (0.0, 0.0, 0.0))),
]
# Every kind of joint in one chain, on frames turned every way; the knee's three rotations hang on one coordinate.
TURNED = ((0.1, 0.2, -0.3), (0.2, 0.3, -0.4)), ((-0.1, 0.1, 0.2), (0.5, -0.3, 0.1))
KNOTS = np.linspace(-2.0, 2.0, 6)
KNEE = {
    "rotation1": ("knee", linear(1.0, 0.1)),
    "rotation2": ("knee", points("SimmSpline", KNOTS, 0.5 * np.cos(KNOTS))),
    "rotation3": ("knee slide", linear(-0.6, 0.2, 0.0)),
    "translation1": ("knee", scaled(polynomial(0.2, -0.1, 0.3), 0.5)),
    "translation2": ("slide", linear(1.0, 0.0)),
}  # fmt: skip
ZOO = [
    JointSpec("FreeJoint", "root", "ground", "a", tuple(f"root{i}" for i in range(6)), *TURNED),
    JointSpec("BallJoint", "ball", "a", "b", ("ball0", "ball1", "ball2"), *TURNED),
    JointSpec("CustomJoint", "knee", "b", "c", ("knee", "slide"), *TURNED, functions=KNEE),
    JointSpec("UniversalJoint", "cross", "c", "d", ("cross0", "cross1"), *TURNED),
    JointSpec("PlanarJoint", "plane", "c", "e", ("plane0", "plane1", "plane2"), *TURNED),
    JointSpec("WeldJoint", "weld", "e", "f", (), *TURNED),
    JointSpec("PinJoint", "pin", "f", "g", ("pin",), *TURNED),
]
ZOO_BODIES = [BodySpec(name, 1.0 + 0.3 * i) for i, name in enumerate("abcdefg")]


def forces_at(model, q, v, a, couplers=False, kinematics="exact"):
    """Generalised forces (T, n) of states (T, n) without loads."""
    routing = opensim.route(opensim.ExternalLoads((), None), model)
    samples = opensim.Samples(*[np.zeros((0, 3))] * 3)
    one = lambda m, q, v, a: opensim.generalized_forces(m, q, v, a, routing, samples, couplers, kinematics)  # noqa: E731
    return np.asarray(jax.jit(jax.vmap(one, in_axes=(None, 0, 0, 0)))(opensim.build_mechanism(model), q, v, a))


@pytest.fixture(scope="module")
def cart(tmp_path_factory):
    return opensim.read_model(write(tmp_path_factory.mktemp("cart") / "cart.osim", version_4(CART, RAILS)))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return opensim.read_model(write(tmp_path_factory.mktemp("zoo") / "zoo.osim", version_4(ZOO_BODIES, ZOO)))


def test_cart_and_pendulum_by_hand(cart):
    q, v, a = np.random.default_rng(0).normal(size=(3, 5, 2))
    angle, rate, spin = q[:, 1], v[:, 1], a[:, 1]
    swing = MASS * LENGTH * (spin * np.cos(angle) - rate**2 * np.sin(angle))
    about_hinge = (INERTIA + MASS * LENGTH**2) * spin + MASS * LENGTH * (
        a[:, 0] * np.cos(angle) + GRAVITY * np.sin(angle)
    )
    expected = np.stack([(3.0 + MASS) * a[:, 0] + swing, about_hinge], axis=1)
    np.testing.assert_allclose(forces_at(cart, q, v, a), expected, rtol=1e-12)


def test_forces_are_differentiable_down_to_the_masses(cart):
    """They are linear in the masses, so the derivative is the difference."""
    q, v, a = (jnp.asarray(x) for x in np.random.default_rng(4).normal(size=(3, 2)))
    mechanism = opensim.build_mechanism(cart)
    samples = opensim.Samples(*[jnp.zeros((0, 3))] * 3)
    routing = opensim.route(opensim.ExternalLoads((), None), cart)

    @jax.jit
    def forces(mass):
        return opensim.generalized_forces(mechanism.replace(mass=mass), q, v, a, routing, samples, kinematics="exact")

    slope = jax.jacrev(forces)(mechanism.mass)
    heavier = np.stack([forces(mechanism.mass + bump) - forces(mechanism.mass) for bump in np.eye(3)], axis=1)
    np.testing.assert_allclose(slope, heavier, atol=1e-12)
    assert np.linalg.norm(slope) > 1.0


def test_degrees_and_radians_and_both_formats_give_the_same_forces(cart, tmp_path):
    time = np.arange(0.0, 1.0, 0.01)
    angles = np.stack([0.3 * np.sin(3 * time), 1.2 * np.cos(4 * time)], axis=1)
    motion = opensim.Storage("swing", time, ("x", "angle"), angles)
    radians = opensim.inverse_dynamics(cart, motion)
    degrees = opensim.Storage("swing", time, ("x", "angle"), angles * [1.0, 180.0 / np.pi], in_degrees=True)
    text = version_3(CART, RAILS, {"x": "translational"})
    older = opensim.read_model(write(tmp_path / "cart3.osim", text))
    assert radians.columns == ("x_force", "angle_moment")
    for model, told in ((cart, degrees), (older, motion), (older, degrees)):
        np.testing.assert_allclose(opensim.inverse_dynamics(model, told).values, radians.values, rtol=1e-9, atol=1e-9)


def test_forces_put_in_the_power_by_which_the_energy_grows(zoo):
    """Q · q̇, with moments on the angular velocity at ball joints; and OpenSim's kinematics breaks this law."""
    mechanism = opensim.build_mechanism(zoo)
    q, v, a = np.random.default_rng(1).normal(size=(3, 4, len(zoo.coordinates)))
    moments = jax.vmap(dalembert.second_moment)(mechanism.mass, mechanism.com, mechanism.inertia)

    def energy(q, v, a, t):
        pose, rate = jax.jvp(lambda t: opensim.poses(mechanism, q + t * v + t * t * a / 2), (t,), (1.0,))
        kinetic = 0.5 * jnp.sum(jnp.matmul(rate, moments) * rate)
        return kinetic - jnp.sum(jnp.matmul(pose, moments)[:, :, 3] * mechanism.gravity[None, :])

    growth = jax.jit(jax.vmap(lambda *state: jax.jvp(lambda t: energy(*state, t), (0.0,), (1.0,))[1]))(q, v, a)
    velocity = v.copy()
    for first in (0, 6):
        velocity[:, first : first + 3] = angular_velocity(q[:, first : first + 3], v[:, first : first + 3])
    power = np.sum(forces_at(zoo, q, v, a) * velocity, axis=1)
    np.testing.assert_allclose(power, growth, rtol=1e-10)
    assert np.all(np.abs(power) > 1.0)
    wrong = np.sum(forces_at(zoo, q, v, a, kinematics="opensim") * velocity, axis=1)
    assert np.all(np.abs(wrong - growth) > 1e-3)


def angular_velocity(angles, rates):
    """Of body-fixed x-y-z angles (T, 3), in the axes they start from."""
    (sx, sy, _), (cx, cy, _) = np.sin(angles).T, np.cos(angles).T
    second = np.stack([np.zeros_like(cx), cx, sx], axis=1)
    third = np.stack([sy, -sx * cy, cx * cy], axis=1)
    return rates[:, :1] * [[1.0, 0.0, 0.0]] + rates[:, 1:2] * second + rates[:, 2:] * third


def test_simbody_is_right_where_each_coordinate_turns_about_one_axis(zoo):
    q, v = np.random.default_rng(2).normal(size=(2, len(zoo.coordinates)))
    excess = simbody_excess(opensim.build_mechanism(zoo), jnp.asarray(q), jnp.asarray(v))
    knee = [link.joint.name for link in zoo.links].index("knee")
    assert np.linalg.norm(excess[knee]) > 0.1
    np.testing.assert_allclose(np.delete(excess, knee, axis=0), 0.0, atol=1e-13)
    assert opensim.misjudged_joints(zoo) == ["root", "ball", "knee"]
    time = np.linspace(0.0, 1.0, 12)
    still = opensim.Storage("still", time, tuple(c.name for c in zoo.coordinates), np.full((12, len(q)), 0.1))
    with pytest.warns(UserWarning, match="velocities at root, ball are wrong"):
        opensim.inverse_dynamics(zoo, still)
    with pytest.raises(ValueError, match="found 'simbody', expected one of exact, opensim"):
        opensim.inverse_dynamics(zoo, None, kinematics="simbody")


def test_both_formats_of_one_model_are_the_same_mechanism(zoo, tmp_path):
    older = opensim.read_model(write(tmp_path / "zoo3.osim", version_3(ZOO_BODIES, ZOO)))
    jax.tree.map(np.testing.assert_array_equal, opensim.build_mechanism(older), opensim.build_mechanism(zoo))


def test_a_joint_the_wrong_way_round_moves_the_other_way(cart, tmp_path):
    """Written from the bob to the cart, the hinge turns the bob back; version 3 says so by <reverse>."""
    turned = JointSpec("PinJoint", "hinge", "bob", "cart", ("angle",), ((0.0,) * 3,) * 2, RAILS[1].on_parent)
    flipped = [RAILS[0], RAILS[1]._replace(reverse=True)]
    q = jnp.asarray([0.3, 0.7])
    expected = opensim.poses(opensim.build_mechanism(cart), q * jnp.asarray([1.0, -1.0]))
    for name, text in (("4", version_4(CART, [RAILS[0], turned])), ("3", version_3(CART, flipped))):
        model = opensim.read_model(write(tmp_path / f"turned{name}.osim", text))
        assert [link.reversed for link in model.links] == [False, True]
        np.testing.assert_allclose(opensim.poses(opensim.build_mechanism(model), q), expected, atol=1e-14)


def test_couplers_move_what_hangs_on_them(tmp_path):
    """The independent coordinate then bears, by the chain rule, the dependent one's force too."""
    bodies = [BodySpec("a"), BodySpec("b")]
    joints = [
        JointSpec("PinJoint", "j", "ground", "a", ("lead",), *TURNED),
        JointSpec("PinJoint", "k", "a", "b", ("tail",), *TURNED),
    ]
    square = polynomial(0.5, -0.4, 0.1)
    model = opensim.read_model(write(tmp_path / "m.osim", version_4(bodies, joints, coupler("tail", "lead", square))))
    lead, rate, spin = np.random.default_rng(3).normal(size=(3, 4))
    slope = lead - 0.4
    tied = forces_at(model, *(np.stack([x, 9.9 * np.ones(4)], axis=1) for x in (lead, rate, spin)), couplers=True)
    q = np.stack([lead, 0.5 * lead**2 - 0.4 * lead + 0.1], axis=1)
    v, a = np.stack([rate, slope * rate], axis=1), np.stack([spin, slope * spin + rate**2], axis=1)
    free = forces_at(model, q, v, a)
    np.testing.assert_allclose(tied[:, 0], free[:, 0] + slope * free[:, 1], rtol=1e-12)
    np.testing.assert_allclose(tied[:, 1], 0.0, atol=1e-12)
    named = evaluate(opensim.build_mechanism(model).couplers, jnp.asarray([lead[0], 9.9]))
    np.testing.assert_allclose(named, q[0], rtol=1e-12)


@pytest.mark.parametrize("frame", ["ground", "bob"])
def test_external_forces_by_hand(cart, tmp_path, frame):
    """At rest the hinge bears the bob's weight and the moment of what is applied to the bob."""
    time, angle = np.linspace(0.0, 1.0, 12), 0.5
    motion = opensim.Storage("still", time, ("x", "angle"), np.tile([0.2, angle], (12, 1)))
    force, point, moment = np.array([30.0, -20.0, 5.0]), np.array([0.1, -0.2, 0.3]), np.array([0.0, 0.0, 4.0])
    names = [f"{kind}{axis}" for kind in ("f", "p", "m") for axis in "xyz"]
    data = opensim.Storage("plate", time, tuple(names), np.tile(np.concatenate([force, point, moment]), (12, 1)))
    described = {
        "name": "push", "applied_to_body": "bob", "force_identifier": "f", "point_identifier": "p",
        "torque_identifier": "m", "force_expressed_in_body": frame, "point_expressed_in_body": frame,
    }  # fmt: skip
    loads = opensim.read_external_loads(write(tmp_path / "loads.xml", external_loads([described], "none.mot")), data)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])
    hinge = np.array([0.2, 0.1, 0.0])
    if frame == "bob":
        force, point = turn @ force, turn @ point + hinge
    torque = moment[2] + np.cross(point - hinge, force)[2]
    expected = [-force[0], MASS * GRAVITY * LENGTH * np.sin(angle) - torque]
    result = opensim.inverse_dynamics(cart, motion, loads, cutoff=None)
    np.testing.assert_allclose(result.values, np.tile(expected, (12, 1)), rtol=1e-9, atol=1e-9)


# OpenSim's own results


@pytest.fixture(scope="module")
def falisse(shared_data):
    """Model, motion, loads and OpenSim's result; the loads told by the columns' names."""
    folder = shared_data / "inverse_dynamics" / "falisse2019_gait"
    motion, forces, reference = (opensim.read_storage(folder / "converted" / f"{kind}_gait_1.{suffix}")
                                 for kind, suffix in (("IK", "mot"), ("GRF", "mot"), ("ID", "sto")))  # fmt: skip
    loads = opensim.loads_on(forces, {"ground_force": "calcn_l", "1_ground_force": "calcn_r"})
    return opensim.read_model(folder / "original" / "subject1.osim"), motion, loads, reference


@pytest.fixture(scope="module")
def falisse_forces(falisse):
    return opensim.inverse_dynamics(*falisse[:3])


def worst(ours, reference, columns=None):
    """Largest error of each column."""
    return {c: np.abs(ours[c] - reference[c]).max() for c in columns or ours.columns}


def test_falisse_gait_agrees_on_every_coordinate(falisse, falisse_forces):
    """The issue asks for 0.01 N(m); the reference has eight decimals, and that is where we part."""
    reference = falisse[3]
    assert set(falisse_forces.columns) == set(reference.columns)
    assert len(reference.columns) == 37
    assert max(worst(falisse_forces, reference).values()) < 1e-6


def test_gait10dof_agrees(shared_data):
    folder = shared_data / "inverse_dynamics" / "gait10dof_walk"
    model = opensim.read_model(folder / "subject01.osim")
    reference = opensim.read_storage(folder / "subject01_walk_ID.sto")
    motion = opensim.read_storage(folder / "subject01_walk_IK.mot")
    loads = opensim.read_external_loads(folder / "subject01_walk_grf.xml")
    result = opensim.inverse_dynamics(model, motion, loads, time=reference.time)
    assert set(result.columns) == set(reference.columns)
    assert max(worst(result, reference).values()) < 1e-3


ARNOLD = ("coordinates.sto", "grf.mot", "id.sto")


@pytest.fixture(scope="module", params=["subject01", "subject02"])
def arnold(request, shared_data):
    """Model's file, motion, loads and reference of a synthetic stride."""
    folder = shared_data / "inverse_dynamics" / "arnold2013_synthetic" / request.param
    motion, forces, reference = (opensim.read_storage(folder / name) for name in ARNOLD)
    loads = opensim.loads_on(forces, {"ground_force_r": "calcn_r", "ground_force_l": "calcn_l"})
    return folder / f"{request.param}.osim", motion, loads, reference


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_arnold_agrees_above_the_pelvis_and_nearly_below(arnold):
    path, motion, loads, reference = arnold
    result = opensim.inverse_dynamics(opensim.read_model(path), motion, loads, cutoff=None)
    upper = [c for c in result.columns if c.startswith(("lumbar", "arm", "elbow", "pro_sup"))]
    assert len(upper) == 13
    assert max(worst(result, reference, upper).values()) < 1e-6
    lower = [c for c in result.columns if c.startswith(("hip", "knee", "ankle", "subtalar"))]
    assert len(lower) == 14
    for column in lower:
        error = np.sqrt(np.mean((result[column] - reference[column]) ** 2))
        assert error < 0.01 * np.sqrt(np.mean(reference[column] ** 2)), column


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_arnold_differs_only_by_its_welded_toes_and_by_simbody(arnold, tmp_path):
    """The reference was computed with toes that move, as the motion has it; and Simbody errs at the knee."""
    path, motion, loads, reference = arnold
    text = path.read_text()
    for side in "rl":
        before, joint, after = text.partition(f'<WeldJoint name="mtp_{side}">')
        inside, _, after = after.partition("</WeldJoint>")
        coordinate = f'<coordinates><Coordinate name="mtp_angle_{side}"/></coordinates>'
        assert joint
        text = f'{before}<PinJoint name="mtp_{side}">{inside}{coordinate}</PinJoint>{after}'
    model = opensim.read_model(write(tmp_path / "toes.osim", text))
    result = opensim.inverse_dynamics(model, motion, loads, cutoff=None)
    assert len(result.columns) == 35
    assert max(worst(result, reference).values()) < 1e-6
    exact = worst(opensim.inverse_dynamics(model, motion, loads, cutoff=None, kinematics="exact"), reference)
    assert 0.1 < max(exact.values()) < 3.0
    assert max(error for column, error in exact.items() if column.startswith(("lumbar", "arm", "elbow"))) < 1e-6


def test_residual_of_measured_trials_is_small_beside_the_weight(shared_data):
    """Where each foot that is loaded is on a plate; squats of OpenCap's subject 4, and running."""
    plates = shared_data / "force_plates"
    squats = plates / "opencap_subject4"
    model = opensim.read_model(squats / "models" / "optimized_scale_and_markers.osim")
    loads = opensim.read_external_loads(squats / "grf" / "squats1_external_forces.xml")
    with pytest.warns(UserWarning, match="knee_angle_r_beta"):
        result = opensim.inverse_dynamics(model, opensim.read_storage(squats / "ik" / "squats1_ik.mot"), loads)
    assert np.linalg.norm(root_force(model, result), axis=1).max() < 0.12 * model.mass * GRAVITY

    run = plates / "hamner_run200"
    model, motion = opensim.read_model(run / "final.osim"), opensim.read_storage(run / "run200_ik.mot")
    loads = opensim.loads_on(
        opensim.read_storage(run / "run200_grf.mot"), {"ground_force_1": "calcn_r", "ground_force_2": "calcn_l"}
    )
    held = np.linalg.norm(root_force(model, opensim.inverse_dynamics(model, motion, loads, 15.0)), axis=1)
    bare = np.linalg.norm(root_force(model, opensim.inverse_dynamics(model, motion, None, 15.0)), axis=1)
    assert np.median(held) < 0.2 * model.mass * GRAVITY
    assert np.median(held) < 0.2 * np.median(bare[bare > 0.5 * model.mass * GRAVITY])


def test_plates_on_the_wrong_foot_are_noticed(shared_data):
    folder = shared_data / "force_plates" / "opencap_subject4"
    model = opensim.read_model(folder / "models" / "optimized_scale_and_markers.osim")
    with pytest.warns(UserWarning, match="default"):
        track = opensim.coordinate_motion(model, opensim.read_storage(folder / "ik" / "walking1_ik.mot"))
    told = opensim.read_external_loads(folder / "grf" / "walking1_external_forces.xml")
    (sentence,) = opensim.misplaced_loads(model, track, told)
    assert "ForcePlate2" in sentence and "talus_r" in sentence and "_l is the nearest" in sentence
    right = opensim.loads_on(told.data, {"ground_force_1": "calcn_r", "ground_force_2": "calcn_l"})
    assert opensim.misplaced_loads(model, track, right) == []


def test_gait_of_the_published_walk_has_the_signs_of_gait_analysis(falisse, falisse_forces, tmp_path):
    """Winter (2009): push-off by the plantar flexors, weight taken by the knee's extensors, hip pulled through."""
    model, motion, loads, reference = falisse
    track = opensim.coordinate_motion(model, motion)
    walk = gait(model, track, falisse_forces, loads)
    strike, off = contact_events(walk.time, walk.contact[1])
    assert len(strike) == len(off) == 1
    share = (walk.time - strike[0]) / (off[0] - strike[0])
    hip, knee, ankle = walk.moments[1]
    assert hip[np.abs(share) < 0.1].max() > 0.3
    assert hip[(share > 0.7) & (share < 1.0)].max() < -0.2
    assert knee[(share > 0.1) & (share < 0.4)].max() > 0.5
    push = np.argmax(ankle)
    assert 1.2 < ankle[push] < 2.0
    assert 0.6 < share[push] < 0.9
    assert 1.0 < walk.force[1].max() < 1.3
    joint_moments(tmp_path / "gait.png", walk, gait(model, track, reference), "walk")
    assert (tmp_path / "gait.png").stat().st_size > 20_000


def test_the_script_compares_and_draws(shared_data, tmp_path):
    root = Path(__file__).resolve().parents[1]
    script = root / "experiments" / "inverse_dynamics.py"
    if not script.exists():
        pytest.skip("the scripts are not installed with the packages")
    folder = shared_data / "inverse_dynamics" / "falisse2019_gait"
    files = {
        "model": "original/subject1.osim",
        "motion": "converted/IK_gait_1.mot",
        "forces": "converted/GRF_gait_1.mot",
        "reference": "converted/ID_gait_1.sto",
    }
    arguments = [word for key, name in files.items() for word in (f"--{key}", str(folder / name))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    call = lambda *more: subprocess.run(  # noqa: E731
        [sys.executable, script, *arguments, "--out", tmp_path, *more], env=environment, capture_output=True, text=True
    )
    done = call("--bodies", "ground_force=calcn_l", "1_ground_force=calcn_r")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "knee_angle_r_moment" in done.stdout
    assert float(re.search(r"largest error ([\d.e-]+)", done.stdout)[1]) < 1e-6
    assert opensim.read_storage(tmp_path / "inverse_dynamics.sto").values.shape == (146, 37)
    assert (tmp_path / "joint_moments.png").exists()
    refused = call("--bodies", "ground_force")
    assert refused.returncode == 2
    assert "expected columns=body" in refused.stderr
