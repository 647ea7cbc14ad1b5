"""Motions of other skeletons: whatever the names, the unit, the rest pose and the floor, the same person moves."""

import dataclasses
import json
import re

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.motion.acclaim import read_acclaim
from imdy_jax.motion.bvh import read_bvh
from imdy_jax.motion.deepmimic import COLUMNS, read_deepmimic
from imdy_jax.motion.errors import MotionFileError
from imdy_jax.motion.fit import settle
from imdy_jax.motion.load import load_clips
from imdy_jax.motion.posing import lowest_height, pose, to_matrices
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.motion.retarget import Recording, match_joints, retarget
from imdy_jax.rotation import UPRIGHT
from imdy_jax.skeleton import JOINT_NAMES, PARENTS, joint_index

BODY = anthropometric_body()
JOINTS = np.asarray(BODY.joints, float)
OFFSETS = np.array([JOINTS[k] - JOINTS[PARENTS[k]] if k else np.zeros(3) for k in range(24)])
STAND = Rotation.from_quat(UPRIGHT, scalar_first=True)
MIXAMO = {
    "Hips": "pelvis", "LeftUpLeg": "left_hip", "RightUpLeg": "right_hip", "Spine": "spine1", "LeftLeg": "left_knee",
    "RightLeg": "right_knee", "Spine1": "spine2", "LeftFoot": "left_ankle", "RightFoot": "right_ankle",
    "Spine2": "spine3", "LeftToeBase": "left_foot", "RightToeBase": "right_foot", "Neck": "neck",
    "LeftShoulder": "left_collar", "RightShoulder": "right_collar", "Head": "head", "LeftArm": "left_shoulder",
    "RightArm": "right_shoulder", "LeftForeArm": "left_elbow", "RightForeArm": "right_elbow",
    "LeftHand": "left_wrist", "RightHand": "right_wrist",
}  # fmt: skip


@pytest.fixture(scope="module")
def walk():
    return procedural_clip("walk", BODY, 30.0)


@pytest.fixture(scope="module")
def recording(walk):
    """The walk as a y-up recording of a skeleton with SMPL's own names, in centimetres."""
    rotations = to_matrices(np.asarray(walk.rotations, float))
    rotations[:, 0] = STAND.as_matrix().T @ rotations[:, 0]
    root = (np.asarray(walk.translation) + JOINTS[0]) @ STAND.as_matrix()  # rows: the inverse rotation
    return Recording(JOINT_NAMES, PARENTS, 100 * OFFSETS, rotations, 100 * root, 30.0, "y")


@pytest.fixture
def file(tmp_path):
    """Something to name as the source."""
    path = tmp_path / "clip.bvh"
    path.write_text("of a recording")
    return path


def _places(clip):
    """Joints (T, 24, 3) from the clip's first pelvis position."""
    places = pose(clip, BODY).p_world
    return places - places[:1, :1]


def test_a_recording_of_the_same_skeleton_comes_back_as_it_was(file, recording, walk):
    clip = retarget(file, recording)
    np.testing.assert_allclose(_places(clip), _places(walk), atol=0.01)  # the floor may be found to lean a little
    turned = to_matrices(np.asarray(clip.rotations))[:, 1:], to_matrices(np.asarray(walk.rotations, float))[:, 1:]
    np.testing.assert_allclose(*turned, atol=1e-6)
    assert clip.leg_length == pytest.approx(float(BODY.leg_length), rel=1e-6)


