"""Ground reactions from motion alone: the laws of contact, an independent optimiser, and force plates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_humanoid import toy_humanoid

from imdy_jax import rotation
from imdy_jax.dynamics.contact import contact_points
from imdy_jax.dynamics.contact_sequence import SoftContact, Touch, ground_forces, pressure_centre, share_sequence
from imdy_jax.dynamics.friction_cone import ConeProblem, project, solve
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.humanoid import GRAVITY
from imdy_jax.skeleton import LEFT_FOOT, RIGHT_FOOT

pytestmark = pytest.mark.usefixtures("strict")

FRAMES, FPS, WEIGHT = 30, 60.0, 700.0
MODEL = SoftContact(tolerance=1e-10, iterations=5000)
CENTRE = np.tile([0.0, 0.0, 0.9], (FRAMES, 1))
share = jax.jit(share_sequence)


def two_feet(height=0.0, stride=0.3):
    """Four points on each foot, the left one (first) ahead of the right, hips 1 m above; y is the way ahead."""
    sole = np.array([(-0.04, -0.12, 0), (0.04, -0.12, 0), (-0.04, 0.1, 0), (0.04, 0.1, 0)])
    feet = np.concatenate([sole + (-0.1, stride, 0), sole + (0.1, -stride, 0)])
    hips = np.repeat([(-0.08, 0.0, 0.9), (0.08, 0.0, 0.9)], 4, axis=0)
    shape = (FRAMES, 8)
    return Touch(
        *map(
            jnp.asarray,
            (np.tile(feet, (FRAMES, 1, 1)), np.full(shape, height), np.zeros(shape), np.tile(hips, (FRAMES, 1, 1))),
        )
    )


def wrench_of(touch, force):
    arm = touch.position - CENTRE[:, None]
    return jnp.concatenate([jnp.sum(force, axis=1), jnp.sum(jnp.cross(arm, force), axis=1)], axis=1)


def swaying_load():
    """Forces (T, 8, 3) well within the friction cones, moving from foot to foot."""
    share_left = 0.5 + 0.4 * np.sin(np.linspace(0, 2 * np.pi, FRAMES))
    load = np.concatenate([np.repeat(share_left[:, None], 4, 1), np.repeat(1 - share_left[:, None], 4, 1)], 1) / 4
    return jnp.asarray(WEIGHT * load[..., None] * np.array([0.05, -0.1, 1.0]))


def in_cone(force, friction=MODEL.friction):
    force = np.asarray(force)
    flat = np.linalg.norm(force[..., :2], axis=-1)
    return (flat <= friction * force[..., 2] + 1e-9).all()


def test_admissible_wrenches_are_explained(strict):
    touch = two_feet()
    wrench = wrench_of(touch, swaying_load())
    force, left = share(touch, wrench, CENTRE, WEIGHT, FPS, MODEL.replace(effort=1e-3))
    assert in_cone(force)
    np.testing.assert_allclose(wrench_of(touch, force) + left, wrench, atol=1e-9 * WEIGHT)
    np.testing.assert_allclose(left, 0.0, atol=2e-3 * WEIGHT)


def test_the_ground_neither_pulls_nor_holds_sideways(strict):
    touch, down = two_feet(), np.array([0.0, 0.0, -WEIGHT])
    force, left = share(touch, wrench_of(touch, jnp.tile(down / 8, (FRAMES, 8, 1))), CENTRE, WEIGHT, FPS, MODEL)
    np.testing.assert_allclose(force, 0.0, atol=1e-9)
    np.testing.assert_allclose(left[:, :3], np.tile(down, (FRAMES, 1)))
    slide = np.array([2.0 * WEIGHT, 0.0, WEIGHT])
    force, left = share(touch, wrench_of(touch, jnp.tile(slide / 8, (FRAMES, 8, 1))), CENTRE, WEIGHT, FPS, MODEL)
    assert in_cone(force)
    assert float(left[:, 0].min()) > 0.2 * WEIGHT


@pytest.mark.parametrize("change", [{"height": 0.3}, {"speed": 3.0}])
def test_what_is_high_or_fast_bears_nothing(strict, change):
    touch = two_feet()
    touch = touch._replace(**{name: jnp.full((FRAMES, 8), value) for name, value in change.items()})
    wrench = wrench_of(touch, swaying_load())
    force, left = share(touch, wrench, CENTRE, WEIGHT, FPS, MODEL)
    np.testing.assert_allclose(force, 0.0, atol=1e-6)
    np.testing.assert_allclose(left, wrench, atol=1e-4)


def test_a_reflected_or_turned_problem_has_reflected_or_turned_forces(strict):
    touch = two_feet()
    load = wrench_of(touch, swaying_load())
    force, _ = share(touch, load, CENTRE, WEIGHT, FPS, MODEL)
    mirror = jnp.asarray([[[-1.0, 1.0, 1.0]]])
    reflected = touch._replace(position=touch.position * mirror, root=touch.root * mirror)
    other, _ = share(reflected, load * jnp.asarray([[-1, 1, 1, 1, -1, -1.0]]), CENTRE, WEIGHT, FPS, MODEL)
    np.testing.assert_allclose(other, force * mirror, atol=1e-3)
    turn = rotation.exp(jnp.asarray([0.0, 0.0, 0.7]))
    turned = lambda x: rotation.rotate(jnp.broadcast_to(turn, (*x.shape[:-1], 4)), x)  # noqa: E731
    other, _ = share(
        touch._replace(position=turned(touch.position), root=turned(touch.root)),
        turned(load.reshape(FRAMES, 2, 3)).reshape(FRAMES, 6), turned(jnp.asarray(CENTRE)), WEIGHT, FPS, MODEL,
    )  # fmt: skip
    np.testing.assert_allclose(other, turned(force), atol=1e-3)


def test_in_double_support_the_leading_foot_brakes_and_the_trailing_one_pushes(strict):
    touch = two_feet()
    level = jnp.asarray(np.tile([0.0, 0.0, WEIGHT, 0.0, 0.0, 0.0], (FRAMES, 1)))
    force, _ = share(touch, level, CENTRE, WEIGHT, FPS, MODEL)
    ahead, behind = force[:, :4].sum(axis=1), force[:, 4:].sum(axis=1)
    assert float(ahead[:, 1].max()) < -0.05 * WEIGHT
    assert float(behind[:, 1].min()) > 0.05 * WEIGHT
    np.testing.assert_allclose(ahead[:, 2], behind[:, 2], rtol=0.05)


def test_load_passes_smoothly_where_the_motion_jumps(strict):
    touch = two_feet()
    jump = jnp.where((jnp.arange(FRAMES) < FRAMES // 2)[:, None, None], swaying_load()[7:8], swaying_load()[22:23])
    jerk = {}
    for memory in (0.0, 0.1):
        force, _ = share(touch, wrench_of(touch, jump), CENTRE, WEIGHT, FPS, MODEL.replace(memory=memory))
        jerk[memory] = float(jnp.abs(jnp.diff(force, axis=0)).max())
    assert jerk[0.1] < 0.6 * jerk[0.0]


@pytest.fixture(scope="module")
def small_problem():
    draw = np.random.default_rng(0)
    columns = np.concatenate([np.broadcast_to(np.eye(3), (3, 4, 3, 3)), draw.normal(size=(3, 4, 3, 3))], axis=2)
    with jax.enable_x64(True):
        return ConeProblem(
            jnp.asarray(columns), jnp.asarray(draw.normal(size=(3, 6)) + np.array([0, 0, 2.0, 0, 0, 0])),
            jnp.asarray(draw.uniform(0.2, 1.0, (3, 4))), jnp.asarray(0.4 * draw.normal(size=(3, 4, 3))),
            *map(jnp.asarray, (0.5, 0.05, 0.6, 0.1)),
        )  # fmt: skip


def cost(problem, force):
    """The cost, in NumPy and by its definition."""
    p = jax.tree.map(np.asarray, problem)
    excess = np.einsum("tpwx,tpx->tw", p.columns, force) - p.wanted
    g = force / p.free[..., None]
    effort = np.sum(g**2) - p.saving * np.sum(np.sum(p.axis * g, axis=-1) ** 2)
    return 0.5 * (np.sum(excess**2) + p.effort * effort + p.coupling * np.sum(np.diff(force, axis=0) ** 2))


def test_the_solution_meets_the_conditions_of_optimality(strict, small_problem):
    """Forces in the cone, slopes in the dual cone, and each at a right angle to its force: necessary and sufficient."""
    force = np.asarray(minimiser(small_problem))
    slope, unit = np.zeros(force.size), np.eye(force.size).reshape(-1, *force.shape)
    for k, way in enumerate(unit):  # central differences of a quadratic are exact
        slope[k] = (cost(small_problem, force + way) - cost(small_problem, force - way)) / 2
    slope = slope.reshape(force.shape)
    assert in_cone(force, 0.5)
    assert (0.5 * np.linalg.norm(slope[..., :2], axis=-1) <= slope[..., 2] + 1e-8).all()
    np.testing.assert_allclose(np.sum(force * slope, axis=-1), 0.0, atol=1e-8)
    sliding = np.linalg.norm(force[..., :2], axis=-1) > 0.499 * force[..., 2]
    idle = force[..., 2] < 1e-9
    assert (sliding & ~idle).any(), "a force lies on its cone"
    assert (~sliding).any(), "and another one within"


minimiser = jax.jit(lambda problem: solve(problem, 3000, 1e-15))


def test_iterations_are_those_of_the_method_frame_by_frame(strict, small_problem):
    """Few of them, far from the end, against accelerated projected gradients in NumPy, by the cost's definition."""
    p, curvature = jax.tree.map(np.asarray, small_problem), np.sum(np.asarray(small_problem.columns) ** 2, axis=2)
    curvature = curvature * p.free[..., None] ** 2
    curvature[..., :2] = curvature[..., :2].mean(axis=-1, keepdims=True)
    unit = 1.0 / np.sqrt(curvature + p.effort)  # f = scale x
    scale, friction = p.free[..., None] * unit, p.friction * unit[..., 2] / unit[..., 0]
    scaled = p.columns * scale[:, :, None]
    gram = np.einsum("tpwx,tpvx->twv", scaled, scaled)
    bound = np.array([np.trace(np.linalg.matrix_power(g, 16)) ** (1 / 16) for g in gram])
    limit = bound + p.effort * (unit**2).max(axis=(1, 2)) + 4 * p.coupling * scale.max() ** 2

    def slope(x):
        force, g = scale * x, unit * x
        excess = np.einsum("tpwx,tpx->tw", p.columns, force) - p.wanted
        saved = p.saving * p.axis * np.sum(p.axis * g, axis=-1, keepdims=True)
        bend = -np.diff(np.pad(np.diff(force, axis=0), ((1, 1), (0, 0), (0, 0))), axis=0)
        by_force = np.einsum("tpwx,tw->tpx", p.columns, excess) + p.coupling * bend
        return scale * by_force + unit * p.effort * (g - saved)

    x = ahead = np.zeros(unit.shape)
    momentum = 1.0
    for _ in range(25):
        following = ahead - slope(ahead) / limit[:, None, None]
        following = np.asarray(jax.vmap(jax.vmap(project))(jnp.asarray(following), jnp.asarray(friction)))
        step = following - x
        momentum = 1.0 if np.sum(limit[:, None, None] * (ahead - following) * step) > 0 else momentum
        grown = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        x, ahead, momentum = following, following + (momentum - 1) / grown * step, grown
    few, end = np.asarray(solve(small_problem, 25, 0.0)), np.asarray(minimiser(small_problem))
    assert np.abs(few - end).max() > 1e-4
    np.testing.assert_allclose(few, scale * x, atol=1e-10)


