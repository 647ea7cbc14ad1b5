"""Zero-phase smoothing of trajectories: Butterworth, Savitzky–Golay, smoothing spline, or none.

Every filter is linear in the signal and works on its differences: an odd extension at the ends turns into an even one,
and the recursion starts from rest. So besides the smooth signal there are its steps, which velocities are made of,
free of the rounding of the signal itself: in float32 differences of smooth poses would lose what the filter gained.
"""

import math
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from scipy.signal import butter, sosfiltfilt

_HIGHEST = jax.lax.Precision.HIGHEST
FILTER_ORDER = 4  # of lowpass, run forward; backward and forward together double it


class Smoothed(NamedTuple):
    """A smooth signal of T samples."""

    value: jax.Array  # (T, ...)
    step: jax.Array  # (T-1, ...) from each sample to the next


class Filter(Protocol):
    """What smooths a signal (T, ...) sampled at fps along its first axis; the precision is the signal's."""

    def smooth(self, x: jax.Array, fps: float) -> Smoothed: ...

    def check(self, num_frames: int, fps: float) -> None:
        """Raises ValueError for a signal too short, or a setting out of range; what is traced is not checked."""


@struct.dataclass
class NoFilter:
    """The signal as it is."""

    def smooth(self, x: jax.Array, fps: float) -> Smoothed:
        return Smoothed(x, jnp.diff(x, axis=0))

    def check(self, num_frames: int, fps: float) -> None:
        _check_length(num_frames, 3)


@struct.dataclass
class Butterworth:
    """Low-pass Butterworth filter run forward and backward: scipy's butter and filtfilt with their defaults.

    Order 2, so of fourth order in all, is the usual filter of gait analysis (Winter 2009). Half of the amplitude
    passes at the cut-off. The cut-off may be traced: one compiled program serves them all. scipy's extension at the
    ends, 3 (order + 1) frames, is shorter than the filter's memory where the cut-off is below a tenth of the frame
    rate, and the ends of a moving signal bend; a longer one cures that.
    """

    cutoff: float | jax.Array = 6.0  # Hz
    order: int = struct.field(pytree_node=False, default=2)  # of one pass
    extension: int | None = struct.field(pytree_node=False, default=None)  # frames at each end; None is scipy's

    def smooth(self, x: jax.Array, fps: float) -> Smoothed:
        pad = min(3 * (self.order + 1) if self.extension is None else self.extension, len(x) - 1)
        sections = _butterworth_sections(self.order, jnp.asarray(self.cutoff, x.dtype) / fps)
        steps = _extend_even(jnp.diff(x, axis=0), pad)
        forward = _run_sections(sections, steps)
        both = _run_sections(sections, forward[::-1])[::-1]
        # The first pass starts at the extended signal's first sample, the second one where the first pass ends.
        end = 2 * x[0] - x[pad] + jnp.sum(forward, axis=0)
        value = end[None] - jnp.cumsum(both[::-1], axis=0)[::-1]
        return Smoothed(value[pad : pad + len(x)], both[pad : pad + len(x) - 1])

    def check(self, num_frames: int, fps: float) -> None:
        _check_length(num_frames, 3)
        _check_cutoff(self.cutoff, fps)


