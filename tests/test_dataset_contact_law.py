"""Every wrench that the floor can exert through touching solids is let through, and no other kind is."""

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from toy_humanoid import toy_humanoid

from imdy_jax.dataset.contact_law import contact_violations
from imdy_jax.humanoid import SOLID_BODY
from imdy_jax.skeleton import PARENTS

pytestmark = pytest.mark.usefixtures("strict")

LAWS = ("contact_pull", "contact_slip", "contact_lift", "contact_centre", "contact_twist")
FRICTION = 0.8


@pytest.fixture(scope="module")
def person(strict):
    return toy_humanoid()


violations = jax.jit(contact_violations)


def lying(person, rng):
    """A random pose sunk 4 cm into the floor, and by NumPy and SciPy alone: its joints and touching points."""
    turns = [Rotation.from_rotvec(rng.normal(scale=0.4, size=3)) for _ in range(24)]
    turns[0] = Rotation.random(random_state=int(rng.integers(1 << 30)))
    world, joint = [turns[0]], [np.zeros(3)]
    for k, parent in enumerate(PARENTS[1:], start=1):
        world.append(world[parent] * turns[k])
        joint.append(joint[parent] + world[parent].apply(np.array(person.offset[k])))
    ends = [world[k].apply(np.array(person.solid_ends[g])) + joint[k] for g, k in enumerate(SOLID_BODY)]
    ends = np.concatenate(ends)
    radius = np.repeat(np.array(person.solid_radius), 2)
    lift = -0.04 - np.min(ends[:, 2] - radius)
    root = np.array([0.4, -2.0, lift])
    ends, joint = ends + root, np.array(joint) + root
    depth = ends[:, 2] - radius
    points = np.column_stack([ends[:, :2], depth / 2])
    quaternions = np.array([turn.as_quat(scalar_first=True) for turn in turns])
    return np.concatenate([root, quaternions.ravel()]), joint, points, depth <= 0


def push(joint, points, touching, rng):
    """Random forces within the friction cone at the touching points, as wrenches about the joints."""
    wrench = np.zeros((24, 6))
    for g in np.flatnonzero(touching):
        k = SOLID_BODY[g // 2]
        load, angle = rng.exponential(300.0), rng.uniform(0, 2 * np.pi)
        along = FRICTION * load * rng.choice([1.0, rng.uniform()])
        force = np.array([along * np.cos(angle), along * np.sin(angle), load])
        wrench[k] += np.concatenate([force, np.cross(points[g] - joint[k], force)])
    return wrench


def laws(person, q, wrench):
    return {name: np.asarray(value) for name, value in violations(person, q, wrench, FRICTION, 1e-9).items()}


def test_sums_of_forces_in_the_cone_at_touching_points_obey_every_law(person):
    rng = np.random.default_rng(0)
    several = 0
    for _ in range(100):
        q, joint, points, touching = lying(person, rng)
        wrench = push(joint, points, touching, rng)
        several += np.count_nonzero(wrench[:, 2]) > 1
        for name, value in laws(person, q, wrench).items():
            assert np.max(value) < 1e-9, name
    assert several > 50


def spoiled(law, wrench, k, other):
    """The wrench with one law broken by a known amount at segment k, or at one that touches nothing."""
    wrench = wrench.copy()
    if law == "contact_pull":
        wrench[k] *= -1
        return wrench, -wrench[k, 2]
    if law == "contact_slip":
        wrench[k, 0] = 1.5 * FRICTION * wrench[k, 2]
        wrench[k, 1] = 0.0
        return wrench, 0.5 * FRICTION * wrench[k, 2]
    if law == "contact_lift":
        wrench[other, :3] = (0.0, 3.0, 4.0)
        return wrench, 5.0
    wrench[k, {"contact_centre": 3, "contact_twist": 5}[law]] += 3.0 * wrench[k, 2]  # three metres away
    return wrench, wrench[k, 2]


@pytest.mark.parametrize("law", LAWS)
def test_what_breaks_a_law_is_measured(person, law):
    rng = np.random.default_rng(1)
    for _ in range(20):
        q, joint, points, touching = lying(person, rng)
        wrench = push(joint, points, touching, rng)
        k = int(np.argmax(wrench[:, 2]))
        other = next(b for b in range(24) if not np.any(touching[np.repeat(np.array(SOLID_BODY), 2) == b]))
        wrench, least = spoiled(law, wrench, k, other)
        where = other if law == "contact_lift" else k
        found = laws(person, q, wrench)[law]
        if law in ("contact_centre", "contact_twist"):
            assert found[where] > least
        else:
            assert found[where] == pytest.approx(least)
        assert np.count_nonzero(found > 1e-9) == 1


def test_a_moment_where_nothing_touches_is_found(person):
    rng = np.random.default_rng(2)
    q, joint, points, touching = lying(person, rng)
    q[2] += 1.0
    wrench = np.zeros((24, 6))
    wrench[9, 4] = -2.0
    found = laws(person, q, wrench)
    assert found["contact_centre"][9] == pytest.approx(2.0)
    assert np.max(laws(person, q, push(joint, points, touching, rng))["contact_lift"]) > 1.0
