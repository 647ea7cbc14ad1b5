"""The three scripts on two small motion files, one after the other, as a user calls them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from envs.imitator import open_imitator
from envs.people import PeopleConfig
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.dataset.gates import Gates, set_gates
from imdy_jax.dataset.store import open_dataset, read_record, sequence_ids
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.run import RunFolder
from imdy_jax.solver.evaluate import load_predictions
from imdy_jax.solver.fit import FitConfig, load_solver
from imdy_jax.solver.model import ModelConfig

ROOT = Path(__file__).resolve().parents[1]
TRAIN = ("train_imitator.py", "--run", "imitator", "--config.people.motions", "motions", "--config.num-envs", 32,
         "--config.train.iterations", 3, "--config.evaluate-at", 1e-6, "--config.train.ppo.hidden", 32,
         "--config.train.ppo.horizon", 4, "--config.train.ppo.minibatch", 64)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run folder with motions/: two sound AMASS-style files and a damaged one."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "motions").mkdir()
    body = anthropometric_body()
    for name in ("sway", "arm_wave"):
        clip = procedural_clip(name, body, 30.0)
        quaternions = np.asarray(clip.rotations)[:75]
        poses = Rotation.from_quat(quaternions.reshape(-1, 4), scalar_first=True).as_rotvec().reshape(-1, 72)
        translation = np.asarray(clip.translation)[:75]
        np.savez(folder / "motions" / f"{name}.npz", poses=poses, trans=translation, mocap_framerate=30.0,
                 gender="neutral", betas=np.zeros(10))  # fmt: skip
    (folder / "motions" / "torn.npz").write_bytes(b"PK\x03\x04 not an archive")
    return folder


def _call(folder, script, *arguments):
    """Run a script of experiments/ in a process of its own; returns what it printed."""
    if not (ROOT / "experiments").is_dir():
        pytest.skip("the scripts are not installed with the packages")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, ROOT / "experiments" / script, *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def line(folder):
    """What each script printed, and the folder that holds its results."""
    trained = _call(folder, *TRAIN)
    made = _call(folder, "generate.py", "--imitator", "imitator", "--run", "dataset", "--config.seats", 2, "--search")
    fitted = _call(folder, "fit_solver.py", "--dataset", "dataset", "--run", "solver", "--config.fit.steps", 30,
                   "--config.fit.batch-size", 32, "--config.fit.model.spread", "--json", "elsewhere.json")  # fmt: skip
    return {"trained": trained, "made": made, "fitted": fitted}


@pytest.fixture(scope="module")
def resumed(line, folder):
    """The imitator's tables before and after calling for it once more, with --resume."""
    table = folder / "imitator" / "tables" / "imitator.json"
    before = json.loads(table.read_text())["rows"]
    _call(folder, *TRAIN, "--resume")
    return before, json.loads(table.read_text())["rows"]


def test_a_resumed_run_keeps_the_milestones_measured_before(resumed):
    before, after = resumed
    assert len(before) == 2 and before[0][1] < before[1][1]  # after the first iteration and at the end
    assert after == before


def test_evaluating_it_again_on_its_motions_gives_the_same_figures(line, folder):
    _call(folder, "evaluate.py", "--imitator", "imitator", "--motions", "motions", "--json", "judged.json",
          "--push.per-clip", 1, "--push.newtons", 20, "--fallen.per-clip", 2,
          "--switching.per-clip", 2, "--switching.rate", 1, "--switching.least", 10)  # fmt: skip
    table = json.loads((folder / "judged.json").read_text())
    judged = json.loads((folder / "imitator" / "tables" / "imitator.json").read_text())["rows"]
    best = min(reversed(judged), key=lambda row: (-row[2], row[3]))  # whose policy plays
    *clips, together, pushed, fallen, changed, near = table["rows"]
    assert [row[0] for row in clips] == ["arm_wave", "sway"]
    assert together[3:] == pytest.approx(best[3:7], rel=1e-3)
    assert together[1] == f"{best[2]:.1f} %"
    assert pushed[:2] == ["pushed, 20 N for 0.2 s", "100.0 % recovered"]
    assert fallen[:2] == ["fallen, 5.0 s to be within 0.2 m and follow", "0.0 % got up"]  # it has never lain
    assert changed[0] == "changing clips, 1 per s" and near[0] == "within 0.1 m of the new one"
    share, count = re.fullmatch(r"([\d.]+) % of (\d+) survived", changed[1]).groups()
    assert float(share) > 50 and int(count) > 5 and re.match(r"[\d.]+ %, in [\d.]+ s", near[1])


