"""A laboratory's trials through the commands: judged against plates, left out where broken, and a solver tuned by them.

On recordings that may be absent; each is copied to a folder of its own.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from imdy_jax.analysis.laboratory import ANALYTIC, CORRECTED, MODEL, PLATES, RAW, REDUCED
from imdy_jax.run import RunFolder
from imdy_jax.solver.fit import load_solver
from imdy_jax.solver.fitted import FittedTo

ROOT = Path(__file__).resolve().parents[1]
SOLVER = str(ROOT / "pretrained" / "imdys-segments")


@pytest.fixture(scope="module")
def laboratory(shared_data, tmp_path_factory):
    """A standing trial of one person, and a second one whose markers are torn."""
    source, folder = shared_data / "force_plates" / "opencap_subject4", tmp_path_factory.mktemp("laboratory")
    for part, names in {"markers": ["static1.trc"], "ik": ["static1_ik.mot"], "grf": ["static1_grf.mot"]}.items():
        (folder / part).mkdir()
        for name in names:
            shutil.copy(source / part / name, folder / part / name)
            shutil.copy(source / part / name, folder / part / name.replace("static1", "torn"))
    shutil.copytree(source / "models", folder / "models")
    torn = folder / "markers" / "torn.trc"
    torn.write_text(torn.read_text().rstrip().rsplit("\t", 1)[0] + "\ttorn")
    return folder


@pytest.fixture
def command(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    return lambda name: pytest.importorskip(name, reason="the scripts are not installed with the packages")


def _rows(path):
    return {(row[0], row[1]): row[2:] for row in json.loads(path.read_text())["rows"]}


def test_a_standing_person_bears_its_weight_by_every_method_and_a_torn_trial_is_told(
    laboratory, command, tmp_path, capsys
):
    script = command("evaluate_laboratory")
    script.main(str(laboratory), SOLVER, draw="static", out=str(tmp_path))
    told = capsys.readouterr()
    assert "left out: torn: " in told.err and "torn.trc" in told.err
    forces, moments = (_rows(tmp_path / "tables" / f"{name}.json") for name in ("forces", "moments"))
    methods = {ANALYTIC, RAW, CORRECTED, REDUCED}
    assert methods <= {method for trial, method in forces if trial == "static1"}
    plates = forces["static1", MODEL][0]  # what the scales of plates and model differ by
    for method in methods:
        vertical = forces["static1", method][0]
        assert 0 < vertical < min(plates + 0.5, 4.5), f"{method}: both feet bear the weight, to {vertical} %"
    assert max(moments["static1", PLATES][::2]) < 0.1  # N·m/kg: hip, knee, ankle
    assert max(moments["static1", REDUCED][::2]) < 0.2
    assert (tmp_path / "figures" / "static1.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match=r"found 0 trials with markers named like 'nobody'"):
        script.main(str(laboratory), SOLVER, only="nobody", out=str(tmp_path))


def test_a_solver_is_tuned_by_one_and_judged_by_another(laboratory, shared_data, command, tmp_path):
    script = command("tune_solver")
    config, run = script.TuneConfig(steps=30), tmp_path / "tuned"
    other = str(shared_data / "force_plates" / "hamner_run200")
    script.main((str(laboratory),), (other,), SOLVER, config, str(run))
    forces = _rows(run / "tables" / "forces.json")
    trial = next(trial for trial, _ in forces if trial != "mean")
    before, tuned = (np.array(forces[trial, f"{RAW} {when}"]) for when in ("before", "tuned"))
    assert np.isfinite(tuned).all() and np.abs(tuned - before).max() > 0.05  # it has learnt something
    opened, begun = load_solver(RunFolder.open(run)), load_solver(RunFolder.open(SOLVER))
    assert opened.config == begun.config
    assert opened.calibration is not None  # by whom it has not seen
    assert not np.array_equal(opened.calibration.torque, begun.calibration.torque)
    known = FittedTo.read(run)
    assert any("laboratory" in person for person in known.people) and len(known.people) > 1
    with pytest.raises(ValueError, match="holds a run already; pass --resume, --overwrite, or name another folder"):
        script.main((str(laboratory),), (other,), SOLVER, config, str(run))
