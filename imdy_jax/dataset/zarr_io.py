"""Groups of arrays in Zarr v3, written under a temporary name and renamed; every failure is one clear DatasetError."""

import contextlib
import errno
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.buffer.cpu import Buffer
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec
from zarr.storage import MemoryStore

from imdy_jax.dataset.schema import DatasetError, Field

CHUNK = 300  # frames, ten seconds at 30 Hz
PARTIAL = ".partial"  # folder beside the groups, on the same file system, so that a rename is atomic
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
        partial.mkdir(parents=True)
        try:
            # Zarr composes the group in memory: on a disk it takes several round trips to its own threads per file.
            files: dict[str, Any] = {}
            group = zarr.create_group(MemoryStore(files), zarr_format=3, attributes=attributes)
            for name, array in arrays.items():
                _write_array(group, name, array, fields[name])
            for name, content in files.items():
                (partial / name).parent.mkdir(exist_ok=True)
                (partial / name).write_bytes(content.to_bytes())
            return _rename(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            with contextlib.suppress(OSError):  # another process is still writing
                partial.parent.rmdir()


def read_arrays(path: Path, names: Iterable[str], fields: Mapping[str, Field]) -> dict[str, np.ndarray]:
    """Arrays of a group by name; raises DatasetError where one is unknown, missing or damaged."""
    arrays = {}
    for name in names:
        if name not in fields:
            raise DatasetError(f"{path}: unknown field {name!r}; known fields: {', '.join(fields)}")
        if not exists(path / name):
            raise DatasetError(f"{path / name}: field {name} is missing, expected a Zarr array; record it again")
        try:
            arrays[name] = np.asarray(zarr.open_array(_in_memory(path / name), mode="r")[...])
        except (ValueError, RuntimeError, OSError, KeyError, TypeError) as error:
            raise DatasetError(
                f"{path / name}: field {name} cannot be read ({error}), expected an undamaged Zarr array; remove "
                f"{path} and record it again"
            ) from error
    return arrays


def read_attributes(path: Path, mend: str) -> dict[str, Any]:
    """Attributes of a group; raises DatasetError where there is no such group."""
    file = path / "zarr.json"
    try:
        return json.loads(file.read_text())["attributes"]
    except FileNotFoundError:
        raise DatasetError(f"{file}: not found, expected a Zarr v3 group written by imdy_jax; {mend}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{file}: not the metadata of a Zarr v3 group ({error}); {mend}") from error


def write_attributes(path: Path, attributes: dict[str, Any]) -> None:
    """Make or replace, in one atomic step, a group that holds nothing but attributes."""
    content = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=1)
    with _file_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        partial = path / _partial_name("zarr.json")
        partial.write_text(content)
        partial.replace(path / "zarr.json")


def remove_left_over(root: Path) -> None:
    """Remove the partial groups of processes that are gone."""
    for path in (root / PARTIAL).glob("*"):
        _, host, pid, _ = path.name.rsplit(".", 3)
        abandoned = time.time() - path.stat().st_mtime > _ABANDONED
        if abandoned or (host == _host() and not _alive(int(pid))):
            shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        (root / PARTIAL).rmdir()


def _in_memory(path: Path) -> MemoryStore:
    """What a folder holds, for Zarr to read without going to the disk again."""
    files = (file for file in path.rglob("*") if file.is_file())
    return MemoryStore({f.relative_to(path).as_posix(): Buffer.from_bytes(f.read_bytes()) for f in files})


def _write_array(group: zarr.Group, name: str, array: np.ndarray, field: Field) -> None:
    timed = field.axes[0] in ("frame", "step")
    group.create_array(
        name,
        data=array,
        chunks=(min(CHUNK, array.shape[0]) if timed else array.shape[0], *array.shape[1:]),
        compressors=[BloscCodec(cname="zstd", clevel=3, shuffle=BloscShuffle.shuffle), Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},  # one file, not a folder per axis
        # A chunk that has gone missing must not read as zeros.
        fill_value=False if field.kind == "flag" else np.nan,
        dimension_names=field.axes,
        attributes={"unit": field.unit, "description": field.meaning},
    )


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
    except OSError as error:
        there = next(parent for parent in path.absolute().parents if parent.exists())
        free = shutil.disk_usage(there).free / 1e6
        raise DatasetError(
            f"{path}: cannot write ({error.strerror or error}; {free:.0f} MB free), expected room for a sequence; free "
            "some space or name another folder, and start again: what was complete is kept"
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
