"""Estimating the torques and contact forces of any motion, from its markers alone."""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from flax import struct

from imdy_jax import rotation
from imdy_jax.body.markers import MARKER_NAMES
from imdy_jax.solver.features import PELVIS, window_features
from imdy_jax.solver.model import ImDyS, ModelConfig

_BLOCK = 64  # windows per call: every length of motion runs the same program


@struct.dataclass
class Solver:
    """A fitted solver."""

    variables: dict  # parameters and token statistics of the network
    config: ModelConfig = struct.field(pytree_node=False)
    fps: float = struct.field(pytree_node=False)  # frames per second of the motions it was fitted to


@struct.dataclass
class Estimate:
    """Dynamics of the T steps between T + 1 frames of a motion; step t leads from frame t to frame t + 1."""

    angular_momentum: np.ndarray  # (T, 23, 3) N·m·s imposed by the joint torques, child axes
    contact_force: np.ndarray  # (T, 24, 3) N, mean over the step, on each segment, world axes
    fps: float = struct.field(pytree_node=False)

    @property
    def torque(self) -> np.ndarray:
        """Mean joint torque over each step (T, 23, 3), N·m, child axes."""
        return self.angular_momentum * self.fps


class WindowEstimate(NamedTuple):
    """Estimate of one window, per kg of the subject."""

    angular_momentum: jax.Array  # (23, 3) N·m·s/kg, child axes
    contact_force: jax.Array  # (24, 3) N/kg over the step t → t+1, world axes


def estimate(solver: Solver, markers: np.ndarray, fps: float, mass: float) -> Estimate:
    """Torques and contact forces of a motion.

    The first and last w steps lack context on one side; there the motion is continued by turning it about its first
    and its last frame (an odd extension), as zero-lag filters do.

    Args:
      markers: (T+1, 66, 3) m, world, in the order of body.markers.MARKER_NAMES; a missing marker is NaN. At least
        three of the four pelvis markers are needed in every frame.
      fps: frames per second; the solver's own rate.
      mass: kg, the subject's.

    Raises:
      ValueError: wrong shape, rate or mass, too few frames, or a frame without enough pelvis markers.
    """
    markers = np.asarray(markers)
    _check(solver, markers, fps, mass)
    window = solver.config.window
    before = 2 * markers[:1] - markers[window:0:-1]
    after = 2 * markers[-1:] - markers[-2 : -window - 2 : -1]
    extended = np.concatenate([before, markers, after]).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(extended, 2 * window + 2, axis=0)
    windows = np.moveaxis(windows, -1, 1)
    _check_heading(windows)
    parts = [_solve_block(solver, windows[i : i + _BLOCK]) for i in range(0, len(windows), _BLOCK)]
    momentum, force = (np.concatenate(part) * mass for part in zip(*parts, strict=True))
    return Estimate(momentum, force, fps)


def estimate_windows(variables: dict, config: ModelConfig, markers: jax.Array, dt: float) -> WindowEstimate:
    """Estimates of B windows: markers (B, 2w+2, 66, 3) m, world."""
    features = jax.vmap(partial(window_features, dt=dt))(markers)
    prediction = ImDyS(config).apply(variables, features.tokens, features.mask)
    force = rotation.rotate(features.heading[:, None], prediction.contact_force[:, 0])
    return WindowEstimate(prediction.angular_momentum, force)


@jax.jit
def _solve(solver: Solver, markers: jax.Array) -> WindowEstimate:
    return estimate_windows(solver.variables, solver.config, markers, 1.0 / solver.fps)


def _solve_block(solver: Solver, markers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = len(markers)
    padded = np.concatenate([markers, np.repeat(markers[-1:], _BLOCK - count, axis=0)])
    solved = _solve(solver, padded)
    return np.asarray(solved.angular_momentum)[:count], np.asarray(solved.contact_force)[:count]


def _check(solver: Solver, markers: np.ndarray, fps: float, mass: float) -> None:
    shape = (len(MARKER_NAMES), 3)
    if markers.ndim != 3 or markers.shape[1:] != shape:
        raise ValueError(
            f"markers: shape {markers.shape}, expected (frames, {shape[0]}, 3) in the order of MARKER_NAMES"
        )
    if len(markers) < solver.config.window + 2:
        raise ValueError(
            f"markers: {len(markers)} frames, expected at least {solver.config.window + 2}; give more of it"
        )
    if abs(fps - solver.fps) > 1e-3 * solver.fps:
        raise ValueError(f"fps: {fps:g}, expected the solver's {solver.fps:g}; resample the motion first")
    if not mass > 0:
        raise ValueError(f"mass: {mass} kg, expected the subject's own mass, above zero")


def _check_heading(windows: np.ndarray) -> None:
    there = np.isfinite(windows[:, :, PELVIS]).all(axis=(1, 3))
    lacking = np.flatnonzero(there.sum(axis=1) < 3)
    if len(lacking):
        missing = [MARKER_NAMES[PELVIS[i]] for i in np.flatnonzero(~there[lacking[0]])]
        raise ValueError(
            f"markers: {', '.join(missing)} missing near frame {lacking[0]} ({len(lacking)} steps concerned), expected "
            "three of the four pelvis markers in every frame; fill the gaps first"
        )
