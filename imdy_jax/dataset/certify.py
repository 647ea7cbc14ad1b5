"""Certificate: whether a recorded sequence obeys physics, by analytic dynamics that share nothing with the simulator.

What is asked, with which limits, is in checks.py; the laws themselves are in residuals.py and contact_law.py.
"""

import dataclasses
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from imdy_jax.dataset.blocks import map_frames
from imdy_jax.dataset.checks import CHECKS, Figure, excesses, make_figure, scales
from imdy_jax.dataset.record import Record, Subject, body_points, sequence_arrays, subject_arrays, thirty_hertz_view
from imdy_jax.dataset.residuals import ControlStep, World, step_residuals
from imdy_jax.dataset.schema import SEQUENCE_FIELDS, SUBJECT_FIELDS, DatasetError, check_arrays
from imdy_jax.dataset.statistics import jitter_size
from imdy_jax.dataset.store import Dataset, has_sequence, known_attributes, read_record, sequence_ids
from imdy_jax.dataset.zarr_io import exists, read_attributes, write_attributes
from imdy_jax.skeleton import GROUPS

CERTIFICATE_VERSION = 3  # raise it when a check, a limit or a field changes: older certificates are then renewed
_TINY = 1e-30
_GROUPS = {name: np.flatnonzero(np.array(GROUPS[1:]) == name) for name in dict.fromkeys(GROUPS[1:])}


@dataclasses.dataclass(frozen=True)
class Certificate:
    """Outcome for one sequence; passed where there is no fault."""

    version: int
    sequence: str
    digest: str | None  # of the content that was checked
    precision: str  # of the simulation
    duration: float  # s
    weight: float  # N, by which forces are divided
    height: float  # m, by which lengths, and with the weight moments, are divided
    clipped_share: float  # of joints and substeps, net torque beyond the effort limit
    clipped_groups: dict[str, float]  # the same for each group of joints (skeleton.GROUPS)
    clipped_substeps: float  # share of the substeps in which some joint's torque is beyond the limit
    jitter: float  # N·m/kg, rms over the joints, of the torques above statistics.JITTER
    figures: dict[str, Figure]
    faults: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.faults


def certify(record: Record) -> Certificate:
    """Check one sequence against the laws of motion; computes in float64 whatever the record's precision."""
    blank = _blank(record.id, record.digest, record.precision, record.duration)
    try:
        check_arrays(subject_arrays(record.subject), SUBJECT_FIELDS, f"{record.id}, subject")
        check_arrays(sequence_arrays(record), SEQUENCE_FIELDS, record.id)
    except DatasetError as error:
        return dataclasses.replace(blank, faults=(str(error),))
    measures = scales(record.subject)
    residuals = {**_physics(record, measures["length"]), **_views(record, measures["length"])}
    figures = {
        name: make_figure(residuals[name] / measures[check.scale], getattr(check, record.precision))
        for name, check in CHECKS.items()
    }
    return dataclasses.replace(
        blank,
        weight=measures["force"],
        height=measures["length"],
        clipped_share=float(np.mean(record.clipped)),
        clipped_groups={name: float(np.mean(record.clipped[..., joints])) for name, joints in _GROUPS.items()},
        clipped_substeps=float(np.mean(np.any(record.clipped, axis=-1))),
        jitter=_jitter(record),
        figures=figures,
        faults=(*excesses(figures), *_flag_faults(record)),
    )


def certify_dataset(
    dataset: Dataset,
    names: Iterable[str] | None = None,
    renew: bool = False,
    threads: int = 2,
    on_done: Callable[[Certificate], None] | None = None,
) -> list[Certificate]:
    """Check sequences (default: all) and keep their certificates in the dataset.

    Args:
      renew: check those again that have a certificate of their present content.
      threads: sequences checked side by side.
      on_done: called with each certificate in turn, for a progress bar.

    Returns the certificates, old and new; a sequence that cannot be read gets one whose fault says why. Raises
    DatasetError for a name that is not there.
    """
    names = sequence_ids(dataset) if names is None else list(names)
    if unknown := [name for name in names if not has_sequence(dataset, name)]:
        raise DatasetError(
            f"{dataset.path}: no sequence {unknown[0]!r} among {len(sequence_ids(dataset))}; see store.sequence_ids"
        )

    subjects: dict[str, Subject] = {}

    def one(name: str) -> Certificate:
        certificate = None if renew else read_certificate(dataset, name)
        if certificate is None or not certificate.figures:  # what could not be read may have been mended
            certificate = _certify_stored(dataset, name, subjects)
            write_attributes(dataset.certificate(name), _to_attributes(certificate))
        return certificate

    certificates = []
    with ThreadPoolExecutor(threads) as pool:
        for certificate in pool.map(one, names):
            certificates.append(certificate)
            if on_done is not None:
                on_done(certificate)
    return certificates


