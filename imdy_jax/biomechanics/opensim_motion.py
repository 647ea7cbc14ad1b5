"""Coordinates over time as OpenSim's inverse dynamics sees them: low-passed, splined, differentiated."""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.signal import butter, lfilter, lfiltic

from imdy_jax.biomechanics.opensim_functions import natural_spline
from imdy_jax.biomechanics.opensim_model import Model
from imdy_jax.biomechanics.opensim_storage import Storage
from imdy_jax.biomechanics.opensim_xml import OpenSimFileError

FILTER_ORDER = 3  # of the Butterworth filter that is run forward and backward
SPLINE_DEGREE = 5
MAX_ROWS = 100_000  # after resampling


class CoordinateMotion(NamedTuple):
    """Coordinates of a model with their derivatives; m and rad, s."""

    time: np.ndarray  # (T,)
    q: np.ndarray  # (T, n)
    v: np.ndarray  # (T, n)
    a: np.ndarray  # (T, n)


def coordinate_motion(
    model: Model, motion: Storage, cutoff: float | None = 6.0, time: np.ndarray | None = None
) -> CoordinateMotion:
    """The coordinates of a model, in its order, with first and second derivatives.

    What OpenSim's tool does: Butterworth low-pass of third order, forward and backward, over the motion continued at
    both ends by its own point reflection; degrees to radians for rotational coordinates only; spline of fifth degree.
    A coordinate that the motion has not keeps its default value, and a column that the model has not is passed over;
    both are said in a warning.

    Args:
      motion: columns named after coordinates, or after states (/jointset/hip_r/hip_flexion_r/value).
      cutoff: Hz; None leaves the motion unfiltered.
      time: (T,) s, when to evaluate; None for the rows of the motion.

    Raises:
      OpenSimFileError: no column is a coordinate of the model, values that are not finite, too few rows for the
        spline, a cut-off of zero or less, or times outside the motion.
    """
    named = {_coordinate(column): i for i, column in reversed(list(enumerate(motion.columns)))}
    coordinates = model.coordinates
    _report_names(model, motion, named)
    used = [named[c.name] for c in coordinates if c.name in named]
    values = motion.values[:, used]
    _check(motion, values, cutoff)
    if motion.in_degrees:
        turning = [c.motion == "rotational" for c in coordinates if c.name in named]
        values = np.where(turning, np.radians(values), values)
    rows, values = (motion.time, values) if cutoff is None else low_passed(motion.time, values, cutoff)
    spline = natural_spline(rows, values, SPLINE_DEGREE)
    time = motion.time if time is None else np.asarray(time, float)
    if time.min() < motion.time[0] - 1e-6 or time.max() > motion.time[-1] + 1e-6:
        raise OpenSimFileError(
            motion.source or motion.name, "time", f"{motion.time[0]:g} to {motion.time[-1]:g} s",
            f"all of {time.min():g} to {time.max():g} s", "ask for times within the motion",
        )  # fmt: skip
    present = [i for i, c in enumerate(coordinates) if c.name in named]
    q, v, a = np.zeros((3, len(time), len(coordinates)))
    q[:] = [c.default for c in coordinates]
    for order, rates in enumerate((q, v, a)):
        rates[:, present] = spline(time, order)
    return CoordinateMotion(time, q, v, a)


def low_passed(time: np.ndarray, values: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Times and values (T, n) low-passed at cutoff (Hz), and continued by half their length at both ends.

    As OpenSim does it: unless all steps are equal to the last digit, rows are first resampled at the smallest; a
    cut-off near or above half the rate becomes 0.49 of the rate; the filter takes its first three samples as they are.
    """
    pad = len(time) // 2
    time, padded = _continued(time, pad), _continued(values, pad)
    span = time[-1] - time[0]
    step = float(max(np.diff(time).min(), span / MAX_ROWS))
    if abs(span / (len(time) - 1) - step) > np.finfo(float).eps:
        even = time[0] + step * np.arange(int(span / step + 1e-9) + 1)
        padded, time = natural_spline(time, padded, SPLINE_DEGREE)(even), even
    numerator, denominator = butter(FILTER_ORDER, min(cutoff, 0.49 / step), fs=1.0 / step)
    for _ in range(2):
        for i in range(padded.shape[1]):
            head = padded[FILTER_ORDER - 1 :: -1, i]
            state = lfiltic(numerator, denominator, head, head)
            padded[FILTER_ORDER:, i] = lfilter(numerator, denominator, padded[FILTER_ORDER:, i], zi=state)[0]
        padded = padded[::-1].copy()
    return time, padded


def _continued(x: np.ndarray, pad: int) -> np.ndarray:
    """x (T, ...) with `pad` more rows at each end: its reflection in the end point."""
    return np.concatenate([2.0 * x[:1] - x[pad:0:-1], x, 2.0 * x[-1:] - x[-2 : -2 - pad : -1]])


def _coordinate(column: str) -> str:
    """Name of the coordinate of a column: itself, or the last but one part of a state's path."""
    parts = column.split("/")
    return parts[-2] if len(parts) > 1 and parts[-1] == "value" else column


def _report_names(model: Model, motion: Storage, named: dict[str, int]) -> None:
    known = [c.name for c in model.coordinates]
    source = motion.source or motion.name
    if not set(known) & set(named):
        raise OpenSimFileError(
            source, "columns", ", ".join(motion.columns[:5]), f"coordinates of {model.path}: {', '.join(known[:5])} …",
            "take the motion that belongs to the model",
        )  # fmt: skip
    absent = [name for name in known if name not in named]
    extra = {name: np.ptp(motion.values[:, i]) for name, i in named.items() if name not in known and "/" not in name}
    moving = [name for name, travel in extra.items() if travel > 0.0]
    if absent:
        warnings.warn(f"{source}: has no {', '.join(absent)}; they keep their default values", stacklevel=4)
    if moving:
        warnings.warn(f"{source}: {', '.join(moving)} move, but {model.path} has no such coordinates", stacklevel=4)


def _check(motion: Storage, values: np.ndarray, cutoff: float | None) -> None:
    source = motion.source or motion.name
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise OpenSimFileError(
            source, "values", f"NaN or infinity in {len(bad)} rows, first at {motion.time[bad[0]]:g} s",
            "finite numbers", "cut the motion or fill the gap",
        )  # fmt: skip
    if len(motion.time) <= SPLINE_DEGREE:
        raise OpenSimFileError(
            source, "rows", f"{len(motion.time)}", f"more than {SPLINE_DEGREE}", "use a longer motion"
        )
    if cutoff is not None and not cutoff > 0.0:
        raise OpenSimFileError(source, "cutoff", f"{cutoff:g} Hz", "more than zero, or None", "name a frequency")
