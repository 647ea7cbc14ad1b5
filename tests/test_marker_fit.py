"""Laboratory markers: what their labels mean, and the person and motion behind them."""

import json
import warnings
from dataclasses import replace

import jax
import numpy as np
import pytest
from marker_files import CLUSTERS, FPS, LABELS, known_body, known_motion, recorded, write_trc

from envs.people import PeopleConfig, make_bodies
from experiments import fit_markers
from imdy_jax.analysis.laboratory import MODEL, PLATES, Said, judge, reference, under_plates
from imdy_jax.analysis.laboratory_windows import laboratory_sequences
from imdy_jax.biomechanics import opensim
from imdy_jax.biomechanics.force_plates import find_trials
from imdy_jax.biomechanics.marker_fit import fit_motion, fit_person
from imdy_jax.biomechanics.marker_frames import upright
from imdy_jax.biomechanics.marker_labels import site
from imdy_jax.biomechanics.opensim_storage import read_markers
from imdy_jax.body.markers import MARKER_LABELS, MARKER_NAMES
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.humanoid import from_body
from imdy_jax.motion.clip import generalized_positions
from imdy_jax.motion.filters import Butterworth
from imdy_jax.motion.load import load_motion
from imdy_jax.skeleton import JOINT_NAMES, LEFT_FOOT, MIRROR, PARENTS, RIGHT_FOOT, joint_index


@pytest.fixture(scope="module")
def truth():
    body = known_body()
    return body, *known_motion(body)


@pytest.fixture(scope="module")
def fitted(truth):
    body, _, joints, rotations = truth
    markers = recorded(body, joints, rotations)
    person = fit_person([markers], "female", 64.0)
    return person, markers, fit_motion(markers, person, "walk")


def joints_of(clip, body):
    """(T, 24, 3) in the world; another route than the fit's own."""
    q = np.asarray(generalized_positions(clip, body))
    return np.asarray(jax.vmap(forward_kinematics, in_axes=(None, 0))(from_body(body), q).position)


def test_labels_of_many_laboratories_are_understood():
    for name, label in zip(MARKER_NAMES, MARKER_LABELS, strict=True):
        assert site(name) == site(label) and site(label).landmarks == (MARKER_NAMES.index(name),)
    for name, label in LABELS.items():
        assert site(label).landmarks == (MARKER_NAMES.index(name),)
    assert site("subject 1:LASI") == site("L.ASIS") == site("left asis")
    assert site("r_mknee").landmarks == (MARKER_NAMES.index("right_medial_femoral_epicondyle"),)
    assert site("R_HJC_reg") == site("RHJC") and JOINT_NAMES[site("RHJC").segment] == "right_hip"
    assert [JOINT_NAMES[site(x).segment] for x in ("L.Thigh.Rear", "RTB2", "LUA1", "R_forearm")] == [
        "left_hip", "right_knee", "left_shoulder", "right_elbow"
    ]  # fmt: skip
    assert {site(x).kind for x in ("L.Thigh.Rear", "RTB2", "LUA1", "R_forearm")} == {"segment"}
    assert site("M17") is None and site("") is None and site("Top.Head") is None


def test_the_person_is_found(truth, fitted):
    body, person = truth[0], fitted[0]
    assert abs(person.stature - 1.72) < 0.015
    assert float(np.sum(person.body.mass)) == pytest.approx(64.0)
    for joint in ("left_knee", "left_ankle", "right_elbow", "right_wrist"):
        k = joint_index(joint)
        bone = lambda b, k=k: np.linalg.norm(b.joints[k] - b.joints[PARENTS[k]])  # noqa: E731
        assert bone(person.body) == pytest.approx(bone(body), abs=0.012)


def test_markers_of_which_nothing_is_known_are_put_where_they_are(fitted):
    person = fitted[0]
    for label, (joint, place) in CLUSTERS.items():
        row = person.names.index(label)
        assert JOINT_NAMES[person.segment[row]] == joint and not person.placed[row]
        assert np.linalg.norm(person.place[row] - place) < 0.025


