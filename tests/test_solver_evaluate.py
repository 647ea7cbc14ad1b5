"""The error figures against figures worked out by hand, and the table that they make."""

import numpy as np
import pytest
from swaying_people import DT, FPS, swaying_people

from imdy_jax.metrics import foot_force_error, mean_per_joint_error
from imdy_jax.skeleton import LEFT_FOOT, RIGHT_FOOT
from imdy_jax.solver.data import WindowBatches
from imdy_jax.solver.evaluate import Dynamics, load_predictions, mean_predictions, save_predictions
from imdy_jax.solver.pack import pack
from imdy_jax.solver.scores import bootstrap, joint_errors, score
from imdy_jax.solver.tables import TABLE_2, error_table, group_table, joint_table


def offset(sequence, momentum, force):
    """The truth, with every torque and every force off by these vectors."""
    return Dynamics(sequence.angular_momentum + np.float32(momentum), sequence.contact_force + np.float32(force))


def test_mean_per_joint_error_is_equation_six():
    true, estimated = np.zeros((4, 23, 3)), np.zeros((4, 23, 3))
    estimated[1, 3] = [3.0, 0.0, 4.0]
    estimated[1, 5] = [0.0, 2.0, 0.0]
    np.testing.assert_allclose(mean_per_joint_error(true, estimated, 70.0), [0, 7 / 23 / 70, 0, 0], rtol=1e-6)


def test_a_foot_is_its_ankle_and_its_toes():
    true, estimated = np.zeros((24, 3)), np.zeros((24, 3))
    true[LEFT_FOOT[0], 2], estimated[LEFT_FOOT[1], 2] = 300.0, 300.0  # shared out wrongly, but the sum is right
    estimated[RIGHT_FOOT[0]], estimated[RIGHT_FOOT[1]] = [30.0, 0, 0], [0, 40.0, 0]
    left, right = foot_force_error(true, estimated, 50.0)
    assert float(left) == 0
    assert float(right) == pytest.approx(1.0)


def test_errors_use_each_subject_s_own_mass():
    light, heavy = swaying_people()[:2]
    predictions = {s.name: offset(s, [0.1, 0, 0], [0, 7.0, 0]) for s in (light, heavy)}
    (torque, force, left, right), _, _, steps = score([light, heavy], predictions, window=2)
    per_kg = (1 / light.mass + 1 / heavy.mass) / 2
    assert (torque, force) == pytest.approx((0.1 * per_kg, 7 * per_kg), rel=1e-3)
    assert (left, right) == pytest.approx((14 * per_kg, 14 * per_kg), rel=1e-3)
    assert steps == 2 * (60 - 4)


def test_steps_of_which_a_method_says_nothing_do_not_count():
    a, b = swaying_people()[:2]
    silent = offset(a, [0.1, 0, 0], [0, 0, 0])
    silent.contact_force[30:] = np.nan
    (torque, force, *_), low, _, steps = score([a, b], {a.name: silent}, window=2)
    assert steps == 28
    assert np.isnan(low).all()  # one clip alone
    assert (torque, force) == pytest.approx((0.1 / a.mass, 0), rel=1e-3)


def test_predictions_of_another_dataset_or_length():
    a, b = swaying_people()[:2]
    with pytest.raises(ValueError, match="expected some of clip0-0"):
        score([a], {b.name: offset(b, 0, 0)}, window=2)
    with pytest.raises(ValueError, match="59 steps of sequence clip0-0, expected 60"):
        score([a], {a.name: Dynamics(a.angular_momentum[1:], a.contact_force[1:])}, window=2)


def test_predictions_are_read_as_they_were_written(tmp_path):
    a, b = swaying_people()[:2]
    written = {s.name: Dynamics(s.angular_momentum, s.contact_force) for s in (a, b)}
    save_predictions(tmp_path / "p.npz", written)
    read = load_predictions(tmp_path / "p.npz")
    assert read.keys() == written.keys()
    for name, dynamics in read.items():
        for x, y in zip(dynamics, written[name], strict=True):
            np.testing.assert_array_equal(x, y)
    np.savez(tmp_path / "half.npz", **{"a/angular_momentum": a.angular_momentum})
    with pytest.raises(ValueError, match="found no a/contact_force"):
        load_predictions(tmp_path / "half.npz")


