"""OpenSim's tables over time: `.mot` and `.sto` (coordinates, forces), `.trc` (markers)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imdy_jax.biomechanics.opensim_xml import OpenSimFileError
from imdy_jax.files import replacing

LENGTH_UNITS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}


@dataclass(frozen=True)
class Storage:
    """Columns over time, in the file's own units."""

    name: str
    time: np.ndarray  # (T,) s
    columns: tuple[str, ...]  # without the time
    values: np.ndarray  # (T, len(columns))
    in_degrees: bool = False  # angles in degrees, and not in radians
    source: str = ""  # the file it was read from

    def __getitem__(self, column: str) -> np.ndarray:
        """The column (T,) of that name; raises OpenSimFileError that lists the columns where there is none."""
        if column not in self.columns:
            raise OpenSimFileError(
                self.source or self.name, "columns", f"no {column!r}", f"one of {', '.join(self.columns)}", "name one"
            )
        return self.values[:, self.columns.index(column)]

    @property
    def rate(self) -> float:
        """Mean rows per second."""
        return float((len(self.time) - 1) / (self.time[-1] - self.time[0]))


@dataclass(frozen=True)
class Markers:
    """Trajectories of markers."""

    time: np.ndarray  # (T,) s
    names: tuple[str, ...]
    positions: np.ndarray  # (T, M, 3) m, the laboratory's axes; NaN where a marker was not seen
    rate: float  # Hz


def read_storage(path: str | Path) -> Storage:
    """Read a `.mot` or `.sto` file of header version 1 or 3, or of SIMM.

    Angles are in degrees where the header says so (`inDegrees=yes`, or SIMM's `Angles are in degrees.`). Columns of a
    states file, as /jointset/hip_r/hip_flexion_r/value, keep their path. Raises OpenSimFileError for a file without
    header or time, with rows of unequal length, with something else than numbers, or with time that does not ascend.
    """
    path = Path(path)
    lines = _lines(path)
    end = next((i for i, line in enumerate(lines) if line.strip().lower() == "endheader"), None)
    if end is None:
        raise OpenSimFileError(path, "header", "no line `endheader`", "a header that ends so", "export the file again")
    header = _header(lines[:end])
    if header.get("datatype", "double").lower() != "double":
        raise OpenSimFileError(path, "DataType", header["datatype"], "double", "export one number per column")
    body = [line for line in lines[end + 1 :] if line.strip()]
    labels = tuple(_cells(body[0])) if body else ()
    if not labels or labels[0].lower() != "time":
        raise OpenSimFileError(path, "labels", repr(labels[:1]), "time in the first column", "export the file again")
    table = _table(path, [line.split() for line in body[1:]], len(labels))
    for key, found in (("nrows", len(table)), ("datarows", len(table)), ("ncolumns", len(labels))):
        if header.get(key, str(found)) != str(found):
            raise OpenSimFileError(
                path, key, f"{found} in the table", f"{header[key]} as in the header", "export again"
            )
    _check_time(path, table[:, 0])
    degrees = header.get("indegrees", "").lower() in ("yes", "true", "1") or "angles are in degrees." in header
    name = lines[0].strip() if end and "=" not in lines[0] else path.stem
    return Storage(name, table[:, 0], labels[1:], table[:, 1:], degrees, str(path))


def write_storage(path: str | Path, storage: Storage) -> None:
    """Write a `.sto` or `.mot` file that OpenSim reads, every number to its last digit."""
    header = [
        storage.name, "version=1", f"nRows={len(storage.time)}", f"nColumns={len(storage.columns) + 1}",
        f"inDegrees={'yes' if storage.in_degrees else 'no'}", "endheader", "\t".join(("time", *storage.columns)),
    ]  # fmt: skip
    rows = np.concatenate([storage.time[:, None], storage.values], axis=1)
    with replacing(path) as partial:
        partial.write_text("\n".join([*header, *("\t".join(map(repr, row)) for row in rows.tolist())]) + "\n")


def read_markers(path: str | Path) -> Markers:
    """Read a `.trc` file, in metres whatever its unit.

    Raises OpenSimFileError for a file that is not one, for an unknown unit, and for rows of the wrong length.
    """
    path = Path(path)
    lines = _lines(path)
    if len(lines) < 6 or not lines[0].startswith("PathFileType"):
        raise OpenSimFileError(path, "header", repr(lines[0][:40]) if lines else "nothing", "PathFileType", "export it")
    keys, values = (lines[i].strip().split("\t") for i in (1, 2))
    header = dict(zip(keys, values, strict=False))
    unit = header.get("Units", "")
    if unit not in LENGTH_UNITS:
        raise OpenSimFileError(path, "Units", repr(unit), f"one of {', '.join(LENGTH_UNITS)}", "correct the header")
    names = tuple(cell.strip() for cell in lines[3].split("\t")[2:] if cell.strip())
    width = 2 + 3 * len(names)
    rows = [line.rstrip("\n").split("\t") for line in lines[5:] if line.strip()]
    cells = [[cell.strip() or "nan" for cell in row[:width]] + ["nan"] * (width - len(row)) for row in rows]
    table = _table(path, cells, width)
    _check_time(path, table[:, 1])
    positions = table[:, 2:].reshape(len(table), len(names), 3) * LENGTH_UNITS[unit]
    return Markers(table[:, 1], names, positions, _rate(path, header.get("DataRate", "nan")))


def _rate(path: Path, told: str) -> float:
    try:
        return float(told)
    except ValueError:
        raise OpenSimFileError(path, "DataRate", repr(told), "frames per second", "correct the header") from None


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise OpenSimFileError(path, "file", "nothing", "a readable file", "check the path")
    return path.read_text(errors="replace").splitlines()


def _header(lines: list[str]) -> dict[str, str]:
    """key=value and SIMM's `key value`, in lower case; other lines whole, as keys."""
    header = {}
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals:
            key, _, value = line.partition(" ") if line.startswith(("datarows", "datacolumns")) else (line, "", "")
        header[key.strip().lower()] = value.strip()
    return header


def _cells(line: str) -> list[str]:
    """Labels may hold blanks where tabs part them."""
    return [cell.strip() for cell in (line.rstrip().split("\t") if "\t" in line.strip() else line.split())]


def _table(path: Path, rows: Sequence[Sequence[str]], width: int) -> np.ndarray:
    if not rows:
        raise OpenSimFileError(path, "rows", "none", "at least one", "export the file again")
    for i, row in enumerate(rows):
        if len(row) != width:
            raise OpenSimFileError(path, f"row {i + 1}", f"{len(row)} numbers", f"{width}", "export the file again")
    try:
        return np.array(rows, dtype=float)
    except ValueError as error:
        raise OpenSimFileError(path, "rows", str(error), "numbers", "export the file again") from error


def _check_time(path: Path, time: np.ndarray) -> None:
    back = np.flatnonzero(np.diff(time) <= 0.0)
    if len(back) or not np.isfinite(time).all():
        where = f"row {back[0] + 2}" if len(back) else "a number that is not finite"
        raise OpenSimFileError(path, "time", f"not ascending at {where}", "ascending times", "cut or sort the rows")
