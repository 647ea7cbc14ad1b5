"""The embedded default body: totals, published figures, laws of inertia, symmetry, a closed skin, markers, errors."""

import jax
import numpy as np
import pytest
from scipy.spatial import cKDTree

from imdy_jax.body import surface
from imdy_jax.body.anthropometric import anthropometric_body, random_subject
from imdy_jax.body.markers import MARKER_LABELS, MARKER_MIRROR, MARKER_NAMES, SMPL_VERTEX, marker_vertices
from imdy_jax.body.proportions import NUM_SHAPE
from imdy_jax.humanoid import SOLID_BODY, from_body
from imdy_jax.skeleton import LEFT_FOOT, MIRROR, NUM_BODIES, RIGHT_FOOT, joint_index

LEFTWARD = np.array([-1.0, 1.0, 1.0])
PEOPLE = {
    "neutral": (),
    "female": ("female",),
    "male": ("male",),
    "small": ("female", 1.52, 46.0, np.linspace(-2, 2, NUM_SHAPE)),
    "large": ("male", 1.94, 108.0, np.linspace(2, -2, NUM_SHAPE)),
}
STATURE = {"neutral": 1.695, "female": 1.63, "male": 1.76, "small": 1.52, "large": 1.94}
MASS = {"neutral": 66.5, "female": 60.0, "male": 73.0, "small": 46.0, "large": 108.0}


@pytest.fixture(scope="module")
def people():
    with jax.enable_x64(True):
        return {name: jax.tree.map(np.asarray, anthropometric_body(*given)) for name, given in PEOPLE.items()}


@pytest.fixture(scope="module", params=PEOPLE)
def person(request, people):
    return people[request.param], STATURE[request.param], MASS[request.param]


def marker(body, name):
    return body.markers[MARKER_NAMES.index(name)]


def whole(body, members):
    """Mass, centre and inertia about it of some segments together."""
    k = [joint_index(name) for name in members]
    mass, place = body.mass[k], body.com[k] + body.joints[k]
    centre = mass @ place / mass.sum()
    arm = place - centre
    steiner = np.sum(arm**2, axis=1)[:, None, None] * np.eye(3) - arm[:, :, None] * arm[:, None, :]
    return mass.sum(), centre, np.sum(body.inertia[k] + mass[:, None, None] * steiner, axis=0)


def volume(vertices, faces):
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    return np.sum(a * np.cross(b, c)) / 6.0


