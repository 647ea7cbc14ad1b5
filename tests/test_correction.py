"""The smallest correction: what obeys the equation of motion stays, what does not is made to, within contact's laws."""

import jax
import numpy as np
import pytest

from imdy_jax.analysis.correction import Correction, correct
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.dynamics.estimate import estimate
from imdy_jax.dynamics.forward import forward_dynamics
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.humanoid import GRAVITY, from_body
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.skeleton import LEFT_FOOT, RIGHT_FOOT, joint_index

FEET = (LEFT_FOOT, RIGHT_FOOT)


@pytest.fixture(scope="module")
def walk():
    """Humanoid, weight, and the dynamics of a walk whose accelerations are just those that its forces produce."""
    body = anthropometric_body()
    humanoid, found = from_body(body), estimate(procedural_clip("walk", body, 30.0), body)
    forward = jax.jit(jax.vmap(forward_dynamics, in_axes=(None, 0, 0, 0, 0)))
    obeying = found.replace(a=forward(humanoid, found.q, found.v, found.torque, found.wrench))
    return humanoid, float(humanoid.total_mass) * GRAVITY, obeying


def residual(motion, weight):
    return np.linalg.norm(motion.residual[:, :3], axis=1) / weight


def test_forces_that_obey_are_left_alone(walk):
    humanoid, weight, motion = walk
    found = correct(humanoid, motion, motion.force, 30.0, Correction(taken="force"))
    assert residual(found, weight).mean() < 1e-3
    change = np.linalg.norm(found.force - motion.force, axis=-1) / weight
    assert change.max() < 0.05 and np.mean(change.sum(axis=1)) < 0.04
    apart = found.torque - motion.torque
    assert np.abs(apart).max() < 10.0 < 80.0 < np.abs(motion.torque).max()
    assert np.sqrt(np.mean(apart**2)) < 1.0


@pytest.fixture(scope="module")
def perturbed(walk):
    _, weight, motion = walk
    draw = np.random.default_rng(0)
    loaded = np.abs(motion.force) > 1.0
    return 1.15 * np.asarray(motion.force) + 0.05 * weight * draw.normal(size=motion.force.shape) * loaded


def test_perturbed_forces_come_back_to_the_equation_of_motion(walk, perturbed):
    humanoid, weight, motion = walk
    before = np.linalg.norm(perturbed.sum(axis=1) - np.asarray(motion.force).sum(axis=1), axis=1) / weight
    found = correct(humanoid, motion, perturbed, 30.0)
    assert before.mean() > 0.1
    assert residual(found, weight).mean() < 0.01
    assert np.quantile(residual(found, weight), 0.95) < 0.01
    check = jax.jit(jax.vmap(inverse_dynamics, in_axes=(None, 0, 0, 0, 0)))
    torque, left = check(humanoid, motion.q, motion.v, motion.a, found.wrench)
    np.testing.assert_allclose(found.torque, torque, atol=0.02)
    np.testing.assert_allclose(found.residual, left, atol=0.02)


@pytest.fixture(scope="module")
def both(walk):
    """Frames in which both feet bear load (T,)."""
    _, weight, motion = walk
    borne = np.stack([np.asarray(motion.force)[:, list(foot), 2].sum(axis=1) for foot in FEET])
    found = (borne > 0.1 * weight).all(axis=0)
    assert found.sum() >= 5
    return found


@pytest.mark.parametrize("taken", ["load", "force"])
def test_what_is_predicted_of_the_share_of_each_foot_is_followed(walk, both, taken):
    """More load on the left foot in double support: only the prediction knows of it."""
    humanoid, weight, motion = walk
    uneven = np.array(motion.force)
    uneven[both, LEFT_FOOT[0], 2] += 0.1 * weight
    uneven[both, RIGHT_FOOT[0], 2] -= 0.1 * weight
    found = correct(humanoid, motion, uneven, 30.0, Correction(taken=taken))
    more = (found.force - motion.force)[both][:, LEFT_FOOT, 2].sum(axis=1) / weight
    assert more.mean() > 0.005  # the moments of the whole body leave hardly more
    assert residual(found, weight).mean() < 0.01


def test_of_feet_the_load_is_taken_and_not_how_hard_they_push_against_one_another(walk, both):
    humanoid, weight, motion = walk
    strained = np.array(motion.force)
    both = (strained[:, LEFT_FOOT, 2].sum(axis=1) > 0.1 * weight) & (
        strained[:, RIGHT_FOOT, 2].sum(axis=1) > 0.1 * weight
    )
    strained[:, LEFT_FOOT[0], 0] += 0.15 * weight * both
    strained[:, RIGHT_FOOT[0], 0] -= 0.15 * weight * both
    off = {}
    for taken in ("load", "force"):
        found = correct(humanoid, motion, strained, 30.0, Correction(taken=taken))
        apart = (found.force - motion.force)[:, LEFT_FOOT].sum(axis=1)[both] / weight
        off[taken] = np.sqrt(np.mean(apart[:, 0] ** 2))
    assert off["load"] < 0.5 * off["force"], off


def test_forces_keep_to_their_cones_and_to_what_touches(walk, perturbed):
    humanoid, _, motion = walk
    wild = perturbed.copy()
    wild[:, joint_index("head")] = (0.0, 0.0, 300.0)
    wild[:, LEFT_FOOT[0]] += (400.0, 0.0, 0.0)
    found = correct(humanoid, motion, wild, 30.0)
    others = [k for k in range(24) if k not in (*LEFT_FOOT, *RIGHT_FOOT)]
    np.testing.assert_allclose(found.force[:, others], 0.0, atol=1e-4)
    across = np.linalg.norm(found.force[..., :2], axis=-1)
    assert (across <= 0.8 * found.force[..., 2] + 1e-2).all()


def test_in_the_air_nothing_is_pushed(walk, perturbed):
    humanoid, weight, motion = walk
    above = motion.replace(q=motion.q.at[:, 2].add(0.5))
    found = correct(humanoid, above, perturbed, 30.0, Correction())
    np.testing.assert_allclose(found.force, 0.0, atol=1e-4)
    assert residual(found, weight).mean() > 0.9
