"""Batched inverse dynamics and its hand-written gradient against inverse_dynamics and automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_humanoid import toy_humanoid

from imdy_jax import humanoid as people
from imdy_jax.dynamics.batched import BLOCK, batched_inverse_dynamics
from imdy_jax.dynamics.newton_euler import inverse_dynamics

pytestmark = pytest.mark.usefixtures("strict")
STATES = 2 * BLOCK + 37  # two full blocks and a rest


@pytest.fixture(scope="module")
def case(strict):
    """A crowd (one subject for each state), its states (q, v, a), and weights of the torques and residuals."""
    draw = np.random.default_rng(3)
    subjects = people.stack([toy_humanoid(), toy_humanoid(0.85, 48.0, skew=0.3), toy_humanoid(1.15, 108.0, skew=-0.2)])
    crowd = jax.tree.map(lambda x: x[jnp.arange(STATES) % 3], subjects)
    quaternions = draw.normal(size=(STATES, 24, 4))
    quaternions /= np.linalg.norm(quaternions, axis=-1, keepdims=True)
    q = np.concatenate([draw.normal(size=(STATES, 3)) * 3.0, quaternions.reshape(STATES, 96)], axis=1)
    v, a = draw.normal(size=(STATES, 75)) * 4.0, draw.normal(size=(STATES, 75)) * 30.0
    weights = draw.normal(size=(STATES, 23, 3)), draw.normal(size=(STATES, 6))
    return crowd, tuple(jnp.asarray(x) for x in (q, v, a)), tuple(jnp.asarray(x) for x in weights)


@jax.jit
def _reference(crowd, state, weights):
    """Torques and residuals, and their derivatives by the crowd and the states, by autodiff of the plain recursion."""
    answer, pull = jax.vjp(jax.vmap(inverse_dynamics), crowd, *state)
    return answer, pull(weights)


@jax.jit
def _batched(crowd, state, weights):
    answer, pull = jax.vjp(batched_inverse_dynamics, crowd, *state)
    return answer, pull(weights)


@pytest.fixture(scope="module")
def expected(case):
    return _reference(*case)


def _tangential(by_q, q):
    """The part of a derivative by q that moves along the unit quaternions."""
    by, unit = by_q[:, 3:].reshape(-1, 24, 4), q[:, 3:].reshape(-1, 24, 4)
    tangent = by - jnp.sum(by * unit, axis=-1, keepdims=True) * unit
    return jnp.concatenate([by_q[:, :3], tangent.reshape(-1, 96)], axis=1)


def _assert_close(ours, theirs, limit, name=""):
    scale = np.abs(theirs).max()
    error = np.max(np.abs(np.asarray(ours, np.float64) - np.asarray(theirs)))
    assert error <= limit * scale, f"{name}: error {error:.2e} of {scale:.2e}"


@pytest.mark.parametrize(("dtype", "limit"), [(jnp.float64, 1e-12), (jnp.float32, 1e-5)])
def test_torques_and_gradient_are_those_of_the_plain_recursion(case, expected, dtype, limit):
    ours = _batched(*jax.tree.map(lambda x: x.astype(dtype), case))
    (torque, residual), (by_crowd, by_q, by_v, by_a) = ours
    assert all(x.dtype == dtype for x in jax.tree.leaves(ours))
    _assert_close(torque, expected[0][0], limit, "torque")
    _assert_close(residual, expected[0][1], limit, "residual")
    their_crowd, their_q, their_v, their_a = expected[1]
    _assert_close(by_q, _tangential(their_q, case[1][0]), limit, "by q")
    _assert_close(by_v, their_v, limit, "by v")
    _assert_close(by_a, their_a, limit, "by a")
    for name in vars(by_crowd):
        _assert_close(getattr(by_crowd, name), getattr(their_crowd, name), limit, f"by {name}")


def test_one_subject_gathers_the_gradient_of_all_its_states(case, expected):
    crowd, state, weights = case
    rows = slice(0, STATES, 3)  # the first subject's, fewer than one block
    person = jax.tree.map(lambda x: x[0], crowd)
    own = jax.tree.map(lambda x: x[rows], (state, weights))
    (torque, residual), (by_person, *by_state) = _batched(person, *own)
    _assert_close(torque, expected[0][0][rows], 1e-12)
    _assert_close(residual, expected[0][1][rows], 1e-12)
    _assert_close(by_state[1], expected[1][2][rows], 1e-12)
    for name in ("offset", "mass", "com", "inertia"):
        _assert_close(getattr(by_person, name), jnp.sum(getattr(expected[1][0], name)[rows], axis=0), 1e-12, name)


def test_a_single_state(case, expected):
    crowd, state, _ = case
    torque, residual = batched_inverse_dynamics(*jax.tree.map(lambda x: x[4:5], (crowd, *state)))
    assert torque.shape == (1, 23, 3) and residual.shape == (1, 6)
    _assert_close(torque, expected[0][0][4:5], 1e-12)
    _assert_close(residual, expected[0][1][4:5], 1e-12)


def test_wrong_shapes_are_refused(case):
    crowd, (q, v, a), _ = case
    with pytest.raises(ValueError, match=r"v has shape \(75,\), expected \(549, 75\)"):
        batched_inverse_dynamics(crowd, q, v[0], a)
    with pytest.raises(ValueError, match=r"q has shape \(99,\)"):
        batched_inverse_dynamics(jax.tree.map(lambda x: x[0], crowd), q[0], v[0], a[0])
    with pytest.raises(ValueError, match=r"humanoid\.mass has shape \(3, 24\)"):
        batched_inverse_dynamics(jax.tree.map(lambda x: x[:3], crowd), q, v, a)