def test_a_rest_pose_with_hanging_arms_and_spread_legs_makes_no_difference(file, recording, walk):
    """The joint's turn from another rest pose is R D⁻¹, with D what takes one rest pose to the other."""
    turn = {"left_shoulder": ("z", -80), "right_shoulder": ("z", 80), "left_hip": ("z", 20), "right_hip": ("z", -20)}
    rest = [Rotation.identity()] * 24
    for k in range(1, 24):
        rest[k] = rest[PARENTS[k]]
        if JOINT_NAMES[k] in turn:
            axis, angle = turn[JOINT_NAMES[k]]
            rest[k] = rest[k] * Rotation.from_euler(axis, angle, degrees=True)
    offsets = np.array([rest[max(PARENTS[k], 0)].apply(recording.offsets[k]) for k in range(24)])
    rotations = recording.rotations.copy()
    for k in range(24):
        rotations[:, k] = rest[max(PARENTS[k], 0)].as_matrix() @ rotations[:, k] @ rest[k].as_matrix().T
    clip = retarget(file, recording._replace(offsets=offsets, rotations=rotations))
    straight = [joint_index(name) for name in JOINT_NAMES if "foot" not in name and "hand" not in name]
    error = np.linalg.norm(_places(clip) - _places(walk), axis=-1)[:, straight]
    assert error.max() < 0.015


def test_a_leaning_floor_is_made_level(file, recording):
    lean = Rotation.from_euler("x", 1.5, degrees=True)  # the walk goes along z in the y-up world of the recording
    leaning = recording._replace(
        root=lean.apply(recording.root),
        rotations=np.concatenate(
            [lean.as_matrix() @ recording.rotations[:, :1], recording.rotations[:, 1:]], axis=1
        ),
    )  # fmt: skip
    height = lambda clip: lowest_height(pose(clip, BODY), BODY)  # noqa: E731
    level, levelled = height(retarget(file, recording)), height(retarget(file, leaning))
    distance = np.ptp(recording.root[:, 2]) / 100
    assert np.tan(np.radians(1.5)) * distance > 0.04  # so much would be left otherwise
    assert np.ptp(levelled) < np.ptp(level) + 0.02


def test_settling_keeps_a_flight_and_ends_a_float():
    hop = procedural_clip("hop", BODY, 30.0)
    moved = np.asarray(settle(hop, BODY).translation) - np.asarray(hop.translation)
    assert np.abs(moved).max() < 0.03
    drift = np.zeros((hop.num_frames, 3))
    drift[:, 2] = 0.15 * np.sin(np.linspace(0, np.pi, hop.num_frames)) ** 2
    floating = dataclasses.replace(hop, translation=np.asarray(hop.translation) + drift)
    left = np.asarray(settle(floating, BODY).translation) - np.asarray(hop.translation)
    assert np.abs(left).max() < 0.05


@pytest.mark.parametrize("prefix", ["", "mixamorig:"])
def test_usual_names_are_understood(file, prefix):
    names = tuple(prefix + name for name in MIXAMO)
    found = match_joints(file, names, {})
    assert {joint: MIXAMO[names[k].removeprefix(prefix)] for joint, k in found.items()} == {j: j for j in found}
    assert len(found) == len(MIXAMO)


def test_other_usual_names_are_understood(file):
    poser = ("hip", "abdomen", "chest", "neck", "head", "lCollar", "lShldr", "lForeArm", "lHand", "rCollar", "rShldr",
             "rForeArm", "rHand", "lThigh", "lShin", "lFoot", "rThigh", "rShin", "rFoot")  # fmt: skip
    found = {joint: poser[k] for joint, k in match_joints(file, poser, {}).items()}
    assert (found["left_knee"], found["spine2"], found["right_collar"]) == ("lShin", "chest", "rCollar")
    ends = {"left": ".L", "right": ".R"}
    blender = tuple(name.split("_")[-1] + ends.get(name.split("_")[0], "") for name in JOINT_NAMES)
    found = {joint: blender[k] for joint, k in match_joints(file, blender, {}).items()}
    assert (found["left_elbow"], found["right_hip"]) == ("elbow.L", "hip.R")


def test_a_skeleton_that_is_no_persons_is_told(file, recording):
    with pytest.raises(MotionFileError, match=r"counterparts of .*left_knee.*joints=\{"):
        match_joints(file, ("root", "tail", "left_hip"), {})
    with pytest.raises(MotionFileError, match=r"joint 'Bein': found joints pelvis.*check the map"):
        retarget(file, recording, {"left_knee": "Bein"})
    with pytest.raises(MotionFileError, match=r"length of a leg: found .* units, expected 0.55 to 1.15 m"):
        retarget(file, recording._replace(offsets=0.05 * recording.offsets))
    broken = recording.rotations.copy()
    broken[7] = np.nan
    with pytest.raises(MotionFileError, match="first in frame 7"):
        retarget(file, recording._replace(rotations=broken))


