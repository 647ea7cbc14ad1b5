"""The solver against analytic dynamics: what was recorded is told apart from what was not, in the right units."""

import jax
import numpy as np
import pytest

from imdy_jax.analysis.comparison import Compared, as_sequence, compare, comparison_table, difference_table
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.dataset.record import Provenance, Record, Source, make_subject
from imdy_jax.dynamics.pieces import estimate_in_pieces
from imdy_jax.humanoid import GRAVITY, from_body
from imdy_jax.motion.clip import generalized_positions
from imdy_jax.motion.filters import Butterworth
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.solver.evaluate import Dynamics
from imdy_jax.solver.infer import Solver
from imdy_jax.solver.model import ModelConfig, init

CONFIG = ModelConfig(width=16, layers=1, heads=2, hidden=32, representation="joints")
METHODS = ("ImDyS", "ImDyS corrected, 6 Hz", "ImDyS reduced, 6 Hz", "analytic, 6 Hz")


@pytest.fixture(scope="module")
def recorded():
    """Two seconds of a walk whose recorded dynamics are those of its low-passed motion, as means over the steps."""
    body = anthropometric_body()
    clip = procedural_clip("walk", body, 30.0)
    clip = clip.replace(rotations=clip.rotations[:64], translation=clip.translation[:64])
    found, subject = estimate_in_pieces(clip, body, Butterworth()), make_subject(from_body(body), body)
    q = np.asarray(generalized_positions(clip, body))
    steps = lambda x: 0.5 * (x[1:] + x[:-1])  # noqa: E731
    torque, wrench = steps(found.torque), steps(found.wrench)
    nothing = np.zeros((63, 1, 23), bool)
    return Record(
        subject, q, found.v, np.zeros((64, 10)), np.zeros((63, 23, 4)), found.v[1:, None], torque[:, None],
        wrench[:, None], nothing, nothing[..., 0], (torque / 30).astype(np.float32), wrench[..., :3].astype(np.float32),
        np.zeros((64, 66, 3)), Source("walk", "", "0"), Provenance("", 0, 0, 0, "none", 1 / 30, 1), 0.0, True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def compared(recorded):
    solver = Solver(init(CONFIG, jax.random.PRNGKey(0)), CONFIG, (30.0, 30.0))
    sequence = as_sequence(recorded, "walk", "joints")
    return sequence, compare(solver, recorded, sequence)


def test_what_was_recorded_is_found_again_and_the_units_are_the_paper_s(compared):
    sequence, found = compared
    table = comparison_table([sequence], {name: {sequence.name: one} for name, one in found.items()}, 2)
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert tuple(rows) == METHODS
    ours, corrected, reduced, analytic = rows.values()
    assert analytic["mPJE τ N·m·s/kg"] < 1e-6 and analytic["mPJE λ N/kg"] < 1e-4 and analytic["whole body %"] < 1e-3
    assert ours["left foot N/kg"] > 1.0 and ours["whole body %"] > 50.0  # it knows nothing
    assert ours["residual %"] == pytest.approx(ours["whole body %"], rel=1e-4)
    assert 0 < reduced["residual %"] < 0.5 * corrected["residual %"] < 0.05 * ours["residual %"]
    assert analytic["steps"] == 63 - 4 and ours["above 1 % of weight"] == 100.0


def test_differences_are_below_zero_where_the_first_is_nearer(compared):
    sequence = compared[0]
    truth = Dynamics(sequence.angular_momentum, sequence.contact_force)
    half = truth._replace(contact_force=sequence.contact_force + np.float32([0.0, 0.0, 0.5 * sequence.mass]))
    far = truth._replace(contact_force=sequence.contact_force + np.float32([0.0, 0.0, 2.0 * sequence.mass]))
    methods = {
        name: {sequence.name: Compared(said, np.full(63, residual))}
        for name, said, residual in zip(METHODS, (truth, half, far, far), (0.5, 1.5, 0.2, 0.0), strict=True)
    }
    rows = difference_table([sequence], methods, 2).rows
    assert [row[0] for row in rows] == [f"{name} less analytic, 6 Hz" for name in METHODS[:3]]
    assert [row[3] for row in rows] == pytest.approx([-2.0, -1.5, 0.0], rel=1e-3)  # λ, N/kg
    assert [row[1] for row in rows] == [0.0, 0.0, 0.0]
    told = comparison_table([sequence], methods, 2).rows
    assert [row[8] for row in told] == [0.0, 100.0, 0.0, 0.0]
    assert told[1][5] == pytest.approx(100 * 24 * 0.5 / GRAVITY, rel=1e-3)  # each of 24 segments is off by 0.5 N/kg
