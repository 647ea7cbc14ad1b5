"""What is written comes back to the bit, half a sequence never shows, and damage is told by file and field."""

import contextlib
import dataclasses
import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
import recorded_falls
import zarr

import imdy_jax
from imdy_jax.body.markers import MARKER_NAMES
from imdy_jax.dataset.certify import certify_dataset
from imdy_jax.dataset.checks import CHECKS
from imdy_jax.dataset.record import sequence_arrays, subject_arrays
from imdy_jax.dataset.schema import SCHEMA_VERSION, SEQUENCE_FIELDS, SUBJECT_FIELDS, DatasetError
from imdy_jax.dataset.store import (
    create_dataset,
    has_sequence,
    open_dataset,
    read_fields,
    read_record,
    read_records,
    sequence_attributes,
    sequence_ids,
    write_record,
)
from imdy_jax.dataset.zarr_io import PARTIAL, make_partial
from imdy_jax.skeleton import JOINT_NAMES


def variant(record, seed):
    """The same sequence under another name."""
    return record.replace(provenance=dataclasses.replace(record.provenance, seed=seed))


@pytest.fixture(scope="module")
def made():
    return recorded_falls.records()[1]


@pytest.fixture(scope="module")
def pristine(made, tmp_path_factory):
    dataset = create_dataset(tmp_path_factory.mktemp("store") / "dataset.zarr")
    assert [write_record(dataset, record) for record in made] == [True, True]
    return dataset


@pytest.fixture
def dataset(pristine, tmp_path):
    """A copy to damage."""
    shutil.copytree(pristine.path, tmp_path / "dataset.zarr")
    return open_dataset(tmp_path / "dataset.zarr")


def test_a_record_comes_back_to_the_bit(pristine, made):
    assert sequence_ids(pristine) == sorted(record.id for record in made)
    for record in made:
        again = read_record(pristine, record.id)
        for name, array in {**sequence_arrays(record), **subject_arrays(record.subject)}.items():
            kept = {**sequence_arrays(again), **subject_arrays(again.subject)}[name]
            assert kept.dtype == array.dtype, name
            np.testing.assert_array_equal(kept, array, err_msg=name)
        assert (again.source, again.provenance) == (record.source, record.provenance)
        assert (again.success, again.position_error) == (record.success, record.position_error)
        assert jax.tree.structure(again) == jax.tree.structure(record)


def test_plain_zarr_reads_it_and_the_metadata_explain_it(pristine, made):
    root = zarr.open_group(pristine.path, mode="r")
    with warnings.catch_warnings(action="error"):  # nothing lies about that is not Zarr's
        assert sorted(root["sequences"].keys()) == sequence_ids(pristine)
        assert sorted(name for name, _ in root.members()) == ["certificates", "sequences", "subjects"]
    assert tuple(root.attrs["joint_names"]) == JOINT_NAMES
    assert tuple(root.attrs["marker_names"]) == MARKER_NAMES
    assert set(root.attrs["sequence_fields"]) == set(SEQUENCE_FIELDS)
    sequence = root["sequences"][made[0].id]
    torque = sequence["torque"]
    assert torque.metadata.dimension_names == ("step", "substep", "joint", "xyz")
    assert torque.attrs["unit"] == "N·m"
    np.testing.assert_array_equal(torque[...], made[0].torque)
    assert sequence.attrs["clip"]["digest"] == "c0ffee" * 10
    assert sequence.attrs["control_rate"] == pytest.approx(30)
    assert sequence.attrs["software"]["mujoco"] == "3.17.0"
    subject = root["subjects"][sequence.attrs["subject"]]
    assert subject["mass"][...].sum() == pytest.approx(71.8)
    assert set(subject.keys()) == set(SUBJECT_FIELDS)


def test_it_is_compressed(pristine, made):
    files = pristine.sequence(made[0].id).rglob("*")
    size = sum(file.stat().st_size for file in files if file.is_file())
    assert size < 0.75 * sum(array.nbytes for array in sequence_arrays(made[0]).values())


