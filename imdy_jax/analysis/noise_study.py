"""How noise of poses becomes noise of torques: Monte Carlo and closed form, side by side.

Amplification is the root mean square, over frames and all 69 torque components, of the change that noise makes in the
estimated torques, over the standard deviation of each component of the joints' rotation noise: N·m per rad.
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.signal import butter, sosfilt, sosfilt_zi

from imdy_jax.analysis.clean_motion import View
from imdy_jax.dynamics.noise import perturb
from imdy_jax.dynamics.propagation import filtered_torques, squared_gains
from imdy_jax.motion import filters
from imdy_jax.motion.filters import Butterworth, Filter, NoFilter, SavitzkyGolay, Smoothed, SmoothingSpline
from imdy_jax.motion.procedural import CLIPS


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """What is studied. Angles in degrees here, for people to read."""

    clips: tuple[str, ...] = CLIPS  # built-in motions
    subjects: int = 2  # the reference adult, then people drawn at random
    dataset: str | None = None  # a certified dataset whose motions take the place of the built-in ones
    sequences: int = 12  # of the dataset, at most
    seconds: float = 3.0  # from the middle of each motion
    frames: int = 32  # compared in each, the same moments at every rate
    rates: tuple[float, ...] = (30.0, 60.0, 120.0)  # frames/s
    memory: float = 0.2  # s, of the time-correlated noise; the other noise is white
    levels: tuple[float, ...] = (0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0)  # degrees of noise, Monte Carlo
    cutoffs: tuple[float, ...] = (3.0, 6.0, 10.0)  # Hz, of the amplification
    sweep: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 14.0)  # Hz, of the trade-off
    noises: tuple[float, ...] = (0.01, 0.1, 0.5, 1.0, 2.0, 5.0)  # degrees, of the trade-off
    sampled: int = 8  # motions of the Monte Carlo and the trade-off, drawn from all
    draws: int = 3  # of noise, for each of them
    calibrated: tuple[float, ...] = (0.1, 0.5, 2.0)  # degrees, of the error bars
    seed: int = 0


QUICK = StudyConfig(
    clips=("squat", "bow"), seconds=1.0, frames=16, rates=(30.0,), levels=(0.1, 2.0), cutoffs=(6.0,), sweep=(3.0, 6.0),
    noises=(0.1, 1.0), sampled=1, draws=2, calibrated=(0.5,), subjects=1,
)  # fmt: skip


def standard_filters(fps: float, cutoffs: tuple[float, ...]) -> dict[str, Filter]:
    """The filters of the amplification table, by name; the others beside Butterworth's are near 6 Hz."""
    window = 2 * round(0.1 * fps) + 1
    named: dict[str, Filter] = {"none": NoFilter()}
    named |= {f"Butterworth {cutoff:g} Hz": Butterworth(cutoff, extension=round(fps)) for cutoff in cutoffs}
    return named | {"Savitzky–Golay 0.2 s": SavitzkyGolay(window, 3), "spline 6 Hz": SmoothingSpline(6.0)}


def matrices(smoothing: Filter, seconds: float, fps: float) -> Smoothed:
    """A filter's matrices for clips of a length, in double precision."""
    return filters.operator(smoothing, round(seconds * fps) + 1, fps, jnp.result_type(float))


def causal_matrices(cutoff: float, seconds: float, fps: float) -> tuple[Smoothed, float]:
    """Second-order Butterworth in one pass, as what runs online must be, and its delay in s at low frequencies."""
    sections = butter(2, cutoff, fs=fps, output="sos")
    signal = np.eye(round(seconds * fps) + 1)
    start = sosfilt_zi(sections)[:, :, None] * signal[None, :1]
    value = jnp.asarray(sosfilt(sections, signal, axis=0, zi=start)[0])
    return Smoothed(value, jnp.diff(value, axis=0)), float(np.sqrt(2.0) / (2.0 * np.pi * cutoff))


@partial(jax.jit, static_argnames="fps")
def clean_torques(seen: View, smooth: Smoothed, fps: float, frames: jax.Array) -> jax.Array:
    """Torques (N, 23, 3) estimated from the poses without noise."""
    return filtered_torques(seen.humanoid, smooth, seen.position, seen.rotations, fps, seen.wrench, frames)


@partial(jax.jit, static_argnames="fps")
def noisy_torques(
    seen: View, smooth: Smoothed, fps: float, frames: jax.Array, keys: jax.Array, levels: jax.Array, memory: jax.Array
) -> jax.Array:
    """Torques (L, D, N, 23, 3) estimated under rotation noise of levels (L,), rad; the same D draws at each level."""

    def draw(case: tuple[jax.Array, jax.Array]) -> jax.Array:
        sd, key = case
        rotations, position = perturb(key, seen.rotations, seen.position, fps, sd, 0.0, memory)
        return filtered_torques(seen.humanoid, smooth, position, rotations, fps, seen.wrench, frames)

    cases = (jnp.repeat(levels, len(keys)), jnp.tile(keys, (len(levels), 1)))
    torque = jax.lax.map(draw, cases, batch_size=4)
    return torque.reshape(len(levels), len(keys), *torque.shape[1:])