def test_a_damaged_file_is_reported_and_left_out(line):
    assert "torn.npz" in line["trained"]
    assert "on 2 clips of 1 subject(s), 1 left out" in line["trained"]


def test_a_published_imitator_is_the_same_without_its_paths_and_training_goes_on_from_it(line, folder):
    _call(folder, "publish_imitator.py", "--imitator", "imitator", "--to", "given/imitator-small")
    config, trained = open_imitator(folder / "given" / "imitator-small")
    assert trained.digest == open_imitator(folder / "imitator")[1].digest
    assert config.people == PeopleConfig() and config.train.ppo.hidden == (32,)
    written = [file.read_bytes() for file in (folder / "given").rglob("*") if file.is_file()]
    assert len(written) > 3 and not any(str(folder).encode() in text for text in written)
    begin = ("--from-pretrained", "given/imitator-small", "--run", "further")
    _call(folder, *TRAIN, *begin, "--config.train.iterations", 1)
    rows = json.loads((folder / "further" / "tables" / "imitator.json").read_text())["rows"]
    before = json.loads((folder / "imitator" / "tables" / "imitator.json").read_text())["rows"][-1]
    assert rows[0][:2] == [0.0, 0]
    assert rows[0][2:7] == pytest.approx(before[2:7], rel=1e-3)  # it begins as good as it was
    actors = [open_imitator(folder / name)[1].params["actor"] for name in ("imitator", "further")]
    for first, after in zip(*map(jax.tree.leaves, actors), strict=True):
        np.testing.assert_allclose(after, first, rtol=1e-5)  # for the first iterations only the critic learns


def test_a_policy_of_another_kind_is_no_beginning(line, folder):
    with pytest.raises(
        AssertionError, match=r"error: imitator: config.world.task.ahead is .* there and .* here"
    ) as told:
        _call(folder, *TRAIN, "--run", "refused", "--from-pretrained", "imitator", "--config.world.task.ahead", 3)
    assert "Traceback" not in str(told.value)
    assert not (folder / "refused").exists()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--dataset", "nowhere"), r"nowhere/dataset\.zarr/zarr\.json: not found"),
        (("--dataset", "dataset", "--from-pretrained", "nowhere"), "nowhere: no run.json here"),
    ],
)
def test_a_fit_to_nothing_or_from_nothing_leaves_no_folder(line, folder, asked, told):
    with pytest.raises(AssertionError, match=f"error: {told}") as failure:
        _call(folder, "fit_solver.py", "--run", "refused", *asked)
    assert "Traceback" not in str(failure.value)
    assert not (folder / "refused").exists()


def test_processes_beside_a_cluster_or_none_at_all_are_refused(folder):
    for asked in (("--processes", 0), ("--processes", 2, "--ray", "local")):
        with pytest.raises(AssertionError, match=r"error: found processes .*, expected 1 or more without ray"):
            _call(folder, "generate.py", "--imitator", "nowhere", "--run", "refused", *asked)


def test_a_missing_run_folder_is_one_clear_line(line, folder):
    with pytest.raises(AssertionError, match=r"error: nowhere: no run.json here; expected a folder") as failure:
        _call(folder, "generate.py", "--imitator", "nowhere")
    assert "Traceback" not in str(failure.value)