def test_a_sequence_is_never_written_twice(dataset, made):
    before = (dataset.sequence(made[0].id) / "zarr.json").stat().st_mtime_ns
    assert not write_record(dataset, made[0])
    assert len(sequence_ids(dataset)) == 2
    assert (dataset.sequence(made[0].id) / "zarr.json").stat().st_mtime_ns == before


def test_what_remains_of_a_damaged_sequence_is_replaced(dataset, made):
    (dataset.sequence(made[0].id) / "zarr.json").unlink()
    assert sequence_ids(dataset) == [made[1].id]
    assert write_record(dataset, made[0])
    assert read_record(dataset, made[0].id).id == made[0].id


def test_some_fields_are_read_alone(pristine, made):
    fields = read_fields(pristine, made[1].id, ("markers", "contact_force"))
    assert set(fields) == {"markers", "contact_force"}
    np.testing.assert_array_equal(fields["markers"], made[1].markers)
    with pytest.raises(DatasetError, match="unknown field 'marker'; known fields: q, v, betas"):
        read_fields(pristine, made[1].id, ("marker",))


WRITER = """
import dataclasses, pickle, sys
from imdy_jax.dataset.store import create_dataset, write_record
path, records = sys.argv[1:]
dataset = create_dataset(path)
with open(records, "rb") as file:
    for record in pickle.load(file):
        write_record(dataset, record)
"""


def _stop_within_a_sequence(writer, path):
    while True:
        assert writer.poll() is None, "the writer was done too early"
        if len(list((path / "sequences").glob("*-*"))) >= 3 and list(path.glob(".partial/*")):
            writer.send_signal(signal.SIGSTOP)
            if list(path.glob(".partial/*")):
                return
            writer.send_signal(signal.SIGCONT)
        time.sleep(0.001)


def test_many_may_write_while_the_folder_of_what_is_being_written_comes_and_goes(tmp_path):
    folder, busy = tmp_path / PARTIAL, threading.Event()

    def remove():
        while not busy.is_set():
            with contextlib.suppress(OSError):
                folder.rmdir()

    remover = threading.Thread(target=remove)
    remover.start()
    for n in range(500):
        make_partial(folder / str(n))
        assert [part.name for part in folder.iterdir()] == [str(n)]
        (folder / str(n)).rmdir()
    busy.set()
    remover.join()


def test_a_killed_writer_leaves_whole_sequences_and_goes_on(tmp_path, made):
    path, queue, count = tmp_path / "dataset.zarr", tmp_path / "records.pkl", 40
    variants = [variant(made[0], seed) for seed in range(count)]
    queue.write_bytes(pickle.dumps(variants))
    environment = os.environ | {"PYTHONPATH": str(Path(imdy_jax.__file__).parents[1])}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path, queue], env=environment)
    _stop_within_a_sequence(writer, path)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert list(path.glob(".partial/*"))

    dataset = create_dataset(path)
    assert not list(path.glob(".partial*"))
    there = sequence_ids(dataset)
    assert 3 <= len(there) < count
    assert [record.id for record in read_records(dataset)] == there
    assert sum(write_record(dataset, record) for record in variants) == count - len(there)
    assert sequence_ids(dataset) == sorted(record.id for record in variants)


def test_a_full_disk_is_told_and_leaves_what_was_complete(dataset, made):
    third = variant(made[0], 7)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # no file may grow beyond 100 kB
    try:
        with pytest.raises(DatasetError, match=r"cannot write \(File too large; \d+ MB free\).*free some space"):
            write_record(dataset, third)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(sequence_ids(dataset)) == 2
    assert not list(dataset.path.glob(".partial*"))
    assert write_record(dataset, third)
    assert has_sequence(dataset, third.id)


def damaged(dataset, name, harm):
    harm(dataset.sequence(name))
    with pytest.raises(DatasetError) as caught:
        read_record(dataset, name)
    return str(caught.value)


def flip(path):
    chunk = path / "wrench" / "c.0.0.0.0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)


