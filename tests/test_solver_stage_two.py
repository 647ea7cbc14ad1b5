"""The head for a laboratory's joint torques learns them from the frozen encoder, and refuses what does not fit."""

import dataclasses

import jax
import numpy as np
import pytest
from swaying_people import DT, FPS, swaying_people

from imdy_jax.body.markers import MARKER_NAMES
from imdy_jax.run import RunFolder
from imdy_jax.solver.data import WindowBatches
from imdy_jax.solver.fit import FitConfig, fit
from imdy_jax.solver.model import ModelConfig
from imdy_jax.solver.pack import pack
from imdy_jax.solver.stage_two import StageTwoConfig, Trial, estimate_joint_torque, fit_head

LEGS = [0, 1, 3, 4, 6, 7]  # hips, knees, ankles: rows of the 23 joints
CONFIG = StageTwoConfig(steps=300, learning_rate=1e-2, batch_size=64)


def trial(sequence):
    """What a laboratory would have: some of the coordinates, per frame, and a frame whose torques nobody knows."""
    torque = np.concatenate([sequence.angular_momentum / DT, np.zeros((1, 23, 3))])[:, LEGS].reshape(-1, 18)
    torque[7] = np.nan
    motion = sequence.motion.copy()
    motion[:, MARKER_NAMES.index("left_thumb_tip")] = np.nan
    return Trial(sequence.name, motion, torque, FPS, sequence.mass)


@pytest.fixture(scope="module")
def people():
    return swaying_people(clips=14, takes=2, steps=60)


@pytest.fixture(scope="module")
def solver(people, tmp_path_factory):
    folder = tmp_path_factory.mktemp("solver")
    config = FitConfig(
        ModelConfig(width=32, layers=1, heads=2, hidden=64), steps=200, batch_size=32, learning_rate=1e-2
    )
    packed = pack(people, "people", DT, folder / "packed")
    batches = WindowBatches(packed, list(range(16)), 2, 32, seed=0)
    return fit(config, batches, batches, RunFolder.create(folder / "run", config, 0))


@pytest.fixture(scope="module")
def head(solver, people):
    return fit_head(solver, [trial(s) for s in people[:16]], CONFIG)


def test_a_head_on_the_frozen_encoder_learns_torques_of_other_coordinates(solver, head, people):
    known = [trial(s) for s in people[:16]]
    mean = np.nanmean(np.concatenate([t.torque[:-1] / t.mass for t in known]), axis=0)
    ours, constant = [], []
    for t in map(trial, people[20:]):
        said = estimate_joint_torque(solver, head, t.motion, FPS, t.mass)
        assert said.shape == (60, 18)
        truth = t.torque[:-1]
        ours.append(np.nanmean(np.abs(said - truth)) / t.mass)
        constant.append(np.nanmean(np.abs(mean * t.mass - truth)) / t.mass)
    assert np.mean(ours) < 0.8 * np.mean(constant)


def test_it_is_the_same_again_and_the_cycle_changes_it(solver, head, people):
    trials, short = [trial(s) for s in people[:2]], dataclasses.replace(CONFIG, steps=3)
    again, other, bare = (fit_head(solver, trials, c) for c in (short, short, dataclasses.replace(short, forward=0.0)))
    jax.tree.map(np.testing.assert_array_equal, again, other)
    assert np.abs(again.kernel - bare.kernel).max() > 1e-5


def test_trials_that_do_not_go_together(solver, people):
    one, two = (trial(s) for s in people[:2])
    with pytest.raises(ValueError, match=r"trial clip0-1: torque has shape \(60, 18\), expected \(61, 18\)"):
        fit_head(solver, [one, two._replace(torque=two.torque[:-1])], CONFIG)
    with pytest.raises(ValueError, match="trials: none of 1 has a frame whose torques are finite"):
        fit_head(solver, [one._replace(torque=one.torque * np.nan)], CONFIG)
