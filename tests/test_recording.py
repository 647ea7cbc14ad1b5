"""A dataset batch by batch: every pass from frames of its own, and gone on with to the same bits, here or elsewhere."""

import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import recorded_falls
from scipy.spatial.transform import Rotation
from toy_humanoid import toy_humanoid

import imdy_jax
from envs.batches import GenerateConfig, plan, portions
from envs.cluster import LOCAL, on_cluster, side_by_side
from envs.people import PeopleConfig, load_cast
from envs.recording import record, record_batch
from envs.studio import random_start
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.dataset.certify import certified_ids
from imdy_jax.dataset.record import content_digest, make_subject, sequence_arrays
from imdy_jax.dataset.store import create_dataset, open_dataset, read_record, read_records, sequence_ids
from imdy_jax.motion.procedural import procedural_clip

IMITATOR = Path(imdy_jax.__file__).parents[1] / "pretrained" / "imitator-clips"
FRAMES = {"sway": 41, "arm_wave": 35}


@pytest.fixture(scope="module")
def motions(tmp_path_factory):
    """Two short AMASS-style files, and one that cannot be read."""
    folder, body = tmp_path_factory.mktemp("motions"), anthropometric_body()
    for name, frames in FRAMES.items():
        clip = procedural_clip(name, body, 30.0)
        quaternions = np.asarray(clip.rotations)[:frames].reshape(-1, 4)
        poses = Rotation.from_quat(quaternions, scalar_first=True).as_rotvec().reshape(-1, 72)
        np.savez(folder / f"{name}.npz", poses=poses, trans=np.asarray(clip.translation)[:frames],
                 mocap_framerate=30.0, gender="neutral", betas=np.zeros(10))  # fmt: skip
    (folder / "torn.npz").write_bytes(b"PK no archive")
    return folder


@pytest.fixture(scope="module")
def batches(motions, tmp_path_factory):
    """Two passes over both."""
    if not IMITATOR.exists():
        pytest.skip("the policy that is given away is not part of an installed package")
    config = GenerateConfig(str(motions), passes=2, remaining=10, substeps=2)
    path = tmp_path_factory.mktemp("dataset") / "dataset.zarr"
    create_dataset(path)
    return plan(config, [str(IMITATOR)], str(path))


@pytest.fixture(scope="module")
def outcome(batches):
    yield record(batches, Path(batches[0].dataset).parent / "batches")
    jax.clear_caches()  # as in conftest.strict


def digests(path):
    """Hash of each sequence, but for the versions it was made with: the commit changes while somebody edits."""
    made = read_records(open_dataset(path))
    return {r.id: content_digest(sequence_arrays(r), r.attributes | {"software": None}) for r in made}


def test_each_pass_begins_a_clip_elsewhere_and_follows_it_to_its_end(batches, outcome, motions):
    dataset = open_dataset(batches[0].dataset)
    cast, _ = load_cast(PeopleConfig(motions=str(motions)))
    reference = {clip.name: slice(*(int(cast.table.start[row]) + np.array([0, int(n)])))
                 for row, (clip, n) in enumerate(zip(cast.clips, cast.lengths, strict=True))}  # fmt: skip
    begun = {}
    for name in outcome.names:
        made = read_record(dataset, name)
        start = made.provenance.start_frame
        begun.setdefault(made.source.name, {})[made.provenance.repetition] = start
        frames = np.asarray(cast.table.q)[reference[made.source.name]]
        np.testing.assert_allclose(made.q[0], frames[start], atol=1e-6)
        assert made.success and len(made.q) == FRAMES[made.source.name] - start
        assert np.abs(made.q[-1] - frames[-1]).max() < 0.3  # it ends where the clip ends
    assert set(begun) == set(FRAMES)
    for name, starts in begun.items():
        assert starts[0] == 0 and 0 < starts[1] <= (FRAMES[name] - 1) // 2
    assert sorted(outcome.names) == certified_ids(dataset) and not outcome.lost
    assert [Path(source).name for source in outcome.left_out] == ["torn.npz"]
    assert outcome.motion["recording"] == pytest.approx(sum(read_record(dataset, n).duration for n in outcome.names))


def test_what_is_missing_is_made_again_to_the_bit_and_the_rest_is_left_alone(batches, outcome):
    dataset, folder = open_dataset(batches[0].dataset), Path(batches[0].dataset).parent / "batches"
    made = digests(dataset.path)
    again = record(batches, folder)
    assert again.motion["recording"] == 0 and sorted(again.names) == sorted(outcome.names)
    gone, *others = sorted(made)
    written = {name: (dataset.sequence(name) / "zarr.json").stat().st_mtime_ns for name in others}
    shutil.rmtree(dataset.sequence(gone))  # as if killed before it, or removed because it was damaged
    again = record(batches, folder)
    assert 0 < again.motion["recording"] < outcome.motion["recording"]
    assert digests(dataset.path) == made
    assert {name: (dataset.sequence(name) / "zarr.json").stat().st_mtime_ns for name in others} == written


