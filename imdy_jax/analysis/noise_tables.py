"""The tables of experiments/study_noise.py: each runs its part of the study over the clean motions."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from imdy_jax.analysis.calibration import coverage, sample
from imdy_jax.analysis.clean_motion import Scene, compared_frames, view
from imdy_jax.analysis.noise_study import (
    StudyConfig,
    amplification,
    bootstrap,
    causal_matrices,
    linear_limit,
    matrices,
    sensitivity,
    standard_filters,
    total_error,
)
from imdy_jax.motion.filters import Butterworth, NoFilter, Smoothed
from imdy_jax.report import Progress, Table
from imdy_jax.skeleton import JOINT_NAMES, PARENTS

CUTOFF = 6.0  # Hz, the usual one in gait: of the sensitivity and the calibration
PROXIMAL = ("spine1", "spine2", "spine3", "left_hip", "right_hip")
DISTAL = ("left_wrist", "right_wrist", "left_hand", "right_hand")
Noises = Mapping[str, float]  # name → memory, s


def butterworth(cutoff: float, config: StudyConfig, fps: float) -> Smoothed:
    """The matrices of a zero-phase Butterworth filter whose ends are extended by a second."""
    return matrices(Butterworth(cutoff, extension=round(fps)), config.seconds, fps)


def amplification_table(config: StudyConfig, scenes: Sequence[Scene], noises: Noises) -> Table:
    """Closed form and Monte Carlo for each rate, noise and filter."""
    levels, rows, worst = np.deg2rad(config.levels), [], 0.0
    smallest = int(np.sum(np.asarray(config.levels) <= 5.0))
    kinds = len(standard_filters(config.rates[0], config.cutoffs))
    with Progress(len(config.rates) * len(noises) * kinds, "amplification") as progress:
        for fps in config.rates:
            views, frames = [view(s, fps) for s in scenes], compared_frames(config.seconds, fps, config.frames)
            for noise, memory in noises.items():
                for name, smoothing in standard_filters(fps, config.cutoffs).items():
                    smooth = matrices(smoothing, config.seconds, fps)
                    found = amplification(views, smooth, fps, frames, memory, levels, config.draws, config.seed)
                    gap = float(np.abs(found.sampled[:smallest] / found.predicted - 1.0).max())
                    limit, worst = linear_limit(found, np.asarray(config.levels)), max(worst, gap)
                    rows.append((fps, noise, name, found.bias, found.predicted, *found.sampled, 100 * gap, limit))
                    progress.advance()
    columns = ("frames/s", "noise", "filter", "bias N·m", "closed form", *(f"at {x:g}°" for x in config.levels))
    notes = (
        f"Torques of {found.signal:.1f} N·m rms, of {named(scenes)}: {', '.join(sorted({s.clip for s in scenes}))}.",
        f"Correlated noise lasts {config.memory:g} s. Bias: error of the noise-free estimate, rms. {_growth(rows)}",
        f"Gap: the largest between Monte Carlo and closed form up to 5°; over all rows {100 * worst:.1f} %.",
        "Linear to: the highest level of the Monte Carlo up to which they agree within 10 %.",
    )
    title = "Amplification: torque error per pose error, N·m/rad, closed form and Monte Carlo"
    return Table(title, (*columns, "gap %", "linear to °"), tuple(rows), notes)


def sweep_table(config: StudyConfig, scenes: Sequence[Scene], noises: Noises) -> Table:
    """Bias and closed-form gain of zero-phase Butterworth filters; the last row of each group is without a filter."""
    rows, cutoffs = [], (*config.sweep, None)
    with Progress(len(config.rates) * len(noises) * len(cutoffs), "cut-offs") as progress:
        for fps in config.rates:
            views, frames = [view(s, fps) for s in scenes], compared_frames(config.seconds, fps, config.frames)
            for noise, memory in noises.items():
                for cutoff in (c for c in cutoffs if c is None or c < fps / 2):
                    found = amplification(views, _smooth(cutoff, config, fps), fps, frames, memory)
                    rows.append((fps, noise, cutoff, found.bias, found.predicted))
                    progress.advance()
    return Table(
        "Bias and noise gain by cut-off", ("frames/s", "noise", "cut-off Hz", "bias N·m", "N·m/rad"), tuple(rows)
    )


def best_table(config: StudyConfig, scenes: Sequence[Scene], noises: Noises, sweep: Table) -> Table:
    """The cut-off with the least error at each level of noise, and a Monte Carlo of that error."""
    rows = []
    with Progress(len(config.rates) * len(noises) * len(config.noises), "best cut-offs") as progress:
        for fps in config.rates:
            views, frames = [view(s, fps) for s in scenes], compared_frames(config.seconds, fps, config.frames)
            for noise, memory in noises.items():
                group = [row[2:] for row in sweep.rows if row[:2] == (fps, noise)]
                for level in config.noises:
                    error = [float(np.hypot(bias, np.deg2rad(level) * gain)) for _, bias, gain in group]
                    best = int(np.argmin(error))
                    smooth = _smooth(group[best][0], config, fps)
                    measured = total_error(
                        views, smooth, fps, frames, memory, np.deg2rad(level), config.draws, config.seed + 1
                    )
                    removed = 100 * (1 - error[best] / error[-1])
                    chosen = "none" if group[best][0] is None else f"{group[best][0]:g}"
                    rows.append((fps, noise, level, chosen, error[best], measured, group[best][1], error[-1], removed))
                    progress.advance()
    columns = ("frames/s", "noise", "noise °", "best cut-off Hz", "error N·m", "Monte Carlo N·m", "of it bias N·m")
    notes = (f"Errors against the true torques, rms. Cut-offs tried: {', '.join(f'{c:g}' for c in config.sweep)} Hz.",)
    return Table(
        "What filtering buys: the best cut-off of the zero-phase Butterworth filter",
        (*columns, "unfiltered N·m", "removed %"), tuple(rows), notes,
    )  # fmt: skip


def lag_table(config: StudyConfig, scenes: Sequence[Scene], fps: float) -> Table:
    """Online filters at one rate under white noise: what less noise costs in lag."""
    views, frames = [view(s, fps) for s in scenes], compared_frames(config.seconds, fps, config.frames)
    rows = []
    for cutoff in (c for c in config.sweep if c < fps / 2):
        smooth, lag = causal_matrices(cutoff, config.seconds, fps)
        found = amplification(views, smooth, fps, frames, 0.0)
        errors = (float(np.hypot(found.bias, np.deg2rad(level) * found.predicted)) for level in config.noises)
        rows.append(("white", cutoff, 1e3 * lag, found.bias, found.predicted, *errors))
    columns = ("noise", "cut-off Hz", "lag ms", "bias N·m", "N·m/rad", *(f"error N·m at {x:g}°" for x in config.noises))
    notes = ("Lag: the filter's group delay at low frequencies. The central differences need one more frame.",)
    return Table(
        f"Filtering online, {fps:g} frames/s: second-order Butterworth in one pass", columns, tuple(rows), notes
    )


def sensitivity_tables(config: StudyConfig, scenes: Sequence[Scene], fps: float) -> dict[str, tuple[Table, Table]]:
    """For no filter and the usual one: the table per joint, and the matrix of whose noise reaches whom."""
    frames = compared_frames(config.seconds, fps, config.frames)
    found = {}
    kinds = {"none": matrices(NoFilter(), config.seconds, fps), f"{CUTOFF:g} Hz": butterworth(CUTOFF, config, fps)}
    with Progress(len(kinds) * len(scenes), "joints") as progress:
        for name, smooth in kinds.items():
            results = []
            for scene in scenes:
                results.append(sensitivity(view(scene, fps), smooth, fps, frames, 0.0))
                progress.advance()
            joint, source, matrix = (np.stack(x) for x in zip(*results, strict=True))
            found[name] = _sensitivity(config, scenes, fps, name, joint, source), _influence(name, fps, matrix)
    return found


def _sensitivity(
    config: StudyConfig, scenes: Sequence[Scene], fps: float, kind: str, joint: np.ndarray, source: np.ndarray
) -> Table:
    names, people = [s.clip for s in scenes], [s.subject for s in scenes]
    rows, limits = [], [bootstrap(x, names, people, config.seed) for x in (joint, source)]
    at, of = (np.sqrt(np.mean(x**2, axis=0)) for x in (joint, source))
    for k, name in enumerate(JOINT_NAMES):
        own = (at[k - 1], *limits[0][:, k - 1]) if k else (None,) * 3
        rows.append((name, _depth(k), *own, of[k], *limits[1][:, k]))
    mean = lambda values, chosen: np.mean([values[JOINT_NAMES.index(name)] for name in chosen])  # noqa: E731
    whole = np.concatenate([[np.nan], at])
    ratios = [mean(values, PROXIMAL) / mean(values, DISTAL) for values in (whole, of)]
    columns = (
        "joint",
        "depth",
        *(f"{what} {x}" for what in ("its torque", "its noise") for x in ("N·m/rad", "low", "high")),
    )
    notes = (
        "Its torque: error of this joint's torque vector under noise of all rotations.",
        "Its noise: error of all torques under the noise of this rotation alone.",
        f"Spine and hips over wrists and hands: {ratios[0]:.0f}× and {ratios[1]:.0f}×.",
        f"Low, high: 95 % confidence over clips and subjects (bootstrap); {named(scenes)}.",
    )
    title = f"Sensitivity per joint, filter: {kind}, {fps:g} frames/s, white noise"
    return Table(title, columns, tuple(rows), notes)


def _influence(kind: str, fps: float, matrix: np.ndarray) -> Table:
    rows = tuple((name, *row) for name, row in zip(JOINT_NAMES, np.sqrt(np.mean(matrix**2, axis=0)), strict=True))
    title = f"Whose noise reaches whose torque, filter: {kind}, {fps:g} frames/s, N·m/rad"
    return Table(title, ("noise of", *JOINT_NAMES[1:]), rows)


def calibration_table(config: StudyConfig, scenes: Sequence[Scene], noises: Noises) -> Table:
    """Coverage of the 90 % intervals at the slowest and the fastest rate."""
    rows, rates = [], tuple(dict.fromkeys((config.rates[0], config.rates[-1])))
    total = len(rates) * len(noises) * len(config.calibrated) * len(scenes)
    with Progress(total, "calibration") as progress:
        for fps in rates:
            frames, smooth = compared_frames(config.seconds, fps, config.frames), butterworth(CUTOFF, config, fps)
            for noise, memory in noises.items():
                for level in config.calibrated:
                    samples = []
                    for i, scene in enumerate(scenes):
                        key = jax.random.fold_in(jax.random.PRNGKey(config.seed + 2), i)
                        samples.append(sample(view(scene, fps), smooth, fps, frames, np.deg2rad(level), memory, key))
                        progress.advance()
                    c = coverage(samples, [scene.clip for scene in scenes])
                    shares = (100 * x for x in (c.of_clean, c.of_true, c.held_out, *c.by_clip, *c.by_joint))
                    rows.append((fps, noise, level, *shares, c.weight, c.width, c.error))
    columns = (
        "frames/s", "noise", "noise °", "noise only %", "against truth %", "held out %", "least clip %", "most clip %",
        "least joint %", "most joint %",
        "bias weight", "half-width N·m", "error N·m",
    )  # fmt: skip
    notes = (
        "Noise only: the noise-free estimate lies in the closed form's interval, computed from the noisy poses.",
        "Against truth: the true torque lies in that interval, which knows nothing of the filter's bias.",
        "Held out: with the bias, its weight fitted on all other clips; each clip, whoever performs it, held out once.",
        f"Zero-phase Butterworth filter at {CUTOFF:g} Hz; {named(scenes)}.",
    )  # fmt: skip
    return Table("Calibration of the 90 % intervals", columns, tuple(rows), notes)


def named(scenes: Sequence[Scene]) -> str:
    """How many motions, of how many people."""
    clips, subjects = {s.clip for s in scenes}, {s.subject for s in scenes}
    return f"{len(scenes)} motions ({len(clips)} clips, {len(subjects)} people)"


def _growth(rows: list[tuple]) -> str:
    """How unfiltered white noise grows with the frame rate."""
    fps, gain = np.array([(row[0], row[4]) for row in rows if row[1] == "white" and row[2] == "none"]).T
    if len(fps) < 2:
        return ""
    power = np.polyfit(np.log(fps), np.log(gain), 1)[0]
    return f"Unfiltered white noise is amplified as frames/s to the power {power:.2f}."


def _smooth(cutoff: float | None, config: StudyConfig, fps: float) -> Smoothed:
    if cutoff is None:
        return matrices(NoFilter(), config.seconds, fps)
    return butterworth(cutoff, config, fps)


def _depth(k: int) -> int:
    """Joints between a segment and the pelvis."""
    return 0 if k == 0 else 1 + _depth(PARENTS[k])
