"""Segment inertias from a mesh: against solids of revolution, and the laws that hold for any body."""

from collections.abc import Callable

import numpy as np
import pytest
from makehuman import makehuman_fields
from scipy.integrate import quad
from scipy.spatial.transform import Rotation
from smpl_format import ellipsoid, small_fields

from imdy_jax.body.inertia import DENSITY, SegmentInertia, segment_inertia

CHAIN = (-1, 0, 1)  # three segments in a row along x
JOINTS = np.array([[-0.55, 0.0, 0.0], [-0.25, 0.0, 0.0], [0.2, 0.0, 0.0]])
CUTS = (-0.25, 0.2)
RADIUS, HALF_LENGTH = 0.08, 0.6  # m


def _capsule(x: np.ndarray) -> np.ndarray:
    beyond = np.clip(np.abs(x) - (HALF_LENGTH - RADIUS), 0.0, RADIUS)
    return np.sqrt(RADIUS**2 - beyond**2)


def _spindle(x: np.ndarray) -> np.ndarray:
    return RADIUS * np.sqrt(np.clip(1.0 - (x / HALF_LENGTH) ** 2, 0.0, 1.0))


def _mesh(radius: Callable) -> tuple[np.ndarray, np.ndarray]:
    """Closed surface of revolution about x."""
    sphere, faces = ellipsoid(rings=200, sectors=48)
    x = HALF_LENGTH * sphere[:, 2]
    around = sphere[:, :2] / np.maximum(np.linalg.norm(sphere[:, :2], axis=1, keepdims=True), 1e-12)
    return np.column_stack([x, radius(x)[:, None] * around]), faces


def _chain_weights(x: np.ndarray, blend: float) -> np.ndarray:
    """Skinning weights that pass from one segment to the next within ± blend of each cut."""
    beyond = [np.ones_like(x)] + [np.clip((x - cut) / (2 * blend) + 0.5, 0.0, 1.0) for cut in CUTS]
    return np.stack([beyond[0] - beyond[1], beyond[1] - beyond[2], beyond[2]], axis=1)


def _slices(radius: Callable, low: float, high: float) -> tuple[float, float, float, float]:
    """Mass, centre, and moments of inertia along and across the axis, of the part low ≤ x ≤ high, by discs."""
    integral = lambda f: quad(f, low, high, epsabs=1e-12, points=(-0.52, 0.52), limit=200)[0]  # noqa: E731
    area = lambda x: DENSITY * np.pi * radius(np.array(x)) ** 2  # noqa: E731
    mass = integral(area)
    centre = integral(lambda x: area(x) * x) / mass
    along = integral(lambda x: area(x) * radius(np.array(x)) ** 2 / 2)
    across = along / 2 + integral(lambda x: area(x) * (x - centre) ** 2)
    return mass, centre, along, across


@pytest.mark.parametrize("blend", [1e-4, 0.03])
@pytest.mark.parametrize("radius", [_capsule, _spindle])
def test_chain_of_solids_of_revolution(radius: Callable, blend: float) -> None:
    vertices, faces = _mesh(radius)
    found = segment_inertia(vertices, faces, _chain_weights(vertices[:, 0], blend), JOINTS, parents=CHAIN)
    bounds = (-HALF_LENGTH, *CUTS, HALF_LENGTH)
    for k in range(3):
        mass, centre, along, across = _slices(radius, bounds[k], bounds[k + 1])
        np.testing.assert_allclose(found.mass[k], mass, rtol=0.02)
        np.testing.assert_allclose(found.com[k] + JOINTS[k], [centre, 0, 0], atol=0.004)
        np.testing.assert_allclose(found.inertia[k], np.diag([along, across, across]), rtol=0.02, atol=1e-9)


def test_segments_that_are_closed_solids_have_their_own_inertia() -> None:
    sphere, faces = ellipsoid(rings=60, sectors=60)
    axes = np.array([[0.1, 0.2, 0.3], [0.05, 0.05, 0.2], [0.1, 0.04, 0.08]])
    turn = Rotation.random(3, rng=np.random.default_rng(1)).as_matrix()
    centres = np.array([[0.0, 0.0, 0.0], [0.5, 0.1, 0.0], [0.3, -0.4, 0.6]])
    vertices = np.concatenate([c + (sphere * a) @ R.T for c, a, R in zip(centres, axes, turn, strict=True)])
    every = np.concatenate([faces + k * len(sphere) for k in range(3)])
    skin = np.repeat(np.eye(3), len(sphere), axis=0)
    joints = centres + 0.1
    found = segment_inertia(vertices, every, skin, joints, parents=CHAIN)
    for k in range(3):
        mass = DENSITY * 4 / 3 * np.pi * np.prod(axes[k])
        second = mass / 5 * turn[k] @ np.diag(axes[k] ** 2) @ turn[k].T
        np.testing.assert_allclose(found.mass[k], mass, rtol=0.01)
        np.testing.assert_allclose(found.com[k], -0.1, atol=1e-12)
        np.testing.assert_allclose(found.inertia[k], np.trace(second) * np.eye(3) - second, rtol=0.02, atol=1e-4 * mass)


