"""Run folder: what a run was asked to do, what it measured, and the state from which it goes on.

runs/default/imitator/
  config.json      the frozen config that the script was called with
  run.json         schema version, seed, package versions, git commit, machine
  checkpoints/     one folder per step, written by orbax under a temporary name and renamed when complete
  policy/ best/    what acts: the newest, and the best of a policy that was judged on its way
  metrics.jsonl    one line per logged step
  tables/          every printed table as JSON
"""

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import shutil
import subprocess
import threading
import time
import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import jax
import orbax.checkpoint as ocp

SCHEMA_VERSION = 2  # of the run folder; raise it when an older folder can no longer be read
_MEND = "run it again, or copy the folder again"
_REMOVED = ".removed"  # beside the checkpoints, on their file system, so that losing the name is one rename
PACKAGES = ("imdy-jax", "jax", "jaxlib", "flax", "optax", "mujoco", "mujoco-mjx", "orbax-checkpoint", "numpy", "zarr")


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """An open run folder; make one with `create`, read one with `open`."""

    path: Path
    info: dict[str, Any]  # contents of run.json

    @classmethod
    def create(cls, path: str | Path, config: Any, seed: int, resume: bool = False, overwrite: bool = False) -> Self:
        """Start a run, or go on with one.

        Args:
          path: the folder; made if missing.
          config: frozen dataclass, kept as config.json.
          seed: kept in run.json.
          resume: go on with the run that is there; its config must be the same. An empty folder starts afresh.
          overwrite: throw away the checkpoints, policies, metrics and tables that are there.

        Raises:
          ValueError: the folder holds a run and neither flag is given, or the config to resume differs.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path}: found a file, expected a folder to write; name another")
        started = (path / "run.json").exists()
        if started and resume:
            run = cls.open(path)
            _check_same_config(path / "config.json", config)
            return run
        if started and not overwrite:
            raise ValueError(f"{path}: holds a run already; pass --resume, --overwrite, or name another folder")
        (path / "run.json").unlink(missing_ok=True)  # first: half thrown away, it is no run any more
        for name in ("checkpoints", "policy", "best", "tables"):
            shutil.rmtree(path / name, ignore_errors=True)
        (path / "metrics.jsonl").unlink(missing_ok=True)
        write_json(path / "config.json", to_json(config))
        write_json(path / "run.json", {"schema_version": SCHEMA_VERSION, "seed": seed, **provenance()})
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """A run that is there; raises ValueError if there is none or its schema is another version's."""
        path = Path(path)
        if not (path / "run.json").exists():
            raise ValueError(f"{path}: no run.json here; expected a folder that a script of experiments/ has written")
        info = read_json(path / "run.json")
        if info.get("schema_version") != SCHEMA_VERSION:
            found = info.get("schema_version")
            raise ValueError(f"{path / 'run.json'}: schema_version is {found}, expected {SCHEMA_VERSION}; run it again")
        return cls(path, info)

    def config(self, config_type: type) -> Any:
        """The run's config as an instance of config_type."""
        path = self.path / "config.json"
        return from_json(config_type, read_json(path), path)

    def check_finite(self, row: dict[str, float], step: int) -> None:
        """Raise FloatingPointError that names the metrics of a step which are not finite, if there are any."""
        broken = sorted(name for name, value in row.items() if not math.isfinite(value))
        if broken:
            raise FloatingPointError(
                f"{self.path}: step {step} produced values that are not finite in {', '.join(broken)}; start again "
                "with --overwrite and a smaller learning rate"
            )


class Checkpoints:
    """Checkpoints of one run: a pytree of arrays and a small JSON-able metadata dict per step.

    A checkpoint gets its name only once complete, and loses it before it is removed, so what a killed process leaves
    half-written or half-removed is never restored.
    """

    def __init__(self, folder: str | Path, keep: int = 3):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False, todelete_subdir=_REMOVED
        )
        self.folder = Path(folder).absolute()
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint; None where there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, metadata: dict[str, Any] | None = None) -> None:
        """Write the checkpoint of a step; a step that exists already is replaced."""
        self._clear()
        if step in self._manager.all_steps():
            self._manager.delete(step)
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), metadata=ocp.args.JsonSave(metadata or {}))
        self._manager.save(step, args=args, force=True)
        self._clear()

    def forget(self, step: int) -> None:
        """Remove the checkpoints of a step and of all later ones."""
        self._clear()
        for later in [kept for kept in self._manager.all_steps() if kept >= step]:
            self._manager.delete(later)
        self._clear()

    def metadata(self, step: int | None = None) -> dict[str, Any]:
        """Metadata of a step (default: the newest) alone; raises ValueError where there is none."""
        return self._restore(self._known(step), metadata=ocp.args.JsonRestore()).metadata

    def restore(self, template: Any, step: int | None = None) -> tuple[Any, dict[str, Any]]:
        """State and metadata of a step (default: the newest), with the structure, shapes and dtypes of template."""
        given = {"state": ocp.args.StandardRestore(template), "metadata": ocp.args.JsonRestore()}
        restored = self._restore(self._known(step), **given)
        return restored.state, restored.metadata

    def close(self) -> None:
        self._manager.close()

    def _restore(self, step: int, **items: Any) -> Any:
        """Items of a step; raises ValueError where it is damaged, or of another config."""
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:  # orbax raises bare ones, too, where a file is cut short
            told = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"{self.folder / str(step)}: cannot be restored, expected a whole checkpoint of the config beside it; "
                f"copy it again, or remove it and go on from an earlier one ({told:.200})"
            ) from error

    def _clear(self) -> None:
        """Free what removed checkpoints have taken; of several processes the first alone does."""
        if leading():
            shutil.rmtree(self.folder / _REMOVED, ignore_errors=True)

    def _known(self, step: int | None) -> int:
        """That step, or by default the newest; raises ValueError where there is none."""
        step = self.latest_step() if step is None else step
        if step is None or step not in self._manager.all_steps():
            known = sorted(self._manager.all_steps())
            raise ValueError(f"{self.folder}: no checkpoint of step {step}, found steps {known}; train first")
        return step