def edit(path, name, change):
    array = zarr.open_array(path / name, mode="r+")
    values = array[...]
    change(values)
    array[...] = values


def attribute(path, name, value):
    content = json.loads((path / "zarr.json").read_text())
    content["attributes"][name] = value
    (path / "zarr.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: shutil.rmtree(p / "torque"), "torque: field torque is missing, expected a Zarr array; "),
        (flip, "wrench: field wrench cannot be read"),
        (lambda p: (p / "markers" / "c.0.0.0").unlink(), "field markers cannot be read .*chunk.*missing"),
        (lambda p: (p / "converged" / "c.0.0").unlink(), "does not match the digest"),
        (lambda p: edit(p, "q", lambda q: q.__setitem__((3, 4), np.inf)), "field q .* at frame 3, coordinate 4"),
        (lambda p: edit(p, "v", lambda v: v.__setitem__((3, 4), 1.0)), "does not match the digest written with it"),
        (lambda p: zarr.open_array(p / "q", mode="r+").resize((60, 99)), "field q has shape|field v has shape"),
        (lambda p: attribute(p, "success", False), "does not match the digest"),
        (lambda p: attribute(p, "seed", 99), "does not match the digest"),
        (lambda p: attribute(p, "subject", "0123"), "subjects/0123/zarr.json: not found"),
        (lambda p: (p / "zarr.json").write_text("{"), "zarr.json: not the metadata of a Zarr v3 group"),
    ],
)  # fmt: skip
def test_damage_is_named(dataset, made, harm, message):
    found = damaged(dataset, made[0].id, harm)
    assert made[0].id in found or "subjects" in found
    assert re.search(message, found), found


def test_an_altered_subject_is_named(dataset, made):
    edit(dataset.subject(made[0].subject.digest), "mass", lambda m: m.__setitem__(4, m[4] * 1.01))
    with pytest.raises(DatasetError, match=r"subject's digest is .* a value was altered"):
        read_record(dataset, made[0].id)


def test_batch_jobs_skip_and_report(dataset, made):
    flip(dataset.sequence(made[0].id))
    errors = []
    assert [r.id for r in read_records(dataset, on_error=errors.append)] == [made[1].id]
    assert len(errors) == 1
    with pytest.raises(DatasetError, match="field wrench cannot be read"):
        list(read_records(dataset))


def test_other_schemas_and_missing_datasets_are_named(dataset, tmp_path):
    with pytest.raises(DatasetError, match=r"zarr.json: not found.* or name another folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="not found"):
        sequence_attributes(dataset, "no such sequence")
    attribute(dataset.path, "schema_version", 0)
    with pytest.raises(DatasetError, match=f"schema_version is 0, expected {SCHEMA_VERSION}; record the dataset again"):
        open_dataset(dataset.path)


def test_the_documented_schema_is_the_one_that_is_written_and_the_example_runs(pristine, made, capsys):
    page = Path(imdy_jax.__file__).parents[1] / "docs" / "dataset.md"
    if not page.exists():
        pytest.skip("the documentation is not part of an installed package")
    text = page.read_text()
    sections = [part.partition("\n## ")[0] for part in re.split(r"## Arrays of a \w+", text)[1:]]
    for section, fields in zip(sections, (SEQUENCE_FIELDS, SUBJECT_FIELDS), strict=True):
        rows = {line.split("`")[1]: line for line in section.splitlines() if line.startswith("| `")}
        assert set(rows) == set(fields)
        for name, field in fields.items():
            assert field.unit in rows[name]
    assert set(made[0].attributes) | {"digest"} <= set(re.findall(r"`(\w+)`", text))
    assert all(name in text or f"`_{name.split('_')[1]}`" in text for name in CHECKS)

    certify_dataset(pristine)
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    exec(example.replace("runs/demo-procedural/dataset/dataset.zarr", str(pristine.path)))
    assert sorted(line.split()[0] for line in capsys.readouterr().out.splitlines()) == sequence_ids(pristine)
