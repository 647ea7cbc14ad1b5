"""Work: its sum is the energy gained, its sign says who gives, and the resultants are worth what the wrenches are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from toy_humanoid import toy_humanoid

from imdy_jax import rotation
from imdy_jax.analysis.track import follow, resultant
from imdy_jax.analysis.work import PARTS, Work, external_power, joint_power, of_parts, work, work_table
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.dynamics.differentiate import accelerations, velocities
from imdy_jax.dynamics.estimate import estimate
from imdy_jax.dynamics.newton_euler import energy, inverse_dynamics
from imdy_jax.humanoid import GRAVITY, from_body
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.skeleton import LEFT_FOOT, NUM_BODIES, RIGHT_FOOT, joint_index
from imdy_jax.view.surface import skin_surface
from imdy_jax.view.work_figure import vertex_power, work_figure

pytestmark = pytest.mark.usefixtures("strict")

RATE = 1000.0  # Hz


@pytest.fixture(scope="module")
def moving(strict):
    """A person who moves every joint, pushed at the chest and held at the pelvis: q, v, torques, wrenches, energies."""
    person, draw, time = toy_humanoid(), np.random.default_rng(0), np.arange(400)[:, None, None] / RATE
    wave = lambda: np.sin(2 * np.pi * draw.uniform(1, 3, (1, 24, 3)) * time + draw.uniform(0, 6, (1, 24, 3)))  # noqa: E731
    turns = jnp.asarray(0.3 * wave() * draw.normal(size=(1, 24, 3)))
    rotations = (
        rotation.exp(turns)
        .at[:, 0]
        .set(rotation.multiply(jnp.asarray(rotation.UPRIGHT)[None], rotation.exp(turns[:, 0])))
    )
    q = np.concatenate([0.1 * wave()[:, 0] + (0.0, 0.0, 0.95), np.asarray(rotations).reshape(len(time), -1)], axis=1)
    q, v, a = (jnp.asarray(x[2:-2]) for x in (q, velocities(q, RATE), accelerations(q, RATE)))
    push = jnp.asarray([50.0, -30.0, 400.0, 2.0, 5.0, -1.0])
    wrench = jnp.zeros((len(q), NUM_BODIES, 6)).at[:, joint_index("spine3")].set(push[None])
    torque, left = jax.jit(jax.vmap(inverse_dynamics, in_axes=(None, 0, 0, 0, 0)))(person, q, v, a, wrench)
    held = jnp.concatenate([left[:, :3], rotation.rotate(q[:, 3:7], left[:, 3:])], axis=1)
    total = jax.jit(jax.vmap(lambda q, v: sum(energy(person, q, v))))(q, v)
    return person, q, v, torque, wrench.at[:, 0].add(held), np.asarray(total)


def test_joint_work_and_external_work_are_the_energy_gained(moving):
    person, q, v, torque, wrench, total = moving
    joints = work(joint_power(torque, v), RATE)
    outside = work(external_power(follow(person, q, v), wrench), RATE)
    gained = total[-1] - total[0]
    assert joints.net.sum() + outside.net == pytest.approx(gained, rel=1e-3)
    assert abs(gained) > 5.0 and abs(joints.net.sum()) > 1.0 and abs(outside.net) > 1.0, "J; all three matter"
    assert (joints.positive >= 0).all() and (joints.negative <= 0).all()


def test_a_torque_along_its_turning_gives_and_against_it_takes():
    time = np.arange(0, 1.0 + 1e-9, 1e-3)
    v, torque = np.zeros((len(time), 75)), np.zeros((len(time), 23, 3))
    knee = joint_index("left_knee") - 1
    v[:, 6 + 3 * knee] = np.sin(2 * np.pi * time)  # rad/s
    torque[:, knee, 0] = 10.0  # N·m
    found = work(joint_power(torque, v), 1e3)
    assert found.positive[knee] == pytest.approx(10.0 / np.pi, rel=1e-4)
    assert found.negative[knee] == pytest.approx(-10.0 / np.pi, rel=1e-4)
    assert np.abs(np.delete(found.positive, knee)).max() == 0.0


def test_parts_have_every_joint_once_and_the_table_adds_up():
    assert sorted(i for part in PARTS.values() for i in part) == list(range(23))
    joints = Work(np.arange(23.0), -2.0 * np.arange(23.0))
    assert sum(each.net for each in of_parts(joints).values()) == pytest.approx(-np.arange(23.0).sum())
    table = work_table(joints, 50.0, "work")
    total = table.rows[-1]
    assert total[0] == "all joints"
    assert total[1:4] == pytest.approx((253.0, -506.0, -253.0))
    assert total[4:] == pytest.approx(np.array(total[1:4]) / 50.0)
    assert len({row[0] for row in table.rows}) == len(table.rows) == 23 + len(PARTS) + 1


@pytest.fixture(scope="module")
def walk():
    body = anthropometric_body()
    found = estimate(procedural_clip("walk", body, 30.0), body)
    return body, found, follow(from_body(body), found.q, found.v)


def test_resultants_are_worth_what_the_wrenches_are(walk):
    """About the world's origin, whatever the floor's forces are taken to act at."""
    _, found, track = walk
    wrench = np.asarray(found.wrench, float)
    for segments in (LEFT_FOOT, RIGHT_FOOT, range(NUM_BODIES)):
        each = resultant(track, wrench, segments)
        some = list(segments)
        about_origin = (wrench[:, some, 3:] + np.cross(track.position[:, some], wrench[:, some, :3])).sum(axis=1)
        np.testing.assert_allclose(np.cross(each.point, each.force) + each.moment, about_origin, atol=1e-9)
        np.testing.assert_allclose(each.force, wrench[:, some, :3].sum(axis=1), atol=1e-9)
        borne = each.force[:, 2] > 20.0
        np.testing.assert_allclose(each.moment[borne, :2], 0.0, atol=1e-9)
        np.testing.assert_allclose(each.point[:, 2], 0.0, atol=1e-9)


def test_centres_of_pressure_are_the_loads_means(walk):
    """By the moments of the wrenches here; by the single points' loads in the contact solver."""
    _, found, track = walk
    for foot, segments in enumerate((LEFT_FOOT, RIGHT_FOOT)):
        each = resultant(track, found.wrench, segments)
        borne = each.force[:, 2] > 50.0
        assert borne.sum() > 50
        np.testing.assert_allclose(each.point[borne], np.asarray(found.pressure_centre)[borne, foot], atol=2e-3)


