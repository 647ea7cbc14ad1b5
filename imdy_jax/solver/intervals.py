"""Error bars of the estimates: the network's spread, stretched until it holds on motions that it was not fitted to.

The network tells, for each joint and frame, the scale of a Laplace distribution of the estimate's error. Half-widths
are that scale times a factor of the joint and the level: the quantile of |error| / scale over held-out motions (split
conformal prediction, Papadopoulos et al. 2002; Lei et al. 2018). So the network says where it knows less, and the
held-out motions say how much less. Segments have two factors, since most of the time most of them bear nothing.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from flax import struct

from imdy_jax.files import read_json, write_json
from imdy_jax.skeleton import NUM_BODIES, NUM_JOINTS

LEVELS = (0.5, 0.9)
BEARING = 0.1  # N/kg, about 1 % of body weight: a segment that is pressed by more bears load


class Intervals(NamedTuple):
    """Half-widths of intervals about T estimates, for each of LEVELS, in the axes of the estimates."""

    torque: np.ndarray  # (L, T, 23, 3) N·m
    force: np.ndarray  # (L, T, 24, 3) N


class Ratios(NamedTuple):
    """Errors over the spread that was told, of T held-out steps."""

    torque: np.ndarray  # (T, 23, 3)
    force: np.ndarray  # (T, 24, 3)
    bears: np.ndarray  # (T, 24) bool, of the estimated force


@struct.dataclass
class Calibration:
    """Half-widths over the spread, for each of LEVELS."""

    torque: np.ndarray  # (L, 23)
    force: np.ndarray  # (L, 2, 24) where the estimated force is nothing, and where it bears load

    @classmethod
    def of(cls, held_out: Iterable[Ratios]) -> Self:
        """The factors with which the intervals hold at each level; a Laplace distribution's where nothing is known."""
        torque, force, bears = (np.concatenate(x) for x in zip(*held_out, strict=True))
        joints = np.moveaxis(torque, 1, 0).reshape(torque.shape[1], -1)
        segments = [[_factors(force[bears[:, k] == b, k]) for k in range(NUM_BODIES)] for b in (False, True)]
        return cls(np.stack([_factors(x) for x in joints], axis=-1), np.moveaxis(np.array(segments), -1, 0))

    def intervals(
        self, torque_spread: np.ndarray, force_spread: np.ndarray, force: np.ndarray, mass: float
    ) -> Intervals:
        """Of T estimates, from their spreads (N·m, N), the estimated forces (T, 24, 3), N, and the mass, kg."""
        load = bears_load(force, mass).astype(int)
        factor = self.force[:, load, np.arange(NUM_BODIES)]  # (L, T, 24)
        return Intervals(self.torque[:, None, :, None] * torque_spread, factor[..., None] * force_spread)

    def write(self, path: str | Path) -> None:
        write_json(path, {"levels": LEVELS, "torque": self.torque.tolist(), "force": self.force.tolist()})

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Raises ValueError where the file is damaged, or of other levels."""
        kept, mend = read_json(path, "fit the solver again"), "fit the solver again"
        if kept.get("levels") != list(LEVELS):
            found = kept.get("levels")
            raise ValueError(f"{path}: levels is {found}, expected {list(LEVELS)}; {mend}")
        factors = []
        for name, shape in (("torque", (len(LEVELS), NUM_JOINTS)), ("force", (len(LEVELS), 2, NUM_BODIES))):
            try:
                factor = np.array(kept[name], float)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}: {name}: found no numbers ({error}), expected {shape}; {mend}") from error
            if factor.shape != shape or not np.isfinite(factor).all():
                raise ValueError(
                    f"{path}: {name}: found {factor.shape}, all finite: {np.isfinite(factor).all()}, expected finite "
                    f"numbers {shape}; {mend}"
                )
            factors.append(factor)
        return cls(*factors)


def bears_load(force: np.ndarray, mass: float) -> np.ndarray:
    """Whether each segment bears load (...,), of forces (..., 3), N."""
    return np.linalg.norm(force, axis=-1) > BEARING * mass


def _factors(ratios: np.ndarray) -> np.ndarray:
    """The least factor (L,) that holds as many of the ratios as each level asks."""
    if not ratios.size:
        return -np.log(1.0 - np.array(LEVELS))
    return np.quantile(ratios, LEVELS, method="higher")
