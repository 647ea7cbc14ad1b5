"""Figure of a motion's dynamics over time: forces under the feet, leg torques, what is unexplained, plausibility."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from imdy_jax.analysis.plausibility import IMPLAUSIBLE
from imdy_jax.analysis.solution import Solution
from imdy_jax.humanoid import GRAVITY
from imdy_jax.skeleton import SAGITTAL
from imdy_jax.view.plots import ESTIMATED, RECORDED, error_bars, gait_curves, saved_figure

WRONG = "#f6d9d6"
_PLAIN = "#5b7fa6"


def solution_figure(path: str | Path, solution: Solution, title: str = "") -> None:
    """Curves of both legs side by side; frames that are implausible are shaded."""
    time = np.arange(len(solution.score)) / solution.fps
    weight = solution.mass * GRAVITY
    with saved_figure(path, (9.6, 8.6)) as figure:
        axes = figure.subplots(5, 2, sharex=True)
        for column, side in enumerate(("left", "right")):
            _leg(axes[:4, column], solution, time, side)
        _share_heights(axes[:4])
        force = 100.0 * np.linalg.norm(solution.found.residual[:, :3], axis=1) / weight
        axes[4, 0].plot(time, force, color=ESTIMATED)
        axes[4, 0].set(title="root force that nothing explains", ylabel="% of weight", xlabel="time (s)")
        axes[4, 0].set_ylim(0.0, max(5.0, 1.1 * force.max()))
        axes[4, 1].plot(time, solution.score, color=ESTIMATED)
        axes[4, 1].axhline(IMPLAUSIBLE, color="#9aa0a8", linewidth=0.8, linestyle=":")
        axes[4, 1].set(title="plausibility", ylim=(0.0, 1.04), xlabel="time (s)")
        for axis in axes.flat:
            shade(axis, time, solution.score < IMPLAUSIBLE, WRONG, "implausible")
            axis.margins(x=0.0)
        named: dict[str, Any] = {}
        for axis in axes.flat:
            named |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=RECORDED)
        if named:
            figure.legend(list(named.values()), list(named), loc="outside upper right", ncols=len(named), frameon=False)


def shade(axis: Axes, time: np.ndarray, mask: np.ndarray, colour: str, label: str) -> None:
    """The stretches of time (T,) in which a mask (T,) holds, half a frame wider on either side."""
    half = 0.5 * (time[1] - time[0])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    for first, end in edges.reshape(-1, 2):
        axis.axvspan(time[first] - half, time[end - 1] + half, color=colour, linewidth=0.0, zorder=0, label=label)


def _leg(axes: np.ndarray, solution: Solution, time: np.ndarray, side: str) -> None:
    found, mass = solution.found, solution.mass
    curves = [(gait_curves(found.torque, found.force, mass, side), ESTIMATED, "result", 1.6)]
    if solution.predicted is not None:
        said = solution.predicted
        told = gait_curves(said.torque, said.force, mass, side)
        if said.intervals is not None:
            halves = gait_curves(said.intervals.torque[-1], said.intervals.force[-1], mass, side)
            error_bars([*axes[1:], axes[0]], time, told, halves, _PLAIN, "holds 90 %")
        curves = [(told, _PLAIN, "ImDyS, uncorrected", 1.1), (curves[0][0], ESTIMATED, "corrected", 1.6)]
    label = {"result": None}
    for (*torques, force), colour, name, width in curves:
        for axis, curve in zip(axes, [force, *torques], strict=True):
            axis.plot(time, curve, color=colour, linewidth=width, label=label.get(name, name))
    axes[0].set(title=f"{side} foot, vertical force", ylabel="body weight")
    for axis, (joint, action, _) in zip(axes[1:], SAGITTAL, strict=True):
        axis.set(title=f"{side} {joint} torque ({action} +)", ylabel="N·m/kg")
    for axis in axes:
        axis.axhline(0.0, color="#9aa0a8", linewidth=0.8, zorder=1)


def _share_heights(axes: np.ndarray) -> None:
    """The two sides of each row at one scale."""
    for row in axes:
        limits = [axis.get_ylim() for axis in row]
        for axis in row:
            axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
