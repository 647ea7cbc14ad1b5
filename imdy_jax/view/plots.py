"""Figures: torques and forces of a gait, learning curves, and tables as bars."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imdy_jax.files import replacing
from imdy_jax.humanoid import GRAVITY
from imdy_jax.motion.filters import zero_phase
from imdy_jax.report import Table
from imdy_jax.skeleton import LEFT_FOOT, RIGHT_FOOT, SAGITTAL, joint_index

RECORDED = "#3b4252"
ESTIMATED = "#e07a3f"
COLOURS = (ESTIMATED, "#5b7fa6", "#2a9d6f", "#a05195", "#8a8f98")
STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa0a8",
    "axes.labelcolor": "#3b4252",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.8,
    "xtick.color": "#5c6470",
    "ytick.color": "#5c6470",
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "lines.linewidth": 1.6,
    "savefig.dpi": 160.0,
}


class Curves(NamedTuple):
    """Dynamics of T steps from one source."""

    label: str
    fps: float  # steps per second
    torque: np.ndarray  # (T, 23, 3) N·m, child axes
    force: np.ndarray  # (T, 24, 3) N, world axes
    halves: tuple[np.ndarray, np.ndarray] | None = None  # of error bars about both, where there are any


def gait(
    path: str | Path, mass: float, sources: Sequence[Curves], title: str = "", cutoff: float | None = None,
    band: str = "error bars",
) -> None:  # fmt: skip
    """Hip, knee and ankle torques in the sagittal plane and the vertical force under each foot, over time.

    Args:
      path: picture to write.
      mass: kg, of the subject.
      sources: the first is what was recorded, or is compared with.
      cutoff: Hz; each curve is low-passed at it and drawn over its pale raw self. A source of so few steps per second
        that it has nothing above the cut-off is drawn as it is.
      band: what the bands of error bars tell.
    """
    with saved_figure(path, (8.2, 7.2)) as figure:
        axes = figure.subplots(4, 2, sharex=True, sharey="row")
        for source, colour in zip(sources, (RECORDED, *COLOURS), strict=False):
            for column, side in enumerate(("left", "right")):
                _gait_side(axes[:, column], source, mass, side, colour, cutoff, band)
        names = [f"{joint} torque ({action} +)" for joint, action, _ in SAGITTAL] + ["foot, vertical force"]
        for row, (name, unit) in enumerate(zip(names, ["N·m/kg"] * 3 + ["body weight"], strict=True)):
            for axis, side in zip(axes[row], ("left", "right"), strict=True):
                axis.set_title(f"{side} {name}")
                axis.axhline(0.0, color="#9aa0a8", linewidth=0.8, zorder=1)
                axis.margins(x=0.0)
            axes[row, 0].set_ylabel(unit)
        for axis in axes[-1]:
            axis.set_xlabel("time (s)")
        _legend(figure, axes[0, 0], title)


def _gait_side(
    axes: np.ndarray, source: Curves, mass: float, side: str, colour: str, cutoff: float | None, band: str
) -> None:
    raw = gait_curves(source.torque, source.force, mass, side)
    time = (np.arange(len(raw[0])) + 0.5) / source.fps  # a step's mean is of its middle
    if source.halves is not None:
        error_bars(axes, time, raw, gait_curves(*source.halves, mass, side), colour, band)
    for axis, curve in zip(axes, raw, strict=True):
        if cutoff is None or cutoff >= source.fps / 2:
            axis.plot(time, curve, color=colour, label=source.label)
            continue
        axis.plot(time, curve, color=colour, linewidth=0.7, alpha=0.4, label=f"{source.label}, raw")
        slow = zero_phase(curve, source.fps, cutoff)
        axis.plot(time, slow, color=colour, label=f"{source.label}, below {cutoff:g} Hz")


def error_bars(
    axes: Sequence[Axes] | np.ndarray, time: np.ndarray, curves: Sequence[np.ndarray], halves: Sequence[np.ndarray],
    colour: str, label: str,
) -> None:  # fmt: skip
    """Bands about curves (T,), one on each axis; of half-widths that went through gait_curves the size counts.

    A foot's is the sum of its segments', as if they erred alike.
    """
    for axis, curve, half in zip(axes, curves, halves, strict=True):
        ends = curve - np.abs(half), curve + np.abs(half)
        axis.fill_between(time, *ends, color=colour, alpha=0.18, linewidth=0.0, label=label)


def gait_curves(torque: np.ndarray, force: np.ndarray, mass: float, side: str) -> list[np.ndarray]:
    """Curves (T,) of one side: hip, knee and ankle torque in N·m/kg, vertical force on the foot in body weights.

    torque (T, 23, 3) N·m in child axes, force (T, 24, 3) N in world axes, side "left" or "right".
    """
    torque, force = np.asarray(torque, float), np.asarray(force, float)
    foot = list(LEFT_FOOT if side == "left" else RIGHT_FOOT)
    joints = [sign * torque[:, joint_index(f"{side}_{joint}") - 1, 0] / mass for joint, _, sign in SAGITTAL]
    return [*joints, force[:, foot, 2].sum(axis=1) / (mass * GRAVITY)]


def learning_curve(
    path: str | Path,
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    metrics: Mapping[str, str],
    x: str = "step",
    x_label: str = "iteration",
    title: str = "",
) -> None:
    """One panel per metric, one line per run.

    Args:
      path: picture to write.
      runs: rows of each run's metric log, by the label of its line; a row may lack a metric.
      metrics: key in the rows → label with unit.
      x, x_label: key and label of the horizontal axis.

    Raises:
      ValueError: no row of any run has a metric.
    """
    with saved_figure(path, (3.9 * len(metrics) + 0.4, 3.0)) as figure:
        axes = figure.subplots(1, len(metrics), squeeze=False)[0]
        for axis, (key, label) in zip(axes, metrics.items(), strict=True):
            drawn = 0
            for (name, rows), colour in zip(runs.items(), COLOURS * len(runs), strict=False):
                points = [(row[x], row[key]) for row in rows if x in row and row.get(key) is not None]
                drawn += len(points)
                axis.plot(
                    *np.array(points, float).reshape(-1, 2).T, color=colour, label=name, marker="o", markersize=2.5
                )
            if not drawn:
                known = sorted({k for rows in runs.values() for row in rows for k in row})
                raise ValueError(f"learning curve: no row has {x!r} and {key!r}; the rows have {', '.join(known)}")
            axis.set_title(label)
            axis.set_xlabel(x_label)
            axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
        _legend(figure, axes[0], title, always=False)


def bars(path: str | Path, table: Table, lower_is_better: bool = True) -> None:
    """A table as bars: one panel per column of numbers, one bar per row; the best bar of a panel is coloured.

    The first column names the rows; columns without numbers are left out.
    """
    numeric = [i for i in range(1, len(table.columns)) if any(isinstance(row[i], int | float) for row in table.rows)]
    with saved_figure(path, (2.4 * len(numeric) + 1.6, 0.34 * len(table.rows) + 1.1)) as figure:
        axes = figure.subplots(1, len(numeric), sharey=True, squeeze=False)[0]
        for axis, i in zip(axes, numeric, strict=True):
            values = np.array([np.nan if row[i] is None else float(row[i]) for row in table.rows])
            best = np.nanargmin(values) if lower_is_better else np.nanargmax(values)
            colours = [ESTIMATED if j == best else "#c3c9d1" for j in range(len(values))]
            drawn = axis.barh(range(len(values)), np.nan_to_num(values), color=colours, height=0.62)
            axis.bar_label(drawn, ["–" if np.isnan(v) else f"{v:.3g}" for v in values], padding=3, color=RECORDED)
            axis.set_title(table.columns[i])
            axis.set_yticks(range(len(values)), [str(row[0]) for row in table.rows])
            axis.margins(x=0.22)
            axis.set_xlim(left=0.0)
            axis.xaxis.set_visible(False)
            axis.grid(visible=False)
            axis.spines["bottom"].set_visible(False)
        axes[0].invert_yaxis()
        figure.suptitle(table.title, x=0.01, ha="left", fontsize=11, color=RECORDED)


def distributions(path: str | Path, counted: Mapping[str, tuple[str, np.ndarray, np.ndarray]], title: str = "") -> None:
    """One panel per quantity: how often it is how large.

    Args:
      path: picture to write.
      counted: by quantity its unit, the edges of the bins (B + 1,), and how many there are in each (B,).
    """
    with saved_figure(path, (2.7 * len(counted) + 0.4, 2.8)) as figure:
        axes = figure.subplots(1, len(counted), squeeze=False)[0]
        for axis, (name, (unit, edges, count)) in zip(axes, counted.items(), strict=True):
            axis.stairs(100 * count / count.sum(), edges, fill=True, color=ESTIMATED)
            logarithmic = edges[0] > 0 and edges[-1] / edges[0] > 100
            axis.set_xscale("log" if logarithmic else "linear")
            axis.set_title(name)
            axis.set_xlabel(unit)
        axes[0].set_ylabel("share per bin (%)")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=RECORDED)


@contextmanager
def saved_figure(path: str | Path, size: tuple[float, float]) -> Iterator[Figure]:
    """A figure in the house style that is written to the path at the end; no window system is touched."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        with replacing(path) as partial:
            figure.savefig(partial)


def _legend(figure: Figure, axis: Axes, title: str, always: bool = True) -> None:
    """Title at the top left, and the lines' names beside it, or where they are many below."""
    handles, labels = axis.get_legend_handles_labels()
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=RECORDED)
    if always or len(labels) > 1:
        place: Literal["outside lower center", "outside upper right"]
        place = "outside lower center" if len(labels) > 3 else "outside upper right"
        figure.legend(handles, labels, loc=place, ncols=len(labels), frameon=False)
