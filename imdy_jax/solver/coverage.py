"""Whether the error bars hold what they promise, on clips that set nothing of them."""

from typing import NamedTuple

import numpy as np

from imdy_jax.report import Table
from imdy_jax.skeleton import GROUPS, LEFT_FOOT, RIGHT_FOOT
from imdy_jax.solver.infer import Solver, estimate
from imdy_jax.solver.intervals import Calibration, Ratios, bears_load
from imdy_jax.solver.pack import Sequence
from imdy_jax.solver.scores import inside

_MOST = 200_000  # steps, evenly chosen where there are more
_FOLDS = 10  # parts of the clips at most, each of which is judged by factors from all the others
_FEET = np.isin(np.arange(len(GROUPS)), (*LEFT_FOOT, *RIGHT_FOOT))
_COLUMNS = ("intervals of", "unit", "50 % hold %", "90 % hold %", "90 % by clip", "half-width of 90 %", "error")


class Held(NamedTuple):
    """What was told of the steps of one held-out sequence that have a whole window, and how far off it was."""

    clip: str
    mass: float
    force: np.ndarray  # (T, 24, 3) N estimated
    loaded: np.ndarray  # (T, 24) bool, of the recorded force
    torque_error: np.ndarray  # (T, 23, 3) N·m, each component's size
    force_error: np.ndarray  # (T, 24, 3) N
    torque_spread: np.ndarray  # (T, 23, 3) N·m
    force_spread: np.ndarray  # (T, 24, 3) N

    @property
    def ratios(self) -> Ratios:
        """Of errors over spreads."""
        torque, force = self.torque_error / self.torque_spread, self.force_error / self.force_spread
        return Ratios(torque, force, bears_load(self.force, self.mass))


def hold(solver: Solver, sequences: list[Sequence], fps: float) -> list[Held]:
    """Estimate held-out sequences; raises ValueError where the solver tells no spread, or as `estimate` does."""
    every = 1 + sum(len(s.contact_force) for s in sequences) // _MOST
    return [_hold(solver, s, fps, every) for s in sequences]


def _hold(solver: Solver, sequence: Sequence, fps: float, every: int) -> Held:
    said = estimate(solver, sequence.motion, fps, sequence.mass)
    if said.torque_spread is None or said.force_spread is None:
        raise ValueError("solver: tells no spread, expected one fitted with model.spread; fit it with that on")
    arrays = (
        said.contact_force, bears_load(sequence.contact_force, sequence.mass),
        np.abs(said.torque - sequence.angular_momentum * fps), np.abs(said.contact_force - sequence.contact_force),
        said.torque_spread, said.force_spread,
    )  # fmt: skip
    steps = inside(len(said.contact_force), solver.config.window)
    return Held(sequence.clip, sequence.mass, *(x[steps][::every] for x in arrays))


def coverage_table(held: list[Held]) -> Table:
    """How many recorded values are within their intervals, where the factors come from the other clips alone."""
    clips = sorted({h.clip for h in held})
    folds = min(len(clips), _FOLDS)
    fold = {clip: i % folds for i, clip in enumerate(clips)}
    parts: list[tuple[np.ndarray, ...]] = []
    if folds > 1:
        for i in range(folds):
            known = Calibration.of(h.ratios for h in held if fold[h.clip] != i)
            parts += [_judged(known, h, clips.index(h.clip)) for h in held if fold[h.clip] == i]
    title = f"Error bars on {len(clips)} held-out clip(s)"
    if not parts:
        return Table(title, _COLUMNS, (), ("One clip alone cannot both set the error bars and judge them.",))
    joined = [np.concatenate(x) for x in zip(*parts, strict=True)]
    notes = (
        f"Shares of components within their interval; the factors of each clip are of the others ({folds} parts).",
        "Half-width and error: means of the components. Loaded: the recorded force is above 1 % of body weight.",
    )
    return Table(title, _COLUMNS, tuple(_rows(joined)), notes)


def _judged(known: Calibration, held: Held, clip: int) -> tuple[np.ndarray, ...]:
    """One row per step: the clip, whether loaded, and of torque and force the holding, half-width and error."""
    found = known.intervals(held.torque_spread, held.force_spread, held.force, held.mass)
    pairs = zip(found, (held.torque_error, held.force_error), strict=True)
    judged = [part for half, error in pairs for part in (np.moveaxis(error <= half, 0, -1), half[-1], error)]
    return np.full(len(held.force), clip), held.loaded, *judged


def _rows(joined: list[np.ndarray]) -> list[tuple]:
    clip, loaded, *judged = joined
    torque, force = judged[:3], judged[3:]
    every = np.ones((len(clip), 23), bool)
    groups = np.array(GROUPS[1:])
    rows = [_row("torques, all joints", "N·m", clip, every, *torque)]
    rows += [_row(f"torques, {g}", "N·m", clip, every & (groups == g), *torque) for g in dict.fromkeys(groups)]
    others = np.broadcast_to(~_FEET, loaded.shape)
    kinds = {"feet, loaded": loaded & _FEET, "feet, not loaded": ~loaded & _FEET, "other segments": others}
    return rows + [_row(f"forces, {name}", "N", clip, which, *force) for name, which in kinds.items()]


def _row(
    name: str, unit: str, clip: np.ndarray, which: np.ndarray, holds: np.ndarray, half: np.ndarray, error: np.ndarray
) -> tuple:
    """holds (N, K, 3, L), half and error (N, K, 3), of the steps and joints `which` (N, K)."""
    if not which.any():
        return (name, unit, *[None] * 5)
    shares = 100.0 * holds[which].mean(axis=(0, 1))
    by_clip = [100.0 * holds[clip == c][which[clip == c]][..., -1].mean() for c in np.unique(clip[which.any(axis=1)])]
    between = f"{min(by_clip):.0f} – {max(by_clip):.0f}"
    return (name, unit, *map(float, shares), between, float(half[which].mean()), float(error[which].mean()))
