"""A published solver says what the fitted one says, is small, runs nothing that its files say, and is gone on from."""

import dataclasses
import json
import pickle
import shutil

import jax
import numpy as np
import pytest
from swaying_people import DT, FPS, swaying_people

from imdy_jax.run import RunFolder, read_metrics
from imdy_jax.solver import publish as publishing
from imdy_jax.solver.coverage import hold
from imdy_jax.solver.data import WindowBatches
from imdy_jax.solver.fit import CALIBRATION, FitConfig, fit, load_solver
from imdy_jax.solver.fitted import FittedTo
from imdy_jax.solver.infer import estimate
from imdy_jax.solver.intervals import Calibration
from imdy_jax.solver.loss import LossWeights
from imdy_jax.solver.model import ModelConfig
from imdy_jax.solver.pack import pack
from imdy_jax.solver.publish import publish, shipped

CONFIG = FitConfig(
    model=ModelConfig(width=16, layers=1, heads=2, hidden=32, spread=True, representation="joints"),
    weights=LossWeights(forward=0.0, plausible=0.0), steps=60, batch_size=32, learning_rate=1e-2, checkpoint_every=30,
    log_every=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A run folder of a small fit, its batches and those held out, and the sequences."""
    folder = tmp_path_factory.mktemp("publish")
    people = swaying_people(clips=6, takes=2, steps=60, representation="joints")
    packed = pack(people, "people", DT, folder / "packed", "joints", commits=("abc",))
    batches, held_out = (WindowBatches(packed, rows, 2, 32, seed=0) for rows in (range(8), range(8, 12)))
    run = RunFolder.create(folder / "run", CONFIG, 0)
    solver = fit(CONFIG, batches, held_out, run)
    Calibration.of(h.ratios for h in hold(solver, people[8:], FPS)).write(run.path / CALIBRATION)
    FittedTo.of(batches, list(range(8))).write(run.path)
    return run, batches, held_out, people


@pytest.fixture(scope="module")
def given(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("given") / "imdys-small"
    publish(fitted[0], folder)
    return folder


def said(folder, sequence):
    return estimate(load_solver(RunFolder.open(folder)), sequence.motion, FPS, sequence.mass)


def test_it_says_what_the_fitted_one_says_and_knows_where_it_comes_from(fitted, given):
    run, *_, people = fitted
    before, after = said(run.path, people[9]), said(given, people[9])
    for name in ("torque", "contact_force", "torque_spread"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    jax.tree.map(np.testing.assert_array_equal, after.intervals, before.intervals)
    known = FittedTo.read(given)
    assert (known.sequences, known.commits, known.source) == (8, ("abc",), "people")
    assert known.hours == pytest.approx(8 * 56 / 30 / 3600) and len(known.people) == 2
    assert known.knows(people[0].clip, people[0].subject) and not known.knows(people[8].clip, people[8].subject)
    assert not (given / "checkpoints").exists()
    assert sum(path.stat().st_size for path in given.rglob("*.*")) < publishing.MOST
    assert {"git_commit", "versions"} < json.loads((given / "run.json").read_text()).keys()


def test_half_precision_is_half_as_large_and_nearly_the_same(fitted, given, tmp_path):
    run, *_, people = fitted
    publish(run, tmp_path / "half", half=True)
    sizes = [(folder / "weights.npz").stat().st_size for folder in (tmp_path / "half", given)]
    assert sizes[0] < 0.8 * sizes[1]  # the statistics stay whole
    exact, near = said(given, people[9]).contact_force, said(tmp_path / "half", people[9]).contact_force
    assert 0 < np.abs(near - exact).max() < 0.01 * np.abs(exact).max()


def test_a_fit_goes_on_from_it(fitted, given, tmp_path):
    """Its first loss is about the last one of the fit before, and not that of a network that knows nothing."""
    run, batches, held_out, _ = fitted
    begin, further = load_solver(RunFolder.open(given)), dataclasses.replace(CONFIG, steps=2, learning_rate=1e-3)
    again = RunFolder.create(tmp_path / "again", further, 0)
    fit(further, batches, held_out, again, begin)
    first, last, new = (read_metrics(path / "metrics.jsonl")[i]["direction"] for path, i in
                        ((run.path, 0), (run.path, -1), (again.path, 0)))  # fmt: skip
    assert new < last + 0.3 * (first - last)
    other = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, width=32))
    with pytest.raises(ValueError, match=r"model\.width: 16 in the solver to begin with, 32 here"):
        fit(other, batches, held_out, RunFolder.create(tmp_path / "other", other, 0), begin)
    merged = FittedTo.of(batches, [0], FittedTo("b", 1.0, 1, ("clip_b",), ("someone",), ("def",)))
    assert merged.knows("clip_b", "someone") and merged.commits == ("abc", "def")


def changed(given, folder, **arrays):
    """The published solver with other arrays."""
    shutil.copytree(given, folder)
    with np.load(folder / "weights.npz") as kept:
        whole = {name: kept[name] for name in kept.files} | arrays
    np.savez(folder / "weights.npz", **{name: x for name, x in whole.items() if x is not None})
    return RunFolder.open(folder)


def test_files_from_strangers_are_not_run_and_what_is_wrong_is_named(given, tmp_path):
    bias = "params/torque_magnitude/bias"
    wrong = {
        "found (3,), expected (23,)": {bias: np.zeros(3)},
        "found nothing, expected (23,)": {bias: None},
        "found (1,), expected nothing": {"extra": np.zeros(1)},
        "no finite number": {bias: np.full(23, np.nan)},
    }
    for i, (message, arrays) in enumerate(wrong.items()):
        with pytest.raises(ValueError, match=r"weights\.npz: .*publish the solver again") as told:
            load_solver(changed(given, tmp_path / str(i), **arrays))
        assert message in str(told.value)
    with pytest.raises(ValueError, match="damaged, expected plain arrays"):
        load_solver(changed(given, tmp_path / "object", **{bias: np.array([RuntimeError], object)}))
    shutil.copytree(given, tmp_path / "pickle")
    (tmp_path / "pickle" / "weights.npz").write_bytes(pickle.dumps({bias: np.zeros(23)}))
    with pytest.raises(ValueError, match=r"found no \.npz file of arrays"):
        load_solver(RunFolder.open(tmp_path / "pickle"))


def test_what_is_not_published(fitted, given, tmp_path, monkeypatch):
    run = fitted[0]
    with pytest.raises(ValueError, match="is there already"):
        publish(run, given)
    monkeypatch.setattr(publishing, "MOST", 1000)
    with pytest.raises(ValueError, match=r"expected at most 1,000; pass --half"):
        publish(run, tmp_path / "large")
    assert not list(tmp_path.iterdir())
    for name, message in ((CALIBRATION, "expected error bars"), ("data.json", "expected what the solver was fitted")):
        shutil.copytree(run.path, tmp_path / name)
        (tmp_path / name / name).unlink()
        with pytest.raises(ValueError, match=message):
            publish(RunFolder.open(tmp_path / name), tmp_path / "to")


def test_the_one_published_last_is_what_ships(given, tmp_path):
    assert shipped(tmp_path) is None
    for name, time in (("imdys-b", "2026-11-30T09:00:00+00:00"), ("imdys-a", "2026-12-01T09:00:00+00:00")):
        shutil.copytree(given, tmp_path / name)
        path = tmp_path / name / "solver.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"published": time}))
    (tmp_path / "imdys-z").mkdir()  # no solver
    assert shipped(tmp_path).name == "imdys-a"
    (tmp_path / "imdys-a" / "solver.json").write_text("{torn")
    assert shipped(tmp_path).name == "imdys-b"  # a damaged one does not stand in the others' way
