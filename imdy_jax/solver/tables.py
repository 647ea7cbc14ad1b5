"""The solver's tables: beside the paper's figures, by joint, by group of sequences, by frame rate."""

import numpy as np

from imdy_jax.report import Table
from imdy_jax.skeleton import JOINT_NAMES
from imdy_jax.solver.evaluate import Predictions, solver_predictions
from imdy_jax.solver.infer import Solver
from imdy_jax.solver.model import PUBLISHED_PARAMETERS, num_parameters
from imdy_jax.solver.pack import PackedDataset, Sequence
from imdy_jax.solver.scores import Score, joint_errors, score

QUANTITIES = ("mPJE τ N·m·s/kg", "mPJE λ N/kg", "left foot N/kg", "right foot N/kg")
COLUMNS = ("method", *QUANTITIES, "steps", "95 % of τ", "95 % of λ")
BEYOND = ("method", *QUANTITIES, "whole body N/kg", *COLUMNS[5:], "95 % of whole body", "parameters")
_EQUATION = "Mean over steps and joints of the error's length, over the subject's own mass (the paper's equation 6)."
_INTERVAL = "95 %: by bootstrap over clips."
_MEANING = "τ is the angular momentum that the joint torques impose over one step, λ the mean contact force over it."

Row = tuple[str | float | int | None, ...]


def _published(name: str, *figures: float | None) -> Row:
    return (f"paper: {name}", *figures, *[None] * (len(COLUMNS) - 1 - len(figures)))


# Tables 2, 5 and 6 of Liu et al. (ImDy, ICLR 2025).
TABLE_2 = (
    _published("re-imitation (PHC)", 0.095, 0.409, 3.034, 2.866),
    _published("ImDyS", 0.021, 0.289, 1.843, 1.842),
)
TABLE_5 = (
    _published("ImDyS", 0.021, 0.289, 1.843, 1.842),
    _published("ImDyS-SMPL", 0.011, 0.272, 1.746, 1.764),
    _published("ImDyS-Joint", 0.014, 0.273, 1.755, 1.775),
    _published("w/o L_FD", 0.023, 0.302, 1.962, 1.976),
    _published("w/o L_cls", 0.022, 0.294, 1.884, 1.891),
)
TABLE_6 = (
    _published("ImDyS w = 2 (τ N·m/kg)", 0.1626, 1.0633),
    _published("ImDyS w = 1 (τ N·m/kg)", 0.1690, 1.0990),
    _published("ImDyS w = 3 (τ N·m/kg)", 0.1720, 1.1030),
)


def row(name: str, found: Score) -> Row:
    """A row of COLUMNS."""
    return (name, *map(float, found.mean), found.steps, interval(found, 0), interval(found, 1))


def interval(found: Score, k: int) -> str | None:
    """Where quantity k of a score lies with 95 %; None where one clip alone says nothing of it."""
    return f"{found.low[k]:.3g} – {found.high[k]:.3g}" if np.isfinite(found.low[k]) else None


def error_table(sequences: list[Sequence], methods: list[tuple[str, Predictions]], window: int) -> Table:
    """mPJE of each method over the steps of all sequences that have a whole window and on which it has a say."""
    rows = [row(name, score(sequences, predictions, window)) for name, predictions in methods]
    clips = len({s.clip for s in sequences})
    title = f"Torques and contact forces of {len(sequences)} held-out sequences (clips: {clips})"
    return Table(title, COLUMNS, (*rows, *TABLE_2), (_EQUATION, _MEANING, _INTERVAL))


def with_size(table: Table, variables: dict, hours: float) -> Table:
    """The table with a note on the size of ImDyS, by its variables, and on the hours of motion it was fitted to."""
    note = f"ImDyS: {num_parameters(variables):,} parameters (released: {PUBLISHED_PARAMETERS:,}), "
    note += f"fitted to {hours:.2g} h of motion."
    return Table(table.title, table.columns, table.rows, (*table.notes, note))


def joint_table(sequences: list[Sequence], predictions: Predictions, window: int) -> Table:
    """Errors at each joint and on each segment."""
    found = score(sequences, predictions, window, joint_errors)
    torque = [(None, None)] + [(float(found.mean[k]), interval(found, k)) for k in range(23)]
    force = [(float(found.mean[k]), interval(found, k)) for k in range(23, 47)]
    rows = [(name, *t, *f) for name, t, f in zip(JOINT_NAMES, torque, force, strict=True)]
    columns = ("joint, segment", "τ N·m·s/kg", "95 %", "λ N/kg", "95 % ")
    return Table("Errors of ImDyS by joint and segment", columns, tuple(rows), (_INTERVAL,))


def group_table(
    title: str, sequences: list[Sequence], labels: list[str], predictions: Predictions, window: int
) -> Table:
    """mPJE over the sequences of each label."""
    rows = []
    for label in sorted(set(labels)):
        group = [s for s, own in zip(sequences, labels, strict=True) if own == label]
        rows.append((*row(label, score(group, predictions, window)), len({s.clip for s in group})))
    return Table(title, ("of", *COLUMNS[1:], "clips"), tuple(rows), (_INTERVAL,))


def rate_table(solver: Solver, data: PackedDataset, test: list[int]) -> Table:
    """mPJE at each rate that the dataset was packed for, over all steps with a whole window."""
    rows = []
    for stride in data.strides:
        fps, sequences = 1.0 / (data.dt * stride), [data.finest(i).every(stride) for i in test]
        found = score(sequences, solver_predictions(solver, sequences, fps), solver.config.window)
        rows.append((round(fps, 3), float(found.mean[0] * fps), *row("", found)[1:]))
    columns = ("frames per second", "τ N·m/kg", *COLUMNS[1:])
    notes = (_MEANING, "τ in N·m/kg: the mean torque over a step, which does not shrink with it.", _INTERVAL)
    return Table("Errors of ImDyS by frame rate", columns, tuple(rows), notes)