def test_every_sequence_is_certified_and_none_is_made_twice(line, folder):
    dataset = open_dataset(folder / "dataset" / "dataset.zarr")
    names = sequence_ids(dataset)
    assert len(names) == 2
    table = json.loads((folder / "dataset" / "tables" / "dataset.json").read_text())
    found = {row[0]: row[1] for row in table["rows"]}
    assert found["certified"] == 100
    assert found["sequences"] == 2
    assert "imitating:" in line["made"]
    manifest = json.loads((folder / "dataset" / "manifest.json").read_text())
    rows = {row["sequence"]: row for row in manifest["sequences"]}
    assert sorted(rows) == names and all(row["kept"] for row in rows.values())
    made = sorted((row["clip"], row["pass"], row["start_frame"]) for row in rows.values())
    assert made == [("arm_wave", 0, 0), ("sway", 0, 0)]
    assert [Path(motion["source"]).name for motion in manifest["motions_left_out"]] == ["torn.npz"]
    speed = {row[0]: row[1:] for row in json.loads((folder / "dataset" / "tables" / "speed.json").read_text())["rows"]}
    motion, wall, rate, price, *hours = speed["recording"]
    assert rate == pytest.approx(motion / wall) and hours == pytest.approx([152.3 * price / 2, 152.3 * price / 64])
    prices = np.sum([speed[step][3:] for step in ("recording", "certifying")], axis=0)
    done, elapsed, rate, *together = speed["together"]
    assert together == pytest.approx(prices.tolist()) and done == motion and rate == pytest.approx(done / elapsed)
    assert sum(speed[step][1] for step in ("starting", "recording", "certifying")) <= elapsed
    assert all(speed[step][3:] == [None] * 3 for step in ("starting", "loading", "preparing"))  # there is but one batch
    assert "a way to the end found through 0 of 0 clips" in line["made"]  # nothing was lost, so nothing is sought
    for name in names:
        record = read_record(dataset, name)
        assert record.precision == "float64"
        weight = 9.81 * float(np.sum(record.subject.humanoid.mass))
        standing = np.asarray(record.contact_force)[:, :, 2].sum(axis=1).mean()
        assert standing == pytest.approx(weight, rel=0.05)


def test_the_report_tells_what_was_recorded(line, folder):
    told = _call(folder, "generate.py", "--run", "dataset", "--report")
    assert "Datasets of human dynamics" in told and "Peak sagittal torques" not in told  # neither clip is a gait
    torques = json.loads((folder / "dataset" / "tables" / "torques.json").read_text())["rows"]
    assert all(0 < rms < peak and 0 < jitter < 100 for _, rms, peak, jitter in torques)
    assert (folder / "dataset" / "figures" / "distributions.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--config.guide",), "config.guide beside config.teach.minutes"),
        (("--config.people.subjects", 2), "config.people.subjects 2, expected one subject"),
    ],
)
def test_lessons_with_a_guide_or_for_several_people_are_refused(folder, asked, told):
    with pytest.raises(AssertionError, match=f"error: .*{told}") as failure:
        _call(folder, *TRAIN, "--run", "refused", "--config.teach.minutes", 1, *asked)
    assert "Traceback" not in str(failure.value)
    assert not (folder / "refused").exists()


def test_what_gates_drop_is_named_and_not_trained_on(line, folder):
    jitter = ("--gates.jitter", 1e-9, "--no-again")
    _call(folder, "generate.py", "--imitator", "imitator", "--run", "dataset", "--config.seats", 2, *jitter)
    try:
        manifest = json.loads((folder / "dataset" / "manifest.json").read_text())
        assert manifest["gates"]["jitter"] == 1e-9
        assert [list(row["faults"]) for row in manifest["sequences"]] == [["jitter"], ["jitter"]]
        assert len(sequence_ids(open_dataset(folder / "dataset" / "dataset.zarr"))) == 2
        with pytest.raises(AssertionError, match="none of 2 sequences is certified and passes the dataset's gates"):
            _call(folder, "fit_solver.py", "--dataset", "dataset", "--run", "refused")
    finally:
        set_gates(open_dataset(folder / "dataset" / "dataset.zarr"), Gates())


def test_how_fast_windows_are_read_is_told_beside_the_fitting(line, folder):
    rows = json.loads((folder / "solver" / "tables" / "throughput.json").read_text())["rows"]
    speed = {row[0]: row[1] for row in rows}
    assert speed["reading"] > speed["fitting"] > 0 and speed["both at once"] > 0
    assert all(rate * milliseconds == pytest.approx(32e3) for _, rate, milliseconds in rows)


def test_the_solver_is_judged_on_the_clip_it_has_not_seen(line, folder):
    table = json.loads((folder / "elsewhere.json").read_text())
    rows = {row[0]: row[1:] for row in table["rows"]}
    ours = [rows[name] for name in ("mean of the training windows", "re-imitation", "ImDyS")]
    assert all(np.isfinite(row[:4]).all() and min(row[:4]) > 0 for row in ours)
    assert len(load_predictions(folder / "solver" / "estimates.npz")) == 1
    assert load_solver(RunFolder.open(folder / "solver")).calibration is not None
    assert "One clip alone" in (folder / "solver" / "tables" / "coverage.json").read_text()
    activities = json.loads((folder / "solver" / "tables" / "activities.json").read_text())["rows"]
    assert [row[0] for row in activities] in (["sway"], ["arm wave"])
    joints = {row[0]: row[1:] for row in json.loads((folder / "solver" / "tables" / "joints.json").read_text())["rows"]}
    assert joints["pelvis"][0] is None and joints["left_knee"][0] > 0
    assert np.mean([row[2] for row in joints.values()]) == pytest.approx(ours[2][1], rel=1e-3)  # λ over all segments


