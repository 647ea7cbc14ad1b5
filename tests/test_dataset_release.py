"""The published release's files: frames, round trip, and what a stranger's file may not do."""

import os
import pickle
from pathlib import Path

import joblib
import numpy as np
import pytest
from recorded_falls import records
from scipy.spatial.transform import Rotation

from imdy_jax import rotation
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.dataset.release import (
    from_release,
    read_release,
    released_rotation,
    released_torque,
    smpl_rotation,
    smpl_torque,
    to_release,
    write_release,
)
from imdy_jax.humanoid import REFERENCE_MASS
from imdy_jax.solver.pack_release import pack_release, same_start
from imdy_jax.solver.split import split


@pytest.fixture(scope="module")
def recorded():
    return records()[1][0]


@pytest.fixture
def folder(recorded, tmp_path):
    released = to_release(recorded)
    assert write_release([released, released._replace(pos=released.pos + 1.0)], tmp_path) == 2
    return tmp_path


def test_axes_turn_into_each_other_and_torques_stay_where_they_are_in_the_world():
    rng = np.random.default_rng(0)
    rot = np.float32(Rotation.random(50, rng).as_quat(scalar_first=True))
    torque = rng.normal(size=(50, 3)).astype(np.float32)
    np.testing.assert_allclose(
        rotation.rotate(smpl_rotation(rot), smpl_torque(torque)), rotation.rotate(rot, torque), atol=1e-5
    )
    np.testing.assert_allclose(released_rotation(smpl_rotation(rot)), rot, atol=1e-6)
    np.testing.assert_array_equal(released_torque(smpl_torque(torque)), torque)


def test_the_release_s_own_way_back_to_smpl_gives_the_recorded_pose(recorded):
    """Global rotations times (½, ½, ½, ½), relative to the parent, are SMPL's axis-angles; by SciPy."""
    rot = to_release(recorded).rot
    turn = Rotation.from_quat([0.5, 0.5, 0.5, 0.5])
    world = [Rotation.from_quat(rot[:, k], scalar_first=True) * turn for k in range(24)]
    elbow, shoulder = 18, 16
    found = (world[shoulder].inv() * world[elbow]).as_rotvec()
    joints = np.asarray(recorded.q)[:-1, 3:].reshape(-1, 24, 4)
    wanted = Rotation.from_quat(joints[:, elbow], scalar_first=True).as_rotvec()
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_what_is_written_comes_back(folder, recorded):
    first, second = read_release(folder)
    assert isinstance(first.pos, np.memmap)  # a release of 150 hours is larger than memory
    motion = from_release(first)
    same = np.sign(np.sum((motion.q * np.asarray(recorded.q)[:-1])[:, 3:].reshape(-1, 24, 4), axis=-1))
    assert (same > 0).mean() > 0.9
    q = np.concatenate(
        [motion.q[:, :3], (motion.q[:, 3:].reshape(-1, 24, 4) * same[..., None]).reshape(-1, 96)], axis=1
    )
    np.testing.assert_allclose(q, np.asarray(recorded.q)[:-1], atol=1e-5)
    assert np.abs(motion.angular_momentum).max() > 0.1
    np.testing.assert_allclose(motion.angular_momentum, recorded.angular_momentum, atol=1e-5)
    np.testing.assert_array_equal(motion.contact_force, recorded.contact_force)
    assert motion.mass == pytest.approx(float(recorded.subject.humanoid.total_mass))
    np.testing.assert_allclose(second.pos, first.pos + 1.0)


def test_the_files_are_mapped_whole_however_many_sequences_they_hold(folder):
    """A process may have 65,530 maps; the published files hold 110,004 arrays."""
    sequences = list(read_release(folder))
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("the maps of a process are told on Linux alone")
    assert len(sequences) == 2
    for name in ("pos", "rot", "torque", "grf"):
        assert sum(str(folder / f"{name}.pkl") in line for line in maps.read_text().splitlines()) == 1


def test_the_torques_are_sums_of_pairs_at_sixty_hertz(recorded):
    """Their mean over the two, held for the whole step, imposes the recorded angular momentum."""
    torque = to_release(recorded).torque
    assert not torque[:, 0].any()
    size = np.linalg.norm(torque[:, 1:], axis=-1) / 2.0 / 30.0
    np.testing.assert_allclose(size, np.linalg.norm(recorded.angular_momentum, axis=-1), rtol=1e-4, atol=1e-6)


def test_joblib_itself_reads_it_and_the_weight_may_be_missing(folder):
    assert [x.shape for x in joblib.load(folder / "rot.pkl")] == [x.rot.shape for x in read_release(folder)]
    assert joblib.load(folder / "clip.pkl") == ["stand and fall"] * 2
    for name in ("weight", "clip"):
        (folder / f"{name}.pkl").unlink()
    assert next(read_release(folder)).weight is next(read_release(folder)).clip is None


