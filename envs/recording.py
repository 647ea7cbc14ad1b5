"""Recording a dataset batch by batch: whatever is not there yet is played, written and certified."""

import json
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from envs.batches import Batch, GenerateConfig, people_of
from envs.cluster import on_cluster, side_by_side
from envs.imitator import lead, open_imitator
from envs.people import load_people
from envs.search import SearchConfig
from envs.studio import Session, Studio, make_studio
from envs.world import CONTROL_HZ, make_cast
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.dataset.certify import certify_dataset, read_certificate
from imdy_jax.dataset.manifest import entry
from imdy_jax.dataset.record import Record
from imdy_jax.dataset.store import Dataset, has_sequence, known_attributes, open_dataset, write_record
from imdy_jax.files import to_json, write_json
from imdy_jax.motion.load import Rejected
from imdy_jax.report import Progress

_STARTED: set[str] = set()  # steps that this process has done: with the first of each it compiles what all need


@dataclass
class Outcome:
    """What has come of a batch, or of several; JSON values. (Any is Counter, whose type is for integers alone.)"""

    names: list[str] = field(default_factory=list)  # of its sequences that are there
    lost: list[dict[str, Any]] = field(default_factory=list)  # what left nothing to record, as in the manifest
    left_out: dict[str, str] = field(default_factory=dict)  # motions that nobody plays: source, reason
    counts: Any = field(default_factory=Counter)  # clips "sought" and "found" a way through, batches "prepared" later
    motion: Any = field(default_factory=Counter)  # seconds of motion of each step:
    wall: Any = field(default_factory=Counter)  # "starting", "loading", "preparing", "recording", "certifying"
    cores: Any = field(default_factory=Counter)  # the same in seconds of processor time
    elapsed: float = 0.0  # s by the clock, of all together
    memory: int = 0  # bytes that a process has held at most, so far

    def add(self, other: "Outcome") -> None:
        self.names += other.names
        self.lost += other.lost
        self.left_out |= other.left_out
        self.memory = max(self.memory, other.memory)
        for name in ("counts", "motion", "wall", "cores"):
            getattr(self, name).update(getattr(other, name))

    @contextmanager
    def spent(self, step: str) -> Iterator[None]:
        """Count what is done within as spent on a step."""
        begun = time.monotonic(), time.process_time()
        yield
        self.wall[step] += time.monotonic() - begun[0]
        self.cores[step] += time.process_time() - begun[1]


def record(
    batches: Sequence[Batch], folder: Path, cluster: str | None = None, cores: int = 2, processes: int = 1
) -> Outcome:
    """Record all batches, in this process or some more, or in tasks of some cores on a cluster (envs.cluster).

    What has come of each is kept in a file of the folder; a batch is done again where that, or a sequence, is missing.
    What comes back speaks of all; its motion and times are those of the batches done now.
    """
    known = {batch.key: outcome for batch in batches if (outcome := _known(batch, folder))}
    waiting = [batch for batch in batches if batch.key not in known]
    together, seconds, begun = Outcome(), sum(batch.seconds for batch in batches), time.monotonic()
    beside = cluster or (processes > 1 and len(waiting) > 1)
    for outcome in known.values():
        together.add(outcome)
    with Progress(seconds, "imitating", "s of motion", seconds - sum(batch.seconds for batch in waiting)) as progress:
        if cluster:
            done = on_cluster(record_batch, waiting, cluster, cores)
        elif beside:
            done = side_by_side(record_batch, waiting, processes)
        else:
            done = ((batch, record_batch(batch, progress.advance)) for batch in waiting)
        for batch, outcome in done:
            write_json(folder / f"{batch.key}.json", to_json(outcome))
            together.add(outcome)
            if beside:
                progress.advance(batch.seconds)
    together.elapsed = time.monotonic() - begun
    return together


def _known(batch: Batch, folder: Path) -> Outcome | None:
    """What came of a batch before, its motion and times apart; None where it was not done, or a sequence is gone."""
    file = folder / f"{batch.key}.json"
    if not file.exists():
        return None
    kept, dataset = json.loads(file.read_text()), open_dataset(batch.dataset)
    if not all(has_sequence(dataset, name) for name in kept["names"]):
        return None
    return Outcome(kept["names"], kept["lost"], kept["left_out"])


def record_batch(batch: Batch, advance: Callable[[float], None] = lambda seconds: None) -> Outcome:
    """Record and certify what the dataset lacks of a batch; advance is told of the seconds of motion that are done."""
    enable_compilation_cache()
    with jax.enable_x64(not batch.config.single):
        return _record_batch(batch, advance)


