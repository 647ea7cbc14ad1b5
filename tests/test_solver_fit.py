"""Fitting and inference: it learns, it goes on exactly where it was killed, and its estimates turn with the person."""

import dataclasses

import jax
import numpy as np
import pytest
from swaying_people import DT, FPS, swaying_people

from imdy_jax import rotation
from imdy_jax.analysis.assessment import roc_area
from imdy_jax.body.markers import MARKER_NAMES
from imdy_jax.checkpoints import Checkpoints
from imdy_jax.run import RunFolder, read_metrics
from imdy_jax.solver.data import WindowBatches
from imdy_jax.solver.evaluate import mean_predictions, solver_predictions
from imdy_jax.solver.fit import FitConfig, fit, fit_step, load_solver, start
from imdy_jax.solver.infer import estimate, estimate_windows, plausibility
from imdy_jax.solver.loss import LossWeights
from imdy_jax.solver.model import ModelConfig
from imdy_jax.solver.objective import hide_points
from imdy_jax.solver.pack import pack
from imdy_jax.solver.representation import PELVIS, REPRESENTATIONS
from imdy_jax.solver.scores import score
from imdy_jax.solver.split import split_by_clip

CONFIG = FitConfig(
    model=ModelConfig(width=32, layers=1, heads=2, hidden=64),
    steps=300,
    batch_size=32,
    learning_rate=1e-2,
    checkpoint_every=100,
    log_every=20,
)
WILD = dataclasses.replace(CONFIG, learning_rate=float("nan"), hidden_markers=0.3, steps=1)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    people = swaying_people(clips=14, takes=2, steps=60)
    return pack(people, "people", DT, tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def sides(packed):
    train, test = split_by_clip([s.clip for s in packed.sequences], 0.2, seed=0)
    make = lambda chosen: WindowBatches(packed, chosen, CONFIG.model.window, CONFIG.batch_size, seed=0)  # noqa: E731
    return make(train), make(test), [packed[i] for i in test]


@pytest.fixture(scope="module")
def fitted(sides, tmp_path_factory):
    run = RunFolder.create(tmp_path_factory.mktemp("run") / "solver", CONFIG, 0)
    return fit(CONFIG, sides[0], sides[1], run), run


@pytest.fixture(scope="module")
def solver(fitted):
    return fitted[0]


def test_it_learns_to_beat_the_mean_on_clips_it_has_not_seen(solver, sides):
    batches, _, held_out = sides
    ours = score(held_out, solver_predictions(solver, held_out, FPS), 2).mean
    mean = score(held_out, mean_predictions(batches, held_out, FPS), 2).mean
    assert ours[0] < 0.9 * mean[0]
    assert ours[2] + ours[3] < 0.9 * (mean[2] + mean[3])


def test_a_killed_run_goes_on_with_the_same_numbers(sides, fitted, tmp_path):
    class Killed(WindowBatches):
        def __getitem__(self, n):
            if n == 130:
                raise KeyboardInterrupt
            return super().__getitem__(n)

    batches, held_out, _ = sides
    killed = Killed.__new__(Killed)
    killed.__dict__ = dict(batches.__dict__)
    run = RunFolder.create(tmp_path / "solver", CONFIG, 0)
    with pytest.raises(KeyboardInterrupt):
        fit(CONFIG, killed, held_out, run)
    assert Checkpoints(run.path / "checkpoints").latest_step() == 100
    again = fit(CONFIG, batches, held_out, RunFolder.create(run.path, CONFIG, 0, resume=True))
    straight, folder = fitted
    jax.tree.map(np.testing.assert_array_equal, again.variables, straight.variables)
    logs = [(path / "metrics.jsonl").read_text() for path in (run.path, folder.path)]
    assert logs[0] == logs[1]
    assert logs[0].count("held_out_torque") == 3


def test_a_finished_run_is_only_read(sides, fitted):
    straight, folder = fitted
    before = (folder.path / "metrics.jsonl").read_text()
    for again in (load_solver(folder), fit(CONFIG, sides[0], sides[1], folder)):
        assert (again.config, again.rates) == (straight.config, straight.rates)
        jax.tree.map(np.testing.assert_array_equal, again.variables, straight.variables)
    assert (folder.path / "metrics.jsonl").read_text() == before


def test_other_windows_than_the_checkpoint_was_fitted_to(sides, fitted):
    with pytest.raises(ValueError, match="fitted to other windows"):
        fit(CONFIG, sides[1], sides[1], fitted[1])


def test_a_folder_without_a_solver(tmp_path):
    with pytest.raises(ValueError, match=r"solver\.json: not found"):
        load_solver(RunFolder.create(tmp_path, CONFIG, 0))


def test_a_run_that_diverges_stops(sides, tmp_path):
    with pytest.raises(FloatingPointError, match="step 1 produced values that are not finite in"):
        fit(WILD, sides[0], sides[1], RunFolder.create(tmp_path, WILD, 0))


def test_hidden_markers_are_drawn_anew_and_the_same_again(sides):
    windows = sides[0][0]
    later = start(WILD).replace(step=1)
    losses = [float(fit_step(c, s, windows)[1]["loss"]) for c, s in
              ((WILD, start(WILD)), (WILD, start(WILD)), (WILD, later), (CONFIG, start(CONFIG)))]  # fmt: skip
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


def test_hidden_markers_leave_three_of_the_pelvis_and_hide_all_alike():
    motion = np.zeros((6, 66, 3), np.float32)
    hide = jax.jit(jax.vmap(lambda key: hide_points(REPRESENTATIONS["markers"], 0.2, motion, key)))
    seen = np.isfinite(np.asarray(hide(jax.random.split(jax.random.PRNGKey(0), 3000)))).all(axis=(1, 3))
    pelvis = seen[:, list(PELVIS)]
    assert pelvis.sum(axis=1).min() == 3
    np.testing.assert_allclose(1 - seen.mean(axis=0), 0.2, atol=0.04)
    joints = jax.vmap(lambda key: hide_points(REPRESENTATIONS["joints"], 0.9, motion[:, :24], key))
    there = np.isfinite(np.asarray(joints(jax.random.split(jax.random.PRNGKey(0), 50)))).all(axis=(1, 3))
    assert there[:, [1, 2, 3]].all() and there.mean() < 0.4


def test_the_whole_loss_on_smpl_resumes_exactly_and_makes_an_estimate(tmp_path):
    name = "smpl"
    people = swaying_people(clips=3, representation=name)
    packed = pack(people, name, DT, tmp_path / "packed", name)
    batches, held_out = (WindowBatches(packed, rows, 2, 32, seed=0) for rows in ([0, 1, 2, 3], [4, 5]))
    whole = dataclasses.replace(
        CONFIG, model=dataclasses.replace(CONFIG.model, representation=name), weights=LossWeights(), steps=4,
        checkpoint_every=2, log_every=1,
    )  # fmt: skip
    straight = fit(whole, batches, held_out, RunFolder.create(tmp_path / "run", whole, 0))
    (first, last) = (read_metrics(tmp_path / "run" / "metrics.jsonl")[i] for i in (0, -1))
    assert {"magnitude", "direction", "forward", "plausible", "held_out_force"} <= last.keys()
    assert 0.3 < first["plausible"] < 3 and 0 < first["forward"] < 1000
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    state, _ = checkpoints.restore(start(whole), 2)
    for n in (2, 3):
        state, _ = fit_step(whole, state, batches[n])
    jax.tree.map(np.testing.assert_array_equal, state.variables, straight.variables)
    said = estimate(straight, people[4].motion, FPS, people[4].mass)
    lacking = people[4].motion.copy()
    lacking[6, 1] = np.nan
    assert said.torque.shape == (60, 23, 3) and np.isfinite(said.contact_force).all()
    with pytest.raises(
        ValueError, match=rf"{name}: left_hip missing near frame 3 .*expected 3 of left_hip, right_hip, spine1"
    ):
        estimate(straight, lacking, FPS, 70.0)
    with pytest.raises(ValueError, match=f"motions as {name}, expected markers"):
        fit(CONFIG, batches, held_out, RunFolder.create(tmp_path / "other", CONFIG, 0))


def test_a_discriminator_tells_recorded_steps_from_spoiled_ones(solver, sides, tmp_path):
    batches, held_out, sequences = sides
    config = dataclasses.replace(
        CONFIG, weights=LossWeights(magnitude=0.0, direction=0.0, forward=0.0, plausible=1.0), steps=120
    )
    run = RunFolder.create(tmp_path / "run", config, 0)
    judge = fit(config, batches, held_out, run)
    motion, draw = sequences[0].motion, np.random.default_rng(0)
    spoiled = motion + 0.05 * draw.normal(size=motion.shape).astype(np.float32)
    held, lost = (plausibility(judge, x, FPS) for x in (motion, spoiled))
    assert held.shape == (60,) and min(held.min(), lost.min()) >= 0.0 and max(held.max(), lost.max()) <= 1.0
    assert roc_area(np.repeat([False, True], 60), -np.concatenate([held, lost])) > 0.9
    np.testing.assert_array_equal(plausibility(load_solver(run), motion, FPS), held)
    with pytest.raises(ValueError, match=r"no discriminator, expected the run folder .*weights\.plausible 1"):
        plausibility(solver, motion, FPS)


def test_turning_the_motion_turns_the_forces_and_leaves_the_torques(solver, sides):
    sequence = sides[2][0]
    for angle in (0.5, 2.0, -2.8):
        turn = np.array([np.cos(angle / 2), 0, 0, np.sin(angle / 2)], np.float32)
        turned = np.asarray(rotation.rotate(turn, sequence.motion)) + np.float32([0.7, -1.2, 0])
        here = estimate(solver, sequence.motion, FPS, sequence.mass)
        there = estimate(solver, turned, FPS, sequence.mass)
        expected = np.asarray(rotation.rotate(turn, here.contact_force))
        scale = np.abs(here.contact_force).max(), np.abs(here.torque).max()
        assert np.abs(expected - here.contact_force).max() > 1e-3 * scale[0]
        np.testing.assert_allclose(there.contact_force, expected, atol=5e-4 * scale[0])
        np.testing.assert_allclose(there.torque, here.torque, atol=5e-4 * scale[1])


def test_in_double_precision_torques_do_not_see_which_way_a_person_faces(solver, sides):
    frames = np.stack([sides[2][1].motion[t - 2 : t + 4] for t in (5, 20, 35)])
    with jax.enable_x64(True):
        turn = np.array([np.cos(1.1), 0, 0, np.sin(1.1)])
        turned = np.asarray(rotation.rotate(turn, frames.astype(float))) + np.array([3.0, -8.0, 0])
        variables = jax.tree.map(lambda x: np.asarray(x, np.float64), solver.variables)
        see = jax.jit(lambda motion: estimate_windows(variables, solver.config, motion, np.full(3, DT)))
        here, there = see(frames.astype(float)), see(turned)
        np.testing.assert_allclose(there.torque, here.torque, atol=1e-9)
        np.testing.assert_allclose(there.contact_force, rotation.rotate(turn, here.contact_force), atol=1e-9)
        assert np.abs(there.contact_force - here.contact_force).max() > 0.1


def test_estimates_cover_every_step_in_si_units(solver, sides):
    sequence = sides[2][0]
    whole = estimate(solver, sequence.motion, FPS, sequence.mass)
    assert whole.torque.shape == (60, 23, 3)
    assert whole.contact_force.shape == (60, 24, 3)
    np.testing.assert_allclose(whole.torque, whole.angular_momentum * FPS)
    weight = 9.81 * sequence.mass
    assert abs(whole.contact_force.sum(axis=1)[:, 2].mean() - weight) < 0.2 * weight
    part = estimate(solver, sequence.motion[10:41], FPS, sequence.mass)
    np.testing.assert_allclose(part.contact_force[2:-2], whole.contact_force[12:38], atol=1e-3 * weight)
    heavy = estimate(solver, sequence.motion, FPS, 2 * sequence.mass)
    np.testing.assert_allclose(heavy.torque, 2 * whole.torque, rtol=1e-5)


def test_a_missing_marker_changes_little(solver, sides):
    sequence = sides[2][0]
    gap = sequence.motion.copy()
    gap[20:40, MARKER_NAMES.index("left_thumb_tip")] = np.nan
    whole, seen = (estimate(solver, m, FPS, sequence.mass) for m in (sequence.motion, gap))
    assert np.isfinite(seen.torque).all()
    change = np.abs(seen.contact_force - whole.contact_force).max(axis=(1, 2))
    assert np.all(change[:16] == 0)
    assert 0 < change[18:42].max() < 0.3 * np.abs(whole.contact_force).max()


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A solver fitted to 30, 60 and 120 frames per second, and its dataset."""
    people = swaying_people(clips=14, takes=1, steps=200, fps=120.0)
    packed = pack(people, "quick", 1 / 120, tmp_path_factory.mktemp("quick"), strides=(4, 2, 1))
    sides = [WindowBatches(packed, rows, 2, 32, seed=0) for rows in (range(11), range(11, 14))]
    run = RunFolder.create(tmp_path_factory.mktemp("run") / "quick", CONFIG, 0)
    return fit(CONFIG, *sides, run), packed, sides[0], run


def beginning(sequence, steps):
    """Its first steps: as many at every rate, so that nothing is compiled twice."""
    cut = {name: getattr(sequence, name)[:steps] for name in ("angular_momentum", "contact_force")}
    return sequence._replace(motion=sequence.motion[: steps + 1], **cut)


def test_one_solver_serves_all_rates_that_it_was_fitted_to_and_those_between(quick):
    solver, packed, batches, run = quick
    assert solver.rates == pytest.approx((30, 120)) == load_solver(run).rates
    for stride in (4, 3, 2, 1):  # 40 per second is between
        fps, held_out = 120 / stride, [beginning(packed.finest(i).every(stride), 48) for i in (11, 12, 13)]
        ours = score(held_out, solver_predictions(solver, held_out, fps), 2).mean
        mean = score(held_out, mean_predictions(batches, held_out, fps), 2).mean
        assert ours[0] < 0.9 * mean[0], fps
        assert ours[2] + ours[3] < 0.9 * (mean[2] + mean[3]), fps


def test_the_network_knows_the_time_step(quick):
    """Frames that are the same, but nearer in time, are a faster movement, and not by scaling alone."""
    solver, packed, *_ = quick
    motion = packed[12].motion
    slow, fast = (estimate(solver, motion, fps, 70.0) for fps in (30.0, 60.0))
    assert np.abs(fast.torque - slow.torque).max() > 0.05 * np.abs(slow.torque).max()
    with pytest.raises(ValueError, match="fps: 25, expected the solver's 30 to 120; resample the motion, or fit"):
        estimate(solver, motion, 25.0, 70.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"motion": np.zeros((9, 5, 3))}, r"shape \(9, 5, 3\), expected \(frames, 66, 3\)"),
        ({"motion": np.zeros((3, 66, 3))}, "3 frames, expected at least 4"),
        ({"fps": 60.0}, "fps: 60, expected the solver's 30"),
        ({"mass": 0.0}, "mass: 0.0 kg"),
        ({"motion": np.full((9, 66, 3), np.nan)}, "left_asis, right_asis, left_psis, right_psis missing near frame 0"),
    ],
)
def test_what_cannot_be_estimated(solver, change, message):
    given = {"motion": np.zeros((9, 66, 3)), "fps": FPS, "mass": 70.0} | change
    with pytest.raises(ValueError, match=message):
        estimate(solver, **given)