def gains(seen: View, smooth: Smoothed, fps: float, frames: jax.Array, memory: float) -> jax.Array:
    """Squared gains (N, 25, 23, 3) of the torques; see propagation.squared_gains."""
    found = squared_gains(
        seen.humanoid, smooth, seen.position, seen.rotations, fps, jnp.asarray(memory), seen.wrench, frames
    )
    return found[:, :, 6:].reshape(*found.shape[:2], -1, 3)


class Amplification(NamedTuple):
    """Of one filter at one rate; squares averaged over scenes, frames, components."""

    predicted: float  # N·m/rad
    sampled: np.ndarray  # (L,) N·m/rad at each level
    bias: float  # N·m rms of noise-free estimate less truth: what filter and frame rate cost
    signal: float  # N·m rms, of the true torques


def amplification(
    views: list[View], smooth: Smoothed, fps: float, frames: jax.Array, memory: float,
    levels: np.ndarray = np.zeros(0), draws: int = 0, seed: int = 0,
) -> Amplification:  # fmt: skip
    """Closed form and, at any levels (L,) of rotation noise, rad, Monte Carlo; over several scenes at one rate."""
    squares = []
    for i, seen in enumerate(views):
        clean, sampled = clean_torques(seen, smooth, fps, frames), jnp.zeros(0)
        if len(levels):
            keys = jax.random.split(jax.random.fold_in(jax.random.PRNGKey(seed), i), draws)
            noisy = noisy_torques(seen, smooth, fps, frames, keys, jnp.asarray(levels), jnp.asarray(memory))
            sampled = jnp.mean((noisy - clean[None, None]) ** 2, axis=(1, 2, 3, 4)) / levels**2
        predicted = jnp.mean(jnp.sum(gains(seen, smooth, fps, frames, memory)[:, 1:], axis=1))
        true = seen.torque[frames]
        squares.append([predicted, jnp.mean((clean - true) ** 2), jnp.mean(true**2), *sampled])
    root = np.sqrt(np.mean(np.asarray(squares), axis=0))
    return Amplification(float(root[0]), root[3:], float(root[1]), float(root[2]))


def total_error(
    views: list[View],
    smooth: Smoothed,
    fps: float,
    frames: jax.Array,
    memory: float,
    level: float,
    draws: int,
    seed: int,
) -> float:
    """Monte Carlo of the error against the true torques, N·m rms, at one level of rotation noise, rad."""
    squares = []
    for i, seen in enumerate(views):
        keys = jax.random.split(jax.random.fold_in(jax.random.PRNGKey(seed), i), draws)
        noisy = noisy_torques(seen, smooth, fps, frames, keys, jnp.asarray([level]), jnp.asarray(memory))
        squares.append(jnp.mean((noisy - seen.torque[frames][None, None]) ** 2))
    return float(np.sqrt(np.mean(squares)))


class Sensitivity(NamedTuple):
    """Root mean squares over frames of one scene, N·m/rad; a joint's torque error is the length of a vector."""

    joint: np.ndarray  # (23,) error of each joint's torque under independent noise of all rotations
    source: np.ndarray  # (24,) error of all torques together under noise of one rotation, the root's first
    matrix: np.ndarray  # (24, 23) error of each joint's torque under noise of each rotation


def sensitivity(seen: View, smooth: Smoothed, fps: float, frames: jax.Array, memory: float) -> Sensitivity:
    """Which joints suffer from noise, and whose noise they suffer from, in closed form."""
    squares = np.asarray(gains(seen, smooth, fps, frames, memory))[:, 1:].sum(axis=-1).mean(axis=0)
    return Sensitivity(np.sqrt(squares.sum(axis=0)), np.sqrt(squares.sum(axis=1)), np.sqrt(squares))


def linear_limit(result: Amplification, levels: np.ndarray, tolerance: float = 0.1) -> float | None:
    """The largest level up to which Monte Carlo stays within the tolerance of the closed form; None below the first."""
    off = np.abs(result.sampled / result.predicted - 1.0) > tolerance
    reached = len(levels) if not off.any() else int(np.argmax(off))
    return float(levels[reached - 1]) if reached else None


def bootstrap(values: np.ndarray, clips: list[str], subjects: list[int], seed: int, rounds: int = 1000) -> np.ndarray:
    """95 % confidence limits (2, ...) of the root mean square over scenes (S, ...): clips and subjects drawn again.

    Clips, and independently of them subjects, are drawn with replacement; a scene counts as often as both are drawn.
    """
    draw = np.random.default_rng(seed)
    (names, of_clip), (numbers, of_subject) = (np.unique(x, return_inverse=True) for x in (clips, subjects))
    clip_counts = draw.multinomial(len(names), np.full(len(names), 1 / len(names)), rounds)
    subject_counts = draw.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), rounds)
    weights = (clip_counts[:, of_clip] * subject_counts[:, of_subject]).astype(float)
    weights = weights[weights.sum(axis=1) > 0]
    weights /= weights.sum(axis=1, keepdims=True)
    means = np.tensordot(weights, values**2, axes=1)
    return np.sqrt(np.percentile(means, [2.5, 97.5], axis=0))
