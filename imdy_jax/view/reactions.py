"""Figure of ground reaction forces: estimated from the motion over measured by force plates, foot by foot."""

from pathlib import Path

import numpy as np

from imdy_jax.biomechanics.force_plates import Measured
from imdy_jax.biomechanics.ground_reaction import Reactions
from imdy_jax.view.plots import ESTIMATED, RECORDED, saved_figure

_DOUBLE, _UNKNOWN = "#e9edf1", "#c9ced6"


def reactions(path: str | Path, estimate: Reactions, measured: Measured, weight: float, title: str = "") -> None:
    """Vertical, fore–aft and lateral force under each foot over time, in body weights (weight in N).

    Grey is double support by the plates; hatched frames are not compared, since a foot is beside the plates.
    """
    axes_of = np.stack(
        [np.array([0.0, 1.0, 0.0]), estimate.heading, np.cross(estimate.heading, [0.0, 1.0, 0.0])], axis=1
    )
    rows = ("vertical", "fore–aft (forward +)", "lateral (to the right +)")
    ours, plates = estimate.force @ axes_of / weight, measured.force @ axes_of / weight
    both = (plates[..., 0] > 0.03).all(axis=1)
    with saved_figure(path, (8.6, 6.6)) as figure:
        axes = figure.subplots(3, 2, sharex=True, sharey="row")
        for foot, side in enumerate(("left", "right")):
            for row, name in enumerate(rows):
                axis = axes[row, foot]
                axis.plot(estimate.time, plates[:, foot, row], color=RECORDED, label="force plates")
                axis.plot(estimate.time, ours[:, foot, row], color=ESTIMATED, label="from the motion alone")
                _shade(axis, estimate.time, both & measured.valid, facecolor=_DOUBLE, label="double support")
                _shade(axis, estimate.time, ~measured.valid, facecolor="none", edgecolor=_UNKNOWN, hatch="////",
                       label="not on the plates")  # fmt: skip
                axis.axhline(0.0, color="#9aa0a8", linewidth=0.8, zorder=1)
                axis.set_title(f"{side} foot, {name}")
                axis.margins(x=0.0)
            axes[-1, foot].set_xlabel("time (s)")
        for axis in axes[:, 0]:
            axis.set_ylabel("body weight")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=RECORDED)
        named = dict(zip(*axes[0, 0].get_legend_handles_labels()[::-1], strict=True))
        figure.legend(named.values(), named.keys(), loc="outside upper right", ncols=len(named), frameon=False)


def _shade(axis, time: np.ndarray, mask: np.ndarray, **style) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    for first, last in edges.reshape(-1, 2):
        axis.axvspan(time[first], time[min(last, len(time) - 1)], linewidth=0.0, zorder=0, **style)
