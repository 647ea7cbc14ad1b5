"""Views: the picture shows what the geometry says, and the curves carry the signs of gait analysis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from toy_humanoid import toy_humanoid

from imdy_jax import rotation
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.body.person import skin_points
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.humanoid import GRAVITY
from imdy_jax.report import Table
from imdy_jax.skeleton import joint_index
from imdy_jax.view import plots
from imdy_jax.view.raster import Camera, rasterize
from imdy_jax.view.stage import Mesh, draw
from imdy_jax.view.surface import arrow, capsule, skin_surface, solid_surface

kinematics = jax.jit(forward_kinematics)
CAMERA = Camera(np.array((3.0, -4.0, 1.5)), np.array((0.0, 0.0, 0.9)), np.deg2rad(30.0), (160, 120))


@pytest.fixture(scope="module")
def humanoid():
    return toy_humanoid()


def standing(num_frames=1):
    """Upright, facing -y, q (T, 99)."""
    q = jnp.concatenate(
        [jnp.array([0.0, 0.0, 0.93]), jnp.array(rotation.UPRIGHT), jnp.tile(jnp.array([1.0, 0, 0, 0]), 23)]
    )
    return jnp.tile(q, (num_frames, 1))


def test_pixels_look_at_the_floor_points_that_project_onto_them():
    points, distance = CAMERA.floor_points()
    seen = np.isfinite(distance)
    assert 0.3 < seen.mean() < 1.0
    row, column = np.nonzero(seen)
    world = np.concatenate([points[seen], np.zeros((seen.sum(), 1))], axis=1)
    projected = CAMERA.project(world)
    np.testing.assert_allclose(projected[:, 0], column + 0.5, atol=1e-6)
    np.testing.assert_allclose(projected[:, 1], row + 0.5, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(world - CAMERA.position, axis=1), distance[seen], rtol=1e-9)


def test_up_is_up_and_right_is_right():
    right = CAMERA.axes()[0]
    centre, above, beside = CAMERA.project(
        CAMERA.target + np.stack([np.zeros(3), np.array((0.0, 0.0, 0.3)), 0.3 * right])
    )
    np.testing.assert_allclose(centre[:2], (80, 60), atol=1e-9)
    assert above[1] < centre[1]
    assert beside[0] > centre[0]


def test_triangles_cover_their_area_the_near_one_hides_the_far_one():
    far = np.array([[10.0, 10, 5], [10, 90, 5], [90, 10, 5]])
    near = np.array([[20.0, 20, 2], [20, 50, 2], [50, 20, 2]])
    seen = rasterize(np.stack([far, near]), (100, 100))
    assert len(np.unique(seen.pixel)) == len(seen.pixel)
    assert np.sum(seen.face == 1) == pytest.approx(30 * 30 / 2, abs=30)
    assert len(seen.pixel) == pytest.approx(80 * 80 / 2, abs=80)
    place = np.einsum("kc,kci->ki", seen.weight, np.stack([far, near])[seen.face])
    np.testing.assert_allclose(place[:, 1] // 1 * 100 + place[:, 0] // 1, seen.pixel)
    assert len(rasterize(far[None, ::-1], (100, 100)).pixel) == 0, "seen from behind"
    assert len(rasterize(far[None] * (1, 1, 0.01), (100, 100)).pixel) == 0, "closer than the camera sees"


@pytest.mark.parametrize("radius", [0.05, 0.2])
def test_capsule_is_closed_and_has_the_volume_of_a_capsule(radius):
    start, end = np.array((0.1, 0.2, 0.3)), np.array((0.4, 0.1, 0.5))
    vertices, normals, faces = capsule(start, end, radius, rings=24, sides=64)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    length = np.linalg.norm(end - start)
    expected = np.pi * radius**2 * length + 4 / 3 * np.pi * radius**3
    assert np.sum(a * np.cross(b, c)) / 6 == pytest.approx(expected, rel=0.01)
    axis = (end - start) / length
    nearest = start + np.clip((vertices - start) @ axis, 0, length)[:, None] * axis
    np.testing.assert_allclose(vertices - nearest, radius * normals, atol=1e-9)


def test_arrow_spans_its_vector():
    start, span = np.array((1.0, 2.0, 0.0)), np.array((0.1, -0.2, 0.6))
    vertices, _, faces = arrow(start, span)
    reach = (vertices - start) @ span / (span @ span)
    assert (reach.min(), reach.max()) == pytest.approx((0.0, 1.0))
    a, b, c = (vertices[faces[:, i]] - start for i in range(3))
    assert np.sum(a * np.cross(b, c)) > 0, "faces look outwards"


def test_surface_moves_as_the_body_is_skinned(humanoid):
    """Against the library's own skinning, in a pose with every joint bent."""
    surface = solid_surface(humanoid)
    bend = rotation.exp(0.5 * jnp.sin(jnp.arange(72.0)).reshape(24, 3)).reshape(-1)
    q = jnp.concatenate([jnp.array([0.3, -0.2, 1.0]), bend])
    pose = kinematics(humanoid, q)
    as_matrix = np.asarray(rotation.to_matrix(pose.rotation))
    vertices, normals = surface.pose(as_matrix, np.asarray(pose.position))
    expected = skin_points(*map(jnp.asarray, (surface.vertices, surface.weights, surface.joints)), *pose)
    np.testing.assert_allclose(vertices, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-6)