def read_certificate(dataset: Dataset, name: str) -> Certificate | None:
    """Certificate of a sequence; None where there is none, or one of other content than the sequence has now."""
    path = dataset.certificate(name)
    if not exists(path):
        return None
    try:
        certificate = _from_attributes(read_attributes(path, "certify the dataset again"))
    except (DatasetError, KeyError):  # damaged, or another version's: as good as none
        return None
    present = known_attributes(dataset, name).get("digest")
    current = certificate.version == CERTIFICATE_VERSION and certificate.digest == present
    return certificate if current else None


def certified_ids(dataset: Dataset) -> list[str]:
    """Names of the sequences that may be trained on: those whose present content has passed, sorted."""
    certificates = {name: read_certificate(dataset, name) for name in sequence_ids(dataset)}
    return [name for name, certificate in certificates.items() if certificate is not None and certificate.passed]


def _certify_stored(dataset: Dataset, name: str, subjects: dict[str, Subject]) -> Certificate:
    try:
        return certify(read_record(dataset, name, subjects))
    except DatasetError as error:
        found = known_attributes(dataset, name)
        blank = _blank(name, found.get("digest"), found.get("precision", "unknown"), found.get("duration", 0.0))
        return dataclasses.replace(blank, faults=(str(error),))


def _to_attributes(certificate: Certificate) -> dict[str, Any]:
    """JSON values; what is not a number becomes null."""
    attributes = dataclasses.asdict(certificate) | {"passed": certificate.passed}
    for figure in attributes["figures"].values():
        figure |= {name: None for name in ("median", "p99", "worst", "limit") if not np.isfinite(figure[name])}
    return attributes


def _from_attributes(attributes: dict[str, Any]) -> Certificate:
    kept = {field.name: attributes[field.name] for field in dataclasses.fields(Certificate)}
    kept["faults"] = tuple(kept["faults"])
    kept["figures"] = {
        name: Figure(**{key: np.nan if value is None else value for key, value in figure.items()})
        for name, figure in kept["figures"].items()
    }
    return Certificate(**kept)


def _blank(name: str, digest: str | None, precision: str, duration: float) -> Certificate:
    return Certificate(CERTIFICATE_VERSION, name, digest, precision, duration, 0.0, 0.0, 0.0, {}, 0.0, 0.0, {}, ())


def _jitter(record: Record) -> float:
    torque = np.asarray(record.torque, float) / float(np.sum(record.subject.humanoid.mass, dtype=float))
    return jitter_size(torque.reshape(-1, *torque.shape[2:]), 1.0 / record.provenance.timestep)


def _physics(record: Record, height: float) -> dict[str, np.ndarray]:
    """Residuals of the laws of motion per control step (T,), SI units."""
    provenance = record.provenance
    margin = getattr(CHECKS["continuity_position"], record.precision) * height
    world = World(record.subject.humanoid, *map(np.asarray, (provenance.timestep, provenance.friction, margin)))
    steps = ControlStep(
        q=record.q[:-1],
        v=record.v[:-1],
        target=record.target,
        substep_v=record.substep_v,
        torque=record.torque,
        wrench=record.wrench,
        next_q=record.q[1:],
        next_v=record.v[1:],
    )
    return map_frames(step_residuals, world, steps)


def _views(record: Record, height: float) -> dict[str, np.ndarray]:
    """Deviations of what is derived from what it is derived from, per control step or frame, as shares."""
    momentum, force = thirty_hertz_view(record.torque, record.wrench, record.provenance.timestep)
    most = thirty_hertz_view(np.abs(record.torque), np.abs(record.wrench), record.provenance.timestep)
    _, markers = body_points(record.subject, record.q)
    betas = np.asarray(record.betas) - np.asarray(record.subject.humanoid.betas)
    return {
        "angular_momentum": _largest(np.abs(record.angular_momentum - momentum) / (most[0] + _TINY)),
        "contact_force": _largest(np.abs(record.contact_force - force) / (most[1] + _TINY)),
        "markers": _largest(np.abs(record.markers - markers) / (height + np.abs(markers))),
        "betas": _largest(np.abs(betas)),
    }


def _largest(x: np.ndarray) -> np.ndarray:
    return np.max(x.reshape(len(x), -1), axis=1)


def _flag_faults(record: Record) -> list[str]:
    """Faults of the flags: a constraint solver that did not converge, a clipped mark that the torque contradicts."""
    faults = []
    converged = np.asarray(record.converged)
    if not converged.all():
        first = int(np.argwhere(~converged)[0][0])
        faults.append(
            f"converged is false in {np.sum(~converged)} of {converged.size} substeps, first at frame {first}: the "
            "constraint solver did not meet its tolerance"
        )
    size = np.linalg.norm(record.torque, axis=-1) / np.asarray(record.subject.humanoid.effort)
    wrong = (np.asarray(record.clipped) != (size > 1.0)) & (np.abs(size - 1.0) > 1e-5)
    if wrong.any():
        faults.append(f"clipped contradicts the torque at frame {int(np.argwhere(wrong)[0][0])}")
    return faults