def test_skin_takes_the_power_of_the_joint_beneath(walk):
    surface, power = skin_surface(walk[0]), np.zeros(23)
    power[joint_index("left_knee") - 1] = 3.0
    spread = vertex_power(surface, power)
    near = np.linalg.norm(surface.vertices - surface.joints[joint_index("left_knee")], axis=1)
    assert spread[near < near.min() + 0.01].min() > 1.5
    assert np.abs(spread[near > 0.4]).max() < 0.01


def test_the_figure_is_green_where_joints_give_and_red_where_they_take(walk, tmp_path):
    body, found, _ = walk
    pictures = []
    for sign in (1.0, -1.0):
        power = sign * np.full((len(found.q), 23), 3.0 * float(np.sum(body.mass)))
        path = tmp_path / f"{sign}.png"
        work_figure(path, from_body(body), skin_surface(body), found.q, power, 0.0 * found.force, 30.0, panels=2)
        strip = np.asarray(Image.open(path).convert("RGB")).astype(int)
        pictures.append(strip[150 : len(strip) // 2, : int(0.85 * strip.shape[1])])  # the bodies
    green, red = (
        ((p[..., 1] - p[..., 0] > 40).sum() for p in pictures),
        ((p[..., 0] - p[..., 1] > 40).sum() for p in pictures),
    )
    (green_given, green_taken), (red_given, red_taken) = green, red
    assert green_given > 2000 > 100 > green_taken
    assert red_taken > 2000 > 100 > red_given


def test_weight_is_borne_on_average(walk):
    body, found, track = walk
    whole = resultant(track, found.wrench, range(NUM_BODIES))
    assert whole.force[:, 2].mean() == pytest.approx(float(np.sum(body.mass)) * GRAVITY, rel=0.03)
