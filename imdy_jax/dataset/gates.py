"""Which sequences may be trained on: those that have their certificate and are as good as the dataset asks (Gates).

Gates are kept in the dataset's own attributes, so that everybody who reads it goes by the same ones. What does not
pass stays where it is, and the manifest (manifest.py) says why.
"""

import dataclasses

from imdy_jax.dataset.certify import Certificate, read_certificate
from imdy_jax.dataset.statistics import JITTER
from imdy_jax.dataset.store import Dataset, known_attributes, sequence_ids
from imdy_jax.dataset.zarr_io import read_attributes, write_attributes
from imdy_jax.files import from_json, to_json


@dataclasses.dataclass(frozen=True)
class Gates:
    """What a certified sequence has to be like; what meets a bound exactly passes."""

    whole: bool = True  # the clip was followed to its end
    shortest: int = 30  # control steps
    clipped: float = 0.05  # share of the substeps in which some joint's torque is beyond its effort limit
    jitter: float = 0.3  # N·m/kg, rms over the joints, of the torques above 14 Hz

    def __post_init__(self) -> None:
        for name in ("shortest", "clipped", "jitter"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"gates.{name} is {getattr(self, name)}, expected 0 or more")


Faults = dict[str, str]  # gate, or "certificate" → what is wrong, in one line; empty: passed


def set_gates(dataset: Dataset, gates: Gates) -> None:
    """From now on these decide, for what is there already too."""
    attributes = read_attributes(dataset.path, "record motions into it first")
    if attributes.get("gates") != to_json(gates):
        write_attributes(dataset.path, attributes | {"gates": to_json(gates)})


def read_gates(dataset: Dataset) -> Gates | None:
    """The gates of a dataset; None where none were set and the certificate alone decides."""
    kept = read_attributes(dataset.path, "record motions into it first").get("gates")
    return None if kept is None else from_json(Gates, kept, dataset.path / "zarr.json")


def verdicts(dataset: Dataset) -> dict[str, Faults]:
    """What keeps each sequence from being trained on, by its name, sorted."""
    gates = read_gates(dataset)
    return {name: _faults(dataset, name, gates) for name in sequence_ids(dataset)}


def trainable_ids(dataset: Dataset) -> list[str]:
    """Names of the sequences that may be trained on, sorted."""
    return [name for name, faults in verdicts(dataset).items() if not faults]


def _faults(dataset: Dataset, name: str, gates: Gates | None) -> Faults:
    certificate, attributes = read_certificate(dataset, name), known_attributes(dataset, name)
    if not attributes:
        return {"certificate": "its metadata cannot be read: remove its folder, and record it again"}
    if certificate is None:
        return {"certificate": "its present content has not been checked"}
    if certificate.faults:
        return {"certificate": certificate.faults[0]}
    return {} if gates is None else judge(gates, certificate, attributes["frames"] - 1, attributes["success"])


def judge(gates: Gates, certificate: Certificate, steps: int, success: bool) -> Faults:
    """What a sequence of so many control steps lacks; success: its clip was followed to its end."""
    faults = {}
    if gates.whole and not success:
        faults["whole"] = f"its clip was lost after {steps} control steps"
    if steps < gates.shortest:
        faults["shortest"] = f"{steps} control steps, expected at least {gates.shortest}"
    for gate, found, unit in (
        ("clipped", certificate.clipped_substeps, "of the substeps have a torque beyond its limit"),
        ("jitter", certificate.jitter, f"N·m/kg of torque above {JITTER:g} Hz"),
    ):
        most = getattr(gates, gate)
        if not found <= most:  # NaN too
            faults[gate] = f"{found:.3g} {unit}, expected at most {most:g}"
    return faults
