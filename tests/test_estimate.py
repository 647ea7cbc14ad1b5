"""From poses to torques: exact where motion is exact, balanced, invertible, and differentiable all the way."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_humanoid import toy_humanoid

from imdy_jax import rotation
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.dynamics.contact_sequence import SoftContact
from imdy_jax.dynamics.differentiate import accelerations, motion, velocities
from imdy_jax.dynamics.estimate import estimate, estimate_poses
from imdy_jax.dynamics.forward import step
from imdy_jax.dynamics.kinematics import body_velocities, forward_kinematics, integrate
from imdy_jax.dynamics.newton_euler import energy
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.filters import Butterworth, NoFilter, smooth_poses

pytestmark = pytest.mark.usefixtures("strict")

FRAMES, FPS = 16, 60.0
# To the solver's last digit, as finite differences want it.
CONTACT = SoftContact(tolerance=1e-15, iterations=20000)
WEIGHTS = np.random.default_rng(0).normal(size=(FRAMES, 23, 3))


def upright(height=0.95):
    joints = jnp.tile(jnp.asarray(rotation.IDENTITY), 23)
    return jnp.concatenate([jnp.asarray([0.0, 0.0, height]), jnp.asarray(rotation.UPRIGHT), joints])


def split(q):
    """Positions (T, 3) and quaternions (T, 24, 4) of q (T, 99)."""
    return jnp.asarray(q[:, :3]), jnp.asarray(q[:, 3:]).reshape(-1, 24, 4)


def test_constant_rates_are_exact_also_near_pi(strict):
    v = jnp.asarray(np.random.default_rng(1).normal(size=75)).at[3:6].set(jnp.asarray([0.0, 0.0, 0.97 * np.pi * 30.0]))
    q = jax.vmap(lambda t: integrate(upright(), v, t))(jnp.arange(8) / 30.0)
    found = motion(smooth_poses(NoFilter(), *split(q), 30.0), 30.0)
    np.testing.assert_allclose(found[1], np.tile(v, (8, 1)), atol=1e-10)
    np.testing.assert_allclose(found[2], 0.0, atol=1e-8)


def test_derivatives_agree_with_those_on_the_host(strict):
    rates = np.cumsum(np.random.default_rng(2).normal(size=(20, 75)), axis=0) * 0.2
    q = [upright()]
    for rate in rates:
        q.append(integrate(q[-1], jnp.asarray(rate), 1.0 / FPS))
    q = np.stack(q)
    smooth, v, a = motion(smooth_poses(NoFilter(), *split(q), FPS), FPS)
    np.testing.assert_allclose(smooth, q, atol=1e-12)
    np.testing.assert_allclose(v, velocities(q, FPS), atol=1e-10)
    np.testing.assert_allclose(a, accelerations(q, FPS), atol=1e-8)


def test_simulated_torques_come_back(strict):
    """Forward dynamics in the air under known torques, then the torques from the poses alone."""
    person, fps = toy_humanoid(), 20000.0
    size = 30.0 * jnp.trace(person.inertia, axis1=1, axis2=2)[1:, None]
    torque = size * jnp.asarray(np.random.default_rng(3).normal(size=(23, 3)))

    def advance(state, _):
        return step(person, *state, torque, timestep=1.0 / fps), state[0]

    start = upright(), 0.5 * jnp.asarray(np.random.default_rng(4).normal(size=75))
    _, q = jax.jit(lambda: jax.lax.scan(advance, start, None, length=20))()
    found = estimate_poses(person, *split(q), fps, NoFilter(), None)
    inner = found.torque[1:-1]
    np.testing.assert_allclose(inner, np.tile(torque, (18, 1, 1)), atol=0.01 * float(jnp.abs(torque).max()))
    np.testing.assert_allclose(found.residual[1:-1], 0.0, atol=0.01 * float(jnp.abs(torque).max()))


@pytest.fixture(scope="module")
def person():
    with jax.enable_x64(True):
        return anthropometric_body("female", stature=1.68, mass=62.0)


@pytest.fixture(scope="module")
def swaying(person):
    """Rotation vectors (T, 24, 3) and translation (T, 3) of a person who sways on slightly sunken feet."""
    draw, time = np.random.default_rng(5), np.arange(FRAMES) / FPS
    phi = 0.04 * draw.normal(size=(24, 3)) * (1.0 + np.sin(2 * np.pi * 1.3 * time)[:, None, None])
    phi[:, 0] = np.array([np.pi / 2, 0.0, 0.0]) + 0.02 * np.sin(8 * time)[:, None]
    lowest = float(person.vertices[:, 1].min())
    return phi, np.stack([0.02 * time, 0.02 * np.sin(5 * time), 0.01 * np.sin(9 * time) - lowest - 0.02], axis=1)


def clip(phi, translation):
    return Clip(rotation.exp(jnp.asarray(phi)), jnp.asarray(translation), FPS, "sway", "test", "0")


def test_power_balances_energy(strict, person, swaying):
    """d/dt energy = joint powers + power of the ground + that of what is left unexplained."""
    humanoid = toy_humanoid()
    found = estimate_poses(humanoid, *split_clip(person, swaying), FPS)
    total = jax.vmap(lambda q, v: sum(energy(humanoid, q, v)))(found.q, found.v)
    moving = jax.vmap(lambda q, v: body_velocities(humanoid, forward_kinematics(humanoid, q), v))(found.q, found.v)
    ground = jnp.sum(found.wrench[..., :3] * moving.linear + found.wrench[..., 3:] * moving.angular, axis=(1, 2))
    put_in = jnp.sum(found.power, axis=1) + ground + jnp.sum(found.residual * found.v[:, :6], axis=1)
    rate = (total[2:] - total[:-2]) * FPS / 2
    np.testing.assert_allclose(put_in[2:-2], rate[1:-1], atol=0.02 * float(jnp.abs(put_in).max()))
    assert float(jnp.abs(put_in).max()) > 10.0


def split_clip(person, swaying):
    motion = clip(*swaying)
    return motion.translation + person.joints[:1], motion.rotations


def test_measured_forces_take_the_place_of_estimated_ones(strict, person, swaying):
    ours = estimate(clip(*swaying), person)
    given = estimate(clip(*swaying), person, wrench=ours.wrench)
    np.testing.assert_allclose(given.torque, ours.torque, atol=1e-9)
    np.testing.assert_allclose(given.residual, ours.residual, atol=1e-9)
    free = estimate(clip(*swaying), person, contact=None)
    assert float(jnp.abs(free.residual[:, 2]).min()) > 400.0 > 20.0 > float(jnp.abs(ours.residual[:, 2]).max())
    assert float(jnp.abs(free.torque - ours.torque).max()) > 10.0


@pytest.fixture(scope="module")
def gradient():
    """Value and gradient of one scalar by rotation vectors, translation, betas, mass and stature."""

    def scalar(phi, translation, betas, mass, stature):
        body = anthropometric_body("female", stature, mass, betas)
        found = estimate(clip(phi, translation), body, Butterworth(8.0), CONTACT)
        by_ground = jnp.sum(found.residual) + jnp.sum(found.pressure_centre)
        return jnp.sum(WEIGHTS * found.torque) + by_ground + 0.1 * jnp.sum(found.power)

    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, which is all
    return jax.jit(jax.value_and_grad(scalar, argnums=(0, 1, 2, 3, 4)), compiler_options=quick)


def test_gradients_by_poses_translation_shape_and_mass(strict, swaying, gradient):
    at = [*map(jnp.asarray, swaying), jnp.zeros(10), jnp.asarray(62.0), jnp.asarray(1.68)]
    slope, draw = gradient(*at)[1], np.random.default_rng(6)
    for i, width in enumerate((1e-5, 3e-6, 3e-5, 1e-3, 2e-4)):
        way = draw.normal(size=at[i].shape)
        way /= np.linalg.norm(way)
        value = lambda shift, i=i, way=way: gradient(*at[:i], at[i] + shift * way, *at[i + 1 :])[0]  # noqa: E731
        near, far = value(width) - value(-width), value(2 * width) - value(-2 * width)
        assert float(jnp.sum(slope[i] * way)) == pytest.approx(float(8 * near - far) / (12 * width), rel=1e-6), i


@pytest.mark.parametrize("angle", [0.0, np.pi - 1e-7, np.pi])
def test_gradients_are_finite_at_zero_rotation_and_near_pi(strict, swaying, gradient, angle):
    phi = np.zeros((FRAMES, 24, 3))
    phi[..., 1] = angle
    value, slope = gradient(phi, swaying[1], jnp.zeros(10), jnp.asarray(62.0), jnp.asarray(1.68))
    assert np.isfinite(value)
    assert all(np.isfinite(x).all() for x in slope)


def test_single_precision_follows_the_input(strict, person, swaying):
    exact = estimate(clip(*swaying), person)
    to_single = lambda tree: jax.tree.map(  # noqa: E731
        lambda x: x.astype(jnp.float32) if x.dtype == jnp.float64 else x, tree
    )
    found = estimate(to_single(clip(*swaying)), to_single(person))
    assert found.torque.dtype == found.wrench.dtype == jnp.float32
    np.testing.assert_allclose(found.torque, exact.torque, atol=0.05)


def test_errors_come_before_anything_is_compiled(strict, person, swaying):
    with pytest.raises(ValueError, match="found cut-off 40 Hz at 60 frames/s"):
        estimate(clip(*swaying), person, Butterworth(40.0))
    short = dataclasses.replace(clip(*swaying), rotations=clip(*swaying).rotations[:2])
    with pytest.raises(ValueError, match="found 2 frames"):
        estimate(short, person)
