"""What may be trained on: every gate by itself, its bound met exactly, and what is said of what is dropped."""

import dataclasses

import jax
import pytest
import recorded_falls

from envs.batches import GenerateConfig
from imdy_jax.dataset.certify import CERTIFICATE_VERSION, Certificate, certified_ids, certify_dataset, read_certificate
from imdy_jax.dataset.gates import Gates, judge, read_gates, set_gates, trainable_ids, verdicts
from imdy_jax.dataset.manifest import gate_table, manifest
from imdy_jax.dataset.schema import DatasetError
from imdy_jax.dataset.store import create_dataset, sequence_ids, write_record
from imdy_jax.dataset.zarr_io import read_attributes, write_attributes

OPEN = Gates(whole=False, shortest=1, clipped=1.0, jitter=100.0)


def certificate(clipped, jitter):
    return Certificate(CERTIFICATE_VERSION, "walk", "", "float64", 1.0, 700.0, 1.7, 0.0, {}, clipped, jitter, {}, ())


@pytest.mark.parametrize(
    ("measured", "gate", "told"),
    [
        ((30, True, 0.25, 0.125), None, ""),  # each bound exactly
        ((30, False, 0.25, 0.125), "whole", "lost after 30 control steps"),
        ((29, True, 0.25, 0.125), "shortest", "29 control steps, expected at least 30"),
        (
            (30, True, 0.26, 0.125),
            "clipped",
            "0.26 of the substeps have a torque beyond its limit, expected at most 0.25",
        ),
        ((30, True, 0.25, 0.126), "jitter", "0.126 N·m/kg of torque above 14 Hz, expected at most 0.125"),
        ((30, True, 0.25, float("nan")), "jitter", "nan N·m/kg"),
    ],
)
def test_each_gate_drops_what_is_beyond_its_bound_and_says_by_how_much(measured, gate, told):
    steps, success, clipped, jitter = measured
    faults = judge(Gates(True, 30, 0.25, 0.125), certificate(clipped, jitter), steps, success)
    assert set(faults) == ({gate} if gate else set())
    assert told in "".join(faults.values())


@pytest.fixture
def dataset(tmp_path):
    """Three falls, of which the first two are certified."""
    with jax.enable_x64(True):
        first, second = recorded_falls.records(frames=30)[1]
        third = first.replace(provenance=dataclasses.replace(first.provenance, seed=5, repetition=2, start_frame=7))
        dataset = create_dataset(tmp_path / "dataset.zarr")
        for record in (first, second, third):
            write_record(dataset, record)
        assert all(c.passed for c in certify_dataset(dataset, [first.id, second.id]))
    return dataset, first.id, second.id, third.id


def test_one_place_decides_and_nothing_is_deleted(dataset):
    dataset, first, second, third = dataset
    assert read_gates(dataset) is None
    assert trainable_ids(dataset) == certified_ids(dataset) == sorted([first, second])  # no gates: the certificate
    set_gates(dataset, OPEN)
    assert read_gates(dataset) == OPEN and trainable_ids(dataset) == sorted([first, second])
    jitter = {name: read_certificate(dataset, name).jitter for name in (first, second)}
    clipped = {name: read_certificate(dataset, name).clipped_substeps for name in (first, second)}
    assert 0 < min(jitter.values()) < max(jitter.values()) < 100 and max(clipped.values()) <= 1
    better = min(jitter, key=jitter.get)
    set_gates(dataset, dataclasses.replace(OPEN, jitter=jitter[better]))
    assert trainable_ids(dataset) == [better]
    set_gates(dataset, dataclasses.replace(OPEN, shortest=31))
    assert trainable_ids(dataset) == []  # they have 30 steps
    assert len(sequence_ids(dataset)) == 3
    assert "not been checked" in verdicts(dataset)[third]["certificate"]


def test_the_manifest_says_what_was_made_from_what_and_what_is_dropped_why(dataset):
    dataset, first, second, third = dataset
    set_gates(dataset, OPEN)
    lost = {"sequence": "hop-1", "kept": False, "faults": {"whole": "lost at its first control step"}, "duration": None}
    made = manifest(dataset, [lost], {"torn.npz": "not an archive"})
    rows = {row["sequence"]: row for row in made["sequences"]}
    assert set(rows) == {first, second, third, "hop-1"}
    assert rows[first]["kept"] and rows[second]["kept"] and not rows[third]["kept"]
    assert (rows[third]["pass"], rows[third]["start_frame"], rows[third]["seed"]) == (2, 7, 5)
    assert (rows[first]["clip"], rows[first]["clip_digest"]) == ("stand and fall", "c0ffee" * 10)
    assert rows[first]["policy"] == "none" and rows[first]["subject"] != rows[second]["subject"]
    assert made["gates"]["jitter"] == 100.0
    assert made["motions_left_out"] == [{"source": "torn.npz", "reason": "not an archive"}]
    table = gate_table(made)
    counts = {row[0]: row[3:] for row in table.rows}
    assert counts["kept"] == (2, pytest.approx(2.0)) and counts["certificate"][0] == counts["whole"][0] == 1
    assert f"dropped: {third}: its present content has not been checked" in table.notes
    assert "dropped: hop-1: lost at its first control step" in table.notes


def test_gates_of_another_version_are_named(dataset):
    path = dataset[0].path
    write_attributes(path, read_attributes(path, "") | {"gates": {"smooth": 1}})
    with pytest.raises(ValueError, match=r"zarr.json: unknown fields \['smooth'\]") as error:
        trainable_ids(dataset[0])
    assert not isinstance(error.value, DatasetError)


def test_bounds_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"gates\.clipped is -1, expected 0 or more"):
        Gates(clipped=-1)
    with pytest.raises(ValueError, match=r"config\.passes is 0, expected more than 0"):
        GenerateConfig(passes=0)