def _write_bvh(path, recording, order="ZXY"):
    """The recording as a .bvh file, root with positions, end sites at the hands, toes and head."""
    lines = ["HIERARCHY"]

    def joint(k, depth):
        pad = "\t" * depth
        lines.append(f"{pad}{'JOINT' if k else 'ROOT'} {recording.names[k]}")
        lines.append(pad + "{")
        lines.append(f"{pad}\tOFFSET {' '.join(f'{x:.8f}' for x in recording.offsets[k])}")
        turns = " ".join(f"{axis}rotation" for axis in order)
        lines.append(f"{pad}\tCHANNELS {'3' if k else '6 Xposition Yposition Zposition'} {turns}")
        children = [c for c in range(24) if recording.parents[c] == k]
        for c in children:
            joint(c, depth + 1)
        if not children:
            lines.extend([f"{pad}\tEnd Site", pad + "\t{", f"{pad}\t\tOFFSET 0 1 0", pad + "\t}"])
        lines.append(pad + "}")

    joint(0, 0)
    lines += ["MOTION", f"Frames: {len(recording.root)}", f"Frame Time: {1 / recording.fps:.9f}"]
    hierarchy = [JOINT_NAMES.index(line.split()[1]) for line in lines if line.split()[0] in ("ROOT", "JOINT")]
    for root, rotations in zip(recording.root, recording.rotations, strict=True):
        angles = [Rotation.from_matrix(rotations[k]).as_euler(order, degrees=True) for k in hierarchy]
        lines.append(" ".join(f"{x:.8f}" for x in np.concatenate([root, *angles])))
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("order", ["ZXY", "XYZ"])
def test_a_bvh_file_reads_as_the_recording_that_it_was_written_from(tmp_path, recording, order):
    path = tmp_path / "walk.bvh"
    _write_bvh(path, recording, order)
    clip, wanted = read_bvh(path), retarget(path, recording)
    np.testing.assert_allclose(_places(clip), _places(wanted), atol=1e-6)
    assert clip.fps == pytest.approx(30.0, rel=1e-6)
    clips, bad = load_clips(path, BODY)
    assert [c.name for c in clips] == ["walk"] and not bad


