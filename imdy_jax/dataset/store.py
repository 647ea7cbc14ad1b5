"""The dataset on disk: Zarr v3, one group per sequence, each written under a temporary name and renamed when complete.

dataset.zarr/
  subjects/<digest>/        rigid bodies and markers of one person
  sequences/<id>/           one sequence; its attributes name the subject, the clip, the policy, seed and versions
  certificates/<id>/        outcome of the physical check, in the attributes
  .partial/                 what is being written
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from imdy_jax.body.markers import MARKER_NAMES
from imdy_jax.dataset.record import Provenance, Record, Source, Subject, sequence_arrays, subject_arrays
from imdy_jax.dataset.schema import (
    SCHEMA_VERSION,
    SEQUENCE_FIELDS,
    SUBJECT_FIELDS,
    DatasetError,
    check_arrays,
)
from imdy_jax.dataset.zarr_io import (
    exists,
    read_arrays,
    read_attributes,
    remove_left_over,
    write_arrays,
    write_attributes,
)
from imdy_jax.humanoid import SOLID_BODY, Humanoid
from imdy_jax.skeleton import JOINT_NAMES, PARENTS


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset that is there and has this version's schema."""

    path: Path

    def sequence(self, name: str) -> Path:
        return self.path / "sequences" / name

    def certificate(self, name: str) -> Path:
        return self.path / "certificates" / name

    def subject(self, digest: str) -> Path:
        return self.path / "subjects" / digest


def open_dataset(path: str | Path) -> Dataset:
    """A dataset to read; raises DatasetError if there is none or its schema is another version's."""
    path = Path(path)
    attributes = read_attributes(path, "record motions into it first, or name another folder")
    found = attributes.get("schema_version")
    if found != SCHEMA_VERSION:
        raise DatasetError(
            f"{path / 'zarr.json'}: schema_version is {found}, expected {SCHEMA_VERSION}; record the dataset again "
            "with this version of the package, or install the version that wrote it"
        )
    return Dataset(path)


def create_dataset(path: str | Path) -> Dataset:
    """A dataset to write: made if missing, otherwise gone on with; what a killed writer left over is removed."""
    path = Path(path)
    if not exists(path):
        for group in ("certificates", "sequences", "subjects"):
            write_attributes(path / group, {})
        write_attributes(path, _manifest())  # last: a folder with a manifest is complete
    dataset = open_dataset(path)
    remove_left_over(path)
    return dataset


def sequence_ids(dataset: Dataset) -> list[str]:
    """Names of the sequences that are there, sorted."""
    return sorted(p.name for p in (dataset.path / "sequences").glob("*") if exists(p))


def has_sequence(dataset: Dataset, name: str) -> bool:
    """Whether a sequence is there already (see record.sequence_id)."""
    return exists(dataset.sequence(name))


def write_record(dataset: Dataset, record: Record) -> bool:
    """Write a record as a whole or not at all; False where its sequence is there already.

    Raises DatasetError where the record is incomplete or not finite, or the disk is full.
    """
    name, arrays = record.id, sequence_arrays(record)
    if has_sequence(dataset, name):
        return False
    subject = subject_arrays(record.subject)
    check_arrays(subject, SUBJECT_FIELDS, f"{name}, subject")
    check_arrays(arrays, SEQUENCE_FIELDS, name)
    attributes = record.attributes | {"digest": record.digest}
    who = {"sex": record.subject.sex, "stature": record.subject.stature, "model": record.subject.model}
    write_arrays(dataset.path, dataset.subject(record.subject.digest), subject, SUBJECT_FIELDS, who)
    return write_arrays(dataset.path, dataset.sequence(name), arrays, SEQUENCE_FIELDS, attributes)


def read_record(dataset: Dataset, name: str, subjects: dict[str, Subject] | None = None) -> Record:
    """One sequence; raises DatasetError where something is missing, damaged, not finite or not as it was written.

    subjects: those read already, by digest; a new one is added, so that many sequences of few subjects read faster.
    """
    path = dataset.sequence(name)
    attributes = sequence_attributes(dataset, name)
    arrays = read_arrays(path, SEQUENCE_FIELDS, SEQUENCE_FIELDS)
    check_arrays(arrays, SEQUENCE_FIELDS, str(path))
    subjects = {} if subjects is None else subjects
    digest = _get(attributes, "subject", path)
    if digest not in subjects:
        subjects[digest] = read_subject(dataset, digest)
    record = Record(
        subject=subjects[digest],
        source=Source(**_get(attributes, "clip", path)),
        provenance=_provenance(attributes, path),
        position_error=_get(attributes, "position_error_mm", path),
        success=_get(attributes, "success", path),
        **arrays,
    )
    found = record.digest
    if record.id != name or found != attributes.get("digest"):
        raise DatasetError(
            f"{path}: the content does not match the digest written with it (found {found[:16]}, expected "
            f"{str(attributes.get('digest'))[:16]}): altered after it was recorded; remove the folder and record again"
        )
    return record


