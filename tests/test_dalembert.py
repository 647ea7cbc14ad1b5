"""D'Alembert's principle: an oracle of the humanoid's recursive dynamics that shares no formula with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_humanoid import toy_humanoid

from imdy_jax.dynamics import dalembert
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.humanoid import GRAVITY
from imdy_jax.skeleton import NUM_BODIES, NUM_V, PARENTS

pytestmark = pytest.mark.usefixtures("strict")


def matrix(quaternion):
    """Rotation matrix of a unit quaternion, w first."""
    w, x, y, z = quaternion
    return jnp.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def small_rotation(phi):
    """exp(φ) to second order, which is all that two derivatives at zero see."""
    x, y, z = phi
    cross = jnp.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return jnp.eye(3) + cross + cross @ cross / 2


def displaced(person, q, delta):
    """Poses (24, 3, 4) at q (99,) moved by a small delta (75,): joint by joint down the tree, by matrices."""
    local = jax.vmap(matrix)(q[3:].reshape(24, 4)) @ jax.vmap(small_rotation)(delta[3:].reshape(24, 3))
    rotation, position = [local[0]], [q[:3] + delta[:3]]
    for k, parent in enumerate(PARENTS[1:], start=1):
        rotation.append(rotation[parent] @ local[k])
        position.append(position[parent] + rotation[parent] @ person.offset[k])
    return jnp.concatenate([jnp.stack(rotation), jnp.stack(position)[..., None]], axis=-1)


@jax.jit
@jax.vmap
def both(person, q, v, a, wrench):
    """Generalised forces (75,) by d'Alembert's principle and by recursion."""
    at = lambda delta: displaced(person, q, delta)  # noqa: E731
    principle = dalembert.generalized_forces(
        motion=lambda t: at(t * v + t * t * a / 2),
        displaced=at,
        size=NUM_V,
        second_moment=jax.vmap(dalembert.second_moment)(person.mass, person.com, person.inertia),
        gravity=jnp.array([0.0, 0.0, -GRAVITY]),
        load=dalembert.load(at(jnp.zeros(NUM_V)), wrench[:, :3], wrench[:, 3:]),
    )
    torque, residual = inverse_dynamics(person, q, v, a, wrench)
    return principle, jnp.concatenate([residual, torque.reshape(-1)])


def test_dalembert_agrees_with_the_recursion_on_the_humanoid(strict):
    people = [toy_humanoid(), toy_humanoid(0.85, 48.0, skew=0.3), toy_humanoid(1.15, 108.0, skew=-0.2)]
    count, draw = 60, np.random.default_rng(0)
    person = jax.tree.map(lambda *leaves: jnp.stack([leaves[i % 3] for i in range(count)]), *people)
    quaternions = draw.normal(size=(count, NUM_BODIES, 4))
    quaternions /= np.linalg.norm(quaternions, axis=-1, keepdims=True)
    q = np.concatenate([draw.normal(size=(count, 3)) * 3.0, quaternions.reshape(count, -1)], axis=1)
    v, a = draw.normal(size=(count, NUM_V)) * 4.0, draw.normal(size=(count, NUM_V)) * 30.0
    wrench = draw.normal(size=(count, NUM_BODIES, 6)) * 200.0
    principle, recursion = (np.asarray(x) for x in both(person, q, v, a, wrench))
    scale = np.linalg.norm(recursion, axis=1, keepdims=True)
    assert np.all(scale > 100.0)
    assert np.abs(principle - recursion).max() < 1e-9 * scale.min()


def test_second_moment_sums_the_points_of_a_body(strict):
    points, masses = np.random.default_rng(1).normal(size=(7, 3)), np.arange(1.0, 8.0)
    com = masses @ points / masses.sum()
    arm = points - com
    inertia = sum(m * (r @ r * np.eye(3) - np.outer(r, r)) for m, r in zip(masses, arm, strict=True))
    homogeneous = np.concatenate([points, np.ones((7, 1))], axis=1)
    expected = np.einsum("k,ki,kj->ij", masses, homogeneous, homogeneous)
    given = dalembert.second_moment(jnp.asarray(masses.sum()), jnp.asarray(com), jnp.asarray(inertia))
    np.testing.assert_allclose(given, expected, rtol=1e-12, atol=1e-12)


def test_a_load_does_the_work_of_its_force_and_moment(strict):
    draw = np.random.default_rng(2)
    rotation = matrix(jnp.asarray([0.5, 0.5, -0.5, 0.5]))
    pose = jnp.concatenate([rotation, jnp.asarray(draw.normal(size=(3, 1)))], axis=1)
    force, moment, shift, turn = (jnp.asarray(x) for x in draw.normal(size=(4, 3)))
    moved = jnp.concatenate([jnp.cross(turn[None, :], rotation.T).T, shift[:, None]], axis=1)
    work = jnp.sum(dalembert.load(pose, force, moment) * moved)
    np.testing.assert_allclose(work, force @ shift + moment @ turn, rtol=1e-12)
