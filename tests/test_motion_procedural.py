"""The built-in motions obey physics, and the walks agree with the published gait."""

import jax
import numpy as np
import pytest
from scipy.spatial import ConvexHull

from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.dynamics.differentiate import accelerations, velocities
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.humanoid import GRAVITY, from_body
from imdy_jax.motion.check import check_clip
from imdy_jax.motion.clip import generalized_positions
from imdy_jax.motion.posing import centre_of_mass, lowest_height, pose, surface_points, vertices_below
from imdy_jax.motion.procedural import CLIPS, REST, procedural_clip, procedural_clips
from imdy_jax.motion.procedural.gait_norms import FREE, SLOW
from imdy_jax.motion.procedural.hop import hop_times
from imdy_jax.motion.procedural.legs import leg, sagittal_angles, sagittal_ankle, solve_leg
from imdy_jax.skeleton import joint_index

WALKS = {"walk_slow": SLOW, "walk": FREE}
STANDING = [name for name in CLIPS if name not in WALKS]
# Mean and standard deviation, degrees, at 0, 10, ... 90 % of the gait cycle: Schwartz et al. 2008, the rows of their
# tables that the library does not hold.
PUBLISHED = {
    "walk": {
        "hip": [(35.8, 5.5), (32.8, 6.0), (22.5, 6.0), (11.4, 6.0), (1.6, 6.7), (-5.3, 6.8), (-0.9, 6.8), (17.9, 6.2),
                (32.0, 5.5), (36.7, 5.5)],
        "knee": [(5.6, 5.6), (18.6, 6.2), (16.5, 5.9), (10.1, 5.5), (6.2, 5.8), (11.6, 5.7), (33.9, 6.6), (58.2, 5.6),
                 (49.8, 7.8), (18.7, 8.5)],
        "ankle": [(-2.1, 5.6), (-2.1, 4.0), (5.2, 3.8), (8.6, 3.8), (11.1, 4.4), (10.4, 5.6), (-13.8, 9.5),
                  (-11.2, 7.5), (1.1, 4.8), (1.0, 4.4)],
    },
    "walk_slow": {
        "hip": [(32.8, 5.5), (28.3, 6.1), (19.5, 6.0), (11.4, 6.0), (4.5, 6.4), (-1.4, 6.4), (0.5, 6.7), (17.1, 6.6),
                (29.9, 5.8), (34.3, 5.5)],
        "knee": [(4.6, 5.2), (12.4, 7.1), (11.0, 7.3), (8.6, 6.4), (7.5, 6.0), (11.2, 5.8), (28.8, 7.3), (53.9, 6.4),
                 (46.0, 8.8), (16.6, 8.5)],
        "ankle": [(-2.5, 5.5), (-4.0, 4.1), (2.5, 4.4), (7.4, 4.0), (11.8, 3.7), (13.6, 4.1), (-2.3, 8.9), (-8.9, 8.2),
                  (3.2, 4.7), (0.9, 4.7)],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def body():
    return anthropometric_body("male", 1.75, 75.0)


@pytest.fixture(scope="module")
def clips(body):
    return procedural_clips(body)


@pytest.fixture(scope="module")
def ground(body):
    """For a clip: force (T, 3) over body weight and centre of pressure (T, 2) that the ground must supply.

    By the analytic inverse dynamics of the library, which the clips were made without.
    """
    with jax.enable_x64(True):
        humanoid = from_body(jax.tree.map(lambda x: x.astype("f8") if x.dtype == "f4" else x, body))
        residual = jax.jit(jax.vmap(lambda q, v, a: inverse_dynamics(humanoid, q, v, a)[1]))
        weight = float(humanoid.total_mass) * GRAVITY

        def supply(clip):
            q = np.asarray(generalized_positions(clip, body), np.float64)
            states = (q, velocities(q, clip.fps), accelerations(q, clip.fps))
            with jax.enable_x64(True):
                padded = [np.concatenate([x, x[-1:].repeat(256 - len(q), 0)]) for x in states]
                needed = np.asarray(residual(*padded))[: len(q)]
            force = needed[:, :3]
            moment = np.einsum("tij,tj->ti", pose(clip, body).R_world[:, 0], needed[:, 3:])
            with np.errstate(divide="ignore", invalid="ignore"):
                ahead = (moment[:, 0] - q[:, 2] * force[:, 1]) / force[:, 2]
                aside = (-q[:, 2] * force[:, 0] - moment[:, 1]) / force[:, 2]
            return force / weight, q[:, :2] + np.stack([aside, ahead], axis=1)

        yield supply


def _inside(points: np.ndarray, polygon: np.ndarray) -> float:
    """Distance (m) by which a point (2,) is inside the convex hull of a polygon (P, 2); negative outside."""
    equations = ConvexHull(polygon).equations
    return -float(np.max(equations[:, :2] @ points + equations[:, 2]))


def _touching(clip, body) -> list[np.ndarray]:
    """Horizontal positions of the surface points on the floor, per frame."""
    posed = pose(clip, body)
    points = surface_points(posed, body, vertices_below(posed, body, 0.03))
    return [frame[frame[:, 2] < 0.012, :2] for frame in points]


def test_there_are_two_walks_and_ten_more_and_the_same_each_time(body, clips):
    assert set(clips) >= {
        "walk", "walk_slow", "squat", "lunge", "reach", "arm_wave", "side_step", "turn", "sway", "kneel", "heel_raise",
        "hop",
    }  # fmt: skip
    again = procedural_clip("turn", body)
    np.testing.assert_array_equal(again.rotations, clips["turn"].rotations)
    assert again.digest == clips["turn"].digest != procedural_clip("turn", body, 60.0).digest
    assert all(3.0 <= clip.duration <= 8.01 for clip in clips.values())
    with pytest.raises(ValueError, match="found 'moonwalk', expected one of walk_slow"):
        procedural_clip("moonwalk", body)


@pytest.mark.parametrize("name", CLIPS)
def test_a_sound_motion_on_the_floor(name, body, clips):
    clip = clips[name]
    assert check_clip(clip, body) == []
    lowest = lowest_height(pose(clip, body), body)
    assert lowest.min() > -0.005
    if name != "hop":
        assert lowest.max() < 0.002


@pytest.mark.parametrize("name", [name for name in CLIPS if name != "hop"])
def test_the_pressure_stays_under_the_feet(name, body, clips, ground):
    force, pressure = ground(clips[name])
    feet = _touching(clips[name], body)
    margin = np.array([_inside(pressure[t], feet[t]) for t in range(2, len(feet) - 2)])
    assert margin.min() > (0.01 if name in STANDING else -0.02)
    assert np.quantile(margin, 0.05) > (0.015 if name in STANDING else -0.005)
    assert 0.7 < force[2:-2, 2].min() <= force[2:-2, 2].max() < 1.4
    friction = np.linalg.norm(force[2:-2, :2], axis=1) / force[2:-2, 2]
    assert friction.max() < 0.6


@pytest.mark.parametrize("name", STANDING)
def test_it_begins_and_ends_at_rest(name, clips):
    clip = clips[name]
    for part in (clip.rotations, clip.translation):
        assert np.abs(np.diff(part[:3], axis=0)).max() < 2e-3
        assert np.abs(np.diff(part[-3:], axis=0)).max() < 2e-3


@pytest.mark.parametrize("name", [name for name in CLIPS if name != "hop"])
def test_something_resting_on_the_floor_carries_the_weight(name, body, clips):
    posed = pose(clips[name], body)
    points = surface_points(posed, body, vertices_below(posed, body, 0.01))
    speed = np.linalg.norm(np.diff(points[..., :2], axis=0), axis=-1) * clips[name].fps
    touching = np.maximum(points[1:, :, 2], points[:-1, :, 2]) < 0.005
    assert np.where(touching, speed, np.inf).min(axis=1).max() < 0.02


def test_the_hop_falls_freely_and_only_then(body, clips, ground):
    clip = clips["hop"]
    time = np.arange(clip.num_frames) / clip.fps - REST
    leave, land, _ = hop_times()
    height = centre_of_mass(pose(clip, body), body)[:, 2]
    acceleration = np.diff(height, n=2) * clip.fps**2
    flying = (time[:-2] >= leave) & (time[2:] <= land)
    assert flying.sum() >= 5
    np.testing.assert_allclose(acceleration[flying], -GRAVITY, atol=1e-6)
    lowest = lowest_height(pose(clip, body), body)
    assert lowest[(time > leave + 0.05) & (time < land - 0.05)].min() > 0.01
    assert lowest[(time < leave) | (time > land)].max() < 1e-3
    force, pressure = ground(clip)
    feet = _touching(clip, body)
    carried = np.flatnonzero((time < leave - 2 / clip.fps) | (time > land + 2 / clip.fps))[2:-2]
    assert min(_inside(pressure[t], feet[t]) for t in carried) > 0.005
    assert 1.8 < force[:, 2].max() < 2.6


@pytest.mark.parametrize("name", WALKS)
def test_gait_curves_lie_within_a_standard_deviation(name, body):
    """Angles measured from joint positions alone, at the published instants of the third stride."""
    fps, norm = 200.0, WALKS[name]
    clip = procedural_clip(name, body, fps)
    posed = pose(clip, body)
    hip, knee, ankle = (posed.p_world[:, joint_index(f"left_{joint}")] for joint in ("hip", "knee", "ankle"))
    foot = posed.R_world[:, joint_index("left_ankle"), :, 2]
    pitch = lambda x: np.rad2deg(np.arctan2(-x[:, 1], -x[:, 2]))  # noqa: E731 - of a segment that hangs, facing -y
    thigh, shank, sole = pitch(knee - hip), pitch(ankle - knee), np.rad2deg(np.arctan2(foot[:, 2], -foot[:, 1]))
    angles = {"hip": thigh + norm.pelvic_tilt, "knee": thigh - shank, "ankle": sole - shank}
    lead = -(ankle - hip)[:, 1]
    period = _period(lead) / fps
    at = 2 * period + np.arange(10) / 10 * period  # the clip starts at a contact of the left foot
    for joint, table in PUBLISHED[name].items():
        mean, deviation = np.array(table).T
        measured = np.interp(at, np.arange(clip.num_frames) / fps, angles[joint])
        assert np.abs((measured - mean) / deviation).max() < 1.0, joint
        assert np.ptp(measured) > 20.0
    hip_height = float(body.leg_length) + leg(body, "left").ankle_height
    frames = round(2 * period * fps)
    speed = np.linalg.norm((clip.translation[frames] - clip.translation[0])[:2]) / (frames / fps)
    assert speed / np.sqrt(GRAVITY * hip_height) == pytest.approx(norm.speed, rel=0.01)


def _period(signal: np.ndarray) -> float:
    """Period in frames by autocorrelation."""
    centred = signal - signal.mean()
    overlap = np.array([np.mean(centred[lag:] * centred[: len(centred) - lag]) for lag in range(len(centred) // 2)])
    peaks = np.flatnonzero((overlap[1:-1] > overlap[:-2]) & (overlap[1:-1] >= overlap[2:])) + 1
    return float(peaks[0])


def test_the_two_walks_differ_as_published(clips):
    speed = {
        name: np.linalg.norm(np.ptp(clips[name].translation[:, :2], axis=0)) / clips[name].duration for name in WALKS
    }
    assert speed["walk"] > 1.3 * speed["walk_slow"]


@pytest.mark.parametrize(("sex", "stature", "mass"), [("female", 1.5, 48.0), ("male", 2.0, 110.0)])
def test_other_people_can_do_them_too(sex, stature, mass):
    person = anthropometric_body(sex, stature, mass, betas=[1.0, -1.0, 1.0])
    for name in ("walk", "side_step", "kneel", "hop"):
        assert check_clip(procedural_clip(name, person), person) == []


def test_inverse_kinematics_reaches_its_target_with_a_hinge_at_the_knee(body):
    bones, draw = leg(body, "right"), np.random.default_rng(0)
    hip = draw.normal(size=(50, 3))
    direction = draw.normal(size=(50, 3)) * 0.5 + [0.0, -1.0, 0.0]
    ankle = hip + 0.7 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    R_thigh, R_shank = solve_leg(bones, hip, ankle, np.tile([1.0, 0.0, 0.0], (50, 1)))
    np.testing.assert_allclose(hip + R_thigh @ bones.thigh + R_shank @ bones.shank, ankle, atol=1e-9)
    relative = np.swapaxes(R_thigh, 1, 2) @ R_shank
    np.testing.assert_allclose(relative[:, :, 0], np.tile([1.0, 0.0, 0.0], (50, 1)), atol=1e-9)
    assert (relative[:, 2, 1] > 0).all()  # flexion: the shank turns back
    with pytest.raises(ValueError, match="expected at most"):
        solve_leg(bones, hip, hip + [0.0, -2.0, 0.0], np.tile([1.0, 0.0, 0.0], (50, 1)))


def test_leg_angles_and_ankle_positions_are_inverses(body):
    bones = leg(body, "left")
    angles = np.stack([np.linspace(-0.4, 0.6, 9), np.linspace(0.1, 1.2, 9)])
    target = sagittal_ankle(bones, angles, np.full(9, 0.03))
    back, excess = sagittal_angles(bones, target)
    np.testing.assert_allclose(back, angles, atol=1e-9)
    np.testing.assert_array_equal(excess, 0.0)
