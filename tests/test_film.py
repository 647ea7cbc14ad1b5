"""Films: as many pictures as there are, forces to scale where they act, and beside them what was really imitated."""

import builtins
import dataclasses
import shutil
import subprocess

import jax
import numpy as np
import pytest
import recorded_falls
from PIL import Image
from scipy.spatial.transform import Rotation
from toy_humanoid import toy_humanoid

from imdy_jax import rotation
from imdy_jax.dataset.at_frames import wrench_at_frames
from imdy_jax.dataset.certify import certify_dataset
from imdy_jax.dataset.choose import choose_named, choose_various
from imdy_jax.dataset.record import Source
from imdy_jax.dataset.store import create_dataset, sequence_ids, write_record
from imdy_jax.skeleton import LEFT_FOOT, NUM_BODIES, PARENTS, joint_index
from imdy_jax.view.arrows import ARROW, body_weight, pressure_arrows
from imdy_jax.view.film import film, find_encoder
from imdy_jax.view.render import LANE, Scene, film_strip, prepare
from imdy_jax.view.surface import solid_surface, world_motion

UP = np.array((0.0, 0.0, 1.0))


@pytest.fixture(scope="module")
def humanoid():
    return toy_humanoid()


def standing(num_frames=1):
    """Upright, facing -y, q (T, 99)."""
    one = np.concatenate([[0.0, 0.0, 0.93], rotation.UPRIGHT, np.tile([1.0, 0.0, 0.0, 0.0], 23)])
    return np.tile(one, (num_frames, 1))


def scene(humanoid, frames, **changes):
    """Standing on the left ankle, under its joint."""
    wrench = np.zeros((frames, NUM_BODIES, 6))
    wrench[:, joint_index("left_ankle"), 2] = 700.0
    still = standing(frames)
    return Scene(humanoid, solid_surface(humanoid), still, still, wrench)._replace(**changes)


def rising(num_frames):
    """Standing higher and higher, 5 cm a frame."""
    return standing(num_frames) + 0.05 * np.arange(num_frames)[:, None] * np.eye(99)[2]


def length_of(path):
    """Pictures and ms of a film."""
    with Image.open(path) as pictures:
        shown = []
        for frame in range(pictures.n_frames):
            pictures.seek(frame)
            pictures.load()
            shown.append(pictures.info["duration"])
    return len(shown), sum(shown)


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_scenes_follow_each_other_at_the_speed_of_life(tmp_path, humanoid, suffix):
    path = tmp_path / "new" / f"film.{suffix}"
    film(path, [scene(humanoid, n, simulated=rising(n)) for n in (5, 2)], film_fps=15.0, size=(120, 80))
    pictures, ms = length_of(path)
    assert pictures == 3 + 1
    assert ms == pytest.approx(4 / 15 * 1000, abs=10)
    assert [file.name for file in path.parent.iterdir()] == [path.name], "nothing is left over"