def check_closed(faces):
    """Every edge is walked exactly once each way."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    directed = {tuple(edge) for edge in edges.tolist()}
    assert len(directed) == len(edges)
    assert directed == {(b, a) for a, b in directed}


def test_stature_and_mass_are_those_asked_for(person):
    body, stature, mass = person
    assert np.sum(body.mass) == pytest.approx(mass, rel=1e-9)
    assert np.ptp(body.vertices[:, 1]) == pytest.approx(stature, abs=1e-3)


def test_mass_holds_in_float32():
    body = anthropometric_body("male", 1.83, 91.3)
    assert body.mass.dtype == np.float32
    assert np.sum(np.asarray(body.mass, np.float64)) == pytest.approx(91.3, rel=1e-6)


def test_segments_add_up_to_de_levas(people):
    """His table 4, men: mass, and the radii of gyration that the pieces have together."""
    body = people["male"]
    trunk, centre, inertia = whole(body, ["pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar"])
    assert trunk == pytest.approx(0.4346 * 73.0, rel=1e-3)
    length = body.joints[joint_index("neck"), 1] - body.joints[joint_index("left_hip"), 1]
    assert body.joints[joint_index("neck"), 1] - centre[1] == pytest.approx(0.5138 * length, rel=1e-3)
    gyration = np.sqrt(np.diag(inertia) / trunk) / length
    np.testing.assert_allclose(gyration, [0.306, 0.169, 0.328], rtol=1e-3)  # transverse, longitudinal, sagittal
    thigh, centre, inertia = whole(body, ["right_hip"])
    hip, knee = body.joints[[joint_index("right_hip"), joint_index("right_knee")]]
    assert thigh == pytest.approx(0.1416 * 73.0, rel=1e-3)
    np.testing.assert_allclose(centre - hip, 0.4095 * (knee - hip), atol=1e-9)
    moments = np.linalg.eigvalsh(inertia) / thigh / np.sum((knee - hip) ** 2)
    np.testing.assert_allclose(np.sqrt(moments), [0.149, 0.329, 0.329], rtol=1e-3)
    foot, centre, inertia = whole(body, ["left_ankle", "left_foot"])
    assert foot == pytest.approx(0.0137 * 73.0, rel=1e-3)
    length = 0.1544 * 1.76
    assert np.sqrt(inertia[2, 2] / foot) == pytest.approx(0.124 * length, rel=1e-3)
    assert whole(body, ["neck", "head"])[0] == pytest.approx(0.0694 * 73.0, rel=1e-3)
    assert whole(body, ["left_wrist", "left_hand"])[0] == pytest.approx(0.0061 * 73.0, rel=2e-3)


@pytest.mark.parametrize("name", ["female", "male"])
def test_centre_of_mass_of_the_standing_body(people, name):
    """55 to 57 % of stature above the sole with the arms hanging (e.g. Clauser et al. 1969; women lower than men)."""
    body = people[name]
    place = body.joints + body.com
    for side in ("left", "right"):
        arm = [joint_index(f"{side}_{part}") for part in ("shoulder", "elbow", "wrist", "hand")]
        shoulder = body.joints[arm[0]]
        place[arm, 1] = shoulder[1] - np.abs(place[arm, 0] - shoulder[0])
    height = (body.mass @ place / body.mass.sum())[1] - body.vertices[:, 1].min()
    assert 0.55 < height / STATURE[name] < 0.58


def test_proportions_are_human(people):
    """Against SMPL's mean template, 1.70 m: thigh 0.377, shank 0.401, ankle to ball 0.137 m, ankle 0.065 m high."""
    body = people["neutral"]
    bone = lambda a, b: np.linalg.norm(body.joints[joint_index(a)] - body.joints[joint_index(b)])  # noqa: E731
    assert bone("left_hip", "left_knee") == pytest.approx(0.377, rel=0.03)
    assert bone("left_knee", "left_ankle") == pytest.approx(0.401, rel=0.07)
    assert bone("left_ankle", "left_foot") == pytest.approx(0.137, rel=0.1)
    assert body.joints[joint_index("left_ankle"), 1] - body.vertices[:, 1].min() == pytest.approx(0.067, abs=0.01)
    assert bone("left_hip", "right_hip") == pytest.approx(0.16, abs=0.02)


def test_inertias_are_those_of_solids(person):
    body, _, _ = person
    moments = np.linalg.eigvalsh(body.inertia)
    assert np.all(moments[:, 0] > 0.0)
    assert np.all(moments[:, 0] + moments[:, 1] > moments[:, 2])
    np.testing.assert_allclose(body.inertia, body.inertia.swapaxes(1, 2), atol=1e-12)


def test_left_mirrors_right(person):
    body, _, _ = person
    mirror = list(MIRROR)
    flip = np.outer(LEFTWARD, LEFTWARD)
    np.testing.assert_allclose(body.joints[mirror] * LEFTWARD, body.joints, atol=1e-12)
    np.testing.assert_allclose(body.mass[mirror], body.mass, rtol=1e-6)
    np.testing.assert_allclose(body.com[mirror] * LEFTWARD, body.com, atol=1e-6)
    np.testing.assert_allclose(body.inertia[mirror] * flip, body.inertia, atol=1e-6)
    np.testing.assert_allclose(body.markers[list(MARKER_MIRROR)] * LEFTWARD, body.markers, atol=1e-9)
    distance, twin = cKDTree(body.vertices).query(body.vertices * LEFTWARD)
    assert distance.max() < 1e-9
    np.testing.assert_allclose(body.skin[twin][:, mirror], body.skin, atol=1e-9)


@pytest.mark.parametrize("component", range(NUM_SHAPE))
def test_each_shape_component_changes_the_body_alone(people, component):
    mean = people["neutral"]
    with jax.enable_x64(True):
        body = jax.tree.map(np.asarray, anthropometric_body(betas=2.0 * np.eye(NUM_SHAPE)[component]))
    assert np.sum(body.mass) == pytest.approx(66.5, rel=1e-9)
    assert np.ptp(body.vertices[:, 1]) == pytest.approx(1.695, abs=1e-3)
    moved = np.abs(body.joints - mean.joints).max() / 0.002 + np.abs(body.mass / mean.mass - 1).max() / 0.02
    assert moved > 1.0
    assert np.abs(body.vertices - mean.vertices).max() < 0.1