def test_where_the_search_begins_matters_only_for_how_long_it_takes(strict, small_problem):
    end, draw = np.asarray(minimiser(small_problem)), np.random.default_rng(3)
    elsewhere = jnp.asarray(end + 0.3 * draw.normal(size=end.shape))
    found = jax.jit(lambda start, count: solve(small_problem, count, 1e-15, start))
    np.testing.assert_allclose(found(elsewhere, 3000), end, atol=1e-8)
    near = found(jnp.asarray(end + 1e-4 * draw.normal(size=end.shape)), 5)
    far = solve(small_problem, 5, 1e-15)
    assert np.abs(near - end).max() < 1e-3 < np.abs(far - end).max()
    np.testing.assert_allclose(found(jnp.asarray(end), 0), end, atol=1e-12)


def test_the_solution_is_differentiable_both_ways(strict, small_problem):
    target, draw = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4, 3))), np.random.default_rng(2)
    loss = lambda problem: jnp.sum(target * solve(problem, 3000, 1e-15))  # noqa: E731

    @jax.jit
    def slopes(problem, way):
        value, forward = jax.jvp(loss, (problem,), (way,))
        reverse = jax.tree.reduce(jnp.add, jax.tree.map(jnp.vdot, jax.grad(loss)(problem), way))
        return value, forward, reverse

    still = jax.tree.map(jnp.zeros_like, small_problem)
    for name in ("columns", "wanted", "free", "axis", "effort", "saving", "coupling"):
        way = still._replace(**{name: jnp.asarray(draw.normal(size=getattr(small_problem, name).shape))})
        ahead, behind = (jax.tree.map(lambda x, w, s=s: x + s * w, small_problem, way) for s in (1e-6, -1e-6))
        central = (slopes(ahead, way)[0] - slopes(behind, way)[0]) / 2e-6
        np.testing.assert_allclose(slopes(small_problem, way)[1:], [central] * 2, rtol=1e-5, atol=1e-8, err_msg=name)


