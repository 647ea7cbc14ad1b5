"""Groups of arrays in Zarr v3, written under a temporary name and renamed; every failure is one clear DatasetError."""

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore

from imdy_jax.dataset.schema import DatasetError, Field

CHUNK = 300  # frames, ten seconds at 30 Hz
PARTIAL = ".partial"  # folder beside the groups, on the same file system, so that a rename is atomic
_ATTEMPTS = 100  # to make a partial group beside processes that remove the folder of all of them
_ABANDONED = 3600.0  # s after which a partial group of another machine is taken for left over


def exists(path: Path) -> bool:
    """Whether a complete group or array is there."""
    return (path / "zarr.json").exists()


def write_arrays(
    root: Path, path: Path, arrays: Mapping[str, np.ndarray], fields: Mapping[str, Field], attributes: dict[str, Any]
) -> bool:
    """Write a group as a whole or not at all; False where it is there already."""
    if exists(path):
        return False
    partial = root / PARTIAL / _partial_name(path.name)
    with _file_errors(partial):
        make_partial(partial)
        try:
            (partial / "zarr.json").write_text(_group_metadata(attributes))
            files = _all([_create(partial / name, array, fields[name]) for name, array in arrays.items()])
            _all([file.write(array) for file, array in zip(files, arrays.values(), strict=True)])
            return _rename(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            with contextlib.suppress(OSError):  # another process is still writing
                partial.parent.rmdir()


def read_arrays(path: Path, names: Iterable[str], fields: Mapping[str, Field]) -> dict[str, np.ndarray]:
    """Arrays of a group by name; raises DatasetError where one is unknown, missing or damaged."""
    opening = {}
    for name in names:
        if name not in fields:
            raise DatasetError(f"{path}: unknown field {name!r}; known fields: {', '.join(fields)}")
        if not exists(path / name):
            raise DatasetError(f"{path / name}: field {name} is missing, expected a Zarr array; record it again")
        # Flags alone may lack chunks: where all are false there is nothing to store.
        whole = {"fill_missing_data_reads": fields[name].kind == "flag"}
        opening[name] = tensorstore.open(_location(path / name) | whole, open=True, read=True)
    reading = {name: _result(path / name, file).read() for name, file in opening.items()}
    return {name: _result(path / name, array) for name, array in reading.items()}


def read_attributes(path: Path, mend: str) -> dict[str, Any]:
    """Attributes of a group; raises DatasetError where there is no such group."""
    file = path / "zarr.json"
    try:
        attributes = json.loads(file.read_text())["attributes"]
        if not isinstance(attributes, dict):
            raise TypeError(f"attributes are {attributes!r}")
        return attributes
    except FileNotFoundError:
        raise DatasetError(f"{file}: not found, expected a Zarr v3 group written by imdy_jax; {mend}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{file}: not the metadata of a Zarr v3 group ({error}); {mend}") from error


def write_attributes(path: Path, attributes: dict[str, Any]) -> None:
    """Make or replace, in one atomic step, a group that holds nothing but attributes."""
    with _file_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        partial = path / _partial_name("zarr.json")
        partial.write_text(_group_metadata(attributes))
        partial.replace(path / "zarr.json")


def remove_left_over(root: Path) -> None:
    """Remove the partial groups of processes that are gone."""
    for path in [*(root / PARTIAL).glob("*"), *root.glob(f"{PARTIAL}.*")]:
        _, host, pid, _ = path.name.rsplit(".", 3)
        with contextlib.suppress(FileNotFoundError):  # it has just become whole
            abandoned = time.time() - path.stat().st_mtime > _ABANDONED
            if abandoned or (host == _host() and not _alive(int(pid))):
                shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        (root / PARTIAL).rmdir()


def make_partial(partial: Path) -> None:
    """A folder in PARTIAL, which another process may be removing at this moment, since it is done and it was empty."""
    own = partial.parent.with_name(f"{PARTIAL}.{partial.name}")
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):
            partial.mkdir()
            return
        (own / partial.name).mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # another process has made it in the meantime
            own.rename(partial.parent)  # it comes with something in it, so that nobody removes it
            return
        shutil.rmtree(own, ignore_errors=True)
    partial.mkdir()


def _all(futures: list[tensorstore.Future]) -> list[Any]:
    """Every result, or the first error once all have ended: none may still write into a folder that is removed."""
    for future in futures:
        future.exception()
    return [future.result() for future in futures]


def _result(path: Path, future: tensorstore.Future) -> Any:
    """What is awaited of the array at path; raises DatasetError where it is damaged."""
    try:
        return future.result()
    except ValueError as error:
        raise DatasetError(
            f"{path}: field {path.name} cannot be read ({error}), expected an undamaged Zarr array; remove "
            f"{path.parent} and record it again"
        ) from error


def _create(path: Path, array: np.ndarray, field: Field) -> tensorstore.Future:
    timed = field.axes[0] in ("frame", "step")
    kind = "bool" if array.dtype == bool else array.dtype.name
    shuffled = {"cname": "zstd", "clevel": 3, "shuffle": "shuffle", "typesize": array.dtype.itemsize}
    codecs = {"bytes": {"endian": "little"}, "blosc": shuffled, "crc32c": {}}
    metadata = {
        "shape": array.shape,
        "data_type": kind,
        "chunk_grid": _named(
            "regular", chunk_shape=(min(CHUNK, len(array)) if timed else len(array), *array.shape[1:])
        ),
        "chunk_key_encoding": _named("default", separator="."),  # one file, not a folder per axis
        "codecs": [_named(name, **settings) for name, settings in codecs.items()],
        # A chunk that has gone missing must not read as zeros.
        "fill_value": False if field.kind == "flag" else "NaN",
        "dimension_names": field.axes,
        "attributes": {"unit": field.unit, "description": field.meaning},
    }
    return tensorstore.open(_location(path) | {"metadata": metadata}, create=True)


def _location(path: Path) -> dict[str, Any]:
    """The rename makes a sequence whole; that each file has reached the disk before the next is not waited for."""
    return {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/", "file_io_sync": False}}


def _named(name: str, **configuration: Any) -> dict[str, Any]:
    return {"name": name, "configuration": configuration}


def _group_metadata(attributes: dict[str, Any]) -> str:
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=1)


def _rename(partial: Path, path: Path) -> bool:
    path.parent.mkdir(exist_ok=True)
    try:
        partial.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if exists(path):  # another process has just written the same group
            return False
        shutil.rmtree(path)  # what remains of a damaged one
        partial.rename(path)
    return True


@contextlib.contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # the latter from tensorstore, with the system's words in it
        there = next(parent for parent in path.absolute().parents if parent.exists())
        free, number = shutil.disk_usage(there).free / 1e6, re.search(r"os_error_code='(\d+)'", str(error))
        cause = os.strerror(int(number[1])) if number else getattr(error, "strerror", None) or error
        raise DatasetError(
            f"{path}: cannot write ({cause}; {free:.0f} MB free), expected room for a sequence; free some space or "
            "name another folder, and start again: what was complete is kept"
        ) from error


def _host() -> str:
    return socket.gethostname().replace(".", "_")


def _partial_name(name: str) -> str:
    return f"{name}.{_host()}.{os.getpid()}.{secrets.token_hex(4)}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