def test_shape_lengthens_legs_and_arms(people):
    body, mean = anthropometric_body(betas=[2.0, 0.0, 2.0]), people["neutral"]
    arm = lambda b: np.linalg.norm(b.joints[joint_index("left_wrist")] - b.joints[joint_index("left_shoulder")])  # noqa: E731
    assert body.leg_length > 1.03 * mean.leg_length
    assert arm(body) > 1.05 * arm(mean)


def test_skin_is_closed_and_of_the_right_volume(person):
    body, _, mass = person
    check_closed(body.faces)
    assert 1000 < len(body.vertices) < 5000
    assert mass / volume(body.vertices, body.faces) == pytest.approx(1010.0, rel=0.10)  # kg/m³
    np.testing.assert_allclose(body.skin.sum(axis=1), 1.0, atol=1e-12)
    assert np.bincount(np.argmax(body.skin, axis=1), minlength=NUM_BODIES).min() >= 20


def test_mesh_of_a_sphere():
    axis = np.arange(-0.13, 0.14, 0.02)
    ball = surface.Ellipsoid((0.0, 0.0, 0.0), (0.1, 0.1, 0.1), 0.01)
    vertices, faces = surface.mesh([ball], -0.12, (np.arange(0.01, 0.14, 0.02), axis, axis))
    check_closed(faces)
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 0.1, atol=1e-4)
    assert volume(vertices, faces) == pytest.approx(4 / 3 * np.pi * 0.1**3, rel=0.03)


def test_tube_is_closed_and_faces_outward():
    path = np.array([[0.0, 0, 0], [0.0, 0, 0], [1.0, 0, 0], [1.0, 0, 0]])
    vertices, faces = surface.tube(path, np.full(4, 0.1), sides=64)
    check_closed(faces)
    assert volume(vertices, faces) == pytest.approx(np.pi * 0.01, rel=0.01)


def test_soles_are_flat_and_carry_the_contact_capsules(person):
    body, _, _ = person
    ground = body.vertices[:, 1].min()
    with jax.enable_x64(True):
        humanoid = jax.tree.map(np.asarray, from_body(body))
    for foot in (LEFT_FOOT, RIGHT_FOOT):
        bottom, reach = [], []
        for g in np.flatnonzero(np.isin(SOLID_BODY, foot)):
            ends = humanoid.solid_ends[g] + body.joints[SOLID_BODY[g]]
            bottom.append(ends[:, 1].min() - humanoid.solid_radius[g])
            reach += [ends[:, 2].min() - humanoid.solid_radius[g], ends[:, 2].max() + humanoid.solid_radius[g]]
        np.testing.assert_allclose(bottom, ground, atol=5e-3)
        length = marker(body, "left_toe_tip")[2] - marker(body, "left_heel")[2]
        assert np.ptp(reach) == pytest.approx(length, rel=0.05)
    for k in (*LEFT_FOOT, *RIGHT_FOOT):
        own = body.vertices[np.argmax(body.skin, axis=1) == k]
        assert np.sum(own[:, 1] < ground + 1e-6) >= 4


def test_markers_lie_on_the_skin_where_anatomy_puts_them(person):
    body, stature, _ = person
    assert len(MARKER_NAMES) == len(set(MARKER_NAMES)) == len(set(MARKER_LABELS)) == 66
    # No farther from a vertex than the mesh is coarse.
    assert cKDTree(body.vertices).query(body.markers)[0].max() < 0.03 * stature / 1.7
    spine = [marker(body, f"{region}{i}")[1] for region, n in (("t", 12), ("l", 5)) for i in range(1, n + 1)]
    assert marker(body, "c7")[1] > spine[0]
    assert np.all(np.diff(spine) < -0.01)
    assert marker(body, "t10")[2] < body.joints[joint_index("spine2"), 2] < marker(body, "xiphoid_process")[2]
    asis, psis = marker(body, "left_asis"), marker(body, "left_psis")
    assert psis[2] < -0.05 < 0.05 < asis[2]
    assert asis[0] > psis[0] > 0.0
    for joint, outer, inner in (
        ("left_knee", "left_lateral_femoral_epicondyle", "left_medial_femoral_epicondyle"),
        ("left_ankle", "left_lateral_malleolus", "left_medial_malleolus"),
    ):
        centre = body.joints[joint_index(joint)]
        assert marker(body, inner)[0] < centre[0] < marker(body, outer)[0]
        np.testing.assert_allclose((marker(body, inner) + marker(body, outer)) / 2, centre, atol=0.02)
    feet = body.vertices[body.vertices[:, 1] < body.joints[joint_index("left_ankle"), 1]]
    assert marker(body, "left_toe_tip")[2] == pytest.approx(feet[:, 2].max(), abs=0.006)
    assert marker(body, "left_heel")[2] == pytest.approx(feet[:, 2].min(), abs=0.006)
    assert marker(body, "left_middle_tip")[0] == pytest.approx(body.vertices[:, 0].max(), abs=0.006)
    tips = [marker(body, f"left_{finger}_tip")[2] for finger in ("thumb", "index", "middle", "ring", "little")]
    assert np.all(np.diff(tips) < -0.01)