def _record_batch(batch: Batch, advance: Callable[[float], None]) -> Outcome:
    dataset, outcome = open_dataset(batch.dataset), Outcome()
    with outcome.spent(step := _step("loading")):
        first, rejected = open_studio(batch)
        outcome.left_out = {item.source: item.reason for item in rejected}
    if first is None:
        return outcome
    outcome.motion[step] += float(np.sum(first.cast.lengths - 1)) / CONTROL_HZ
    _record(dataset, first, batch.config, outcome, advance)
    if batch.search:
        outcome.names += search_lost(dataset, first, batch.config.ways, outcome)
    _certify(dataset, outcome)
    outcome.memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux tells it in kB
    return outcome


def open_studio(batch: Batch) -> tuple[Studio | None, list[Rejected]]:
    """The studio of a batch, None where nothing is left to play, and the motions that are left out."""
    config = batch.config
    imitator, trained = open_imitator(batch.imitator)
    bodies, clips, rejected = load_people(people_of(config, imitator), batch.motions, batch.subjects)
    if not any(clips):
        return None, rejected
    cast = lead(make_cast(bodies, clips, imitator.world.task), imitator, batch.imitator)
    return make_studio(cast, trained, imitator, config.substeps, config.seats), rejected


def _record(
    dataset: Dataset, first: Studio, config: GenerateConfig, outcome: Outcome, advance: Callable[[float], None]
) -> None:
    """Play what is missing of each pass; all passes have the seats of the first."""

    def keep(_: int, record: Record) -> float:
        write_record(dataset, record)
        return record.duration

    session: Session | None = None
    for repetition in range(config.passes):
        studio, rows = first.repeating(repetition, config.remaining)
        missing = [row for row in rows if not has_sequence(dataset, studio.name(row))]
        if there := [row for row in rows if row not in missing]:
            advance(float(np.sum(studio.cast.lengths[there] - 1)) / CONTROL_HZ)
        if missing and session is None:
            step = _step("preparing")
            outcome.counts["prepared"] += step == "preparing"
            with outcome.spent(step):
                session = first.prepare(np.arange(len(first.cast.clips)))
        if missing and session is not None:
            with outcome.spent("recording"):
                played = session.only(studio, np.array(missing)).play(keep, advance)
                outcome.motion["recording"] += sum(played)
        made = {row: has_sequence(dataset, studio.name(row)) for row in rows}
        outcome.names += [studio.name(row) for row in rows if made[row]]
        outcome.lost += [_lost(studio, row) for row in rows if not made[row]]


def search_lost(dataset: Dataset, studio: Studio, config: SearchConfig, outcome: Outcome) -> list[str]:
    """Add what a search finds for the clips that the policy alone has lost; what is there already is not sought.

    Returns the names of what the search has found, now or before.
    """
    searching = studio.searching(config)
    rows = range(len(studio.cast.clips))
    known = [row for row in rows if has_sequence(dataset, searching.name(row))]
    followed = [row for row in rows if known_attributes(dataset, studio.name(row)).get("success")]
    sought = [row for row in rows if row not in {*known, *followed}]
    ways = searching.search(sought, config, lambda row, record: (row, write_record(dataset, record)))
    found = [row for row, _ in ways]
    outcome.counts.update(sought=len(sought), found=len(found))
    return [searching.name(row) for row in (*known, *found)]


def _certify(dataset: Dataset, outcome: Outcome) -> None:
    unchecked = [name for name in outcome.names if read_certificate(dataset, name) is None]
    if unchecked and (step := _step("certifying")) == "starting":
        with outcome.spent(step):
            certify_dataset(dataset, [unchecked.pop()])
    with outcome.spent("certifying"):
        outcome.motion["certifying"] += sum(c.duration for c in certify_dataset(dataset, unchecked))


def _step(name: str) -> str:
    """A step's name, or where this process does it for the first time, and compiles it, "starting"."""
    first = name not in _STARTED
    _STARTED.add(name)
    return "starting" if first else name


def _lost(studio: Studio, row: int) -> dict[str, Any]:
    subject, clip, provenance = studio.identity(row)
    attributes = {**vars(provenance), "clip": {"name": clip.name, "digest": clip.digest}, "subject": subject.digest}
    return entry(studio.name(row), attributes, {"whole": "lost at its first control step: nothing to record"})