def test_skin_normals_point_outwards():
    """Moved along its normals, the skin of a person gains its own area times the distance in volume."""
    surface = skin_surface(anthropometric_body("female"))

    def volume(vertices):
        a, b, c = (vertices[surface.faces[:, i]] for i in range(3))
        return np.sum(a * np.cross(b, c)) / 6

    a, b, c = (surface.vertices[surface.faces[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    gained = volume(surface.vertices + 1e-4 * surface.normals) - volume(surface.vertices)
    assert 1.0 < area < 2.5, "m², a person"
    assert gained == pytest.approx(1e-4 * area, rel=0.05)


def test_picture_shows_the_mesh_where_it_is_and_its_shadow():
    at, colour = np.array((0.0, 0.0, 1.0)), (0.9, 0.1, 0.1)
    ball = Mesh(*capsule(at - (0, 0, 0.01), at + (0, 0, 0.01), 0.2), colour)
    picture = draw([ball], CAMERA).astype(int)
    red = picture[..., 0] - picture[..., 2] > 60
    column, row, depth = CAMERA.project(at[None])[0]
    assert np.argwhere(red).mean(axis=0) == pytest.approx((row, column), abs=1.5)
    assert red.sum() == pytest.approx(np.pi * (0.2 / depth * CAMERA.focal) ** 2, rel=0.15)
    empty = draw([ball._replace(vertices=ball.vertices + (0, 0, 50.0))], CAMERA).astype(int)
    darker = (empty - picture).sum(axis=-1) > 60
    assert (darker & ~red).sum() > 20


@pytest.mark.parametrize("side", ["left", "right"])
def test_gait_curves_are_positive_for_extension_and_plantar_flexion(humanoid, side):
    """In a squat the floor's force passes behind the knee and in front of hip and ankle: all three moments extend."""
    mass = float(humanoid.total_mass)
    joints = np.tile(np.array([1.0, 0.0, 0.0, 0.0]), (24, 1))
    joints[0] = rotation.UPRIGHT
    for name, angle in (("hip", -1.2), ("knee", 1.4), ("ankle", -0.2)):
        for k in (joint_index(f"left_{name}"), joint_index(f"right_{name}")):
            joints[k] = rotation.exp(jnp.array([angle, 0.0, 0.0]))
    q = jnp.concatenate([jnp.array([0.0, 0.0, 0.6]), jnp.asarray(joints, jnp.float32).reshape(-1)])
    pose = kinematics(humanoid, q)
    wrench = np.zeros((24, 6), np.float32)
    for foot in ("left_ankle", "right_ankle"):  # the force acts 3 cm in front of the ankle joint; facing is -y
        force = np.array((0.0, 0.0, mass * GRAVITY / 2))
        wrench[joint_index(foot)] = (*force, *np.cross((0.0, -0.03, 0.0), force))
    torque, residual = jax.jit(inverse_dynamics)(humanoid, q, jnp.zeros(75), jnp.zeros(75), jnp.asarray(wrench))
    assert float(residual[2]) == pytest.approx(0.0, abs=0.01)
    y = {name: float(pose.position[joint_index(f"{side}_{name}"), 1]) for name in ("hip", "knee", "ankle")}
    assert y["knee"] < y["ankle"] - 0.03 < y["hip"], "the force passes between knee and hip"

    hip, knee, ankle, force = plots.gait_curves(np.asarray(torque)[None], wrench[None, :, :3], mass, side)
    assert min(hip[0], knee[0], ankle[0]) > 0.1
    assert force[0] == pytest.approx(0.5, rel=1e-5)


def test_figures_are_drawn(tmp_path):
    """Every figure is written, and what differs in the data differs in the picture."""
    time = np.arange(60) / 30
    torque = np.sin(2 * np.pi * time)[:, None, None] * np.ones((60, 23, 3)) * 50
    force = np.abs(np.sin(np.pi * time))[:, None, None] * np.ones((60, 24, 3)) * 300
    rows = [{"step": i, "loss": 1 / (i + 1)} for i in range(20)]
    table = Table("Solver", ("method", "τ", "λ", "note"), (("mean", 0.09, None, "a"), ("ImDyS", 0.02, 0.3, "b")))
    recorded = plots.Curves("recorded", 30, torque, force)
    near = plots.Curves("estimated", 30, 0.8 * torque, 0.9 * force)
    plots.gait(tmp_path / "one.png", 70.0, [recorded])
    plots.gait(tmp_path / "two.png", 70.0, [recorded, near], title="walk")
    fine = plots.Curves("recorded", 120, np.repeat(torque, 4, axis=0), np.repeat(force, 4, axis=0))
    barred = near._replace(halves=(0.1 * torque, 0.2 * force))
    plots.gait(tmp_path / "three.png", 70.0, [fine, barred], "walk", 14.0, "holds 90 %")
    plots.learning_curve(tmp_path / "curve.png", {"a": rows, "b": rows[:10]}, {"loss": "loss"})
    plots.bars(tmp_path / "bars.png", table)
    pictures = [np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("one", "two", "curve", "bars", "three")]
    assert all(picture.std() > 5 for picture in pictures)
    assert np.mean(pictures[0] != pictures[1]) > 0.01 < np.mean(pictures[1] != pictures[4])
    with pytest.raises(ValueError, match=r"no row has 'step' and 'reward'; the rows have loss, step"):
        plots.learning_curve(tmp_path / "curve.png", {"a": rows}, {"reward": "reward"})
