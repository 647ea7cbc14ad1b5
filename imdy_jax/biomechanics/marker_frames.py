"""Marker recordings as the fit takes them: z up, in one order of markers, and the frames that tell most."""

import numpy as np

from imdy_jax.biomechanics.marker_labels import TRUNK, site
from imdy_jax.biomechanics.opensim import to_z_up
from imdy_jax.biomechanics.opensim_storage import Markers
from imdy_jax.skeleton import JOINT_NAMES

CALIBRATION_FRAMES = 48  # of all trials together


def upright(markers: Markers, up: str | None = None) -> np.ndarray:
    """Positions (T, M, 3) with z up; up: "y" or "z" of the recording, by default as the markers tell.

    Raises ValueError for another axis.
    """
    if up not in (None, "y", "z"):
        raise ValueError(f"up: found {up!r}, expected 'y', 'z' or None; state the vertical axis of the recordings")
    return markers.positions if (up or vertical(markers)) == "z" else to_z_up(markers.positions)


def vertical(markers: Markers) -> str:
    """The axis along which the trunk's and the head's markers lie above the feet's; y where nobody knows."""
    found = [site(name) for name in markers.names]
    high = [k for k, s in enumerate(found) if s and JOINT_NAMES[s.segment] in (*TRUNK, "head")]
    low = [k for k, s in enumerate(found) if s and JOINT_NAMES[s.segment].endswith(("knee", "ankle", "foot"))]
    if not high or not low:
        return "y"
    gap = np.nanmean(markers.positions[:, high], axis=(0, 1)) - np.nanmean(markers.positions[:, low], axis=(0, 1))
    return "y" if abs(gap[1]) >= abs(gap[2]) else "z"


def in_order(positions: np.ndarray, names: tuple[str, ...], wanted: tuple[str, ...]) -> np.ndarray:
    """Positions (T, M, 3) of the wanted markers, NaN for those that are not there."""
    gone = np.full((len(positions), 1, 3), np.nan)
    column = [names.index(name) if name in names else len(names) for name in wanted]
    return np.concatenate([positions, gone], axis=1)[:, column]


def with_rows(seen: np.ndarray, rows: int) -> np.ndarray:
    """Positions (T, M, 3), m, with so many markers more that nobody sees (NaN)."""
    return np.pad(seen, ((0, 0), (0, rows), (0, 0)), constant_values=np.nan)


def allotted(trials: int) -> list[int]:
    """Calibration frames of each trial; together CALIBRATION_FRAMES."""
    return [CALIBRATION_FRAMES * (k + 1) // trials - CALIBRATION_FRAMES * k // trials for k in range(trials)]


def spread_out(trial: Markers, count: int) -> np.ndarray:
    """Frames as different in posture as can be, those with gaps last; one is there again where there are too few."""
    there = np.isfinite(trial.positions).all(axis=-1)
    centred = trial.positions - np.nanmean(trial.positions, axis=1, keepdims=True)
    flat = np.where(there[..., None], centred, 0.0).reshape(len(there), -1)
    whole = there.mean(axis=1) ** 4
    chosen, gap = [int(np.argmax(whole))], np.full(len(there), np.inf)
    while len(chosen) < count:
        gap = np.minimum(gap, np.linalg.norm(flat - flat[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(gap * whole)))
    return np.array(chosen[:count], int)
