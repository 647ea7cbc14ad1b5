"""The manifest of a dataset: what every sequence was made from, and whether it may be trained on, or why not."""

from collections.abc import Iterable, Mapping
from typing import Any

from imdy_jax.dataset.gates import Faults, read_gates, verdicts
from imdy_jax.dataset.store import Dataset, known_attributes
from imdy_jax.files import to_json
from imdy_jax.report import Table

_LISTED = 10  # dropped sequences named in the notes
_GATES = {
    "certificate": "physics",
    "whole": "clip followed to its end",
    "shortest": "control steps",
    "clipped": "share of substeps with a torque beyond its limit",
    "jitter": "N·m/kg of torque above 14 Hz, rms over the joints",
}


def entry(name: str, attributes: Mapping[str, Any], faults: Faults) -> dict[str, Any]:
    """A sequence's row of the manifest from its attributes; None is what they do not tell."""
    clip = attributes.get("clip", {})
    copied = ("subject", "policy", "start_frame", "seed", "particles", "guided", "in_mirror", "duration")
    return {
        "sequence": name,
        "clip": clip.get("name"),
        "clip_digest": clip.get("digest"),
        "pass": attributes.get("repetition"),
        **{key: attributes.get(key) for key in copied},
        "kept": not faults,
        "faults": faults,
    }


def manifest(
    dataset: Dataset, lost: Iterable[dict[str, Any]] = (), left_out: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """JSON values: the dataset's gates, a row for each sequence, and the motions that were never played.

    lost: rows of sequences that left nothing to record. left_out: why, by the motion's source.
    """
    gates = read_gates(dataset)
    rows = [entry(name, known_attributes(dataset, name), faults) for name, faults in verdicts(dataset).items()]
    missing = [{"source": source, "reason": reason} for source, reason in (left_out or {}).items()]
    return {"gates": to_json(gates), "sequences": [*rows, *lost], "motions_left_out": missing}


def gate_table(made: Mapping[str, Any]) -> Table:
    """How many sequences of a manifest each gate drops; one may be dropped by several."""
    gates, sequences = made["gates"] or {}, made["sequences"]
    rows = []
    for gate, meaning in _GATES.items():
        dropped = [s for s in sequences if gate in s["faults"]]
        rows.append((gate, meaning, _word(gates.get(gate)), len(dropped), _seconds(dropped)))
    kept = [s for s in sequences if s["kept"]]
    rows.append(("kept", "may be trained on", None, len(kept), _seconds(kept)))
    named = [f"dropped: {s['sequence']}: {'; '.join(s['faults'].values())}" for s in sequences if not s["kept"]]
    more = [f"dropped: {len(named) - _LISTED} more, all in manifest.json"] if len(named) > _LISTED else []
    return Table("Quality", ("gate", "", "bound", "sequences", "s of motion"), tuple(rows), (*named[:_LISTED], *more))


def _seconds(rows: list[dict[str, Any]]) -> float:
    return float(sum(row["duration"] or 0.0 for row in rows))


def _word(bound: Any) -> Any:
    return ("yes" if bound else "not asked") if isinstance(bound, bool) else bound
