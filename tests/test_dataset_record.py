"""A record says what was simulated, in numbers that independent formulas reproduce, and has a name of its own."""

import dataclasses

import numpy as np
import pytest
import recorded_falls
from scipy.spatial.transform import Rotation

from imdy_jax.dataset.record import make_subject, record_rollout, sequence_id
from imdy_jax.dataset.schema import DatasetError
from imdy_jax.imitation.rollout import Rollout
from imdy_jax.skeleton import PARENTS


@pytest.fixture(scope="module")
def subject():
    return recorded_falls.records()[0][0]


@pytest.fixture(scope="module")
def record():
    return recorded_falls.records()[1][0]


def rollout_of(record, **changes):
    names = [field.name for field in dataclasses.fields(Rollout) if field.name != "reference"]
    arrays = {name: np.array(getattr(record, name)) for name in names} | {"reference": np.zeros((1, 24, 3))} | changes
    return Rollout(**arrays)


def test_angular_momentum_is_the_integral_of_the_torque_over_each_thirtieth_of_a_second(record):
    substeps = [record.torque[:, k].astype(np.longdouble) / 120 for k in range(4)]
    expected = substeps[0] + substeps[1] + substeps[2] + substeps[3]
    assert np.max(np.abs(expected)) > 1.0
    np.testing.assert_allclose(record.angular_momentum, expected.astype(float), rtol=1e-6, atol=1e-9)


def test_mean_contact_force_carries_the_standing_person(record):
    expected = (record.wrench[:, 0] + record.wrench[:, 1] + record.wrench[:, 2] + record.wrench[:, 3])[..., :3] / 4
    np.testing.assert_allclose(record.contact_force, expected, rtol=1e-6, atol=1e-6)
    carried = record.contact_force[10:20].sum(axis=1).mean(axis=0)
    weight = 9.81 * np.sum(record.subject.humanoid.mass)
    assert carried[2] == pytest.approx(weight, rel=0.2)


def test_markers_follow_the_segments_that_own_them(record):
    humanoid, frame = record.subject.humanoid, 60
    turns = Rotation.from_quat(record.q[frame, 3:].reshape(24, 4), scalar_first=True)
    offset, points = np.array(humanoid.offset), np.array(record.subject.marker_rest)
    world, position, rest = [turns[0]], [record.q[frame, :3]], [np.zeros(3)]
    for k, parent in enumerate(PARENTS[1:], start=1):
        world.append(world[parent] * turns[k])
        position.append(position[parent] + world[parent].apply(offset[k]))
        rest.append(rest[parent] + offset[k])
    expected = sum(
        record.subject.marker_skin[:, k, None] * (world[k].apply(points - rest[k]) + position[k]) for k in range(24)
    )
    np.testing.assert_allclose(record.markers[frame], expected, atol=1e-6)
    assert np.ptp(record.markers[:, :, 2]) > 1.0


def test_imitation_error_is_the_mean_distance_of_the_joints_from_the_reference(record):
    assert record.position_error == pytest.approx(1000 * recorded_falls.OFF * 3**0.5, rel=1e-6)
    assert record.success
    assert record.duration == pytest.approx(70 / 30)


def test_an_imitation_that_loses_its_reference_fails(subject, record):
    clip, how = recorded_falls.toy_clip(), recorded_falls.provenance()
    lost = record_rollout(rollout_of(record, reference=np.full((71, 24, 3), 9.0)), subject, clip, how)
    assert not lost.success
    assert lost.position_error > 1000


def test_subject_is_told_whole(subject):
    body = recorded_falls.toy_body(subject.humanoid)
    assert subject.stature == pytest.approx(np.ptp(body.vertices[:, 1]))
    assert (subject.sex, subject.model) == ("neutral", "toy")
    np.testing.assert_array_equal(subject.shape, body.betas)
    assert subject.digest == make_subject(subject.humanoid, body).digest


def test_sequence_id_is_known_beforehand_and_differs_for_whatever_differs(subject, record):
    clip, how = recorded_falls.toy_clip(), recorded_falls.provenance()
    assert record.id == sequence_id(clip, subject, how)
    assert record.id.startswith("stand_and_fall-")
    mass = np.array(subject.humanoid.mass)
    mass[3] *= 1 + 1e-15
    heavier = subject.replace(humanoid=subject.humanoid.replace(mass=mass))
    changed = [
        (recorded_falls.toy_clip(name="other"), subject, how),
        (recorded_falls.toy_clip(digest="other"), subject, how),
        (clip, heavier, how),
        *((clip, subject, recorded_falls.provenance(**{field: value})) for field, value in {
            "policy": "other", "seed": 1, "repetition": 1, "start_frame": 1, "engine": "mjx", "substeps": 2
        }.items()),
    ]  # fmt: skip
    names = {sequence_id(*arguments) for arguments in changed} | {record.id}
    assert len(names) == len(changed) + 1
    newer = dataclasses.replace(how, software=(("python", "9"),))
    assert sequence_id(clip, subject, newer) == record.id


def test_nan_is_named_with_its_place(subject, record):
    torque = np.array(record.torque)
    torque[7, 2, 11, 1] = np.nan
    message = "clip 'stand and fall': field torque holds 1 values that are not finite, the first at step 7, substep 2, "
    with pytest.raises(DatasetError, match=message + "joint 11, xyz 1"):
        record_rollout(rollout_of(record, torque=torque), subject, recorded_falls.toy_clip(),
                       recorded_falls.provenance())  # fmt: skip


@pytest.mark.parametrize(("name", "part"), [("torque", np.s_[:, :, :22]), ("target", np.s_[:-1]), ("v", np.s_[:0])])
def test_wrong_shapes_are_named(subject, record, name, part):
    cut = np.array(getattr(record, name))[part]
    with pytest.raises(DatasetError, match=f"field {name} has shape"):
        record_rollout(rollout_of(record, **{name: cut}), subject, recorded_falls.toy_clip(),
                       recorded_falls.provenance())  # fmt: skip


def test_wrong_types_are_named(subject, record):
    with pytest.raises(DatasetError, match="field converged has type float64, expected bool"):
        record_rollout(rollout_of(record, converged=np.ones((70, 4))), subject, recorded_falls.toy_clip(),
                       recorded_falls.provenance())  # fmt: skip
