"""From recorded sequences to batches: nothing lost, nothing leaked, the same again from any place."""

import dataclasses
import itertools
import shutil
from functools import partial

import numpy as np
import pytest
import recorded_falls
from scipy.spatial.transform import Rotation

from imdy_jax.dataset.record import thirty_hertz_view
from imdy_jax.dataset.store import create_dataset, open_dataset, sequence_attributes, write_record
from imdy_jax.dataset.zarr_io import read_attributes, write_attributes
from imdy_jax.motion.clip import family, is_gait
from imdy_jax.motion.procedural import CLIPS
from imdy_jax.skeleton import PARENTS
from imdy_jax.solver.data import WindowBatches, prefetch
from imdy_jax.solver.fitted import FittedTo, new_ids
from imdy_jax.solver.pack import PackedDataset, Sequence, clip_groups, pack, pack_dataset
from imdy_jax.solver.split import novelty, split, split_by_clip

LENGTHS = (20, 7, 33, 12)


def numbered(index, steps):
    """A sequence whose every value tells where it belongs."""
    value = 1000 * index + np.arange(steps + 1, dtype=np.float32)
    fill = lambda rows, count: np.broadcast_to(value[:rows, None, None], (rows, count, 3))  # noqa: E731
    arrays = fill(steps + 1, 66), fill(steps, 23), fill(steps, 24)
    return Sequence(f"s{index}", f"clip{index // 2}", f"person{index % 2}", 50.0 + index, *arrays)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    sequences = (numbered(i, n) for i, n in enumerate(LENGTHS))
    return pack(sequences, "source", 1 / 30, tmp_path_factory.mktemp("packed"))


def test_packing_keeps_every_number(packed):
    for i, steps in enumerate(LENGTHS):
        for kept, given in zip(packed[i], numbered(i, steps), strict=True):
            assert np.array_equal(kept, given)
    assert not packed.angular_momentum.flags.writeable  # estimates can never be written over what was recorded


def test_packing_the_same_source_again_reads_nothing_and_another_source_replaces_it(tmp_path):
    pack([numbered(0, 20)], "a", 1 / 30, tmp_path)
    again = pack((pytest.fail("read again") for _ in range(1)), "a", 1 / 30, tmp_path)
    assert len(again) == 1
    assert pack([numbered(1, 9), numbered(2, 9)], "b", 1 / 30, tmp_path)[1].name == "s2"


def test_a_pack_that_was_killed_is_made_anew(tmp_path):
    def breaks():
        yield numbered(0, 20)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        pack(breaks(), "a", 1 / 30, tmp_path)
    assert len(pack([numbered(0, 20), numbered(1, 9)], "a", 1 / 30, tmp_path)) == 2
    assert len(PackedDataset(tmp_path)) == 2


