"""Laws of the rotation group, near its singular points too, and scipy as an independent oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from imdy_jax import rotation

pytestmark = pytest.mark.usefixtures("strict")
ANGLES = (0.0, 1e-12, 1e-6, 1e-4, 1.1e-4, 0.3, 2.0, np.pi - 1e-7)


@pytest.fixture(scope="module")
def vectors():
    """Rotation vectors (A, 20, 3) of every angle about random axes."""
    axes = np.random.default_rng(0).normal(size=(20, 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    return np.array(ANGLES)[:, None, None] * axes


def _scipy(q):
    return Rotation.from_quat(np.asarray(q).reshape(-1, 4), scalar_first=True)


def test_exp_and_log_agree_with_scipy_and_undo_each_other(strict, vectors):
    q = rotation.exp(jnp.asarray(vectors))
    theirs = Rotation.from_rotvec(vectors.reshape(-1, 3))
    assert (_scipy(q) * theirs.inv()).magnitude().max() < 1e-14
    np.testing.assert_allclose(rotation.log(q), vectors, atol=1e-9)
    np.testing.assert_allclose(rotation.log(-q), vectors, atol=1e-9)


def test_products_rotations_and_matrices_agree_with_scipy(strict, vectors):
    a = rotation.exp(jnp.asarray(vectors.reshape(-1, 3)))
    b, x = jnp.roll(a, 7, axis=0), jnp.asarray(np.random.default_rng(1).normal(size=(len(a), 3)))
    np.testing.assert_allclose(rotation.rotate(a, x), _scipy(a).apply(np.array(x)), atol=1e-14)
    np.testing.assert_allclose(rotation.inverse_rotate(a, rotation.rotate(a, x)), x, atol=1e-14)
    np.testing.assert_allclose(rotation.to_matrix(a), _scipy(a).as_matrix(), atol=1e-14)
    product = _scipy(a) * _scipy(b)
    assert (_scipy(rotation.multiply(a, b)) * product.inv()).magnitude().max() < 1e-14
    np.testing.assert_allclose(rotation.between(a, rotation.multiply(a, b)), rotation.log(b), atol=1e-7)


@pytest.mark.parametrize("angle", ANGLES)
def test_gradients_are_finite_and_right_at_every_angle(strict, angle):
    axis = jnp.asarray([0.6, -0.48, 0.64])
    identity = jax.jit(jax.jacobian(lambda phi: rotation.log(rotation.exp(phi))))(angle * axis)
    np.testing.assert_allclose(identity, np.eye(3), atol=1e-6)


def test_heading_turns_with_the_body_and_forgets_its_tilt(strict):
    upright = jnp.asarray(rotation.UPRIGHT)
    for yaw in (-3.0, -0.5, 0.0, 1.2, 3.1):
        turn = rotation.exp(jnp.asarray([0.0, 0.0, yaw]))
        for bend in (0.0, 0.7, -1.4):
            leaning = rotation.multiply(turn, rotation.multiply(rotation.exp(jnp.asarray([bend, 0.0, 0.0])), upright))
            apart = rotation.between(turn, rotation.heading(leaning))
            np.testing.assert_allclose(apart, 0.0, atol=1e-12)


def test_heading_of_a_body_upside_down_is_finite(strict):
    upside_down = rotation.multiply(rotation.exp(jnp.asarray([jnp.pi, 0.0, 0.0])), jnp.asarray(rotation.UPRIGHT))
    assert np.isfinite(jax.jacobian(rotation.heading)(upside_down)).all()