def test_projection_is_the_nearest_point_of_the_cone(strict):
    draw = np.random.default_rng(3)
    x = draw.normal(size=(200, 3))
    nearest = np.asarray(project(jnp.asarray(x), 0.5))
    assert in_cone(nearest, 0.5)
    inside = np.abs(draw.normal(size=(200, 3)))
    inside[:, :2] *= 0.5 * inside[:, 2:] / np.linalg.norm(inside[:, :2], axis=1, keepdims=True)
    gap = np.sum((x - nearest) * (inside - nearest), axis=1)
    assert (gap <= 1e-12).all(), "no point of the cone lies on the far side"


@pytest.fixture(scope="module")
def standing():
    """A person, q (T, 99) standing still, and the residuals that this needs."""
    with jax.enable_x64(True):
        person = toy_humanoid()
        joints = jnp.tile(jnp.asarray(rotation.IDENTITY), 23)
        q = jnp.concatenate([jnp.zeros(3), jnp.asarray(rotation.UPRIGHT), joints])
        lowest = jax.jit(lambda q: contact_points(person, forward_kinematics(person, q))[1].min())(q)
        q = q.at[2].set(-lowest)
        residual = jax.jit(inverse_dynamics)(person, q, jnp.zeros(75), jnp.zeros(75))[1]
        return person, jnp.tile(q, (FRAMES, 1)), jnp.tile(residual, (FRAMES, 1))


