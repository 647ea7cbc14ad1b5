"""Statistics of a dataset against what was put into it."""

import numpy as np
import pytest
import recorded_falls

from imdy_jax.dataset.statistics import (
    JITTER,
    gait_table,
    jitter_power,
    jitter_size,
    people_table,
    statistics,
    stride_peaks,
    torque_table,
)
from imdy_jax.dataset.store import create_dataset, read_record, write_record
from imdy_jax.skeleton import GROUPS, LEFT_FOOT, RIGHT_FOOT, joint_index
from imdy_jax.view.plots import distributions


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    dataset = create_dataset(tmp_path_factory.mktemp("statistics") / "dataset.zarr")
    for record in recorded_falls.records()[1]:
        write_record(dataset, record)
    return dataset


@pytest.fixture(scope="module")
def names(dataset):
    return [record.id for record in recorded_falls.records()[1]]


def test_they_are_those_of_the_arrays(dataset, names):
    found = statistics(dataset, names)
    records = [read_record(dataset, name) for name in names]
    assert found.seconds == pytest.approx(sum(record.duration for record in records))
    assert found.subjects == len({record.subject.digest for record in records})
    sizes = [
        np.linalg.norm(record.torque, axis=-1).reshape(-1, 23) / np.sum(record.subject.humanoid.mass)
        for record in records
    ]
    together = np.concatenate(sizes)
    for group in dict.fromkeys(GROUPS[1:]):
        of_group = together[:, np.array(GROUPS[1:]) == group]
        assert found.peak[group] == pytest.approx(of_group.max())
        assert found.rms[group] == pytest.approx(np.sqrt(np.mean(of_group**2)))
        assert 0.0 < found.jitter[group] < 1.0
    unit, edges, count = found.counted["joint torque"]
    assert (unit, count.sum()) == ("N·m/kg", together.size)
    median = np.median(together)
    below = count[edges[1:] <= median].sum() / count.sum()
    assert below == pytest.approx(0.5, abs=0.08)
    assert found.counted["contact force"].count[1:].sum() > 0  # somebody touched the floor


def test_the_size_of_jitter_is_the_rms_of_what_is_above_its_frequency():
    rate, time = 120.0, np.arange(1200) / 120.0
    torque = np.zeros((1200, 4, 3))
    torque[:, 0, 1] = 5.0 + 3.0 * np.sin(2 * np.pi * 2.0 * time)
    torque[:, 1, 2] = 0.8 * np.sin(2 * np.pi * 30.0 * time)
    assert jitter_size(torque, rate) == pytest.approx(0.8 / np.sqrt(2.0) / np.sqrt(4.0), rel=0.01)
    assert jitter_size(torque[:40], rate) == pytest.approx(0.8 / np.sqrt(2.0) / np.sqrt(4.0), rel=0.1)
    assert jitter_size(torque[:, :1], rate) < 1e-3


def test_jitter_is_the_power_above_its_frequency():
    rate, time = 120.0, np.arange(1200) / 120.0
    slow, fast = 3.0 * np.sin(2 * np.pi * 2.0 * time), 1.0 * np.sin(2 * np.pi * (JITTER + 11.0) * time)
    torque = np.stack([slow, slow + fast, fast], axis=1)[:, :, None] * np.array([1.0, 0.0, 0.0])
    whole, above = jitter_power(torque, rate)
    np.testing.assert_allclose(above / whole, [0.0, 0.1, 1.0], atol=0.01)


def test_peaks_are_those_of_whole_strides_with_the_signs_of_gait_analysis():
    mass, frames = 50.0, np.arange(100)
    torque, force = np.zeros((100, 23, 3)), np.zeros((100, 24, 3))
    for foot, phase in ((LEFT_FOOT, 0), (RIGHT_FOOT, 10)):  # landings every 20 frames
        force[:, foot[0], 2] = np.where((frames + phase) % 20 < 12, mass * 9.81, 0.0)
    landings = {"left": 20, "right": 10}
    for side, first in landings.items():
        torque[first + 25, joint_index(f"{side}_ankle") - 1, 0] = 80.0  # plantar flexion is positive
        torque[first + 25, joint_index(f"{side}_knee") - 1, 0] = -30.0  # extension is negative
        torque[first + 25, joint_index(f"{side}_hip") - 1, 0] = -40.0  # flexion is negative
        torque[first - 5, joint_index(f"{side}_ankle") - 1, 0] = 500.0  # before the first landing: no whole stride
    peaks = stride_peaks(torque, force, mass)
    assert sorted(peaks["ankle plantar flexion"]) == [0.0] * 5 + [1.6] * 2
    assert max(peaks["knee extension"]) == 0.6
    assert max(peaks["hip flexion"]) == 0.8
    assert max(peaks["hip extension"]) == 0.0


def test_tables_and_figure(dataset, names, tmp_path):
    found = statistics(dataset, names)
    rows = people_table(found, "ours").rows
    assert rows[-1][:2] == ("ours", found.subjects)
    assert {row[0] for row in torque_table(found).rows} == set(GROUPS[1:])
    gait = gait_table(dataset, names[:1])
    assert [row[1] for row in gait.rows] == ["hip extension", "hip flexion", "knee extension", "ankle plantar flexion"]
    twice = gait_table(dataset, [names[0], names[0]])  # all strides of a gait are one row
    assert twice.rows == tuple((*row[:2], 2 * row[2], row[3]) for row in gait.rows)
    distributions(tmp_path / "picture.png", found.counted)
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_without_a_sequence_there_is_nothing_to_tell(dataset):
    with pytest.raises(ValueError, match=r"no certified sequence.*run generate\.py"):
        statistics(dataset, [])