def test_a_worker_that_is_killed_costs_its_task_and_changes_nothing(batches, outcome, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed (extra `distributed`)")
    dataset = create_dataset(tmp_path / "dataset.zarr")
    killed = tmp_path / "killed"

    def dies_once(batch):
        def watch():
            while len(sequence_ids(open_dataset(batch.dataset))) == 0:
                time.sleep(0.001)
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)

        if not killed.exists():
            threading.Thread(target=watch, daemon=True).start()
        return record_batch(batch)

    tasks = [replace(batch, dataset=str(dataset.path)) for batch in batches]
    done = dict(on_cluster(dies_once, tasks, LOCAL, cores=2))
    assert killed.exists()
    assert set(done) == set(tasks)
    assert digests(dataset.path) == digests(batches[0].dataset)
    assert certified_ids(dataset) == sorted(outcome.names)


def test_what_fails_on_a_cluster_is_raised_here():
    pytest.importorskip("ray", reason="ray is not installed (extra `distributed`)")

    def fails(task):
        raise ValueError(f"task {task}: disk full")

    with pytest.raises(ValueError, match=r"^task 3: disk full$"):
        list(on_cluster(fails, [3], LOCAL, cores=1))


def test_processes_do_every_task_and_what_fails_in_one_is_raised_here():
    assert sorted(side_by_side(math.sqrt, [4.0, 9.0, 16.0, 25.0], processes=2)) == [(4, 2), (9, 3), (16, 4), (25, 5)]
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        list(side_by_side(math.sqrt, [1.0, -1.0, 4.0], processes=1))
    with pytest.raises(ChildProcessError, match=r"a process was lost.*call it again, and it goes on"):
        list(side_by_side(os._exit, [1], processes=1))


_PARENT = """
import sys, time
from envs.cluster import side_by_side
if __name__ == "__main__":
    list(side_by_side(time.sleep, [600.0, 600.0], processes=2))
"""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc on this system")
def test_processes_end_with_who_has_started_them(tmp_path):
    (tmp_path / "parent.py").write_text(_PARENT)
    root = Path(imdy_jax.__file__).parents[1]
    own = {"PYTHONPATH": str(root), "IMDY_TEST_ORPHANS": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], env=os.environ | own)
    mark = f"IMDY_TEST_ORPHANS={tmp_path}".encode()

    def alive():
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (path / "environ").read_bytes() and (path / "stat").read_text().split()[2] != "Z":
                    found.append(int(path.name))
        return found

    def until(wanted):
        deadline = time.monotonic() + 60
        while not wanted(alive()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return alive()

    assert len(until(lambda found: len(found) >= 3)) >= 3  # itself and its workers
    time.sleep(3.0)  # by when they have begun
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert until(lambda found: not found) == []


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"ray: not installed; pip install 'imdy-jax\[distributed\]'"):
        next(on_cluster(print, [1], LOCAL, cores=1))


def test_random_starts_are_new_ones_of_the_first_half_and_depend_on_all_that_is_named():
    person = toy_humanoid()
    subject = make_subject(person, recorded_falls.toy_body(person))
    clip = recorded_falls.toy_clip()  # 40 frames
    starts = [random_start(clip, subject, 0, repetition, 10) for repetition in range(25)]
    assert starts[0] == 0 and sorted(starts[1:20]) == list(range(1, 20)) and starts[20:] == [None] * 5
    assert starts[1:20] != sorted(starts[1:20])
    assert starts == [random_start(clip, subject, 0, repetition, 10) for repetition in range(25)]
    first = [random_start(recorded_falls.toy_clip(digest=str(i)), subject, 0, 1, 30) for i in range(60)]
    assert set(first) == set(range(1, 10))  # 30 steps to go
    assert len({random_start(clip, subject, seed, 1, 10) for seed in range(30)}) > 5
    assert random_start(clip, subject, 0, 1, 39) is None


def test_portions_hold_everything_once_and_no_more_than_memory():
    seconds = {f"clip{i}": 7.0 + i % 5 for i in range(30)}
    for subjects, most in ((1, 20.0), (7, 40.0), (5, 1000.0), (5, 600.0), (3, 1.0)):
        parts = list(portions(seconds, subjects, most))
        pairs = [(name, who) for names, people in parts for name in names for who in people]
        assert sorted(pairs) == sorted((name, who) for name in seconds for who in range(subjects))
        loads = [len(people) * sum(seconds[name] for name in names) for names, people in parts]
        assert max(loads) <= max(most, 11.0)
    assert len(list(portions(seconds, 5, 1000.0))) == 2  # three people, then two