stand = jax.jit(lambda person, q, residual: ground_forces(person, q, jnp.zeros((FRAMES, 75)), residual, FPS))


def test_a_standing_person_rests_on_both_feet(strict, standing):
    person, q, _ = standing
    found, weight = stand(*standing), float(person.total_mass * GRAVITY)
    np.testing.assert_allclose(found.force.sum(axis=1), np.tile([0, 0, weight], (FRAMES, 1)), atol=0.01 * weight)
    left, right = (found.force[:, foot, 2].sum(axis=1) for foot in (np.array(LEFT_FOOT), np.array(RIGHT_FOOT)))
    np.testing.assert_allclose(left, right, rtol=0.02)
    np.testing.assert_allclose(left + right, weight, rtol=0.01)
    ankles = jax.jit(jax.vmap(lambda q: forward_kinematics(person, q).position[jnp.array([7, 8])]))(q)
    assert (np.linalg.norm((found.pressure_centre - ankles)[..., :2], axis=-1) < 0.12).all()
    np.testing.assert_allclose(found.pressure_centre[..., 2], 0.0)


def test_a_person_in_the_air_has_no_ground_and_an_implausible_motion(strict, standing):
    person, q, residual = standing
    found = stand(person, q.at[:, 2].add(0.5), residual)
    np.testing.assert_allclose(found.force, 0.0, atol=1e-6)
    np.testing.assert_allclose(found.unexplained[:, :3], residual[:, :3], atol=1e-6)
    assert np.isfinite(found.pressure_centre).all()


@pytest.mark.parametrize("lift", [0.0, 0.03, 0.5])
def test_gradients_are_finite_on_the_ground_above_it_and_in_the_air(strict, standing, lift):
    person, q, residual = standing
    slope = lift_slope(person, q, residual, lift)
    assert np.isfinite(slope)
    assert (abs(float(slope)) > 1.0) == (lift == 0.03), "only in between does the height matter"


@jax.jit
def lift_slope(person, q, residual, lift):
    return jax.grad(lambda h: jnp.sum(stand(person, q.at[:, 2].add(h), residual).force[..., 2]))(lift)


def test_the_centre_of_pressure_is_the_loads_mean(strict):
    position = jnp.asarray([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
    force = jnp.asarray([[[0.0, 0.0, 30.0], [5.0, 0.0, 10.0]]])
    np.testing.assert_allclose(pressure_centre(position, force, 40.0), [[0.25, 0.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(pressure_centre(position, 0.0 * force, 40.0), [[0.5, 0.0, 0.0]])