def test_an_mp4_has_the_pictures_that_it_should(tmp_path, humanoid):
    if not shutil.which("ffmpeg"):
        pytest.importorskip("imageio_ffmpeg", reason="no ffmpeg, and the extra `film` is not installed")
    film(tmp_path / "film.mp4", [scene(humanoid, 4)], film_fps=30.0, size=(121, 80))
    ffmpeg = find_encoder("film.mp4")
    command = [ffmpeg, "-i", tmp_path / "film.mp4", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    assert len(raw) == 4 * 122 * 80 * 3, "an odd side is made even"


def test_the_strip_shows_both_and_the_force_in_each_panel(tmp_path, humanoid):
    film_strip(tmp_path / "strip.png", scene(humanoid, 5), panels=3, size=(100, 120))
    strip = np.asarray(Image.open(tmp_path / "strip.png")).astype(int)
    assert strip.shape == (120, 300, 3)
    blue = strip[..., 2] - strip[..., 0] > 25
    orange = strip[..., 0] - strip[..., 2] > 60
    green = strip[..., 1] - np.maximum(strip[..., 0], strip[..., 2]) > 20
    for panel in range(3):
        part = slice(100 * panel, 100 * panel + 100)
        assert blue[:, part].sum() > 100, "the reference"
        assert orange[:, part].sum() > 100, "the simulated one"
        assert green[:, part].sum() > 5, "the force"


def test_the_error_told_is_the_mean_up_to_the_picture(humanoid):
    """Each frame is a centimetre further away than the one before: 0, 5, 10, … mm in the mean."""
    moved = standing(5)
    moved[:, 1] -= 0.01 * np.arange(5)
    play = prepare(scene(humanoid, 5, simulated=moved))
    np.testing.assert_allclose(play.error, 5.0 * np.arange(5), atol=1e-6)
    apart = play.reference.positions - play.simulated.positions + 0.01 * np.arange(5)[:, None, None] * (0, -1, 0)
    np.testing.assert_allclose(np.linalg.norm(apart, axis=-1), LANE, atol=1e-6)


def test_an_arrow_of_one_body_weight_is_as_long_as_told_and_begins_at_the_centre_of_pressure(humanoid):
    """Ankle and toes of a foot push together: one arrow, from the mean of their places weighted by load."""
    motion, weight = world_motion(humanoid, standing()), body_weight(humanoid)
    places = np.array([(0.10, -0.05, 0.0), (0.13, -0.20, 0.0)])
    forces = weight * np.array([(0.05, 0.1, 0.6), (0.0, 0.05, 0.4)])
    hand = joint_index("right_hand")
    wrench = np.zeros((1, NUM_BODIES, 6))
    for segment, place, force in zip(
        (*LEFT_FOOT, hand), (*places, (-0.3, -0.4, 0.0)), (*forces, 0.5 * weight * UP), strict=True
    ):
        wrench[0, segment] = (*force, *np.cross(place - motion.positions[0, segment], force))
    foot, palm = pressure_arrows(humanoid, motion, wrench)[0]
    np.testing.assert_allclose(foot[0], 0.6 * places[0] + 0.4 * places[1], atol=1e-9)
    np.testing.assert_allclose(foot[1], forces.sum(axis=0) * ARROW / weight, atol=1e-12)
    assert foot[1][2] == pytest.approx(ARROW), "one body weight"
    np.testing.assert_allclose(palm[0], (-0.3, -0.4, 0.0), atol=1e-9)
    assert np.linalg.norm(palm[1]) == pytest.approx(0.5 * ARROW)
    assert pressure_arrows(humanoid, motion, 0.04 * wrench)[0] == [], "too little to see"


def joints_at(humanoid, q):
    """Joint positions (24, 3) by scipy."""
    turns = Rotation.from_quat(q[3:].reshape(24, 4), scalar_first=True)
    world, position = [turns[0]], [q[:3]]
    for k, parent in enumerate(PARENTS[1:], start=1):
        world.append(world[parent] * turns[k])
        position.append(position[parent] + world[parent].apply(np.array(humanoid.offset[k])))
    return np.stack(position)


def test_forces_at_a_frame_are_the_mean_about_it_and_keep_their_place_while_the_body_moves():
    """A floor that pushes at one and the same place is seen there, however the segments fall meanwhile."""
    record = recorded_falls.records()[1][0]
    humanoid, h, place = record.subject.humanoid, record.provenance.timestep, np.array((0.3, -0.2, 0.0))
    ankle, frame = joint_index("left_ankle"), 60
    wrench = np.zeros_like(record.wrench)
    for step in (frame - 1, frame):
        q = np.array(record.q[step])
        for s, v in enumerate(record.substep_v[step]):
            force = np.array((30.0, -20.0, 100.0 * (1 + s + 4 * (step - frame + 1))))
            wrench[step, s, ankle] = (*force, *np.cross(place - joints_at(humanoid, q)[ankle], force))
            turns = Rotation.from_quat(q[3:].reshape(24, 4), scalar_first=True) * Rotation.from_rotvec(
                h * v[3:].reshape(24, 3)
            )
            q = np.concatenate([q[:3] + h * v[:3], turns.as_quat(scalar_first=True).ravel()])
    assert np.linalg.norm(joints_at(humanoid, q)[ankle] - joints_at(humanoid, record.q[frame - 1])[ankle]) > 0.01
    found = wrench_at_frames(record.replace(wrench=wrench))
    mean = np.array((30.0, -20.0, 100.0 * np.mean([3, 4, 5, 6])))  # two substeps before the frame, two behind it
    moment = np.cross(place - joints_at(humanoid, record.q[frame])[ankle], mean)
    np.testing.assert_allclose(found[frame, ankle], [*mean, *moment], atol=1e-6)
    assert len(found) == len(record.q)
    whole = wrench_at_frames(record)
    np.testing.assert_allclose(whole[0, :, :3], record.wrench[0, :2, :, :3].mean(axis=0), atol=1e-9)


def test_different_activities_are_chosen_and_the_best_of_each_first(tmp_path):
    with jax.enable_x64(True):
        made = recorded_falls.records(frames=30)[1][0]
        dataset = create_dataset(tmp_path / "dataset.zarr")
        kinds = {"walk_1": (9.0, True), "walk_2": (5.0, True), "squat_1": (7.0, False), "hop": (8.0, True)}
        for name, (error, success) in kinds.items():
            for repetition, start in enumerate((0, 3)):
                how = dataclasses.replace(made.provenance, repetition=repetition, start_frame=start)
                write_record(dataset, made.replace(source=Source(name, "procedural", name), provenance=how,
                                                   position_error=error - start, success=success))  # fmt: skip
        names = sequence_ids(dataset)
        kept = [name for name in names if not name.startswith("hop")]
        assert choose_various(dataset, 8) == [], "none is certified"
        certify_dataset(dataset, kept)
    of = lambda chosen: [name.rsplit("-", 1)[0] for name in chosen]  # noqa: E731
    assert of(choose_various(dataset, 8)) == ["walk_1", "squat_1", "walk_2"]
    assert of(choose_various(dataset, 2)) == ["walk_1", "squat_1"]
    (hop,) = choose_named(dataset, ["hop"])
    assert hop in names and choose_named(dataset, [names[-1], "walk"])[0] == names[-1]
    with pytest.raises(ValueError, match="found no sequence whose name holds 'run', expected some part of one of hop-"):
        choose_named(dataset, ["run"])


def test_film_errors(tmp_path, humanoid, monkeypatch):
    with pytest.raises(ValueError, match=r"cannot write a film as '\.avi'; use one of \.webp, \.gif, \.mp4"):
        film(tmp_path / "film.avi", [scene(humanoid, 2)])
    with pytest.raises(ValueError, match=r"simulated is \(2, 99\) and reference \(3, 99\)"):
        film_strip(tmp_path / "strip.png", scene(humanoid, 2, reference=standing(3)))
    with pytest.raises(ValueError, match=r"found 0 scenes at 15\.0 pictures per second"):
        film(tmp_path / "film.gif", [])
    real = builtins.__import__

    def without(name, *rest):
        if name == "imageio_ffmpeg":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"film\.mp4: found no ffmpeg, .* pip install '\.\[film\]'"):
        film(tmp_path / "film.mp4", [scene(humanoid, 2)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("script", "told"), [("exit 0", "it ended early"), ("echo no room >&2; exit 1", "no room")])
def test_an_encoder_that_gives_up_leaves_no_film(tmp_path, humanoid, monkeypatch, script, told):
    (tmp_path / "bin").mkdir()
    encoder = tmp_path / "bin" / "ffmpeg"
    encoder.write_text(f"#!/bin/sh\n{script}\n")
    encoder.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ValueError, match=rf"/film\.mp4: .*ffmpeg could not write the film \({told}"):
        film(tmp_path / "film.mp4", [scene(humanoid, 8)], film_fps=30.0, size=(121, 80))
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]
