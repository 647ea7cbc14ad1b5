"""What a dataset holds, how far it is to be trusted and how fast it was made, as tables."""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from imdy_jax.dataset.certify import Certificate, read_certificate
from imdy_jax.dataset.checks import CHECKS, SCALES, Figure
from imdy_jax.dataset.store import Dataset, known_attributes, sequence_ids, size_on_disk
from imdy_jax.report import Table

_LISTED = 10  # failing sequences named in the notes
_HOUR = 3600.0  # s
_PUBLISHED = 152.3  # h, the motion in ImDy (Liu et al. 2025)
_CORES = (2, 64)


def summarize(dataset: Dataset) -> Table:
    """Sequences, seconds, certified share, residuals, imitation error and size of a dataset."""
    names = sequence_ids(dataset)
    attributes = [found for name in names if (found := known_attributes(dataset, name))]
    certificates = (read_certificate(dataset, name) for name in names)
    # Of a large dataset the figures of every frame are too many to hold.
    known = [dataclasses.replace(c, figures={}) for c in certificates if c is not None]
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
        ("followed to the end", _mean([100.0 * a["success"] for a in attributes]), "% of sequences"),
        ("– in some pass, by some policy", _followed(attributes), "% of the clips as they are played, by subject"),
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
    """Share of the clips, each side and speed for itself, by subject, of which some sequence is whole."""
    whole: dict[tuple[str, str, str], bool] = {}
    for a in attributes:
        motion = a["clip"]["name"], a["clip"]["digest"], a["subject"]
        whole[motion] = whole.get(motion, False) or a["success"]
    return 100.0 * sum(whole.values()) / len(whole) if whole else None


def _clipped_groups(certificates: list[Certificate]) -> list[tuple]:
    """Where the clipped torques are."""
    found = [c.clipped_groups for c in certificates if c.clipped_groups]
    names = found[0] if found else ()
    return [(f"– {name}", _mean([100 * groups[name] for groups in found]), "% of these joints") for name in names]


def residual_table(certificates: Iterable[Certificate]) -> Table:
    """Each check over all sequences: median of the medians, worst of the worst and where."""
    medians: dict[tuple[str, str], list[float]] = {}
    worst: dict[tuple[str, str], tuple[float, str, Figure]] = {}
    for certificate in certificates:
        for name, figure in certificate.figures.items():
            key, height = (certificate.precision, name), float(np.nan_to_num(figure.worst, nan=np.inf))
            medians.setdefault(key, []).append(figure.median)
            if key not in worst or height > worst[key][0]:
                worst[key] = height, certificate.sequence, figure
    rows = []
    for precision, name in sorted(worst, key=lambda key: (key[0], list(CHECKS).index(key[1]))):
        _, sequence, figure = worst[precision, name]
        limit = figure.limit if np.isfinite(figure.limit) else None
        median, scale = float(np.median(medians[precision, name])), SCALES[CHECKS[name].scale]
        where = f"{sequence} frame {figure.worst_frames[0]}"
        rows.append((precision, name, median, figure.worst, limit, scale, where))
    columns = ("precision", "residual", "median", "worst", "limit", "in units of", "worst in")
    return Table("Certificate", columns, tuple(rows), ("What each residual means: docs/dataset.md",))


def speed_table(
    motion: Mapping[str, float], wall: Mapping[str, float], cores: Mapping[str, float], elapsed: float, batches: int,
    minutes: float, substeps: int, memory: int,
) -> Table:  # fmt: skip
    """How fast a dataset was made, and what as much as the published one would take at the same price.

    Args:
      motion: seconds that "loading", "recording" and "certifying" have done.
      wall, cores: seconds of wall clock and of processor time that these, "starting" and "preparing" have taken.
      elapsed: seconds by the clock of all of it, which is less where processes worked side by side.
      batches: that were prepared for all of their passes, but for the first of each process.
      minutes: of motion in a full batch.
      substeps: of the simulation.
      memory: bytes that a process has held at most.
    """
    rows: list[tuple] = []
    for step in ("starting", "loading", "preparing", "recording", "certifying"):
        seconds = {"starting": 0.0, "preparing": 60.0 * minutes * batches}.get(step, motion[step])
        price = cores[step] / seconds if seconds else None  # a process starts once
        rate = motion[step] / wall[step] if motion[step] and wall[step] else None
        hours = [None if price is None else _PUBLISHED * price / count for count in _CORES]
        rows.append((step, motion[step] or None, wall[step], rate, price, *hours))
    prices = [row[4:] for row in rows if row[4] is not None]
    done = motion["recording"]
    rows.append(("together", done, elapsed, done / elapsed, *map(sum, zip(*prices, strict=True))))
    return Table(
        f"Speed at {substeps} substeps",
        ("step", "motion s", "wall clock s", "s of motion per s", "core s per s of motion",
         *(f"h for {_PUBLISHED:g} h on {count} cores" for count in _CORES)),
        tuple(rows),
        ("Starting: what a process does for the first time, compiling or fetching programs that all batches share.",
         "Together: by the clock, starting included; steps of processes side by side add up to more.",
         "Loading: reading motions and fitting them to people. Preparing: seats, engine, programs of other sizes.",
         f"Preparing is priced for full batches of {minutes:g} min, starting not at all.",
         "Recording: simulating, packing and writing to disk. Certifying: reading from disk and checking.",
         "The hours are processor time over cores: batches side by side, none waiting for another.",
         f"Memory of a process: {memory / 1e9:.2g} GB at most."),
    )  # fmt: skip


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