def test_windows_hold_the_frames_and_steps_around_t(packed):
    batches = WindowBatches(packed, [0, 2], window=2, batch_size=5, seed=0)
    assert len(batches.times) == (20 - 4) + (33 - 4)
    windows = batches[3]
    markers, mass = windows.motion[..., 0, 0], windows.mass
    now = markers[:, 2]
    np.testing.assert_array_equal(markers, now[:, None] + np.arange(-2, 4))
    np.testing.assert_array_equal(windows.angular_momentum[:, 0, 0], now)
    np.testing.assert_array_equal(windows.contact_force[:, :, 0, 0], now[:, None] + np.arange(2))
    np.testing.assert_array_equal(mass, 50 + now // 1000)


def test_each_pass_sees_every_window_once_in_another_order(packed):
    batches = WindowBatches(packed, [0, 1, 2, 3], window=2, batch_size=7, seed=3)
    passes = [[batches[p * batches.per_pass + i].motion[:, 2, 0, 0] for i in range(batches.per_pass)] for p in (0, 1)]
    first, second = (np.concatenate(p) for p in passes)
    assert len(set(first)) == len(first) == len(batches.times) // 7 * 7
    assert not np.array_equal(first, second)
    assert set(first // 1000) == {0, 1, 2, 3}


def test_a_batch_depends_on_the_seed_and_its_number_alone(packed):
    one, other = (WindowBatches(packed, [0, 1, 2], 2, 8, seed=5) for _ in range(2))
    for _ in range(9):
        other[4]
    for n in (17, 2):
        np.testing.assert_array_equal(one[n].motion, other[n].motion)
    different = WindowBatches(packed, [0, 1, 2], 2, 8, seed=6)
    assert not np.array_equal(one[2].motion, different[2].motion)
    assert one.digest == other.digest != different.digest


def test_hosts_share_every_batch_and_go_on_from_anywhere(packed):
    whole = WindowBatches(packed, [0, 1, 2, 3], window=2, batch_size=12, seed=3)
    parts = [WindowBatches(packed, [0, 1, 2, 3], 2, 12, 3, part=(k, 3)) for k in range(3)]
    assert {part.digest for part in parts} == {whole.digest} and {part.per_pass for part in parts} == {whole.per_pass}
    for n in (5, 1):
        together = np.stack([part[n].motion for part in parts], axis=1).reshape(12, *whole[n].motion.shape[1:])
        np.testing.assert_array_equal(together, whole[n].motion)
    for part in ((0, 5), (3, 3), (-1, 2)):
        with pytest.raises(ValueError, match=r"part: found .* expected \(k, K\) .* batch of 12 windows"):
            WindowBatches(packed, [0, 1, 2, 3], 2, 12, 3, part=part)


def test_prefetch_keeps_the_order_reads_ahead_and_passes_errors_on():
    asked = []

    class Numbers:
        def __getitem__(self, n):
            asked.append(n)
            if n == 6:
                raise OSError("disk gone")
            return np.array(n)

    stream = prefetch(Numbers(), range(10), ahead=2)
    assert [int(x) for x in itertools.islice(stream, 3)] == [0, 1, 2]
    assert max(asked) <= 5
    with pytest.raises(OSError, match="disk gone"):
        list(stream)


def test_no_clip_is_on_both_sides_whatever_the_seed():
    clips = [f"c{i % 9}" for i in range(40)]
    chosen = set()
    for seed in range(20):
        train, test = split_by_clip(clips, 0.2, seed)
        assert sorted(train + test) == list(range(40))
        held_out = {clips[i] for i in test}
        assert len(held_out) == 2
        assert not held_out & {clips[i] for i in train}
        assert (train, test) == split_by_clip(clips, 0.2, seed)
        chosen |= held_out
    assert len(chosen) > 4
    assert len(split_by_clip(["a", "b"], 0.01, 0)[1]) == len(split_by_clip(["a", "b"], 0.99, 0)[0]) == 1


def test_gaits_are_on_both_sides_where_there_are_two():
    clips = [*CLIPS, *CLIPS]
    gaits = {clip for clip in CLIPS if is_gait(clip)}
    assert gaits == {"walk", "walk_slow"}
    for seed in range(10):
        held_out = {clips[i] for i in split_by_clip(clips, 0.2, seed)[1]}
        assert len(held_out) == 3
        assert len(held_out & gaits) == 1
    assert not is_gait("trunk_twist") and is_gait("RunningMan_02") and is_gait("video_jog")
    assert len(split_by_clip(["walk", "run"], 0.2, 0)[1]) == 1


def test_people_are_held_out_as_clips_are_or_together_with_them(packed):
    people = [s._replace(clip=f"c{i % 5}", subject=f"p{i // 5}") for i, s in enumerate(packed.sequences[:1] * 20)]
    for seed in range(5):
        train, test = split(people, "subject", 0.25, seed)
        assert sorted(train + test) == list(range(20)) and len({people[i].subject for i in test}) == 1
        assert not {people[i].subject for i in test} & {people[i].subject for i in train}
        assert novelty(people, train, test) == ["new person"] * 5
        train, test = split(people, "both", 0.25, seed)
        assert sorted(train + test) == list(range(20)) and len(train) == 3 * 4
        new = novelty(people, train, test)
        assert (new.count("new clip"), new.count("new person"), new.count("new clip and person")) == (3, 4, 1)
    assert set(novelty(people, *split(people, "clip", 0.2, 0))) == {"new clip"}
    with pytest.raises(ValueError, match=r"1 subject\(s\), expected at least 2 .* from more people"):
        split(people[:5], "subject", 0.2, 0)
    alone = [people[0]._replace(subject="p1"), people[1]._replace(subject="p0")]
    with pytest.raises(ValueError, match="no sequence is of a clip and of a person that are both to be fitted"):
        split(alone, "both", 0.5, 0)


def test_a_clip_s_family_is_what_its_name_says_without_takes_and_copies():
    named = ("video_single_foot_jump_level2_filter_amass", "RunningMan_02", "walk_mirrored", "walk_x0.8", "35_01_poses")
    assert [family(name) for name in named] == ["single foot jump", "runningman", "walk", "walk", "unnamed"]


def test_what_shares_a_name_or_a_digest_is_one_clip():
    sources = [("walk", "a"), ("run", "b"), ("walk_mirrored", "a"), ("jog", "d"), ("walk", "c"), ("run_mirrored", "b"),
               ("jog_mirrored", "e"), ("jog", "e"), ("jog_mirrored", "d")]  # fmt: skip
    groups = clip_groups(sources)
    assert groups == ["walk", "run", "walk", "jog", "walk", "run", "jog", "jog", "jog"]
    for order in itertools.permutations(range(5)):
        shuffled = clip_groups([sources[i] for i in order])
        assert all((shuffled[a] == shuffled[b]) == (groups[i] == groups[j])
                   for a, i in enumerate(order) for b, j in enumerate(order))  # fmt: skip


def test_a_single_clip_cannot_be_split():
    with pytest.raises(ValueError, match=r"1 clip\(s\), expected at least 2"):
        split_by_clip(["a", "a"], 0.2, 0)


def test_sequences_too_short_for_a_window(packed):
    with pytest.raises(ValueError, match="1 sequences hold no window of 14 frames"):
        WindowBatches(packed, [1], window=6, batch_size=4, seed=0)


def poses_by_matrices(record, q):
    """Joint positions (24, 3) and the rotation of each joint in its parent (24, 3, 3), by rotation matrices."""
    turned = Rotation.from_quat(q[3:].reshape(24, 4), scalar_first=True).as_matrix()
    position, world = [q[:3]], [turned[0]]
    for k in range(1, 24):
        position.append(position[PARENTS[k]] + world[PARENTS[k]] @ record.subject.humanoid.offset[k])
        world.append(world[PARENTS[k]] @ turned[k])
    return np.array(position), turned


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two simulated sequences in a store, of which the first alone is certified."""
    return recorded_falls.half_certified(tmp_path_factory.mktemp("dataset") / "dataset.zarr")


def test_a_dataset_is_packed_as_it_was_recorded_and_only_what_is_certified(dataset, tmp_path, caplog):
    path, (certified, other) = dataset
    packed = pack_dataset(path, tmp_path)
    assert f"left out for want of a certificate: 1, the first {other.id}" in caplog.text
    assert [s.name for s in packed.sequences] == [certified.id]
    assert packed.dt == pytest.approx(1 / 30)
    sequence = packed[0]
    assert sequence.clip == certified.source.name
    assert sequence.subject == certified.subject.digest
    assert sequence.mass == pytest.approx(float(np.sum(certified.subject.humanoid.mass)))
    np.testing.assert_array_equal(sequence.motion, certified.markers)
    for name in ("angular_momentum", "contact_force"):
        np.testing.assert_array_equal(getattr(sequence, name), getattr(certified, name))


def test_what_is_new_to_a_solver_is_of_another_clip_or_person(dataset):
    path, (certified, _) = dataset
    known = FittedTo("", 0.0, 1, (certified.source.name,), (certified.subject.digest,))
    for change in ({"clips": ("another",)}, {"people": ("another",)}):
        assert new_ids(open_dataset(path), dataclasses.replace(known, **change)) == [certified.id]
    with pytest.raises(ValueError, match="has been fitted to all of its 1 sequences"):
        new_ids(open_dataset(path), known)


def test_joints_and_their_rotations_are_packed_in_place_of_markers(dataset, tmp_path):
    path, (certified, _) = dataset
    smpl = pack_dataset(path, tmp_path / "smpl", "smpl")[0].motion
    np.testing.assert_array_equal(pack_dataset(path, tmp_path / "joints", "joints")[0].motion, smpl[..., :3])
    frames = certified.q[[0, 11, 30]]
    for t, (position, turned) in zip((0, 11, 30), map(partial(poses_by_matrices, certified), frames), strict=True):
        np.testing.assert_allclose(smpl[t, :, :3], position, atol=1e-5)
        np.testing.assert_allclose(Rotation.from_quat(smpl[t, :, 3:], scalar_first=True).as_matrix(), turned, atol=1e-5)
    assert smpl.shape == (31, 24, 7)


def test_substeps_make_other_rates_exactly(dataset, tmp_path):
    path, (certified, _) = dataset
    h, parts = certified.provenance.timestep, recorded_falls.SUBSTEPS
    fine = pack_dataset(path, tmp_path / "fine", "smpl", (60, 120, 40))
    assert (fine.dt, fine.strides, fine.fps) == (pytest.approx(1 / 120), (4, 2, 1, 3), pytest.approx(30))
    finest, whole = fine.finest(0), pack_dataset(path, tmp_path / "whole", "smpl")[0]
    for given, kept in zip(whole[4:7], fine[0][4:7], strict=True):
        np.testing.assert_allclose(kept, given, rtol=1e-4, atol=1e-5)
    # The pose after each substep moves on by its velocity, as the simulator has it; torques are those of the substep.
    moved = np.diff(finest.motion[:, 0, :3], axis=0).reshape(-1, parts, 3)
    np.testing.assert_allclose(moved, h * certified.substep_v[..., :3], atol=1e-6)
    np.testing.assert_allclose(finest.angular_momentum, h * certified.torque.reshape(-1, 23, 3), rtol=1e-5)
    np.testing.assert_allclose(finest.contact_force, certified.wrench.reshape(-1, 24, 6)[..., :3], rtol=1e-5)
    slow = finest.every(3)
    assert len(slow.motion) == 41
    np.testing.assert_array_equal(slow.motion, finest.motion[::3])
    np.testing.assert_allclose(slow.angular_momentum[5], finest.angular_momentum[15:18].sum(axis=0), rtol=1e-6)
    np.testing.assert_allclose(slow.contact_force[5], finest.contact_force[15:18].mean(axis=0), rtol=1e-5)


def test_windows_at_several_rates_are_those_of_the_sequences_at_these_rates(dataset, tmp_path):
    fine = pack_dataset(dataset[0], tmp_path, "joints", (120, 40))
    batches = WindowBatches(fine, [0], window=2, batch_size=4, seed=0)
    for stride in (4, 1, 3):
        sequence, fps = fine.finest(0).every(stride), 120 / stride
        (first, *_) = np.flatnonzero(batches.strides == stride)
        windows = batches.windows(first + stride * np.arange(3))  # around frames 2, 3, 4 at this rate
        np.testing.assert_allclose(windows.dt, 1 / fps, rtol=1e-6)
        for i in range(3):
            np.testing.assert_array_equal(windows.motion[i], sequence.motion[i : i + 6])
            np.testing.assert_allclose(
                windows.angular_momentum[i], sequence.angular_momentum[i + 2], rtol=1e-5, atol=1e-6
            )
            np.testing.assert_allclose(
                windows.contact_force[i], sequence.contact_force[i + 2 : i + 4], rtol=1e-5, atol=1e-4
            )
    every_rate = [int(np.sum(batches.strides == stride)) for stride in fine.strides]
    assert min(every_rate) > 0.8 * max(every_rate)
    last = batches.times + batches.strides * 3
    assert last.max() == fine.sequences[0].steps


def test_rates_that_the_substeps_do_not_make(dataset, tmp_path):
    with pytest.raises(ValueError, match=r"120 substeps per second, expected a multiple of each of the rates 60, 50"):
        pack_dataset(dataset[0], tmp_path, rates=(60, 50))
    with pytest.raises(ValueError, match="rates: found 0, expected frames per second above zero"):
        pack_dataset(dataset[0], tmp_path, rates=(0,))


def test_a_dataset_without_certified_sequences(tmp_path):
    create_dataset(tmp_path / "dataset.zarr")
    with pytest.raises(ValueError, match="none of 0 sequences is certified and passes"):
        pack_dataset(tmp_path / "dataset.zarr", tmp_path / "windows")


def test_sequences_of_different_frame_rates(dataset, tmp_path):
    path, (_, other) = dataset
    changed = shutil.copytree(path, tmp_path / "dataset.zarr")
    slow = dataclasses.replace(other.provenance, timestep=1 / 100)
    views = thirty_hertz_view(other.torque, other.wrench, slow.timestep)
    record = other.replace(provenance=slow, angular_momentum=views[0].astype(np.float32))
    write_record(open_dataset(changed), record)
    attributes = read_attributes(open_dataset(changed).certificate(dataset[1][0].id), "")
    digest = sequence_attributes(open_dataset(changed), record.id)["digest"]
    write_attributes(open_dataset(changed).certificate(record.id), attributes | {"digest": digest})
    with pytest.raises(ValueError, match=r"frame rates \[25\.0, 30\.0"):
        pack_dataset(changed, tmp_path / "windows")