def test_the_motion_is_found_to_millimetres(truth, fitted):
    _, _, joints, _ = truth
    person, markers, motion = fitted
    assert np.sqrt(np.nanmean(motion.error**2)) < 0.006
    assert motion.clip.fps == pytest.approx(FPS)
    off = np.linalg.norm(joints_of(motion.clip, person.body) - joints, axis=-1)
    legs = [joint_index(f"{side}_{j}") for side in ("left", "right") for j in ("hip", "knee", "ankle")]
    assert off[:, legs].mean() < 0.012 and off.mean() < 0.02
    assert motion.error.shape == (len(joints), len(markers.names))


def test_gaps_swapped_markers_and_a_belt(truth, fitted):
    """Some markers are gone for a while, two are taken for one another in a frame, and the floor moves."""
    _, _, joints, _ = truth
    person, markers, _ = fitted
    marred = markers.positions.copy()
    marred[20:40, markers.names.index("LKNE")] = np.nan
    left, right = (markers.names.index(x) for x in ("LHEE", "r_calc"))
    marred[30, [left, right]] = marred[30, [right, left]]
    belt = np.array([1.2, 0.0, 0.3])
    moved = marred + belt * markers.time[:, None, None]
    motion = fit_motion(replace(markers, positions=moved), person, "walk", belt=tuple(belt))
    off = np.linalg.norm(joints_of(motion.clip, person.body) - joints, axis=-1)
    assert off.mean() < 0.02 and off[30].mean() < 0.03
    assert np.isnan(motion.error[25, markers.names.index("LKNE")])
    assert motion.error[30, left] > 0.1 > motion.error[31, left]


def test_the_vertical_axis_is_seen(fitted):
    markers = fitted[1]
    tall = upright(markers)
    assert (tall[..., 2].max() > 1.3) and np.array_equal(upright(replace(markers, positions=tall)), tall)
    np.testing.assert_array_equal(upright(markers, "z"), markers.positions)


def test_what_cannot_be_fitted_is_said_in_one_line(fitted):
    person, markers, _ = fitted
    few = replace(markers, names=tuple(f"M{k}" for k in range(len(markers.names))))
    with pytest.raises(
        ValueError, match=r"found 0 labels that tell a place.*expected at least 12 and 3; rename.* M0, M1"
    ):
        fit_person([few])
    with pytest.raises(ValueError, match=r"sex is 'woman', expected one of female, male, neutral"):
        fit_person([markers], "woman")
    with pytest.raises(ValueError, match=r"mass is -5, expected 25"):
        fit_person([markers], "female", -5)
    short = replace(markers, time=markers.time[:4], positions=markers.positions[:4])
    with pytest.raises(ValueError, match="walk: found 4 frames, expected at least 10"):
        fit_motion(short, person, "walk")
    with pytest.raises(ValueError, match=r"markers: found a person of .* m off, expected less than 0\.05 m; check"):
        fit_person([replace(markers, positions=10.0 * markers.positions)], "female")
    gone = markers.positions.copy()
    gone[7] = np.nan
    with pytest.raises(ValueError, match=r"walk: frame 7 \(1 frames concerned\) has fewer than 3 markers"):
        fit_motion(replace(markers, positions=gone), person, "walk")


def test_from_files_to_motions_that_everything_else_reads(truth, fitted, tmp_path, capsys):
    _, _, joints, _ = truth
    folder, out = tmp_path / "trials", tmp_path / "out"
    folder.mkdir()
    write_trc(folder / "walk.trc", fitted[1])
    (folder / "broken.trc").write_text("no\n" * 8)
    fit_markers.main(str(folder), sex="female", mass=64.0, out=str(out))
    said = capsys.readouterr()
    assert "broken.trc" in said.err and "1 recordings of a female person, 1.7" in said.out
    body = make_bodies(PeopleConfig(person=str(out / "person.json")))[0]
    clip = load_motion("walk", out / "walk.npz", body, FPS)
    placed = joints_of(clip, body)
    apart = (placed - placed[:, :1].mean(axis=0)) - (joints - joints[:, :1].mean(axis=0))
    assert np.linalg.norm(apart, axis=-1).mean() < 0.03
    table = json.loads((out / "tables" / "motions.json").read_text())
    assert table["rows"] and not list(out.rglob("*.partial*"))
    with pytest.raises(ValueError, match=r"nothing\.json: found no file, expected a person's"):
        make_bodies(PeopleConfig(person=str(tmp_path / "nothing.json")))
    (tmp_path / "giant.json").write_text('{"sex": "female", "stature": 9.0, "mass": 60, "betas": []}')
    with pytest.raises(ValueError, match=r"giant\.json: found ValueError: default body: stature is 9.0"):
        make_bodies(PeopleConfig(person=str(tmp_path / "giant.json")))
    with pytest.raises(ValueError, match=r"found no \.trc file"):
        fit_markers.main(str(out))


