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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import jax

from imdy_jax.files import from_json, leading, plain, read_json, replace_text, to_json, write_json

SCHEMA_VERSION = 2  # of the run folder; raise it when an older folder can no longer be read
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


class MetricLog:
    """Append-only JSON lines, each with a "step". Opened at a step, it drops the later lines and a torn last one.

    Of several processes (jax.distributed) the first alone writes, as in files.py.
    """

    def __init__(self, path: str | Path, resume_step: int | None = None):
        self.path = Path(path)
        kept = [row for row in read_metrics(self.path) if resume_step is not None and row["step"] <= resume_step]
        replace_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = (self.path if leading() else Path(os.devnull)).open("a")

    def append(self, step: int, **metrics: Any) -> None:
        """Write one line; array scalars become numbers."""
        self._file.write(json.dumps({"step": int(step), **{k: plain(v) for k, v in metrics.items()}}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a metric log, without a last line torn by a crash; a missing file has none."""
    text = Path(path).read_text() if Path(path).exists() else ""
    complete = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in complete.splitlines()]


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