def sequence_attributes(dataset: Dataset, name: str) -> dict[str, Any]:
    """Attributes of one sequence: clip, subject, policy, seed, versions, imitation error and so on."""
    return read_attributes(dataset.sequence(name), "name a sequence that is there (store.sequence_ids)")


def known_attributes(dataset: Dataset, name: str) -> dict[str, Any]:
    """As sequence_attributes, but empty where they cannot be read."""
    try:
        return sequence_attributes(dataset, name)
    except DatasetError:
        return {}


def read_fields(dataset: Dataset, name: str, fields: Iterable[str]) -> dict[str, np.ndarray]:
    """Some arrays of one sequence, unchecked but for their checksums: what training reads of certified sequences."""
    return read_arrays(dataset.sequence(name), fields, SEQUENCE_FIELDS)


def read_records(dataset: Dataset, names: Iterable[str] | None = None,
                 on_error: Callable[[DatasetError], None] | None = None) -> Iterator[Record]:  # fmt: skip
    """Records one by one. A sequence that cannot be read is handed to on_error and skipped, or raises without one."""
    subjects: dict[str, Subject] = {}
    for name in sequence_ids(dataset) if names is None else names:
        try:
            record = read_record(dataset, name, subjects)
        except DatasetError as error:
            if on_error is None:
                raise
            on_error(error)
        else:
            yield record


def read_subject(dataset: Dataset, digest: str) -> Subject:
    """A subject; raises DatasetError where it is missing, damaged or altered."""
    path = dataset.subject(digest)
    attributes = read_attributes(path, "record the sequences of this subject again")
    arrays = read_arrays(path, SUBJECT_FIELDS, SUBJECT_FIELDS)
    check_arrays(arrays, SUBJECT_FIELDS, str(path))
    parts = {field: arrays.pop(field) for field in ("shape", "marker_rest", "marker_skin")}
    who = {key: _get(attributes, key, path) for key in ("sex", "stature", "model")}
    subject = Subject(humanoid=Humanoid(**arrays), **parts, **who)
    if subject.digest != digest:
        raise DatasetError(
            f"{path}: the subject's digest is {subject.digest}, expected {digest}: a value was altered after it was "
            "written; remove the folder and record its sequences again"
        )
    return subject


def size_on_disk(dataset: Dataset) -> int:
    """Bytes of all files of the dataset."""
    return sum(f.stat().st_size for f in dataset.path.rglob("*") if f.is_file())


def _get(attributes: dict[str, Any], key: str, path: Path) -> Any:
    if key not in attributes:
        raise DatasetError(f"{path / 'zarr.json'}: attribute {key} is missing; record the sequence again")
    return attributes[key]


def _provenance(attributes: dict[str, Any], path: Path) -> Provenance:
    names = [field.name for field in dataclasses.fields(Provenance) if field.name != "software"]
    software = tuple(_get(attributes, "software", path).items())
    return Provenance(**{name: _get(attributes, name, path) for name in names}, software=software)


def _manifest() -> dict[str, Any]:
    """Root attributes: the schema, readable without this package."""
    describe = lambda fields: {name: field._asdict() for name, field in fields.items()}  # noqa: E731
    return {
        "format": "imdy_jax dataset of imitated dynamics",
        "schema_version": SCHEMA_VERSION,
        "conventions": "SI units; world z up, right-handed; quaternions w first, body to world; SMPL's joint order and "
        "rest axes; M(q) dv/dt + b(q, v) = [0, torque] + sum of J^T wrench, with v(k+1) = v(k) + timestep dv/dt",
        "joint_names": JOINT_NAMES,
        "joint_parents": PARENTS,
        "marker_names": MARKER_NAMES,
        "solid_segment": SOLID_BODY,
        "sequence_fields": describe(SEQUENCE_FIELDS),
        "subject_fields": describe(SUBJECT_FIELDS),
    }