def test_markers_are_found_on_another_mesh(people):
    """By vertex, on a mesh that is not SMPL's; and by SMPL's own numbers on one that is."""
    body = people["large"]
    found = body.vertices[marker_vertices(body.joints, body.vertices, body.skin)]
    assert np.linalg.norm(found - body.markers, axis=1).max() < 0.04
    smpl = marker_vertices(body.joints, np.zeros((6890, 3)), np.ones((6890, NUM_BODIES)))
    np.testing.assert_array_equal(smpl, SMPL_VERTEX)
    assert len(set(SMPL_VERTEX.tolist())) == 66
    assert SMPL_VERTEX[MARKER_NAMES.index("left_heel")] == 3386


def test_random_subjects_are_plausible_and_repeat():
    bodies = [random_subject(jax.random.key(i)) for i in range(12)]
    assert {body.sex for body in bodies} == {"female", "male"}
    for body in bodies:
        stature, mass = np.ptp(np.asarray(body.vertices)[:, 1]), np.sum(np.asarray(body.mass))
        assert 1.499 < stature < 1.951
        assert 44.9 < mass < 110.1
        assert 16.0 < mass / stature**2 < 33.0
        assert np.abs(np.asarray(body.betas)).max() > 0.1
    assert len({float(body.leg_length) for body in bodies}) == 12
    np.testing.assert_array_equal(random_subject(jax.random.key(5)).vertices, bodies[5].vertices)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sex": "man"}, "sex is 'man', expected one of female, male, neutral"),
        ({"stature": 175.0}, r"stature is 175.0, expected 1.2 to 2.3 metres; give 1.75 for 175 cm"),
        ({"stature": float("nan")}, "stature is nan"),
        ({"mass": 0.0}, "mass is 0.0, expected 25.0 to 250.0 kilograms"),
        ({"mass": -70.0}, "mass is -70.0"),
        ({"betas": np.zeros(11)}, "betas are .* expected at most 10 numbers"),
        ({"betas": [9.0]}, r"betas are \[9.\], expected at most 10 numbers within ±5"),
    ],
)
def test_errors_name_field_found_expected_and_mend(given, message):
    with pytest.raises(ValueError, match=message):
        anthropometric_body(**given)


@pytest.mark.parametrize("sex", ["female", "male", "neutral"])
def test_hips_lie_where_a_regression_on_the_pelvis_has_them(sex):
    """Harrington et al. (2007), J. Biomech. 40:595, of pelvic depth and width, from MRI of adults and children."""
    body = anthropometric_body(sex)
    at = {name: np.asarray(body.markers)[k] for k, name in enumerate(MARKER_NAMES)}
    front, back = (0.5 * (at[f"left_{x}"] + at[f"right_{x}"]) for x in ("asis", "psis"))
    depth, width = np.linalg.norm(front - back), np.linalg.norm(at["left_asis"] - at["right_asis"])
    ahead, left = (front - back) / depth, (at["left_asis"] - at["right_asis"]) / width
    up = np.cross(ahead, left)
    hip = np.asarray(body.joints)[joint_index("left_hip")] - front
    told = -0.24 * depth - 0.0099, -0.30 * width - 0.0109, 0.33 * width + 0.0073
    np.testing.assert_allclose([hip @ ahead, hip @ up, hip @ left], told, atol=0.006)
