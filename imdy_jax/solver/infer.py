"""Estimating the torques and contact forces of any motion, from its kinematics alone."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import struct

from imdy_jax import rotation
from imdy_jax.solver.features import tokens, window_features
from imdy_jax.solver.intervals import Calibration, Intervals
from imdy_jax.solver.model import ImDyS, ModelConfig
from imdy_jax.solver.representation import REPRESENTATIONS, Representation, reflected

_BLOCK = 64  # windows per call: every length of motion runs the same program


@struct.dataclass
class Solver:
    """A fitted solver."""

    variables: dict  # parameters and token statistics of the network
    config: ModelConfig = struct.field(pytree_node=False)
    rates: tuple[float, float] = struct.field(pytree_node=False)  # fps, lowest and highest that it was fitted to
    calibration: Calibration | None = None  # of its error bars; None where it tells no spread
    judge: dict | None = None  # of L_cls, what tells recorded motion from spoiled; None where it has not learnt that

    @property
    def representation(self) -> Representation:
        """Of the motions that it takes."""
        return REPRESENTATIONS[self.config.representation]


@struct.dataclass
class Estimate:
    """Dynamics of the T steps between T + 1 frames of a motion; step t leads from frame t to frame t + 1."""

    angular_momentum: np.ndarray  # (T, 23, 3) N·m·s imposed by the joint torques, child axes
    contact_force: np.ndarray  # (T, 24, 3) N, mean over the step, on each segment, world axes
    fps: float = struct.field(pytree_node=False)
    torque_spread: np.ndarray | None = None  # (T, 23, 3) N·m, scale of the error, where the solver tells it
    force_spread: np.ndarray | None = None  # (T, 24, 3) N
    intervals: Intervals | None = None  # where the solver is calibrated

    @property
    def torque(self) -> np.ndarray:
        """Mean joint torque over each step (T, 23, 3), N·m, child axes."""
        return self.angular_momentum * self.fps


class WindowEstimate(NamedTuple):
    """Estimate of one window, per kg of the subject."""

    torque: jax.Array  # (23, 3) N·m/kg, mean over the step t → t+1, child axes
    contact_force: jax.Array  # (24, 3) N/kg over the step t → t+1, world axes
    torque_spread: jax.Array | None  # (23, 3) N·m/kg, see model.Prediction
    force_spread: jax.Array | None  # (24, 3) N/kg, the same in world axes


def estimate(solver: Solver, motion: np.ndarray, fps: float, mass: float) -> Estimate:
    """Torques and contact forces of a motion.

    The first and last w steps lack context on one side; there the motion is continued by turning it about its first
    and its last frame (an odd extension), as zero-lag filters do.

    Args:
      motion: (T+1, points, channels), world, of the solver's representation: (T+1, 66, 3) m of markers in the order
        of body.markers.MARKER_NAMES, (T+1, 24, 3) of joints, (T+1, 24, 7) of joints and their rotations, or
        (T+1, 24, 20) of these and their segments' inertia (see representation.py; `represent` makes each). A missing
        point is NaN; of the four pelvis markers at least three are needed in every frame, of the joints both hips and
        spine1, of segments all.
      fps: frames per second, any within the solver's rates.
      mass: kg, the subject's.

    Raises:
      ValueError: wrong shape, rate or mass, too few frames, or a frame without the points that tell the heading.
    """
    windows = windows_of(solver, motion, fps, mass)
    solved = in_blocks(lambda block: _solve(solver, block, 1.0 / fps), windows)
    momentum, force = solved.torque * (mass / fps), solved.contact_force * mass
    if solved.torque_spread is None:
        return Estimate(momentum, force, fps)
    spreads = solved.torque_spread * mass, solved.force_spread * mass
    known = solver.calibration
    intervals = None if known is None else known.intervals(*spreads, force, mass)
    return Estimate(momentum, force, fps, *spreads, intervals)


def plausibility(solver: Solver, motion: np.ndarray, fps: float) -> np.ndarray:
    """How probably each step (T,) is of a recorded motion and not of a spoiled one, by the discriminator of L_cls.

    Arguments are those of `estimate`. Raises ValueError as that does, and where the solver has no discriminator.
    """
    if solver.judge is None:
        raise ValueError(
            "the solver has no discriminator, expected the run folder of one that was fitted with "
            "--config.fit.weights.plausible 1 (a published folder has none)"
        )
    return in_blocks(lambda block: _judged(solver, block, 1.0 / fps), windows_of(solver, motion, fps, 1.0))


def estimate_windows(variables: dict, config: ModelConfig, motion: jax.Array, dt: jax.Array) -> WindowEstimate:
    """Estimates of B windows: motion (B, 2w+2, points, channels), world, with dt (B,) s between frames."""
    features = jax.vmap(partial(window_features, REPRESENTATIONS[config.representation]))(motion, dt)
    prediction = ImDyS(config).apply(variables, tokens(features), features.mask)
    force = rotation.rotate(features.heading[:, None], prediction.contact_force[:, 0])
    return WindowEstimate(prediction.torque, force, prediction.torque_spread, prediction.force_spread)


def windows_of(solver: Solver, motion: np.ndarray, fps: float, mass: float) -> np.ndarray:
    """The window (T, 2w+2, points, channels) of each step of a motion; arguments and errors are those of `estimate`."""
    motion = np.asarray(motion)
    _check(solver, motion, fps, mass)
    window = solver.config.window
    before, after = reflected(motion[window:0:-1], motion[:1]), reflected(motion[-2 : -window - 2 : -1], motion[-1:])
    extended = np.concatenate([before, motion, after]).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(extended, 2 * window + 2, axis=0)
    windows = np.moveaxis(windows, -1, 1)
    _check_anchors(solver, windows)
    return windows


def in_blocks(function: Callable[[np.ndarray], Any], windows: np.ndarray) -> Any:
    """function of blocks of windows of one size, and its results, a tree of (B, ...), end to end."""
    parts = []
    for start in range(0, len(windows), _BLOCK):
        block = windows[start : start + _BLOCK]
        padded = np.concatenate([block, np.repeat(block[-1:], _BLOCK - len(block), axis=0)])
        parts.append(jax.tree.map(lambda x, n=len(block): np.asarray(x)[:n], function(padded)))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


@jax.jit
def _solve(solver: Solver, motion: jax.Array, dt: jax.Array) -> WindowEstimate:
    return estimate_windows(solver.variables, solver.config, motion, jax.numpy.full(len(motion), dt))


@jax.jit
def _judged(solver: Solver, motion: jax.Array, dt: jax.Array) -> jax.Array:
    kind, network = REPRESENTATIONS[solver.config.representation], ImDyS(solver.config)
    features = jax.vmap(partial(window_features, kind))(motion, jax.numpy.full(len(motion), dt))
    encoded = network.apply(solver.variables, tokens(features), features.mask, method="encode")
    assert solver.judge is not None
    return jax.nn.sigmoid(encoded @ solver.judge["kernel"] + solver.judge["bias"])[:, 0]


def within(rates: tuple[float, float], fps: float) -> bool:
    """Whether a frame rate is one that a solver of these (lowest, highest) takes."""
    return rates[0] * (1 - 1e-3) <= fps <= rates[1] * (1 + 1e-3)


def _check(solver: Solver, motion: np.ndarray, fps: float, mass: float) -> None:
    name, shape = solver.config.representation, solver.representation.shape
    if motion.ndim != 3 or motion.shape[1:] != shape:
        order = "MARKER_NAMES" if name == "markers" else "JOINT_NAMES"
        raise ValueError(f"{name}: shape {motion.shape}, expected (frames, {shape[0]}, {shape[1]}) in order {order}")
    if len(motion) < solver.config.window + 2:
        raise ValueError(f"{name}: {len(motion)} frames, expected at least {solver.config.window + 2}; give more of it")
    low, high = solver.rates
    if not within(solver.rates, fps):
        span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        raise ValueError(
            f"fps: {fps:g}, expected the solver's {span}; resample the motion, or fit a solver to that rate too "
            "(fit_solver.py --config.rates)"
        )
    if not mass > 0:
        raise ValueError(f"mass: {mass} kg, expected the subject's own mass, above zero")


def _check_anchors(solver: Solver, windows: np.ndarray) -> None:
    kind = solver.representation
    anchors = range(len(kind.points)) if kind.inertia else kind.anchors
    there = np.isfinite(windows[:, :, list(anchors)]).all(axis=(1, 3))
    needed = len(anchors) - kind.spare
    lacking = np.flatnonzero(there.sum(axis=1) < needed)
    if len(lacking):
        names = [kind.points[k] for k in anchors]
        missing = [names[i] for i in np.flatnonzero(~there[lacking[0]])]
        raise ValueError(
            f"{solver.config.representation}: {', '.join(missing)} missing near frame {lacking[0]} ({len(lacking)} "
            f"steps concerned), expected {needed} of {', '.join(names)} in every frame; fill the gaps first"
        )
