"""Figures of experiments/study_noise.py, drawn from its tables, and of refine_pose.py."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from imdy_jax import rotation
from imdy_jax.report import Table
from imdy_jax.skeleton import JOINT_NAMES
from imdy_jax.view.plots import COLOURS, ESTIMATED, RECORDED, saved_figure
from imdy_jax.view.raster import Camera
from imdy_jax.view.stage import Mesh, draw
from imdy_jax.view.surface import Surface

_MAP = mpl.colormaps["YlOrRd"]
_PLAIN = (0.78, 0.80, 0.83)  # of segments without a figure
_PAPER = 1000.0  # N·m/rad, the amplification that Kim et al. (2026) state, without a frame rate
_PROXIMAL_TO_DISTAL = (
    "spine1", "spine2", "spine3", "neck", "head", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle", "left_foot", "right_foot", "left_collar", "right_collar", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)  # fmt: skip


def amplification(path: str | Path, table: Table, levels: tuple[float, ...]) -> None:
    """Torque error per pose error against pose noise: one panel per noise and frame rate, closed form and Monte Carlo.

    Rows of the table: frames/s, noise, filter, bias, closed form, then Monte Carlo at each level (degrees).
    """
    rates, noises, names = (list(dict.fromkeys(row[i] for row in table.rows)) for i in range(3))
    with saved_figure(path, (3.1 * len(rates) + 1.2, 6.2)) as figure:
        axes = figure.subplots(len(noises), len(rates), sharex=True, sharey=True, squeeze=False)
        colours = dict(zip(names, ("#3b4252", *COLOURS, "#c9a227"), strict=False))
        for rate, noise, name, _, predicted, *sampled in (row[: 5 + len(levels)] for row in table.rows):
            axis = axes[noises.index(noise), rates.index(rate)]
            axis.plot([levels[0], levels[-1]], [predicted] * 2, color=colours[name], linewidth=1.1)
            axis.plot(levels, sampled, "o", color=colours[name], markersize=3.8, label=name)
        for axis in axes.flat:
            axis.axhline(_PAPER, color="#b8bec7", linewidth=1.0, linestyle=":", zorder=1)
            axis.set(xscale="log", yscale="log")
        for i, noise in enumerate(noises):
            axes[i, 0].set_ylabel("torque error / pose error (N·m/rad)")
            for j, rate in enumerate(rates):
                axes[i, j].set_title(f"{rate:g} frames/s, {noise} noise")
        for axis in axes[-1]:
            axis.set_xlabel("pose noise (degrees)")
        _close(
            figure, axes[0, 0], "Amplification: closed form (lines) and Monte Carlo (dots); dotted: 1,000 N·m/rad", 7
        )


def trade_off(path: str | Path, sweep: Table, noises: tuple[float, ...]) -> None:
    """Torque error against cut-off, one line per noise level (degrees); rows: frames/s, noise, cut-off, bias, gain."""
    rates, kinds = (list(dict.fromkeys(row[i] for row in sweep.rows)) for i in range(2))
    with saved_figure(path, (3.1 * len(rates) + 1.2, 6.2)) as figure:
        axes = figure.subplots(len(kinds), len(rates), sharex=True, sharey=True, squeeze=False)
        for i, kind in enumerate(kinds):
            for j, rate in enumerate(rates):
                axis = axes[i, j]
                rows = [row[2:5] for row in sweep.rows if row[:2] == (rate, kind) and row[2] is not None]
                cutoff, bias, gain = np.array(rows, float).T
                for noise, colour in zip(noises, _shades(len(noises)), strict=True):
                    error = np.hypot(bias, np.deg2rad(noise) * gain)
                    axis.plot(cutoff, error, color=colour, label=f"{noise:g}°")
                    axis.plot(cutoff[error.argmin()], error.min(), "o", color=colour, markersize=5)
                axis.plot(cutoff, bias, color=RECORDED, linestyle=":", linewidth=1.3, label="without noise")
                axis.set(yscale="log", title=f"{rate:g} frames/s, {kind} noise")
            axes[i, 0].set_ylabel("error of the torques (N·m rms)")
        for axis in axes[-1]:
            axis.set_xlabel("cut-off of the filter (Hz)")
        _close(figure, axes[0, 0], "What filtering buys: error against cut-off; dots: the best one", len(noises) + 1)


def lag(path: str | Path, table: Table, best: dict[float, float], noises: tuple[float, ...], rate: float) -> None:
    """Error of online filters against their lag; rows: noise, cut-off, lag (ms), bias, gain.

    best: error (N·m) of the best zero-phase filter at each noise level, degrees.
    """
    with saved_figure(path, (5.6, 3.9)) as figure:
        axis = figure.subplots()
        delay, bias, gain = np.array([row[2:5] for row in table.rows], float).T
        for noise, colour in zip(noises, _shades(len(noises)), strict=True):
            axis.plot(delay, np.hypot(bias, np.deg2rad(noise) * gain), "o-", color=colour, ms=3, label=f"{noise:g}°")
            axis.plot(0.0, best[noise], "D", color=colour, markersize=6, clip_on=False, zorder=5)
        axis.set(yscale="log", xlabel="lag of the filter (ms)", ylabel="error of the torques (N·m rms)")
        axis.set_xlim(left=-8.0)
        title = f"Error against lag, {rate:g} frames/s, white noise\nlines: filtered once, online; diamonds: zero phase"
        _close(figure, axis, title, len(noises))


def sensitivity(path: str | Path, table: Table, surface: Surface) -> None:
    """Per joint, on the body and as bars with confidence intervals.

    Rows: joint (pelvis first), depth, then twice value, low, high: error of this joint's torque under noise of all
    rotations (None for the pelvis), and error of all torques under the noise of this one.
    """
    rows = {row[0]: row[2:8] for row in table.rows}
    values = np.array([[np.nan if x is None else x for x in rows[name]] for name in JOINT_NAMES], float)
    with saved_figure(path, (10.4, 8.2)) as figure:
        grid: Any = figure.subfigures(1, 2, width_ratios=(0.62, 1.0))
        maps: list[Axes] = list(grid[0].subplots(2, 1))
        bars: list[Axes] = list(grid[1].subplots(1, 2, sharey=True))
        names = [name for name in _PROXIMAL_TO_DISTAL if name in rows]
        titles = ("error of this joint's torque,\nall rotations noisy", "error of all torques,\nthis rotation noisy")
        for axis, picture, first, title in zip(bars, maps, (0, 3), titles, strict=True):
            shown = ["pelvis", *names] if first else names
            value, low, high = values[[JOINT_NAMES.index(name) for name in shown], first : first + 3].T
            norm = LogNorm(np.nanmin(values[:, first]), np.nanmax(values[:, first]))
            place = np.arange(len(shown)) + (0 if first else 1)
            axis.barh(place, value, color=_MAP(norm(value)), height=0.66)
            axis.errorbar(value, place, xerr=[value - low, high - value], fmt="none", ecolor=RECORDED, elinewidth=1.0)
            axis.set(xscale="log", title=title, xlabel="N·m/rad")
            axis.set_yticks(range(len(names) + 1), [name.replace("_", " ") for name in ("pelvis", *names)])
            _on_body(picture, surface, values[:, first], norm, title.replace("\n", " "))
        bars[0].invert_yaxis()
        figure.suptitle(table.title, x=0.01, ha="left", fontsize=11, color=RECORDED)


def influence(path: str | Path, table: Table) -> None:
    """The matrix of the table: rows noisy rotations, columns torques, N·m/rad."""
    order = ("pelvis", *_PROXIMAL_TO_DISTAL)
    place = {row[0]: np.array(row[1:], float) for row in table.rows}
    columns = [list(table.columns).index(name) - 1 for name in order[1:]]
    matrix = np.stack([place[name][columns] for name in order])
    with saved_figure(path, (8.0, 7.2)) as figure:
        axis = figure.subplots()
        norm = LogNorm(matrix.max() / 1e4, matrix.max(), clip=True)
        # A rotation whose torques do not feel it at all is white: another limb's, or one nearer to the hand.
        image = axis.imshow(np.ma.masked_less(matrix, 1e-6 * matrix.max()), cmap=_MAP, norm=norm)
        axis.set_xticks(range(len(columns)), [name.replace("_", " ") for name in order[1:]], rotation=90)
        axis.set_yticks(range(len(order)), [name.replace("_", " ") for name in order])
        axis.set(xlabel="error of the torque at", ylabel="noise of the rotation of")
        axis.grid(visible=False)
        figure.colorbar(image, ax=axis, shrink=0.7, label="N·m/rad", extend="min")
        figure.suptitle(table.title, x=0.01, ha="left", fontsize=11, color=RECORDED)


def error_bars(
    path: str | Path, time: np.ndarray, true: np.ndarray, found: np.ndarray, half: np.ndarray, names: tuple[str, ...],
    title: str,
) -> None:  # fmt: skip
    """True torques (K, T), N·m, of a few joints within the intervals about noisy estimates."""
    with saved_figure(path, (8.2, 1.9 * len(names) + 0.8)) as figure:
        axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for axis, name, *curves in zip(axes, names, true, found, half, strict=True):
            axis.fill_between(
                time, curves[1] - curves[2], curves[1] + curves[2], color="#f3d5c4", linewidth=0, label="90 % interval"
            )
            axis.plot(time, curves[1], color=ESTIMATED, linewidth=1.2, label="estimate from noisy poses")
            axis.plot(time, curves[0], color=RECORDED, linewidth=1.4, label="true")
            axis.set(title=name, ylabel="N·m")
            axis.margins(x=0.0)
        axes[-1].set_xlabel("time (s)")
        _close(figure, axes[0], title, 3)


def refinement(path: str | Path, time: np.ndarray, torques: np.ndarray, names: tuple[str, ...], title: str) -> None:
    """Torques (3, K, T), N·m, of a few joints: true, from filtered poses and from refined ones."""
    with saved_figure(path, (8.2, 1.9 * len(names) + 0.8)) as figure:
        axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for axis, name, true, filtered, refined in zip(axes, names, *torques, strict=True):
            axis.plot(time, true, color=RECORDED, linewidth=1.6, label="true")
            axis.plot(time, filtered, color="#9aa0a6", linewidth=1.2, label="from filtered poses")
            axis.plot(time, refined, color=ESTIMATED, linewidth=1.2, label="from refined poses")
            axis.set(title=name, ylabel="N·m")
            axis.margins(x=0.0)
        axes[-1].set_xlabel("time (s)")
        _close(figure, axes[0], title, 3)


def _on_body(axis: Axes, surface: Surface, value: np.ndarray, norm: LogNorm, title: str) -> None:
    """The body at ease, each segment in the colour of its joint, seen from the front and from behind."""
    rotations = np.tile(np.eye(3), (len(JOINT_NAMES), 1, 1))
    stand = np.asarray(rotation.to_matrix(np.asarray(rotation.UPRIGHT)), float)
    low = surface.vertices[:, 1].min()
    positions = surface.joints @ stand.T - np.array((0.0, 0.0, low))
    vertices, normals = surface.pose(stand @ rotations, positions)
    owner = surface.weights.argmax(axis=1)[surface.faces[:, 0]]
    colours = [_PLAIN if np.isnan(x) else tuple(_MAP(norm(x))[:3]) for x in value]
    meshes = [Mesh(vertices, normals, surface.faces[owner == k], colours[k]) for k in range(len(colours))]
    centre = np.array((0.0, 0.0, 0.5 * vertices[:, 2].max()))
    camera = Camera(centre + np.array((1.2, -5.0, 0.5)), centre, np.deg2rad(20.5), (560, 520))
    axis.imshow(draw(meshes, camera))
    axis.set_axis_off()
    axis.set_title(title, fontsize=8.5)
    axis.figure.colorbar(ScalarMappable(norm, _MAP), ax=axis, shrink=0.7, label="N·m/rad")


def _shades(count: int) -> np.ndarray:
    return mpl.colormaps["viridis_r"](np.linspace(0.12, 0.95, count))


def _close(figure: Figure, axis: Axes, title: str, columns: int) -> None:
    """Title at the top left, the lines' names below."""
    handles, labels = axis.get_legend_handles_labels()
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=RECORDED)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
