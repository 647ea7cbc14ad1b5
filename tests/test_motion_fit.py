"""A clip on a person: positions against an independent implementation, the floor, the stride."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.body.person import skin_points
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.fit import align_floor, fit, recentre
from imdy_jax.motion.posing import (
    centre_of_mass,
    from_rotation_vectors,
    lowest_height,
    pose,
    surface_points,
    to_quaternions,
    vertices_below,
)
from imdy_jax.rotation import UPRIGHT
from imdy_jax.skeleton import PARENTS


@pytest.fixture(scope="module")
def body():
    return anthropometric_body("male", 1.8, 80.0)


def _tumbling(frames: int = 40) -> Clip:
    poses = np.random.default_rng(0).normal(scale=0.3, size=(1, 24, 3)) * np.linspace(1.0, 1.5, frames)[:, None, None]
    path = np.stack([np.linspace(2, 3, frames), np.zeros(frames), np.linspace(0.5, 1.5, frames)], axis=1)
    return Clip(from_rotation_vectors(poses), path, 30.0, "tumble", "made", "0" * 64)


def test_positions_agree_with_a_plain_walk_up_the_tree(body):
    clip, joints = _tumbling(3), np.asarray(body.joints, float)
    posed = pose(clip, body)
    for t in range(3):
        for k in (5, 15, 23):
            point, j = np.zeros(3), k
            while j >= 0:
                point = Rotation.from_quat(clip.rotations[t, j], scalar_first=True).apply(point)
                point += joints[j] - (joints[PARENTS[j]] if j else 0.0)
                j = PARENTS[j]
            np.testing.assert_allclose(posed.p_world[t, k], point + clip.translation[t], atol=1e-9)


def test_surface_and_centre_of_mass_agree_with_the_body(body):
    posed = pose(_tumbling(2), body)
    R_world = to_quaternions(posed.R_world)
    chosen = np.arange(0, len(body.vertices), 97)
    skin = skin_points(body.vertices, body.skin, body.joints, R_world[1].astype("f4"), posed.p_world[1].astype("f4"))
    np.testing.assert_allclose(surface_points(posed, body, chosen)[1], np.asarray(skin)[chosen], atol=1e-5)
    assert lowest_height(posed, body)[1] == pytest.approx(float(skin[:, 2].min()), abs=1e-5)
    np.testing.assert_array_equal(vertices_below(posed, body, np.inf), np.arange(len(body.vertices)))
    centres = [R @ c + p for R, c, p in zip(posed.R_world[1], np.asarray(body.com), posed.p_world[1], strict=True)]
    mean = np.average(centres, axis=0, weights=np.asarray(body.mass))
    np.testing.assert_allclose(centre_of_mass(posed, body)[1], mean, atol=1e-6)


def test_the_lowest_point_touches_the_floor(body):
    aligned = align_floor(_tumbling(), body)
    assert lowest_height(pose(aligned, body), body).min() == pytest.approx(0.0, abs=0.04)
    still = _tumbling().replace(
        translation=np.tile([0.0, 0.0, 5.0], (40, 1)), rotations=_tumbling().rotations[:1].repeat(40, 0)
    )
    assert lowest_height(pose(align_floor(still, body), body), body) == pytest.approx(np.zeros(40), abs=1e-6)


def test_a_glitch_of_two_frames_does_not_lift_the_clip(body):
    upright = np.tile([*UPRIGHT], (30, 1))[:, None]
    standing = Clip(
        np.concatenate([upright, np.tile([1.0, 0, 0, 0], (30, 23, 1))], axis=1),
        np.zeros((30, 3)),
        30.0,
        "stand",
        "made",
        "",
    )
    glitch = np.zeros((30, 3))
    glitch[12:14, 2] = -0.8
    lowest = lowest_height(pose(align_floor(standing.replace(translation=glitch), body), body), body)
    assert lowest[0] == pytest.approx(0.0, abs=1e-6)
    assert lowest[12] == pytest.approx(-0.8, abs=1e-6)


def test_fitting_scales_the_stride_and_starts_at_the_origin(body):
    clip = _tumbling().replace(leg_length=0.7)
    fitted = fit(clip, body)
    scale = float(body.leg_length) / 0.7
    np.testing.assert_allclose(
        np.diff(fitted.translation, axis=0), scale * np.diff(clip.translation, axis=0), atol=1e-9
    )
    np.testing.assert_allclose(fitted.translation[0, :2], 0.0, atol=1e-12)
    np.testing.assert_allclose(fit(fitted, body).translation, fitted.translation, atol=1e-9)
    np.testing.assert_array_equal(recentre(clip).translation[:, 2], clip.translation[:, 2])