def test_the_mean_is_that_of_the_training_windows_turned_to_face_with_the_person(tmp_path):
    people = swaying_people()
    packed = pack(people, "people", DT, tmp_path)
    batches = WindowBatches(packed, [0, 1], window=2, batch_size=8, seed=0)
    said = mean_predictions(batches, [packed[0], packed[5]], FPS)
    inside = slice(2, -2)
    expected = np.mean([s.angular_momentum[inside] / s.mass for s in people[:2]], axis=(0, 1))
    np.testing.assert_allclose(said[people[5].name].angular_momentum[7], expected * people[5].mass, atol=1e-5)
    vertical = np.mean([s.contact_force[inside, :, 2] / s.mass for s in people[:2]], axis=(0, 1))
    np.testing.assert_allclose(said[people[5].name].contact_force[9, :, 2], vertical * people[5].mass, rtol=1e-4)
    sideways = said[people[0].name].contact_force[:, 7, :2]
    assert np.ptp(np.linalg.norm(sideways, axis=-1)) < 1e-3 < np.ptp(sideways[:, 0])


def test_the_table_puts_the_published_figures_below(tmp_path):
    a, b = swaying_people()[:2]
    methods = [("truth", {s.name: offset(s, 0, 0) for s in (a, b)}), ("off", {a.name: offset(a, 1.0, 1.0)})]
    table = error_table([a, b], methods, window=2)
    assert [row[0] for row in table.rows] == ["truth", "off", *(row[0] for row in TABLE_2)]
    assert table.rows[0][1:5] == (0, 0, 0, 0)
    assert table.rows[-1][1:3] == (0.021, 0.289)
    assert table.title.endswith("2 held-out sequences (clips: 1)")
    assert "1.843" in str(table)


def test_errors_of_a_joint_stay_at_that_joint():
    a = swaying_people()[0]
    said = offset(a, 0, 0)
    said.angular_momentum[:, 3] += np.float32([0.0, 0.2, 0])
    said.contact_force[:, 7] += np.float32([3.0, 0, 4.0])
    found = score([a], {a.name: said}, 2, joint_errors).mean
    assert found[3] == pytest.approx(0.2 / a.mass, rel=1e-3)
    assert found[23 + 7] == pytest.approx(5 / a.mass, rel=1e-3)
    assert np.delete(found, [3, 30]).max() < 1e-6
    rows = joint_table([a], {a.name: said}, 2).rows
    assert rows[0][1] is None and rows[4][1] == pytest.approx(0.2 / a.mass, rel=1e-3)  # joint 4 is row 3 of the torques
    assert rows[7][3] == pytest.approx(5 / a.mass, rel=1e-3)


def test_the_interval_holds_the_mean_as_often_as_it_says_where_steps_of_a_clip_resemble_each_other():
    """Errors of 30 clips whose own means scatter by 1, with 50 steps each: the mean of all is to be found again."""
    rng, found, counts = np.random.default_rng(0), 0, np.full(30, 50)
    for trial in range(200):
        errors = 5 + rng.normal(size=(30, 1)) + 0.1 * rng.normal(size=(30, 50))
        low, high = bootstrap(errors.sum(axis=1, keepdims=True), counts, trial)
        found += int(low[0] < 5 < high[0])
    assert 0.88 < found / 200 < 0.99


def test_groups_are_judged_apart():
    people = swaying_people()
    said = {s.name: offset(s, [0.1 * i, 0, 0], 0) for i, s in enumerate(people[:4])}
    table = group_table("By kind", list(people[:4]), ["b", "a", "b", "a"], said, 2)
    assert [row[0] for row in table.rows] == ["a", "b"]
    assert table.rows[0][1] == pytest.approx((0.1 / people[1].mass + 0.3 / people[3].mass) / 2, rel=1e-3)
    assert table.rows[0][-1] == 2 and "–" in table.rows[0][6]