@pytest.fixture(scope="module")
def laboratory(shared_data):
    """A walk of the laboratory, and the person fitted to it and to the static trial."""
    trial = next(t for t in find_trials(shared_data / "force_plates") if t.name == "walking1")
    files = [trial.markers, trial.markers.with_name("static1.trc")]
    person = fit_person([read_markers(file) for file in files], "female", 62.6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return trial, person, fit_motion(read_markers(trial.markers), person, "walking1"), reference(trial)


def test_a_laboratory_walk_agrees_with_opensim_s_own_kinematics(laboratory):
    """Joint centres of OpenSim's scaled model, by its inverse kinematics of the same markers."""
    trial, person, motion, _ = laboratory
    assert np.sqrt(np.nanmean(motion.error**2)) < 0.009
    model = opensim.read_model(trial.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        track = opensim.coordinate_motion(model, opensim.read_storage(trial.motion), None)
    poses = opensim.body_poses(model, track.q)
    ours = joints_of(motion.clip, person.body)
    for joint, body in (("hip", "femur"), ("knee", "tibia"), ("ankle", "talus")):
        for side in ("left", "right"):
            theirs = opensim.to_z_up(poses[:, model.body_names.index(f"{body}_{side[0]}"), :, 3])
            gap = np.linalg.norm(ours[:, joint_index(f"{side}_{joint}")] - theirs, axis=-1)
            assert gap.mean() < 0.035, (joint, side)


def test_under_the_plates_the_joint_moments_are_those_of_opensim_s_own_model(laboratory):
    trial, person, motion, truth = laboratory
    start = float(read_markers(trial.markers).time[0])
    said = under_plates(motion.clip, person.body, truth, start, Butterworth(6.0))
    found = judge(truth, said)
    assert found.length.max() == 0.0
    assert (found.moment < 0.2).all() and (found.correlation > 0.9).all()
    nothing = judge(truth, Said(0.0 * said.force, 0.0 * said.moments + np.arange(said.moments.shape[-1])))
    assert (nothing.correlation < 0.5).all() and nothing.length.min() > 2.0
    assert {MODEL, PLATES} == {"OpenSim's kinematics", "forces of the plates"}


def test_what_plates_teach_is_what_they_have_measured(laboratory):
    """Forces and torques of a trial as a solver learns them, against the plates and the moments under them."""
    trial, person, motion, truth = laboratory
    start = float(read_markers(trial.markers).time[0])
    learnt = laboratory_sequences(
        truth, motion.clip, person.body, start, Butterworth(6.0), FPS, "joints", "she", phases=1
    )
    straight, mirrored = learnt
    assert (straight.clip, mirrored.subject) == ("she/walking1", "she")
    steps, time = len(straight.contact_force), truth.estimate.time
    first = time[int(straight.name.split("/")[2])]
    measured = np.stack([
        truth.measured.force[(time > first + k / FPS - 1e-9) & (time < first + (k + 1) / FPS + 1e-9)].mean(axis=0)
        for k in range(steps)
    ])  # fmt: skip
    for foot, segments in enumerate((LEFT_FOOT, RIGHT_FOOT)):
        told = straight.contact_force[:, segments].sum(axis=1)
        gap = told - opensim.to_z_up(measured[:, foot])
        assert np.sqrt(np.mean(gap**2)) < 0.02 * truth.mass * 9.81 < 0.2 * told[:, 2].max()
    swapped = straight.contact_force[:, MIRROR] * (-1, 1, 1)
    assert np.abs(mirrored.contact_force - swapped).max() < 0.02 * truth.mass * 9.81
    knee = joint_index("left_knee") - 1
    under = under_plates(motion.clip, person.body, truth, start, Butterworth(6.0)).moments[0, 1]
    at = np.interp(first + (np.arange(steps) + 0.5) / FPS, time, under)
    apart = -straight.angular_momentum[:, knee, 0] * FPS / truth.mass - at
    assert np.abs(apart).mean() < 0.01  # but for the step in which the heel strikes
    assert np.abs(at).max() > 0.4