class Intruder:
    def __reduce__(self):
        return os.system, ("touch intruded",)


def test_a_file_cannot_run_anything(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "grf.pkl").write_bytes(pickle.dumps([Intruder()]))
    with pytest.raises(ValueError, match=r"grf.pkl: not readable .* type (posix|nt).system, expected arrays"):
        next(read_release(folder))
    assert not (folder / "intruded").exists()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: path.unlink(), "torque.pkl: not found"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "torque.pkl: not readable .* cut off"),
        (lambda path: joblib.dump({}, path), "torque.pkl: holds a dict, expected a list"),
        (lambda path: joblib.dump([], path), "files hold .*'torque': 0.* expected as many in each"),
        (lambda path: joblib.dump([np.zeros(3), np.zeros(3)], path), r"sequence 0 of torque.pkl has shape \(3,\)"),
    ],
)  # fmt: skip
def test_damage_is_named(folder, harm, message):
    harm(folder / "torque.pkl")
    with pytest.raises(ValueError, match=message):
        list(read_release(folder))


def test_a_sequence_that_is_not_finite_is_reported_and_skipped(folder):
    grf = [np.array(x) for x in joblib.load(folder / "grf.pkl")]
    grf[0][5, 3, 1] = np.nan
    joblib.dump(grf, folder / "grf.pkl")
    joblib.dump([70.0, 0.0], folder / "weight.pkl")
    told = []
    assert not list(read_release(folder, told.append))
    joblib.dump(["walk", 7], folder / "clip.pkl")
    joblib.dump([70.0, 70.0], folder / "weight.pkl")
    assert not list(read_release(folder, told.append))
    assert "sequence 1 of clip.pkl is a int, expected the name of a clip" in str(told.pop())
    del told[2:]
    assert "sequence 0 of grf.pkl is not finite at frame 5" in str(told[0])
    assert "sequence 1 of weight.pkl is 0.0, expected kg above zero" in str(told[1])


def test_a_solver_is_fitted_to_a_release_as_to_the_dataset_it_was_made_of(folder, recorded, tmp_path):
    (folder / "weight.pkl").unlink()
    body = anthropometric_body()
    data = pack_release(folder, tmp_path / "windows", "joints", body)
    assert len(data) == 2 and data.fps == pytest.approx(30.0)
    sequence = data[0]
    np.testing.assert_allclose(sequence.angular_momentum, recorded.angular_momentum[:-1], atol=1e-5)
    np.testing.assert_array_equal(sequence.contact_force, recorded.contact_force[:-1])
    assert sequence.mass == REFERENCE_MASS
    # The same pose on another skeleton: the thigh keeps its direction, and has this body's length.
    thigh = sequence.motion[:, 4] - sequence.motion[:, 1]
    np.testing.assert_allclose(
        np.linalg.norm(thigh, axis=-1), np.linalg.norm(body.joints[4] - body.joints[1]), rtol=1e-4
    )
    rot = np.asarray(next(read_release(folder)).rot)[:, 1]
    down = Rotation.from_quat(rot, scalar_first=True) * Rotation.from_quat([0.5, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(thigh, down.apply(np.asarray(body.joints[4] - body.joints[1], float)), atol=1e-4)


def test_imitations_of_one_clip_are_on_one_side_of_every_split(folder, recorded, tmp_path):
    """The published files have each clip thrice, by three policies, and no names: alike is what begins alike."""
    (folder / "clip.pkl").unlink()
    released, rng = to_release(recorded), np.random.default_rng(0)
    places = np.repeat(np.arange(5.0), 3)[rng.permutation(15)]
    write_release(
        [
            released._replace(
                pos=np.float32(released.pos + [place, 0, 0] + rng.normal(scale=0.002, size=(1, 24, 3)))[: 60 - i % 2],
                rot=released.rot[: 60 - i % 2], torque=released.torque[: 60 - i % 2], grf=released.grf[: 60 - i % 2],
            )
            for i, place in enumerate(places)
        ],
        folder,
    )  # fmt: skip
    for named in (False, True):
        if named:
            joblib.dump([f"clip {place:g}" for place in places], folder / "clip.pkl")
        else:
            (folder / "clip.pkl").unlink()
        data = pack_release(folder, tmp_path / f"windows {named}", "joints")
        clips = [s.clip for s in data.sequences]
        assert len(set(clips)) == 5
        assert len(set(zip(clips, places, strict=True))) == 5
        for seed in range(5):
            train, test = split(data.sequences, "clip", 0.2, seed)
            assert len(test) == 3 and not set(places[train]) & set(places[test])


def test_what_links_two_groups_makes_them_one():
    first = np.zeros((4, 24, 3))
    first[:, :, 0] = np.array([0.0, 0.015, 0.03, 0.06])[:, None]  # m: neighbours are closer than 2 cm but the last
    groups = same_start(first)
    assert groups[0] == groups[1] == groups[2] != groups[3]