class MetricLog:
    """Append-only JSON lines, each with a "step". Opened at a step, it drops the later lines and a torn last one.

    Of several processes (jax.distributed) the first alone writes, here and in write_json.
    """

    def __init__(self, path: str | Path, resume_step: int | None = None):
        self.path = Path(path)
        kept = [row for row in read_metrics(self.path) if resume_step is not None and row["step"] <= resume_step]
        _replace(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = (self.path if leading() else Path(os.devnull)).open("a")

    def append(self, step: int, **metrics: Any) -> None:
        """Write one line; array scalars become numbers."""
        self._file.write(json.dumps({"step": int(step), **{k: _plain(v) for k, v in metrics.items()}}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a metric log, without a last line torn by a crash; a missing file has none."""
    text = Path(path).read_text() if Path(path).exists() else ""
    complete = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in complete.splitlines()]


def leading() -> bool:
    """Whether this process writes and talks: of several that compute together (jax.distributed) the first alone."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def enable_compilation_cache() -> Path:
    """Keep compiled programs between runs: in JAX_COMPILATION_CACHE_DIR, or else in the user's cache folder."""
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or user_cache / "imdy_jax" / "xla")
    folder.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return folder


class _CompilingClock(threading.local):
    """When this thread has traced, lowered, compiled or fetched programs, as JAX tells it."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []

    def __call__(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            begun, end = time.monotonic() - duration_secs, time.monotonic()
            while self.spans and self.spans[-1][0] > begun - 1e-3:  # what this one was made of has been told
                self.spans.pop()
            self.spans.append((begun, end))


_clock = _CompilingClock()
jax.monitoring.register_event_duration_secs_listener(_clock)


def compiling_seconds() -> float:
    """Seconds of wall clock that this thread has spent on making or fetching compiled programs so far."""
    return sum(end - begun for begun, end in _clock.spans)


def provenance() -> dict[str, Any]:
    """Package versions, git commit of the checkout ("-dirty" if changed, None outside one) and the machine."""
    return {"versions": dict(_versions()), "git_commit": _git_commit(), "machine": machine()}


def machine() -> str:
    """Processor, cores and accelerator in one line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = {d.device_kind for d in jax.devices() if d.platform != "cpu"}
    parts = [f"{cores} cores of {names[0] if names else platform.processor() or platform.machine()}", *sorted(devices)]
    return ", ".join([*parts, f"{platform.system()}, Python {platform.python_version()}"])


def to_json(value: Any) -> Any:
    """Dataclasses, tuples and paths as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    return str(value) if isinstance(value, Path) else _plain(value)


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
    _replace(Path(path), json.dumps(value, indent=2) + "\n")


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


def check_writable(path: str | Path) -> None:
    """Raises OSError where nothing can be written under this name: better before a long job than after it."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder, expected the name of a file; name one in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(f"{path}: {path.parent} is no folder, expected one; name another file") from error
    trial = path.with_name(f".{path.name}.{os.getpid()}")
    trial.touch()
    trial.unlink()


def _replace(path: Path, text: str) -> None:
    if leading():
        with replacing(path) as partial:
            partial.write_text(text)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _check_same_config(path: Path, config: Any) -> None:
    kept, wanted = read_json(path), to_json(config)
    if kept != wanted:  # what an older version did not know yet has its default
        kept = to_json(from_json(type(config), kept, path))
    differing = [k for k in sorted(kept.keys() | wanted.keys()) if kept.get(k) != wanted.get(k)]
    if differing:
        changes = "; ".join(f"{k} was {kept.get(k)}, is {wanted.get(k)}" for k in differing)
        raise ValueError(f"{path}: cannot resume with another config ({changes}); use the same, or another folder")


def _versions() -> Iterator[tuple[str, str]]:
    yield "python", platform.python_version()
    for name in PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield name, "not installed"


def _git_commit() -> str | None:
    checkout = Path(__file__).parents[1]
    if not (checkout / ".git").exists():  # an installed copy may lie inside someone else's checkout
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
