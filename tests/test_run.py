"""The run folder: nothing half-written is read, nothing is counted twice, and a config survives the round trip."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from envs.imitator import ImitatorConfig
from imdy_jax.checkpoints import Checkpoints
from imdy_jax.compiling import compiling_seconds, enable_compilation_cache
from imdy_jax.files import check_writable, from_json, read_json, to_json, write_json
from imdy_jax.run import MetricLog, RunFolder, read_metrics


@dataclasses.dataclass(frozen=True)
class Inner:
    rates: tuple[float, ...] = (0.5, 0.25)
    clips: Path | None = None


@dataclasses.dataclass(frozen=True)
class Config:
    inner: Inner = Inner()
    size: tuple[int, str] = (3, "wide")
    limit: float | None = None


@pytest.fixture
def state():
    parameters = {"w": jnp.arange(6.0).reshape(2, 3), "step": jnp.int32(7)}
    return parameters, optax.adam(1e-3).init(parameters["w"]), jax.random.key(3)


def scaled(state, factor):
    parameters, moments, key = state
    return {**parameters, "w": factor * parameters["w"]}, moments, key


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


def test_config_round_trip(tmp_path):
    config = Config(inner=Inner(rates=(0.1, 0.2, 0.3), clips=Path("motions")), limit=2.0)
    created = RunFolder.create(tmp_path / "run", config, seed=5)
    opened = RunFolder.open(tmp_path / "run")
    assert opened.config(Config) == config
    assert opened.info == created.info
    assert opened.info["seed"] == 5
    assert opened.info["versions"]["jax"] == jax.__version__


def test_run_is_not_overwritten_unasked(tmp_path):
    RunFolder.create(tmp_path, Config(), seed=0)
    MetricLog(tmp_path / "metrics.jsonl").append(1, loss=2.0)
    with pytest.raises(ValueError, match="holds a run already; pass --resume"):
        RunFolder.create(tmp_path, Config(), seed=0)
    RunFolder.create(tmp_path, Config(), seed=0, resume=True)
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 2.0}]
    RunFolder.create(tmp_path, Config(), seed=0, overwrite=True)
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_errors_say_what_was_found(tmp_path):
    with pytest.raises(ValueError, match=r"no run\.json here"):
        RunFolder.open(tmp_path)
    RunFolder.create(tmp_path, Config(), seed=0)
    with pytest.raises(ValueError, match=r"limit was None, is 3\.0"):
        RunFolder.create(tmp_path, Config(limit=3.0), seed=0, resume=True)
    write_json(tmp_path / "config.json", {"limit": 3.0})  # of a version that knew nothing else yet
    assert RunFolder.create(tmp_path, Config(limit=3.0), seed=0, resume=True).config(Config) == Config(limit=3.0)
    write_json(tmp_path / "config.json", {"speed": 1})
    with pytest.raises(ValueError, match=r"unknown fields \['speed'\]"):
        RunFolder.open(tmp_path).config(Config)
    write_json(tmp_path / "run.json", {"schema_version": 0})
    with pytest.raises(ValueError, match="schema_version is 0, expected 2"):
        RunFolder.open(tmp_path)


def test_what_is_read_is_checked_by_file_and_field(tmp_path):
    config = ImitatorConfig()
    path = tmp_path / "config.json"
    write_json(path, to_json(config))
    assert from_json(ImitatorConfig, read_json(path), path) == config
    kept = read_json(path)
    for changed, message in (
        ({"num_envs": "many"}, r"config\.json: num_envs: found 'many', expected a whole number"),
        ({"world": None}, r"config\.json: world: found None, expected an object with engine"),
        ({"evaluate_at": [1.0, "two"]}, r"config\.json: evaluate_at: found 'two', expected a number"),
        ({"guide": 1}, r"config\.json: guide: found 1, expected true or false"),
        ({"colour": 1}, r"config\.json: unknown fields \['colour'\]"),
        ({"num_envs": 0}, r"num_envs is 0, expected 1 or more"),
        ({"train": kept["train"] | {"minutes": float("nan")}}, r"train\.minutes is nan, expected 0 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            from_json(ImitatorConfig, kept | changed, path)
    for text in ("", "[1, 2]", "{torn"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"config\.json: found .*, expected an object"):
            read_json(path)
    with pytest.raises(ValueError, match=r"gone\.json: not found"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(ValueError, match=r"config\.json: found a file, expected a folder to write"):
        RunFolder.create(path, config, 0)


def test_a_checkpoint_cut_short_is_told_by_its_folder(tmp_path, state):
    folder = tmp_path / "checkpoints"
    Checkpoints(folder).save(1, state)
    largest = max((folder / "1").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"checkpoints/1: cannot be restored, expected a whole checkpoint"):
        Checkpoints(folder).restore(state)


def test_checkpoint_round_trip_keeps_the_last(tmp_path, state):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert checkpoints.latest_step() is None
    for step in (1, 2, 3):
        checkpoints.save(step, scaled(state, step), {"frames": 10 * step})
    template = jax.tree.map(lambda x: x, scaled(state, 0))
    restored, metadata = Checkpoints(tmp_path / "checkpoints").restore(template)
    assert_same(restored, scaled(state, 3))
    assert metadata == {"frames": 30}
    assert_same(checkpoints.restore(template, 2)[0], scaled(state, 2))
    with pytest.raises(ValueError, match=r"no checkpoint of step 1, found steps \[2, 3\]"):
        checkpoints.restore(template, 1)
    checkpoints.save(3, scaled(state, 4))
    assert_same(checkpoints.restore(template)[0], scaled(state, 4))


KILLED_WRITER = """
import sys, jax.numpy as jnp
from imdy_jax.checkpoints import Checkpoints
checkpoints = Checkpoints(sys.argv[1])
for step in range(1, 10_000):
    checkpoints.save(step, {"w": jnp.full((400, 400), float(step))}, {"step": step})
    print(step, flush=True)
