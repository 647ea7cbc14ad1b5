"""What a run shows while it works and when it is done: progress with an estimate of the time left, and tables."""

import dataclasses
import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Self

import tyro
from tqdm import tqdm

from imdy_jax.files import check_writable, leading, read_json, to_json, write_json
from imdy_jax.run import provenance

PLAIN_INTERVAL = 10.0  # s between lines where the output is not a terminal


class Progress:
    """A progress bar on a terminal, plain lines elsewhere; both with the time left. Use as a context manager.

    Of several processes (jax.distributed) the first alone shows it.
    """

    def __init__(self, total: float, label: str, unit: str = "it", initial: float = 0):
        self.total, self.label, self.unit, self.done = total, label, unit, initial
        self._start, self._initial, self._printed = time.monotonic(), initial, 0.0
        self._bar = None
        self._silent = not leading()
        if sys.stderr.isatty() and not self._silent:
            self._bar = tqdm(total=total, desc=label, unit=unit, initial=initial, dynamic_ncols=True)

    def advance(self, amount: float = 1, **values: Any) -> None:
        """Count `amount` more units as done, and show the values beside the bar."""
        self.done += amount
        if self._bar is not None:
            self._bar.set_postfix({k: _cell(v) for k, v in values.items()}, refresh=False)
            self._bar.update(amount)
        elif not self._silent and (time.monotonic() - self._printed > PLAIN_INTERVAL or self.done >= self.total):
            self._printed = time.monotonic()
            shown = "".join(f", {k} {_cell(v)}" for k, v in values.items())
            print(f"{self.label}: {self._state()}{shown}", file=sys.stderr, flush=True)

    def _state(self) -> str:
        elapsed = time.monotonic() - self._start
        left = elapsed * max(self.total - self.done, 0.0) / max(self.done - self._initial, 1e-9)
        count = f"{_cell(self.done)}/{_cell(self.total)} {self.unit}"
        return f"{count}, {clock(elapsed)} passed, {clock(left)} left"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with units in its column names; rows hold text, numbers or None (shown as –)."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: row {row} has {len(row)} cells, expected {len(self.columns)}")

    def __str__(self) -> str:
        cells = [[_cell(value) for value in row] for row in self.rows]
        widths = [max(len(line[i]) for line in [self.columns, *cells]) for i in range(len(self.columns))]
        left = [all(isinstance(row[i], str | None) for row in self.rows) for i in range(len(self.columns))]

        def render(line: Any) -> str:
            aligned = (c.ljust(w) if to_left else c.rjust(w) for c, w, to_left in zip(line, widths, left, strict=True))
            return "  ".join(aligned).rstrip()

        rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
        return "\n".join([self.title, rule, render(self.columns), rule, *map(render, cells), rule, *self.notes])

    def write(self, path: str | Path) -> None:
        """Write the table as JSON, with the versions and the machine that made it."""
        content = {**to_json(self), "provenance": provenance()}
        write_json(path, content)


def read_table(path: str | Path) -> Table:
    """A table that `Table.write` has written; raises ValueError where there is none."""
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: no table here; run the script that writes it first")
    content = read_json(path, "run the script that writes it again")
    rows = tuple(tuple(row) for row in content["rows"])
    return Table(content["title"], tuple(content["columns"]), rows, tuple(content["notes"]))


def say(text: str) -> None:
    """Print text at once; of several processes (jax.distributed) the first alone does."""
    if leading():
        print(text, flush=True)


def show(table: Table, path: str | Path) -> None:
    """Print a table and write it as JSON."""
    say(f"\n{table}\n")
    table.write(path)


def command(main: Callable[..., None]) -> None:
    """Run a script's main on the command line; what is wrong with the input is said in one line, exit status 2.

    Its arguments `json`, a file, and `out`, a folder, are where results go: whether they can be written is known before
    the work begins. With IMDY_TRACEBACK set in the environment the whole traceback is shown.
    """

    @wraps(main)
    def checked(**arguments: Any) -> None:
        for name, folder in (("json", False), ("out", True)):
            if arguments.get(name) is not None:
                check_writable(arguments[name], folder)
        main(**arguments)

    try:
        tyro.cli(checked)
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("IMDY_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def clock(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
