"""Solving motions from the command line: files in, files out, nothing twice, a bad one told and left out."""

import importlib.util
import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from imdy_jax.analysis.batch import Outcome, pace, solve_all
from imdy_jax.analysis.solution import solve
from imdy_jax.biomechanics import opensim
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.checkpoints import Checkpoints
from imdy_jax.files import to_json, write_json
from imdy_jax.humanoid import GRAVITY
from imdy_jax.motion.amass import write_amass
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.filters import Butterworth
from imdy_jax.motion.load import list_motions, load_motion
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.run import RunFolder
from imdy_jax.solver.fit import CALIBRATION, SCHEMA_VERSION, FitConfig, start
from imdy_jax.solver.intervals import Calibration, Ratios
from imdy_jax.solver.model import ModelConfig

SCRIPT = Path(__file__).resolve().parents[1] / "experiments" / "solve.py"


@pytest.fixture(scope="module")
def script():
    if not SCRIPT.is_file():
        pytest.skip("the scripts are not installed with the packages")
    spec = importlib.util.spec_from_file_location("solve_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def motions(tmp_path_factory):
    """A folder with two steps of a walk, and a damaged file."""
    folder, clip = tmp_path_factory.mktemp("motions"), procedural_clip("walk", anthropometric_body(), 30.0)
    write_amass(folder / "stride.npz", clip.replace(rotations=clip.rotations[:64], translation=clip.translation[:64]))
    (folder / "torn.npz").write_bytes(b"PK\x03\x04 not an archive")
    return folder


@pytest.fixture(scope="module")
def solved(script, motions, tmp_path_factory):
    out = tmp_path_factory.mktemp("solved") / "out"
    script.main(str(motions), script.SolveConfig(method="dynamics"), out=str(out), draw=True)
    return out


def test_every_file_is_there_and_no_temporary_one(solved):
    names = {path.name for path in solved.iterdir() if path.is_file()}
    assert names == {
        "stride.npz", "stride_grf.mot", "stride_torque.sto", "stride.png", "stride_work.png", "config.json", "run.json"
    }  # fmt: skip
    assert all((solved / f"stride{end}.png").stat().st_size > 50_000 for end in ("", "_work"))


def test_the_table_tells_the_motion_and_what_was_left_out(solved):
    table = json.loads((solved / "tables" / "solved.json").read_text())
    (row,) = table["rows"]
    told = dict(zip(table["columns"], row, strict=True))
    assert told["motion"] == "stride" and told["s"] == pytest.approx(2.1)
    assert 50.0 < told["peak torque N·m"] < 200.0
    assert told["vertical force / weight"] == pytest.approx(1.0, abs=0.05)
    assert told["implausible %"] == 0.0 and 0.0 < told["residual force % of weight"] < 5.0
    assert told["s of motion per s"] > 0.0
    assert any("torn.npz" in note for note in table["notes"])
    (pace,) = [note for note in table["notes"] if note.startswith("all, with compiling: ")]
    assert pace.startswith("all, with compiling: 1 motions, 2.1 s; ")


def test_the_files_agree_with_one_another(solved):
    """Newton's law of the whole from the arrays, and OpenSim's tables beside them."""
    with np.load(solved / "stride.npz") as kept:
        data = {name: kept[name] for name in kept.files}
    assert data["torque"].shape == (64, 23, 3) and data["contact"].shape == (64, 24)
    grf, torque = (opensim.read_storage(solved / f"stride_{end}") for end in ("grf.mot", "torque.sto"))
    left = np.stack([grf[f"ground_force_l_v{axis}"] for axis in "xyz"], axis=1)
    np.testing.assert_allclose(opensim.to_z_up(left), data["foot_force"][:, 0], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(torque.values.reshape(64, 23, 3), data["torque"], rtol=1e-6)
    by_feet = data["foot_force"].sum(axis=1)
    np.testing.assert_allclose(by_feet, data["wrench"][..., :3].sum(axis=1), atol=0.01 * data["mass"] * GRAVITY)
    loaded = data["foot_force"][:, :, 2] > 0.1 * data["mass"] * GRAVITY
    assert (data["contact"][:, [7, 8]] | data["contact"][:, [10, 11]])[loaded].all()
    assert data["positive_work"].sum() > 20.0 > 0.0 > -20.0 > data["negative_work"].sum()
    assert (data["plausibility"] > 0.5).all()


def test_nothing_is_computed_twice_unless_asked(script, motions, solved, capsys):
    before = (solved / "stride.npz").stat().st_mtime_ns
    script.main(str(motions), script.SolveConfig(method="dynamics"), out=str(solved))
    assert (solved / "stride.npz").stat().st_mtime_ns == before
    told = capsys.readouterr()
    assert "stride" in told.out and "left out" in told.err
    script.main(str(motions), script.SolveConfig(method="dynamics"), out=str(solved), draw=False, overwrite=True)
    assert (solved / "stride.npz").stat().st_mtime_ns > before
    with pytest.raises(ValueError, match="cannot resume with another config"):
        script.main(str(motions), script.SolveConfig(method="dynamics", cutoff=8.0), out=str(solved))


def test_overwriting_that_is_interrupted_leaves_nothing_of_other_settings(
    script, motions, solved, tmp_path, monkeypatch
):
    shutil.copytree(solved, tmp_path / "out")
    monkeypatch.setattr(script, "solve_all", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    other = script.SolveConfig(method="dynamics", cutoff=8.0)
    with pytest.raises(KeyboardInterrupt):
        script.main(str(motions), other, out=str(tmp_path / "out"), overwrite=True)
    assert not list((tmp_path / "out").glob("*.npz"))


def test_where_nothing_can_be_solved_it_ends_with_an_error(script, tmp_path):
    (tmp_path / "torn.npz").write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match=r"torn\.npz: none of 1 motions could be solved; see above"):
        script.main(str(tmp_path / "torn.npz"), script.SolveConfig(method="dynamics"), out=str(tmp_path / "out"))
    with pytest.raises(ValueError, match=r"config\.fps is 1000000000\.0, expected .* at most 10000"):
        script.SolveConfig(fps=1e9)


@pytest.fixture(scope="module")
def unfitted(tmp_path_factory):
    """Run folder of a solver at the start of its fit, with error bars of random factors."""
    config = FitConfig(model=ModelConfig(width=32, layers=1, heads=2, hidden=64, spread=True), steps=1)
    run = RunFolder.create(tmp_path_factory.mktemp("solver") / "run", config, 0)
    write_json(run.path / "solver.json", {"rates": (30.0, 30.0), "config": to_json(config)})
    checkpoints = Checkpoints(run.path / "checkpoints")
    checkpoints.save(0, start(config), {"schema_version": SCHEMA_VERSION, "config": to_json(config), "data": ""})
    checkpoints.close()
    rng = np.random.default_rng(0)
    ratios = (rng.exponential(size=(99, count, 3)) for count in (23, 24))
    Calibration.of([Ratios(*ratios, rng.random((99, 24)) < 0.5)]).write(run.path / CALIBRATION)
    return run.path


def test_a_solver_that_knows_nothing_is_corrected_to_newtons_law(script, motions, unfitted, tmp_path):
    config = script.SolveConfig(method="solver", solver=str(unfitted))
    script.main(str(motions), config, out=str(tmp_path / "out"), draw=True)
    assert (tmp_path / "out" / "stride.png").stat().st_size > 50_000
    with np.load(tmp_path / "out" / "stride.npz") as kept:
        data = {name: kept[name] for name in kept.files}
    weight = data["mass"] * GRAVITY
    raw = np.linalg.norm(data["predicted_force"].sum(axis=1) - (0.0, 0.0, weight), axis=1).mean()
    left = np.linalg.norm(data["residual"][:, :3], axis=1).mean()
    assert raw > 0.1 * weight > 0.02 * weight > left
    assert data["wrench"][..., 2].sum(axis=1).mean() == pytest.approx(weight, rel=0.05)
    assert data["predicted_torque"].shape == data["torque"].shape
    for name in ("predicted_torque", "predicted_force"):
        assert data[f"{name}_50"].shape == data[name].shape
        assert (data[f"{name}_90"] > 2 * data[f"{name}_50"]).all() and (data[f"{name}_50"] > 0).all()


def test_a_solver_that_is_named_is_used_and_the_checkout_s_newest_where_none_is(script, unfitted, monkeypatch):
    with pytest.raises(ValueError, match=r"found method dynamics beside solver .*, expected --config\.method solver"):
        script.named(script.SolveConfig(method="dynamics", solver=str(unfitted)))
    asked = script.SolveConfig(method="solver")
    monkeypatch.setattr(script, "shipped", lambda: None)
    with pytest.raises(ValueError, match=r"config\.solver: none is named, and .*pretrained has no imdys-\*"):
        script.named(asked)
    analytic, found = script.SolveConfig(method="dynamics"), script.SolveConfig(method="solver", solver=str(unfitted))
    assert script.named(script.SolveConfig()) == analytic
    assert script.named(script.SolveConfig(solver=str(unfitted))) == found
    monkeypatch.setattr(script, "shipped", lambda: unfitted)
    assert script.named(asked) == script.named(script.SolveConfig()) == found
    assert script.named(script.SolveConfig(fps=60.0)).method == "dynamics"  # it was fitted to 30
    with pytest.raises(ValueError, match=r"config\.fps is 0, expected frames per second, more than 0"):
        script.SolveConfig(fps=0)
    assert script.named(analytic) == analytic


def test_another_file_of_that_name_is_not_taken_for_a_result(script, motions, tmp_path):
    script_out = tmp_path / "out"
    script_out.mkdir()
    np.savez(script_out / "stride.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="none of 2 motions could be solved"):
        script.main(str(motions), script.SolveConfig(method="dynamics"), out=str(script_out), draw=False)
    notes = json.loads((script_out / "tables" / "solved.json").read_text())["notes"]
    assert any("found no summary in it" in note for note in notes)
    with pytest.raises(ValueError, match="found no summary in it"):
        script.main(str(motions), script.SolveConfig(method="dynamics"), out=str(script_out), overwrite=True)
    with np.load(script_out / "stride.npz") as kept:
        assert kept.files == ["x"]


def test_motions_are_listed_by_the_names_that_they_load_with(motions):
    assert list(list_motions(motions)) == ["stride", "torn"]
    body = anthropometric_body()
    assert load_motion("stride", motions / "stride.npz", body).name == "stride"
    with pytest.raises(ValueError, match=r"torn\.npz"):
        load_motion("torn", motions / "torn.npz", body)
    built_in = list_motions("procedural")
    assert built_in["walk"] is None
    np.testing.assert_allclose(
        load_motion("bow", None, body).translation, jnp.asarray(procedural_clip("bow", body).translation), atol=1e-5
    )


def test_motions_side_by_side_are_what_each_is_alone():
    """In order, each with its own numbers, what fails told and in nobody's way."""
    body, walk = anthropometric_body(), procedural_clip("walk", anthropometric_body(), 30.0)
    starts = {"first": 0, "torn": -1, "second": 20, "third": 40, "fourth": 60}

    def load(name: str, file: Path | None) -> Clip:
        if starts[name] < 0:
            raise ValueError("torn")
        part = slice(starts[name], starts[name] + 64)
        return walk.replace(rotations=walk.rotations[part], translation=walk.translation[part], name=name)

    answer = lambda clip: solve(clip, body, Butterworth())  # noqa: E731
    outcomes = list(solve_all(dict.fromkeys(starts), load, answer, threads=3))
    assert [outcome.row and outcome.row[0] for outcome in outcomes] == ["first", None, "second", "third", "fourth"]
    assert outcomes[1].problem == "torn"
    for outcome in outcomes[:1] + outcomes[2:]:
        alone = answer(load(outcome.row[0], None))
        np.testing.assert_allclose(outcome.solution.found.torque, alone.found.torque, atol=1e-3)
        np.testing.assert_array_equal(outcome.solution.score < 0.5, alone.score < 0.5)
    apart = np.abs(outcomes[0].solution.found.torque - outcomes[2].solution.found.torque)
    assert apart.max() > 10.0
    assert sum(outcome.seconds for outcome in outcomes) == pytest.approx(4 * 2.1)


def test_the_pace_is_told_in_all_and_after_the_last_compiling():
    row = ("walk",)
    outcomes = [
        Outcome(row, None, "", 4.0, 0.0, (16.0, 7.0)),
        Outcome(row, None, "", 3.0, 0.0, (17.0, 8.0)),
        Outcome(row, None, "", 5.0, 9.0, (15.0, 6.5)),
        Outcome(problem="torn"),
        Outcome(row),  # written before
    ]
    assert pace(outcomes, (5.0, 4.0)) == (
        "all, with compiling: 3 motions, 12.0 s; 1.0 s per s of wall clock, 3.0 s per s of processor time",
        "after the last compiling: 2 motions, 7.0 s; 3.5 s per s of wall clock, 4.7 s per s of processor time",
    )
    assert pace(outcomes[3:], (0.0, 0.0)) == ()