@struct.dataclass
class SavitzkyGolay:
    """Least-squares polynomials in a moving window (Savitzky & Golay 1964), the ends extended as in filtfilt."""

    window: int = struct.field(pytree_node=False, default=9)  # frames, odd
    degree: int = struct.field(pytree_node=False, default=3)

    def smooth(self, x: jax.Array, fps: float) -> Smoothed:
        half = self.window // 2
        steps = jnp.diff(x, axis=0)
        before, after = 2 * x[:1] - x[half:0:-1], 2 * x[-1:] - x[-2 : -half - 2 : -1]
        value = self._windows(jnp.concatenate([before, x, after]))
        return Smoothed(value, self._windows(_extend_even(steps, half)))

    def check(self, num_frames: int, fps: float) -> None:
        if self.window % 2 == 0 or not 0 <= self.degree < self.window:
            raise ValueError(
                f"Savitzky–Golay filter: found window {self.window} and degree {self.degree}, expected an odd window "
                "longer than the degree"
            )
        _check_length(num_frames, max(3, self.window // 2 + 1))

    def _windows(self, x: jax.Array) -> jax.Array:
        """Weighted means over all windows of the extended signal."""
        powers = np.arange(-(self.window // 2), self.window // 2 + 1)[:, None] ** np.arange(self.degree + 1)
        weights = jnp.asarray(np.linalg.pinv(powers)[0], x.dtype)
        at = np.arange(len(x) - self.window + 1)[:, None] + np.arange(self.window)
        middle = x[self.window // 2 : len(x) - self.window // 2]
        # Deviations from the middle sample, which float32 keeps where the window's samples are all alike.
        return middle + jnp.einsum(
            "w,tw...->t...", weights, x[at.astype(np.int32)] - middle[:, None], precision=_HIGHEST
        )


@struct.dataclass
class SmoothingSpline:
    """The natural cubic spline f through T frames that minimises Σ (f(t) − x_t)² + λ ∫ f″² (Reinsch 1967).

    λ is such that half of the amplitude passes at the cut-off, as it does in the Butterworth filter, whose fourth-order
    fall the spline shares. Its equations suit float32 for cut-offs above a fiftieth of the frame rate.
    """

    cutoff: float | jax.Array = 6.0  # Hz

    def smooth(self, x: jax.Array, fps: float) -> Smoothed:
        cosine = jnp.cos(2 * jnp.pi * jnp.asarray(self.cutoff, x.dtype) / fps)
        penalty = (2.0 + cosine) / 3.0 / (2.0 - 2.0 * cosine) ** 2
        # f″ at the inner frames solves (R + λ D Dᵀ) f″ = D x, D the second differences, R the spline's (1, 4, 1) / 6.
        bands = (2 / 3 + 6 * penalty, 1 / 6 - 4 * penalty, penalty)
        curvature = _solve_pentadiagonal(bands, jnp.diff(x, n=2, axis=0))
        ends = [(2, 2)] + [(0, 0)] * (x.ndim - 1)
        correction = penalty * jnp.diff(jnp.pad(curvature, ends), n=2, axis=0)
        return Smoothed(x - correction, jnp.diff(x, axis=0) - jnp.diff(correction, axis=0))

    def check(self, num_frames: int, fps: float) -> None:
        _check_length(num_frames, 3)
        _check_cutoff(self.cutoff, fps)


def operator(smoothing: Filter, num_frames: int, fps: float, dtype: jnp.dtype | None = None) -> Smoothed:
    """The filter as matrices: smooth values (T, T) and steps (T-1, T) are their products with any signal (T, ...)."""
    return smoothing.smooth(jnp.eye(num_frames, dtype=dtype), fps)


def smooth_poses(smoothing: Filter, position: jax.Array, rotations: jax.Array, fps: float) -> Smoothed:
    """Root positions (T, 3) and quaternions (T, K, 4) smoothed together, in the layout (T, 3 + 4 K) of q.

    Quaternions are made continuous in sign and filtered as vectors, which is exact to second order in the angle
    turned within the filter's memory; they come out not normalised.
    """
    turned = continuous(rotations).reshape(len(rotations), -1)
    return smoothing.smooth(jnp.concatenate([position, turned], axis=1), fps)


def lowpass(q: np.ndarray, fps: float, cutoff: float) -> np.ndarray:
    """Trajectory q (T, 99) low-passed at cutoff (Hz) on the host, in float64 and without compiling for each length.

    Butterworth of FILTER_ORDER on positions and on quaternions, as smooth_poses does it, the quaternions normalised.
    A cut-off at or above half the frame rate returns q unchanged.
    """
    if cutoff >= fps / 2:
        return np.array(q)
    position, quaternions = q[:, :3], continuous(q[:, 3:].reshape(len(q), -1, 4))
    smooth = zero_phase(np.concatenate([position, quaternions.reshape(len(q), -1)], axis=1), fps, cutoff)
    turned = smooth[:, 3:].reshape(quaternions.shape)
    turned = turned / np.linalg.norm(turned, axis=-1, keepdims=True)
    return np.concatenate([smooth[:, :3], turned.reshape(len(q), -1)], axis=1)


def zero_phase(x: np.ndarray, fps: float, cutoff: float) -> np.ndarray:
    """A signal (T, ...) low-passed at cutoff (Hz, below half of fps) by Butterworth of FILTER_ORDER, on the host."""
    sos = butter(FILTER_ORDER, cutoff, fs=fps, output="sos")
    return sosfiltfilt(sos, x, axis=0, padlen=min(3 * (2 * len(sos) + 1), len(x) - 1))


def continuous(quaternions):
    """Quaternions (T, K, 4), NumPy's or JAX's, with signs such that neighbours in time are on the same side."""
    xp = jnp if isinstance(quaternions, jax.Array) else np
    dots = xp.sum(quaternions[1:] * quaternions[:-1], axis=-1)
    signs = xp.cumprod(xp.where(dots < 0, -1.0, 1.0).astype(quaternions.dtype), axis=0)
    return xp.concatenate([quaternions[:1], quaternions[1:] * signs[..., None]])


def _check_length(found: int, expected: int) -> None:
    if found < expected:
        raise ValueError(f"filter: found {found} frames, expected at least {expected}; use a longer clip")


def _check_cutoff(cutoff: float | jax.Array, fps: float) -> None:
    if not isinstance(cutoff, jax.core.Tracer) and not 0.0 < cutoff < fps / 2:
        raise ValueError(f"filter: found cut-off {cutoff:g} Hz at {fps:g} frames/s, expected 0 to {fps / 2:g} Hz")


def _extend_even(x: jax.Array, count: int) -> jax.Array:
    """x with its first and last `count` samples mirrored beyond its ends, the end samples repeated."""
    return jnp.concatenate([x[:count][::-1], x, x[len(x) - count :][::-1]])


def _butterworth_sections(order: int, cutoff: jax.Array) -> jax.Array:
    """Coefficients (S, 5), b0 b1 b2 a1 a2, of the sections of a Butterworth filter; cutoff in cycles per sample.

    The analogue poles of unit frequency, cos θ ± i sin θ, by the bilinear transform with the cut-off pre-warped.
    """
    k = jnp.tan(jnp.pi * cutoff)
    zero, sections = jnp.zeros_like(k), []
    if order % 2:
        sections.append([k / (1 + k), k / (1 + k), zero, (k - 1) / (k + 1), zero])
    for i in range(order // 2):
        damping = 2.0 * math.sin(math.pi * (2 * i + 1) / (2 * order))
        scale = 1 / (1 + k * damping + k * k)
        b = k * k * scale
        sections.append([b, 2 * b, b, 2 * (k * k - 1) * scale, (1 - k * damping + k * k) * scale])
    return jnp.stack([jnp.stack(section) for section in sections])


def _run_sections(sections: jax.Array, x: jax.Array) -> jax.Array:
    """The recursion of each section in turn over x (T, ...), from rest (direct form II transposed)."""

    def advance(memory: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows = []
        for (b0, b1, b2, a1, a2), (near, far) in zip(sections, memory, strict=True):
            y = b0 * x + near
            rows.append(jnp.stack([b1 * x - a1 * y + far, b2 * x - a2 * y]))
            x = y
        return jnp.stack(rows), x

    return jax.lax.scan(advance, jnp.zeros((len(sections), 2, *x.shape[1:]), x.dtype), x)[1]


def _solve_pentadiagonal(bands: tuple, wanted: jax.Array) -> jax.Array:
    """x of A x = wanted (N, ...) for the symmetric A with constant bands (diagonal, first, second), by L D Lᵀ."""
    diagonal, first, second = bands
    nothing = jnp.zeros_like(wanted[0])
    none = jnp.zeros_like(diagonal)

    def eliminate(carry: tuple, right: jax.Array) -> tuple[tuple, tuple]:
        # Rows i-1 and i-2: pivot, L[i, i-1] or L[i, i-2], and the eliminated right-hand side.
        (pivot1, lower1, z1), (pivot2, lower2, z2), next_lower2 = carry
        pivot = diagonal - lower1 * lower1 * pivot1 - lower2 * lower2 * pivot2
        z = right - lower1 * z1 - lower2 * z2
        below = (first - next_lower2 * lower1 * pivot1) / pivot
        twice_below = second / pivot
        return ((pivot, below, z), (pivot1, next_lower2, z1), twice_below), (pivot, below, twice_below, z)

    one = none + 1.0
    start = ((one, none, nothing), (one, none, nothing), none)
    _, (pivot, below, twice_below, z) = jax.lax.scan(eliminate, start, wanted)

    def substitute(carry: tuple, row: tuple) -> tuple[tuple, jax.Array]:
        pivot, below, twice_below, z = row
        x = z / pivot - below * carry[0] - twice_below * carry[1]
        return (x, carry[0]), x

    return jax.lax.scan(substitute, (nothing, nothing), (pivot, below, twice_below, z), reverse=True)[1]
