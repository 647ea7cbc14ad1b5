"""Error bars: they hold what they promise where the noise is known, and what they are made from stays apart."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from swaying_people import DT, FPS, swaying_people

from imdy_jax.run import RunFolder
from imdy_jax.solver.coverage import Held, coverage_table, hold
from imdy_jax.solver.data import WindowBatches
from imdy_jax.solver.features import Targets
from imdy_jax.solver.fit import CALIBRATION, FitConfig, fit, fit_step, load_solver, start
from imdy_jax.solver.infer import estimate
from imdy_jax.solver.intervals import LEVELS, Calibration, Ratios
from imdy_jax.solver.loss import LossWeights, spread_loss
from imdy_jax.solver.model import ModelConfig, Prediction
from imdy_jax.solver.pack import pack

MASS = 70.0


def noisy(clip, seed, times=1.0, steps=400):
    """Errors of a known distribution, whose spread is told right but for a factor of each joint."""
    rng = np.random.default_rng(seed)
    spread = [np.exp(rng.normal(size=(steps, k, 3))) for k in (23, 24)]
    off = [np.linspace(0.5, 3.0, k)[:, None] for k in (23, 24)]
    loaded = rng.random((steps, 24)) < 0.3
    error = [times * np.abs(rng.normal(size=s.shape)) * s * o for s, o in zip(spread, off, strict=True)]
    error[1] *= np.where(loaded, 5.0, 1.0)[..., None]
    force = np.where(loaded, 0.2 * MASS, 0.01)[..., None] * np.array([0.0, 0.0, 1.0])
    return Held(clip, MASS, force, loaded, *error, *spread)


def test_intervals_hold_what_they_promise_on_what_did_not_set_them():
    known = Calibration.of(noisy("a", seed).ratios for seed in range(4))
    new = noisy("b", 9, steps=3000)
    found = known.intervals(new.torque_spread, new.force_spread, new.force, MASS)
    for half, error in zip(found, (new.torque_error, new.force_error), strict=True):
        for level, within in zip(LEVELS, error <= half, strict=True):
            np.testing.assert_allclose(within.mean(axis=(0, 2)), level, atol=0.03)  # at each joint
    held = new.force_error <= found.force[-1]
    assert held[new.loaded].mean() == pytest.approx(0.9, abs=0.01) == held[~new.loaded].mean()
    # A normal distribution's quantiles, times what the told spread was short of.
    np.testing.assert_allclose(known.torque[1], 1.645 * np.linspace(0.5, 3.0, 23), rtol=0.08)
    np.testing.assert_allclose(known.torque[0], 0.674 * np.linspace(0.5, 3.0, 23), rtol=0.08)


def test_where_nothing_is_known_the_factors_are_those_of_the_distribution_that_was_fitted():
    one = noisy("a", 0)
    known = Calibration.of([Ratios(one.ratios.torque, one.ratios.force, np.zeros_like(one.loaded))])
    drawn = np.abs(np.random.default_rng(0).laplace(size=200_000))
    assert [np.mean(drawn <= f) for f in known.force[:, 1, 3]] == pytest.approx(LEVELS, abs=0.005)


def test_coverage_is_judged_by_factors_of_the_other_clips():
    """One clip errs thrice as much: nobody else's factors hold for it."""
    held = [noisy(f"c{i}", i, times=3.0 if i == 2 else 1.0) for i in range(6)]
    table = coverage_table(held)
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    joints = rows["torques, all joints"]
    low, high = map(float, joints["90 % by clip"].split(" – "))
    assert low < 60 and high > 95 and "6 held-out clip(s)" in table.title
    assert joints["error"] == pytest.approx(np.mean([h.torque_error for h in held]), rel=1e-6)
    assert {"torques, leg", "forces, feet, loaded", "forces, other segments"} < rows.keys()
    alike = coverage_table([noisy(f"c{i}", i) for i in range(4)]).rows
    assert all(45 < row[2] < 55 and 87 < row[3] < 93 for row in alike)
    assert coverage_table(held[:1]).rows == ()