"""


def test_checkpoint_survives_kill(tmp_path):
    """A writer killed at any moment leaves a newest checkpoint that is whole: at least the last it reported."""
    template = {"w": jnp.zeros((400, 400))}
    for delay in (0.01, 0.04):
        folder = tmp_path / str(delay)
        command = [sys.executable, "-c", KILLED_WRITER, str(folder)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        reported = int(writer.stdout.readline())
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        reported = max([reported, *map(int, writer.communicate()[0].split())])
        checkpoints = Checkpoints(folder)
        state, metadata = checkpoints.restore(template)
        assert checkpoints.latest_step() == metadata["step"] >= reported
        np.testing.assert_array_equal(state["w"], np.full((400, 400), metadata["step"]))


def test_half_written_checkpoint_is_ignored(tmp_path, state):
    """What orbax has on disk while it writes step 2 is a folder with a temporary name."""
    folder = tmp_path / "checkpoints"
    Checkpoints(folder).save(1, state)
    (folder / "2.orbax-checkpoint-tmp-17" / "state").mkdir(parents=True)
    reopened = Checkpoints(folder)
    assert reopened.latest_step() == 1
    reopened.save(2, scaled(state, 2))
    assert_same(Checkpoints(folder).restore(state)[0], scaled(state, 2))


def test_a_checkpoint_that_is_half_removed_is_not_there(tmp_path, state, monkeypatch):
    folder = tmp_path / "checkpoints"
    checkpoints = Checkpoints(folder)
    for step in (1, 2):
        checkpoints.save(step, scaled(state, step))

    def killed(path, ignore_errors=False):
        if Path(path).exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        for remove in (checkpoints.forget, lambda step: checkpoints.save(step, scaled(state, 3))):
            with pytest.raises(KeyboardInterrupt):
                remove(2)
            reopened = Checkpoints(folder)
            assert reopened.latest_step() == 1
            assert_same(reopened.restore(state)[0], scaled(state, 1))
    Checkpoints(folder).save(2, scaled(state, 2))
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]


def test_metric_log_resumes_without_duplicates(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricLog(path)
    for step in range(5):
        log.append(step, loss=jnp.float32(step / 2))
    with path.open("a") as torn:
        torn.write('{"step": 5, "lo')
    resumed = MetricLog(path, resume_step=2)
    for step in (3, 4):
        resumed.append(step, loss=10.0 * step)
    assert read_metrics(path) == [
        {"step": 0, "loss": 0.0},
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 1.0},
        {"step": 3, "loss": 30.0},
        {"step": 4, "loss": 40.0},
    ]


def test_json_is_written_whole(tmp_path):
    """Readers see the old file or the new one; a value that JSON cannot hold leaves the old one in place."""
    path = tmp_path / "table.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    check_writable(path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["table.json"]


def test_where_nothing_can_be_written_is_known_beforehand(tmp_path, monkeypatch):
    path = tmp_path / "table.json"
    path.write_text("{}")
    check_writable(tmp_path / "new" / "table.json")
    check_writable(tmp_path / "new" / "results", folder=True)
    assert [p.name for p in tmp_path.iterdir()] == ["table.json"]
    for nowhere, folder, said in (
        (path / "within.json", False, "table.json is a file, expected a folder"),
        (tmp_path, False, "is a folder, expected the name of a file"),
        (path, True, "is a file, expected the name of a folder"),
    ):
        with pytest.raises(OSError, match=said):
            check_writable(nowhere, folder)
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path)
    with pytest.raises(OSError, match="may not be written to"):
        check_writable(tmp_path / "new" / "table.json")


def test_compilation_cache_honours_the_environment(tmp_path, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert enable_compilation_cache() == tmp_path / "imdy_jax" / "xla"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    assert enable_compilation_cache() == tmp_path / "mine"
    jax.config.update("jax_compilation_cache_dir", before)


def test_values_that_are_not_finite_are_named(tmp_path):
    folder = RunFolder.create(tmp_path / "run", Config(), seed=0)
    folder.check_finite({"loss": 1.0}, 3)
    with pytest.raises(FloatingPointError, match=r"step 4 .* in loss; start again"):
        folder.check_finite({"loss": float("nan"), "reward": 1.0}, 4)


def test_the_compiling_clock_runs_while_this_thread_compiles_and_counts_nothing_twice():
    inner = jax.jit(lambda x: jnp.linalg.norm(jnp.sin(x)))
    outer = jax.jit(lambda x: inner(x) + inner(2.0 * x) + jnp.sum(jnp.cos(x)))
    x = jnp.ones(37)
    before, begun = compiling_seconds(), time.monotonic()
    outer(x).block_until_ready()
    spent = compiling_seconds() - before
    assert 0.0 < spent <= time.monotonic() - begun
    outer(x).block_until_ready()
    assert compiling_seconds() - before == spent
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(compiling_seconds()))
    thread.start()
    thread.join()
    assert elsewhere == [0.0]
