"""Laws that the dynamics must obey whatever the numbers: energy, symmetry, and the sharing of contact forces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.optimize import nnls
from toy_humanoid import toy_humanoid

from imdy_jax import rotation
from imdy_jax.dynamics import contact
from imdy_jax.dynamics.differentiate import accelerations, tangents, velocities
from imdy_jax.dynamics.forward import forward_dynamics, step
from imdy_jax.dynamics.kinematics import difference, forward_kinematics, integrate
from imdy_jax.dynamics.newton_euler import energy, inverse_dynamics
from imdy_jax.dynamics.nonnegative import nonnegative_least_squares
from imdy_jax.humanoid import GRAVITY
from imdy_jax.skeleton import MIRROR

pytestmark = pytest.mark.usefixtures("strict")


def _upright(height: float = 0.95) -> jnp.ndarray:
    joints = jnp.tile(jnp.asarray(rotation.IDENTITY), 23)
    return jnp.concatenate([jnp.asarray([0.0, 0.0, height]), jnp.asarray(rotation.UPRIGHT), joints])


def _random_state(seed: int) -> tuple:
    draw = np.random.default_rng(seed)
    q = integrate(_upright(), jnp.asarray(draw.normal(size=75)), 0.5)
    return q, jnp.asarray(draw.normal(size=75))


def test_energy_of_a_body_in_free_fall_is_kept_to_integrator_order(strict):
    person = toy_humanoid(skew=0.3)
    q, v = _random_state(0)
    free = jnp.zeros((23, 3))

    @jax.jit
    def drift(steps):
        dt = 0.2 / steps
        fall = lambda _, state: step(person, *state, free, timestep=dt)  # noqa: E731
        return sum(energy(person, *jax.lax.fori_loop(0, steps, fall, (q, v)))) - sum(energy(person, q, v))

    coarse, fine = float(drift(100)), float(drift(200))
    assert abs(fine) < 0.02 * float(energy(person, q, v)[0])
    assert 1.8 < coarse / fine < 2.2  # first order: half the step, half the drift


def test_power_is_torque_times_velocity(strict):
    person = toy_humanoid()
    q, v = _random_state(1)
    torque = jnp.asarray(np.random.default_rng(2).normal(size=(23, 3))) * 20.0

    @jax.jit
    def power():
        a = forward_dynamics(person, q, v, torque)
        at = lambda t: sum(energy(person, integrate(q, v + a * t / 2, t), v + a * t))  # noqa: E731
        return jax.jvp(at, (0.0,), (1.0,))[1]

    rate = power()
    np.testing.assert_allclose(rate, jnp.sum(torque * v[6:].reshape(23, 3)), rtol=1e-9)


def test_a_mirrored_motion_has_mirrored_torques(strict):
    person = _symmetric(toy_humanoid())
    q, v = _random_state(3)
    a = jnp.asarray(np.random.default_rng(4).normal(size=75)) * 10.0
    solve = jax.jit(inverse_dynamics)
    torque, residual = solve(person, q, v, a)
    other, other_residual = solve(person, _mirror_q(q), _mirror_v(v), _mirror_v(a))
    pairs = np.array(MIRROR[1:]) - 1
    axial = np.array([1.0, -1.0, -1.0])  # torques are axial vectors: a reflection in x keeps x and flips y, z
    scale = float(jnp.abs(torque).max())
    np.testing.assert_allclose(other, torque[pairs] * axial[None], atol=1e-10 * scale)
    flip = np.array([-1.0, 1.0, 1.0, 1.0, -1.0, -1.0])
    np.testing.assert_allclose(other_residual, residual * flip, atol=1e-10 * float(jnp.abs(residual).max()))


def _symmetric(person):
    """The same person with the inertias of both sides averaged."""
    flip = np.array([-1.0, 1.0, 1.0])
    other = person.inertia[np.array(MIRROR)] * np.outer(flip, flip)[None]
    return person.replace(inertia=(person.inertia + other) / 2)


def _mirror_q(q):
    swap = lambda r: r * jnp.asarray([1.0, 1.0, -1.0, -1.0])[None]  # noqa: E731
    rotations = swap(q[3:].reshape(24, 4)[np.array(MIRROR)])
    return jnp.concatenate([q[:3] * jnp.asarray([-1.0, 1.0, 1.0]), rotations.reshape(-1)])


def _mirror_v(v):
    spin = v[3:].reshape(24, 3)[np.array(MIRROR)] * jnp.asarray([1.0, -1.0, -1.0])[None]
    return jnp.concatenate([v[:3] * jnp.asarray([-1.0, 1.0, 1.0]), spin.reshape(-1)])


def test_differences_are_exact_for_motion_at_constant_rate(strict):
    q, v = _random_state(5)
    fps = 30.0
    track = np.stack([np.asarray(integrate(q, v, t / fps)) for t in range(8)])
    np.testing.assert_allclose(tangents(track, fps), np.tile(v, (7, 1)), atol=1e-11)
    np.testing.assert_allclose(velocities(track, fps), np.tile(v, (8, 1)), atol=1e-11)
    np.testing.assert_allclose(accelerations(track, fps), 0.0, atol=1e-9)
    np.testing.assert_allclose(difference(q, integrate(q, v, 0.4)), 0.4 * v, atol=1e-12)


def test_a_standing_body_rests_on_its_feet(strict):
    person = toy_humanoid()
    pose_height = -float(contact.contact_points(person, forward_kinematics(person, _upright(0.0)))[1].min())
    q, still = _upright(pose_height), jnp.zeros(75)
    torque, wrench = jax.jit(contact.supported_torque)(person, q, still, still)
    weight = float(person.total_mass * GRAVITY)
    np.testing.assert_allclose(wrench[:, :3].sum(axis=0), [0.0, 0.0, weight], atol=0.01 * weight)
    assert float(wrench[jnp.array([7, 8, 10, 11]), 2].sum()) > 0.99 * weight
    assert (np.asarray(wrench[:, 2]) >= 0).all()
    assert float(jnp.abs(torque[3:5]).max()) < 40.0  # knees almost straight above the ankles need little


def test_nonnegative_least_squares_matches_an_active_set_solver(strict):
    draw = np.random.default_rng(6)
    for _ in range(5):
        columns, wanted, cost = draw.normal(size=(64, 6)), draw.normal(size=6), 10 ** draw.uniform(-3, 2, 64)
        ours = np.asarray(nonnegative_least_squares(*map(jnp.asarray, (columns, wanted, cost)), 30))
        theirs, _ = nnls(np.vstack([columns.T, np.diag(np.sqrt(cost))]), np.concatenate([wanted, np.zeros(64)]))
        objective = lambda x, c=columns, w=wanted, k=cost: np.sum((x @ c - w) ** 2) + np.sum(k * x * x)  # noqa: E731
        assert (ours >= 0).all()
        assert objective(theirs) <= objective(ours) * (1 + 1e-12) <= objective(theirs) + 1e-9 * np.sum(wanted**2)


def test_shares_of_many_pushes_at_once_and_their_derivatives(strict):
    draw = np.random.default_rng(7)
    columns, wanted, cost = draw.normal(size=(6, 64, 6)), draw.normal(size=(6, 6)), 10 ** draw.uniform(-3, 2, (6, 64))
    share = lambda *x: nonnegative_least_squares(*x, 30)  # noqa: E731
    together = jax.jit(jax.vmap(share))(columns, wanted, cost)
    one_by_one = [share(*map(jnp.asarray, each)) for each in zip(columns, wanted, cost, strict=True)]
    np.testing.assert_allclose(together, np.stack(one_by_one), atol=1e-9)
    assert 6 <= np.sum(np.asarray(together) > 0) < together.size
    one = jnp.asarray(columns[0]), jnp.asarray(wanted[0]), jnp.asarray(cost[0])
    check_grads(share, one, order=1, modes=["fwd", "rev"], eps=1e-7, atol=1e-4, rtol=1e-4)