def test_a_published_solver_is_compared_with_analytic_dynamics_on_what_it_has_not_seen(line, folder, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    publish_solver = pytest.importorskip("publish_solver", reason="the scripts are not installed with the packages")
    import compare_solver

    small = folder / "pretrained" / "imdys-line"
    publish_solver.main(str(small), str(folder / "solver"))
    compare_solver.main(str(small), str(folder / "dataset"), out=str(folder / "comparison"))
    table = json.loads((folder / "comparison" / "tables" / "comparison.json").read_text())
    rows = {row[0]: row[1:] for row in table["rows"]}
    assert list(rows) == ["ImDyS", "ImDyS corrected, 6 Hz", "ImDyS reduced, 6 Hz", "analytic, 6 Hz"]
    assert table["title"].startswith(f"{len(load_predictions(folder / 'solver' / 'estimates.npz'))} recorded sequences")
    fitted = json.loads((folder / "elsewhere.json").read_text())["rows"]
    ours = next(row for row in fitted if row[0] == "ImDyS")
    np.testing.assert_allclose(rows["ImDyS"][:4], ours[1:5], rtol=1e-3)  # as fit_solver.py judged it


def test_an_ablation_is_fitted_once_and_printed_beside_the_paper_s_figures(line, folder, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    ablate_solver = pytest.importorskip("ablate_solver", reason="the scripts are not installed with the packages")
    monkeypatch.setitem(ablate_solver.VARIANTS, "6", ablate_solver.VARIANTS["6"][::2])
    model = ModelConfig(width=8, layers=1, heads=2, hidden=8)
    config = ablate_solver.SolverConfig(FitConfig(model, steps=2, batch_size=8))
    table, written = folder / "ablation" / "tables" / "table6.json", {}
    for _ in range(2):
        ablate_solver.main("6", config, str(folder / "dataset"), str(folder / "ablation"))
        rows = json.loads(table.read_text())["rows"]
        assert [row[0] for row in rows[:2]] == ["ImDyS w = 2", "ImDyS w = 3"]
        assert rows[0][5] == rows[1][5] and rows[0][1] != rows[1][1]  # judged on the same steps
        assert rows[2][1] == 0.1626 and "0.1626" in capsys.readouterr().out
        files = [p for p in (folder / "ablation").rglob("*") if p.is_file() and "checkpoints" in p.parts]
        assert {p.relative_to(folder / "ablation").parts[0] for p in files} == {"imdys", "window_3"}
        assert written in ({}, {p: p.stat().st_mtime_ns for p in files})
        written = {p: p.stat().st_mtime_ns for p in files}


def test_what_is_beyond_the_paper_is_judged_beside_it(line, folder, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    ablate_solver = pytest.importorskip("ablate_solver", reason="the scripts are not installed with the packages")
    monkeypatch.setitem(ablate_solver.VARIANTS, "beyond", ablate_solver.VARIANTS["beyond"][:2])
    config = ablate_solver.SolverConfig(
        FitConfig(ModelConfig(width=8, layers=1, heads=2, hidden=8), steps=2, batch_size=8)
    )
    ablate_solver.main("beyond", config, str(folder / "dataset"), str(folder / "ablation"))
    table = json.loads((folder / "ablation" / "tables" / "beyond.json").read_text())
    paper, newton = (dict(zip(table["columns"], row, strict=True)) for row in table["rows"])
    assert (paper["method"], newton["method"]) == ("paper-faithful", "+ Newton–Euler")
    for name in ("steps", "parameters"):
        assert paper[name] == newton[name] > 0
    assert 0 < newton["whole body N/kg"] != paper["whole body N/kg"] > 0
    log = [json.loads(x) for x in (folder / "ablation" / "newton_euler" / "metrics.jsonl").read_text().splitlines()]
    assert log[-1]["whole_body"] > 0 < log[-1]["each_joint"]