def test_factors_are_read_as_they_were_written_and_of_the_same_levels(tmp_path):
    known = Calibration.of([noisy("a", 0).ratios])
    known.write(tmp_path / "kept.json")
    jax.tree.map(np.testing.assert_array_equal, Calibration.read(tmp_path / "kept.json"), known)
    text = (tmp_path / "kept.json").read_text().replace("0.9\n", "0.95\n", 1)
    (tmp_path / "kept.json").write_text(text)
    with pytest.raises(ValueError, match=r"kept\.json: levels is \[0\.5, 0\.95\], expected \[0\.5, 0\.9\]; fit"):
        Calibration.read(tmp_path / "kept.json")


def test_the_score_is_least_for_the_true_spread_and_teaches_the_estimates_nothing():
    rng = np.random.default_rng(0)
    targets = Targets(jnp.asarray(rng.laplace(scale=0.3, size=(23, 3))), jnp.zeros((2, 24, 3)))
    ones = jnp.ones((23, 3))

    def score(scale, magnitude=0.0):
        said = Prediction(jnp.full(23, magnitude), ones, jnp.zeros((2, 24)), jnp.ones((2, 24, 3)), None, scale * ones,
                          jnp.ones((24, 3)))  # fmt: skip
        return spread_loss(said, targets)

    best = float(jnp.mean(jnp.abs(targets.torque)))
    assert float(jax.grad(score)(best)) == pytest.approx(0, abs=1e-4)
    assert score(0.5 * best) > score(best) < score(2 * best)
    assert float(jax.grad(score, argnums=1)(best, 0.2)) == 0.0 != score(best, 0.2) - score(best)


CONFIG = FitConfig(
    model=ModelConfig(width=16, layers=1, heads=2, hidden=32, spread=True, representation="joints"),
    weights=LossWeights(forward=0.0, plausible=0.0), steps=60, batch_size=32, learning_rate=1e-2, checkpoint_every=30,
)  # fmt: skip


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("intervals")
    people = swaying_people(clips=6, takes=2, steps=60, representation="joints")
    packed = pack(people, "people", DT, folder / "packed", "joints")
    batches, held_out = (WindowBatches(packed, rows, 2, 32, seed=0) for rows in (range(8), range(8, 12)))
    run = RunFolder.create(folder / "run", CONFIG, 0)
    return fit(CONFIG, batches, held_out, run), run, batches, held_out, people


def test_estimates_are_fitted_as_without_error_bars(fitted):
    _, _, batches, *_ = fitted
    plain = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, spread=False))
    states = [start(CONFIG), start(plain)]
    for n in range(3):
        states = [fit_step(c, s, batches[n])[0] for c, s in zip((CONFIG, plain), states, strict=True)]
    told, mute = (state.params["inverse"] for state in states)
    assert told.keys() - mute.keys() == {"spread"}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), {k: told[k] for k in mute}, mute)


def test_a_fitted_solver_tells_error_bars_once_calibrated_and_forgets_them_when_fitted_further(fitted):
    solver, run, batches, held_out, people = fitted
    held = hold(solver, people[8:], FPS)
    raw = estimate(solver, people[8].motion, FPS, people[8].mass)
    assert raw.intervals is None and raw.torque_spread.shape == (60, 23, 3) and (raw.force_spread > 0).all()
    heavy = estimate(solver, people[8].motion, FPS, 2 * people[8].mass)
    np.testing.assert_allclose(heavy.torque_spread, 2 * raw.torque_spread, rtol=1e-5)
    Calibration.of(h.ratios for h in held).write(run.path / CALIBRATION)
    said = estimate(load_solver(run), people[8].motion, FPS, people[8].mass)
    half = said.intervals.torque
    assert half.shape == (2, 60, 23, 3) and (half[1] >= half[0]).all()
    # What it is for: where it errs more it says so.
    error, width = (
        np.concatenate([getattr(h, name).ravel() for h in held]) for name in ("torque_error", "torque_spread")
    )
    wide = width > np.median(width)
    assert error[wide].mean() > 3 * error[~wide].mean()
    shutil.rmtree(run.path / "checkpoints" / "60")  # as if it had been killed on the way
    fit(CONFIG, batches, held_out, run)
    assert load_solver(run).calibration is None


def test_a_solver_without_spread_has_none_to_judge(fitted):
    people = fitted[-1]
    plain = dataclasses.replace(CONFIG.model, spread=False)
    state = start(dataclasses.replace(CONFIG, model=plain))
    mute = dataclasses.replace(fitted[0], variables=state.variables, config=plain)
    with pytest.raises(ValueError, match=r"tells no spread, expected one fitted with model\.spread"):
        hold(mute, people[8:9], FPS)