def _about_origin(found: SegmentInertia, joints: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Mass, first moment and inertia about the world origin of all segments together."""
    centre = found.com + joints
    steiner = [m * (c @ c * np.eye(3) - np.outer(c, c)) for m, c in zip(found.mass, centre, strict=True)]
    return found.mass.sum(), found.mass @ centre, np.sum(found.inertia + steiner, axis=0)


def _assert_whole(vertices: np.ndarray, faces: np.ndarray, skin: np.ndarray, joints: np.ndarray) -> None:
    parts = segment_inertia(vertices, faces, skin, joints)
    far = np.array([[2.0, -3.0, 1.0]])  # the apex of the whole does not matter
    whole = segment_inertia(vertices, faces, np.ones((len(vertices), 1)), far, parents=(-1,))
    for part, total in zip(_about_origin(parts, joints), _about_origin(whole, far), strict=True):
        np.testing.assert_allclose(part, total, rtol=1e-10, atol=1e-10)


def _assert_physical(found: SegmentInertia) -> None:
    principal = np.linalg.eigvalsh(found.inertia)
    assert np.all(principal[:, 0] > 0)
    assert np.all(principal[:, 0] + principal[:, 1] > principal[:, 2])


def test_segments_add_up_to_the_whole() -> None:
    fields = small_fields()
    rest = fields["J_regressor"] @ fields["v_template"]
    _assert_whole(fields["v_template"], fields["f"], fields["weights"], rest)


def test_realistic_bodies_are_physical_and_add_up(shared_data) -> None:
    fields = makehuman_fields(shared_data / "bodies" / "makehuman_cc0")
    rng = np.random.default_rng(0)
    for betas in [np.zeros(10), *rng.uniform(-1.5, 1.5, (3, 10))]:
        vertices = fields["v_template"] + fields["shapedirs"] @ betas
        joints = fields["J_regressor"] @ vertices
        found = segment_inertia(vertices, fields["f"], fields["weights"], joints)
        _assert_physical(found)
        _assert_whole(vertices, fields["f"], fields["weights"], joints)
    found = segment_inertia(
        fields["v_template"], fields["f"], fields["weights"], fields["J_regressor"] @ fields["v_template"]
    )
    # Thigh and shank of young men, share of body mass (de Leva 1996): the cut at the hip is SMPL's, not hers.
    share = found.mass / found.mass.sum()
    assert 0.09 < share[1] < 0.16
    assert 0.038 < share[4] < 0.055
    np.testing.assert_allclose(found.mass[[1, 4, 16, 18]], found.mass[[2, 5, 17, 19]], rtol=0.02)


def test_turned_and_shifted_body_has_turned_inertia() -> None:
    vertices, faces = _mesh(_capsule)
    skin = _chain_weights(vertices[:, 0], 0.05)
    R, shift = Rotation.from_rotvec([0.4, -1.0, 0.7]).as_matrix(), np.array([0.3, 5.0, -1.0])
    before = segment_inertia(vertices, faces, skin, JOINTS, mass=10.0, parents=CHAIN)
    after = segment_inertia(vertices @ R.T + shift, faces, skin, JOINTS @ R.T + shift, mass=10.0, parents=CHAIN)
    np.testing.assert_allclose(after.mass, before.mass, rtol=1e-10)
    np.testing.assert_allclose(after.com, before.com @ R.T, atol=1e-11)
    np.testing.assert_allclose(after.inertia, R @ before.inertia @ R.T, atol=1e-10)
    assert before.mass.sum() == pytest.approx(10.0, rel=1e-12)


def test_open_inverted_and_empty_solids_are_refused() -> None:
    vertices, faces = _mesh(_capsule)
    skin = _chain_weights(vertices[:, 0], 0.05)
    with pytest.raises(ValueError, match="open or inconsistently oriented at 3 edges"):
        segment_inertia(vertices, faces[1:], skin, JOINTS, parents=CHAIN)
    with pytest.raises(ValueError, match="counter-clockwise"):
        segment_inertia(vertices, faces[:, ::-1], skin, JOINTS, parents=CHAIN)
    with pytest.raises(ValueError, match="segment 2 is no solid"):
        segment_inertia(vertices, faces, skin @ np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0]]), JOINTS, parents=CHAIN)