def test_a_damaged_bvh_file_is_told_and_the_others_are_read(tmp_path, recording):
    _write_bvh(tmp_path / "good.bvh", recording)
    whole = (tmp_path / "good.bvh").read_text()
    (tmp_path / "short.bvh").write_text(whole[: len(whole) // 2].rsplit("\n", 1)[0])
    (tmp_path / "word.bvh").write_text(whole.replace("Frames:", "Pictures:"))
    (tmp_path / "empty.bvh").write_text("")
    clips, bad = load_clips(tmp_path, BODY)
    assert [clip.name for clip in clips] == ["good"]
    reasons = " ".join(item.reason for item in bad)
    assert len(bad) == 3 and "numbers, expected" in reasons and "'Pictures:'" in reasons


ASF = """:version 1.10
:units
  length 0.45
  angle deg
:root
   order TX TY TZ RX RY RZ
   position 0 0 0
   orientation 0 0 0
:bonedata
{bones}
:hierarchy
  begin
    root lower lhip rhip
    lower lclav rclav
    lhip lfemur
    lfemur ltibia
    ltibia lfoot
    rhip rfemur
    rfemur rtibia
    rtibia rfoot
    lclav lhumerus
    lhumerus lradius
    rclav rhumerus
    rhumerus rradius
  end
"""


def _write_acclaim(folder, frames):
    """A skeleton whose legs and arms hang down and whose left thigh turns about axes tilted by 30° about y."""
    bone = lambda name, way, length, dof="", axis="0 0 0": (  # noqa: E731
        f"  begin\n name {name}\n direction {way}\n length {length}\n axis {axis} XYZ\n"
        + (f" dof {dof}\n" if dof else "")
        + "  end"
    )
    bones = [bone("lower", "0 1 0", 8), bone("lhip", "1 0 0", 1.5), bone("rhip", "-1 0 0", 1.5)]
    bones += [bone("lclav", "1 0 0", 3), bone("rclav", "-1 0 0", 3)]
    for s in "lr":
        bones.append(bone(f"{s}femur", "0 -1 0", 7.5, "rx ry rz", "0 30 0" if s == "l" else "0 0 0"))
        bones += [bone(f"{s}tibia", "0 -1 0", 7.3, "rx"), bone(f"{s}foot", "0 0 1", 2)]
        bones += [bone(f"{s}humerus", "0 -1 0", 5), bone(f"{s}radius", "0 -1 0", 4.5)]
    (folder / "07.asf").write_text(ASF.format(bones="\n".join(bones)))
    lines = [":FULLY-SPECIFIED", ":DEGREES"]
    for number, (turn, knee) in enumerate(frames, start=1):
        lines += [str(number), "root 0 17 0 0 0 0", f"lfemur {turn} 0 0", f"ltibia {knee}", "rfemur 0 0 0", "rtibia 0"]
    (folder / "07_01.amc").write_text("\n".join(lines) + "\n")


def test_an_acclaim_bone_turns_about_its_own_axes(tmp_path):
    """Raised by 90° about an axis 30° off to the side, the thigh points forwards and 30° off, and the knee follows."""
    _write_acclaim(tmp_path, [(0.0, 0.0)] * 6 + [(-90.0, 90.0)] * 6)
    places = pose(read_acclaim(tmp_path / "07_01.amc"), BODY).p_world
    hip, knee, ankle = (places[:, joint_index(f"left_{part}")] for part in ("hip", "knee", "ankle"))
    thigh = (knee - hip) / np.linalg.norm(knee - hip, axis=-1, keepdims=True)
    shank = (ankle - knee) / np.linalg.norm(ankle - knee, axis=-1, keepdims=True)
    np.testing.assert_allclose(thigh[0], [0, 0, -1], atol=1e-6)  # z is up, the person faces −y, the left is at +x
    np.testing.assert_allclose(thigh[-1], [0.5, -np.sqrt(0.75), 0], atol=1e-6)
    # The shank's own axis is that of the rest pose, the knee turns about x: 90° back about an axis 30° off the thigh's.
    turn = Rotation.from_rotvec(-np.pi / 2 * np.array([np.sqrt(0.75), 0, -0.5])) * Rotation.from_euler(
        "x", 90, degrees=True
    )
    np.testing.assert_allclose(shank[-1], STAND.apply(turn.apply([0, -1, 0])), atol=1e-6)


def test_an_acclaim_motion_needs_its_skeleton(tmp_path):
    _write_acclaim(tmp_path, [(0.0, 0.0)] * 12)
    text = (tmp_path / "07_01.amc").read_text()
    (tmp_path / "07_02.amc").write_text(text.replace("ltibia 0.0", "ltibia 0.0 1.0", 1))
    (tmp_path / "07_03.amc").write_text(text.replace("lfemur", "wing", 1))
    _, bad = load_clips(tmp_path, BODY)
    told = {item.source[-9:]: item.reason for item in bad}
    assert "12 lines of [1, 2] numbers" in told["07_02.amc"]
    assert "found wing, expected one of" in told["07_03.amc"]
    (tmp_path / "07.asf").unlink()
    with pytest.raises(MotionFileError, match=r"0 .asf files beside it.*put 07.asf beside it"):
        read_acclaim(tmp_path / "07_01.amc")


def test_however_a_file_is_damaged_it_is_told_in_one_line(tmp_path, recording):
    """Words lost, doubled or replaced, and files cut short: read after all, or a MotionFileError, and nothing else."""
    _write_bvh(tmp_path / "whole.bvh", recording._replace(root=recording.root[:12], rotations=recording.rotations[:12]))
    _write_acclaim(tmp_path, [(0.0, 0.0)] * 6 + [(-90.0, 90.0)] * 6)
    frame = [
        0.1,
        0,
        0.9,
        0,
        *[1, 0, 0, 0] * 4,
        -0.1,
        *[1, 0, 0, 0] * 2,
        0.1,
        *[1, 0, 0, 0],
        -0.1,
        *[1, 0, 0, 0] * 2,
        0.1,
    ]
    (tmp_path / "humanoid3d_x.txt").write_text(json.dumps({"Frames": [frame] * 12}))
    read = {"whole.bvh": read_bvh, "07.asf": None, "07_01.amc": read_acclaim, "humanoid3d_x.txt": read_deepmimic}
    draw, told = np.random.default_rng(0), []
    for name, reader in read.items():
        whole = (tmp_path / name).read_text()
        words = re.split(r"(\s+|,)", whole)
        for _ in range(60):
            damaged, at = list(words), int(draw.integers(min(len(words), 400)))
            damaged[at : at + int(draw.integers(1, 6))] = [["", "x", "nan", "1e999", "0", "}"][draw.integers(6)]]
            text = "".join(damaged)
            (tmp_path / name).write_text(text if draw.random() < 0.7 else text[: int(draw.integers(len(text)))])
            try:
                (reader or read_acclaim)(tmp_path / (name if reader else "07_01.amc"))
            except MotionFileError as error:
                told.append(str(error))
        (tmp_path / name).write_text(whole)
        (reader or read_acclaim)(tmp_path / (name if reader else "07_01.amc"))  # it is the damage that was told
    assert len(told) > 100
    assert not any("\n" in line for line in told)


def test_a_file_that_is_not_deepmimics_is_told(tmp_path):
    path = tmp_path / "humanoid3d_x.txt"
    for text, message in (
        ("{}", "JSON whose Frames are rows of 44 numbers"),
        ('{"Frames": [[0.1, 2]]}', rf"expected \(T, {COLUMNS}\)"),
        ('{"Frames": [' + ",".join(["[" + ",".join(["0"] * COLUMNS) + "]"] * 12) + "]}", "duration of a frame"),
    ):
        path.write_text(text)
        with pytest.raises(MotionFileError, match=message):
            read_deepmimic(path)


def test_real_recordings_walk_and_run_at_a_persons_speed_without_floating(shared_data):
    clips, bad = load_clips(shared_data / "motions" / "cmu_asf_amc", BODY)
    assert [clip.name for clip in clips] == ["02_01", "02_02", "02_03", "02_04"] and not bad
    for clip, slowest, fastest in zip(clips[:3], (1.0, 1.3, 2.2), (1.4, 1.8, 3.0), strict=True):
        speed = np.linalg.norm(np.diff(np.asarray(clip.translation)[[0, -1], :2], axis=0)) / clip.duration
        assert slowest < speed < fastest
        posed = pose(clip, BODY)
        assert np.median(np.abs(lowest_height(posed, BODY))) < 0.03
        # Knees bend backwards: the ankle stays behind the line of the thigh.
        for side in ("left", "right"):
            hip, knee, ankle = (posed.p_world[:, joint_index(f"{side}_{part}")] for part in ("hip", "knee", "ankle"))
            forwards = posed.R_world[:, 0, :, 2]
            bend = np.einsum("ti,ti->t", np.cross(knee - hip, ankle - knee), np.cross(forwards, [0, 0, 1.0]))
            assert (bend < 0.02).all()


def test_real_clips_of_deepmimic_are_read(shared_data):
    clips, _ = load_clips(shared_data / "motions" / "deepmimic", BODY, check=False)
    assert len(clips) == 14
    pelvis = {clip.name.removeprefix("humanoid3d_"): pose(clip, BODY).p_world[:, 0] for clip in clips}
    assert pelvis["getup_faceup"][0, 2] < 0.4 < 0.8 < pelvis["getup_faceup"][-1, 2]
    assert pelvis["crawl"][:, 2].max() < 0.5
    run = pelvis["run"]
    assert 2.5 < np.linalg.norm(run[-1, :2] - run[0, :2]) / ((len(run) - 1) / 30) < 4.5
