"""What a dataset holds, how far it is to be trusted and how fast it was made, as tables."""

import numpy as np

from imdy_jax.dataset.certify import Certificate, read_certificate
from imdy_jax.dataset.checks import CHECKS, SCALES
from imdy_jax.dataset.store import Dataset, known_attributes, sequence_ids, size_on_disk
from imdy_jax.report import Table

_LISTED = 10  # failing sequences named in the notes
_HOUR = 3600.0  # s


def summarize(dataset: Dataset) -> Table:
    """Sequences, seconds, certified share, residuals, imitation error and size of a dataset."""
    names = sequence_ids(dataset)
    attributes = [found for name in names if (found := known_attributes(dataset, name))]
    certificates = [read_certificate(dataset, name) for name in names]
    known = [c for c in certificates if c is not None]
    passed = [c for c in known if c.passed]
    seconds = sum(a["duration"] for a in attributes)
    size = size_on_disk(dataset)
    share = lambda part: 100.0 * len(part) / len(names) if names else None  # noqa: E731
    rows = [
        ("sequences", len(names), ""),
        ("unreadable", len(names) - len(attributes), "sequences"),
        ("motion", seconds, "s"),
        ("certified", share(passed), "% of sequences"),
        ("certified motion", sum(c.duration for c in passed), "s"),
        ("failed", len(known) - len(passed), "sequences"),
        ("not checked yet", len(names) - len(known), "sequences"),
        ("followed to the end", _followed(attributes), "% of the clips recorded, by subject"),
        ("imitation error", _mean([a["position_error_mm"] for a in attributes]), "mm, mean over sequences"),
        ("clipped torques", _mean([100 * a["clipped_share"] for a in attributes]), "% of joints and substeps"),
        *_clipped_groups(known),
        ("size", size / 1e6, "MB"),
        ("size per hour", size / 1e6 * _HOUR / seconds if seconds else None, "MB/h of motion"),
    ]
    failing = [f"failed: {c.sequence}: {c.faults[0]}" for c in known if not c.passed]
    more = [f"failed: {len(failing) - _LISTED} more"] if len(failing) > _LISTED else []
    return Table("Dataset", ("", "value", "unit"), tuple(rows), (*failing[:_LISTED], *more))


def _followed(attributes: list[dict]) -> float | None:
    """Share of the clips, by subject, of which some sequence is whole."""
    whole: dict[tuple[str, str], bool] = {}
    for a in attributes:
        motion = a["clip"]["digest"], a["subject"]
        whole[motion] = whole.get(motion, False) or a["success"]
    return 100.0 * sum(whole.values()) / len(whole) if whole else None


def _clipped_groups(certificates: list[Certificate]) -> list[tuple]:
    """Where the clipped torques are."""
    found = [c.clipped_groups for c in certificates if c.clipped_groups]
    names = found[0] if found else ()
    return [(f"– {name}", _mean([100 * groups[name] for groups in found]), "% of these joints") for name in names]


def residual_table(certificates: list[Certificate]) -> Table:
    """Each check over all sequences: median of the medians, worst of the worst and where."""
    rows, judged = [], [c for c in certificates if c.figures]
    for precision in sorted({c.precision for c in judged}):
        of_precision = [c for c in judged if c.precision == precision]
        for name, check in CHECKS.items():
            highest = [np.nan_to_num(c.figures[name].worst, nan=np.inf) for c in of_precision]
            worst = of_precision[int(np.argmax(highest))]
            figure = worst.figures[name]
            median = float(np.median([c.figures[name].median for c in of_precision]))
            limit = figure.limit if np.isfinite(figure.limit) else None
            where = f"{worst.sequence} frame {figure.worst_frames[0]}"
            rows.append((precision, name, median, figure.worst, limit, SCALES[check.scale], where))
    columns = ("precision", "residual", "median", "worst", "limit", "in units of", "worst in")
    return Table("Certificate", columns, tuple(rows), ("What each residual means: docs/dataset.md",))


def speed_table(seconds: list[float], recorded: float, checked: float, substeps: int) -> Table:
    """Seconds of motion per second of wall clock; seconds of compiling and recording, compiling and certifying."""
    compiling, recording, compiling_check, checking = seconds
    rows = (("recording", recorded, compiling, recording), ("certifying", checked, compiling_check, checking))
    return Table(
        f"Speed at {substeps} substeps",
        ("step", "motion s", "compiling s", "wall clock s", "s of motion per s"),
        tuple((name, motion, compiling, wall, motion / wall) for name, motion, compiling, wall in rows),
        ("Recording: simulating, packing and writing to disk. Certifying: reading from disk and checking.",),
    )


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
