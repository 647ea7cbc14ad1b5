"""Figure of gait analysis: hip, knee and ankle moments of OpenSim models over a reference, with the gait's events."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from imdy_jax.biomechanics.opensim_gait import SAGITTAL, SIDES, UNEXPLAINED, Gait, contact_events
from imdy_jax.view.plots import ESTIMATED, RECORDED, saved_figure

_STANCE, _MISSING, _REFERENCE = "#e9edf1", "#c9ced6", "#9db4cc"


def joint_moments(
    path: str | Path,
    ours: Gait,
    reference: Gait | None = None,
    title: str = "",
    labels: tuple[str, str] = ("imdy_jax", "reference"),
) -> None:
    """Sagittal joint moments per body mass, and the vertical force under each foot, over time.

    The reference is the broad line beneath. Grey is a foot's stance on its plate, from initial contact (IC) to toe-off
    (TO). Hatched is where the root residual tells of a loaded foot off the plates: the moments of that leg, and of the
    trunk, are not to be believed there.

    Args:
      path: picture to write.
      ours, reference: of the same trial; the reference's moments only are used.
      labels: names of the two.
    """
    with saved_figure(path, (8.6, 7.6)) as figure:
        axes = figure.subplots(4, 2, sharex=True, sharey="row")
        for foot, side in enumerate(SIDES):
            for row, (joint, action, _) in enumerate(SAGITTAL):
                axis = axes[row, foot]
                if reference is not None:
                    curve = reference.moments[foot, row]
                    axis.plot(reference.time, curve, color=_REFERENCE, linewidth=4.5, label=labels[1])
                axis.plot(ours.time, ours.moments[foot, row], color=ESTIMATED, linewidth=1.4, label=labels[0])
                axis.set_title(f"{side} {joint} moment ({action} +)")
            axis = axes[3, foot]
            axis.plot(ours.time, ours.force[foot], color=RECORDED)
            axis.plot(ours.time, ours.residual, color=ESTIMATED, linestyle=":")
            axis.set_title(f"{side} foot, vertical force on its plate; dotted: root residual")
            axis.set_xlabel("time (s)")
            for axis in axes[:, foot]:
                _shade(axis, ours, foot)
            _name_events(axes[3, foot], ours, foot)
        for row, unit in enumerate(["N·m/kg"] * 3 + ["body weight"]):
            axes[row, 0].set_ylabel(unit)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=RECORDED)
        pairs = [pair for axis in axes[0] for pair in zip(*axis.get_legend_handles_labels(), strict=True)]
        named = {label: handle for handle, label in pairs}
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=len(named), frameon=False)


def _shade(axis: Axes, gait: Gait, foot: int) -> None:
    """Stance on the plate, and where the plates do not explain the motion."""
    for first, last in _spans(gait.contact[foot]):
        axis.axvspan(*gait.time[[first, last]], color=_STANCE, linewidth=0.0, zorder=0, label="stance on the plate")
    for first, last in _spans(np.abs(gait.residual) > UNEXPLAINED):
        axis.axvspan(
            *gait.time[[first, last]], facecolor="none", edgecolor=_MISSING, hatch="////", linewidth=0.0, zorder=0.5,
            label=f"root residual above {UNEXPLAINED:.0%} of weight",
        )  # fmt: skip
    axis.axhline(0.0, color="#9aa0a8", linewidth=0.8, zorder=1)
    axis.margins(x=0.0)


def _name_events(axis: Axes, gait: Gait, foot: int) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.8}
    for name, times in zip(("IC", "TO"), contact_events(gait.time, gait.contact[foot]), strict=True):
        for time in times:
            place = axis.get_xaxis_transform()
            axis.text(time, 0.92, name, transform=place, ha="center", va="top", fontsize=7.5, color=RECORDED, bbox=box)


def _spans(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each run of True in mask (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [(int(first), int(last) - 1) for first, last in edges.reshape(-1, 2)]
