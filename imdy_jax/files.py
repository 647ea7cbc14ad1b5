"""Files that are whole or not there, and configs as JSON in them."""

import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax

_MEND = "run it again, or copy the folder again"


def leading() -> bool:
    """Whether this process writes and talks: of several that compute together (jax.distributed) the first alone."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def to_json(value: Any) -> Any:
    """Dataclasses, tuples and paths as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    return str(value) if isinstance(value, Path) else plain(value)


def from_json(kind: Any, value: Any, source: str | Path = "config") -> Any:
    """The inverse of to_json for a type made of dataclasses, tuples, paths and plain values.

    Raises ValueError that names the field of the source which is missing, unknown or of another type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    expect = partial(_expect, source, value)
    if kind is Any:
        return value
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints, fields = typing.get_type_hints(kind), dataclasses.fields(kind)
        expect(isinstance(value, dict), f"an object with {', '.join(hints)}")
        unknown = sorted(set(value) - set(hints))
        if unknown:
            raise ValueError(f"{source}: unknown fields {unknown}, expected some of {sorted(hints)}; {_MEND}")
        blank = dataclasses.MISSING
        missing = [f.name for f in fields if f.name not in value and f.default is blank and f.default_factory is blank]
        expect(not missing, f"{', '.join(missing)}, too")
        given = {name: from_json(hints[name], v, f"{source}: {name}") for name, v in value.items()}
        try:
            return kind(**given)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
    if origin in (typing.Union, types.UnionType):
        options = [a for a in arguments if a is not type(None)]
        if value is None and len(options) < len(arguments):
            return None
        return from_json(options[0], value, source) if len(options) == 1 else value
    if origin is tuple:
        expect(isinstance(value, list | tuple), "a list")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        expect(len(kinds) == len(value), f"{len(kinds)} values")
        return tuple(from_json(k, v, source) for k, v in zip(kinds, value, strict=True))
    if origin is typing.Literal:
        expect(value in arguments, f"one of {', '.join(map(str, arguments))}")
    elif kind is float:
        expect(isinstance(value, float | int) and not isinstance(value, bool), "a number")
    elif kind in (bool, int, str, Path):
        plain = str if kind is Path else kind
        expect(type(value) is plain, {bool: "true or false", int: "a whole number", str: "text"}[plain])
    return Path(value) if kind is Path else value


def _expect(source: str | Path, found: Any, met: bool, expected: str) -> None:
    if not met:
        raise ValueError(f"{source}: found {found!r:.60}, expected {expected}; {_MEND}")


def read_json(path: str | Path, mend: str = _MEND) -> dict[str, Any]:
    """The object in a JSON file; raises ValueError where there is none."""
    path = Path(path)
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path}: not found, expected a file that was written beside the others; {mend}") from None
    except ValueError as error:
        raise ValueError(f"{path}: found no JSON ({error}), expected an object; {mend}") from error
    _expect(path, content, isinstance(content, dict), "an object")
    return content


def check_least(config: Any, where: str, **least: float) -> None:
    """Raise ValueError that names a field of a config which is no finite number, or less than it may be."""
    for name, lowest in least.items():
        value = getattr(config, name)
        if not lowest <= value < math.inf:
            raise ValueError(f"{where}{name} is {value}, expected {lowest:g} or more")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON under a temporary name and rename it, so that a reader never sees half a file."""
    replace_text(Path(path), json.dumps(value, indent=2) + "\n")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary name beside the path, with its suffix; what is written under it takes the path's name once whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_writable(path: str | Path, folder: bool = False) -> None:
    """Raises OSError where no file, or no folder, can be written under this name: better before a long job than after.

    Nothing is made.
    """
    path, kind = Path(path), "folder" if folder else "file"
    if path.exists() and path.is_dir() != folder:
        raise OSError(f"{path}: is a {'file' if folder else 'folder'}, expected the name of a {kind}; name another")
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not there.is_dir() and there != path:
        raise OSError(f"{path}: {there} is a file, expected a folder; name another {kind}")
    if not os.access(there, os.W_OK):
        raise OSError(f"{path}: {there} may not be written to; name another {kind}, or change who may")


def replace_text(path: Path, text: str) -> None:
    """Write a file under a temporary name and rename it; of several processes the first alone does."""
    if leading():
        with replacing(path) as partial:
            partial.write_text(text)


def plain(value: Any) -> Any:
    """Array scalars as numbers."""
    return value.item() if hasattr(value, "item") else value
