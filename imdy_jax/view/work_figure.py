"""Figure of human work, as figure 9 of Liu et al. (ImDy, ICLR 2025): joints that give energy green, others red."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from imdy_jax.analysis.work import Work, work
from imdy_jax.humanoid import Humanoid
from imdy_jax.skeleton import JOINT_NAMES, PARENTS
from imdy_jax.view.arrows import force_arrows
from imdy_jax.view.plots import RECORDED, saved_figure
from imdy_jax.view.raster import Camera
from imdy_jax.view.render import facing
from imdy_jax.view.stage import Mesh, draw
from imdy_jax.view.surface import Surface, arrow, world_motion

GIVES, TAKES, IDLE = "#159a4c", "#c8342b", "#d5d7da"
_ARROW = (0.25, 0.28, 0.34)
_MAP = LinearSegmentedColormap.from_list("work", [TAKES, "#e39c94", IDLE, "#8fcfa5", GIVES])
_REACH = 0.11  # m from a joint at which its colour has faded to a third
_STRONGEST = 0.85  # quantile over time of the strongest joint's power: full colour
_PANEL = (300, 460)  # pixels
_ROWS = ("spine", "head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "toes")
_OF_ROW = {"shoulder": ("collar", "shoulder"), "wrist": ("wrist", "hand"), "toes": ("foot",)}
_MIDDLE = {"spine": ("spine1", "spine2", "spine3"), "head": ("neck", "head")}


def work_figure(
    path: str | Path, humanoid: Humanoid, surface: Surface, q: np.ndarray, power: np.ndarray, force: np.ndarray,
    fps: float, title: str = "", panels: int = 6,
) -> None:  # fmt: skip
    """The body when its joints give most and take most, the work of each joint, and power over time.

    Args:
      path: picture to write.
      humanoid, surface: of the person; the surface from view.surface.
      q, power: (T, 99), and (T, 23) W of the joints, at fps frames per second.
      force: (T, 24, 3) N, contact force on each segment, world axes.
      panels: how many moments.
    """
    power, mass = np.asarray(power, float), float(humanoid.total_mass)
    moments = _moments(power, panels)
    strongest = float(np.quantile(np.abs(power).max(axis=1), _STRONGEST)) / mass
    norm = Normalize(-strongest, strongest, clip=True)
    pictures = _pictures(humanoid, surface, q, force, power / mass, moments, norm)
    with saved_figure(path, (11.0, 6.2)) as figure:
        top, bottom = np.atleast_1d(figure.subfigures(2, 1, height_ratios=(1.45, 1.0)))
        for axis, t, picture in zip(top.subplots(1, panels), moments, pictures, strict=True):
            axis.imshow(picture)
            axis.set_axis_off()
            axis.set_title(f"{t / fps:.2f} s")
        top.colorbar(
            ScalarMappable(norm, _MAP), ax=top.axes, shrink=0.75, pad=0.01, extend="both", label="joint power (W/kg)"
        )
        grid = bottom.subplots(1, 3, width_ratios=(1.0, 1.0, 1.7))
        _bars(grid[:2], work(power / mass, fps))
        _over_time(grid[2], power / mass, fps, moments)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=RECORDED)
        _legend(figure)


def vertex_power(surface: Surface, power: np.ndarray) -> np.ndarray:
    """Joint powers (23,) spread over the skin about each joint, (V,): undiminished where a joint is in the middle."""
    near = np.linalg.norm(surface.vertices[:, None] - surface.joints[None], axis=2)  # (V, 24), at rest
    own = surface.weights + surface.weights[:, np.maximum(PARENTS, 0)]  # a joint lies between its segment and the next
    spread = np.clip(own, 0.0, 1.0) * np.exp(-((near / _REACH) ** 2))
    return spread[:, 1:] @ power


def _moments(power: np.ndarray, panels: int) -> list[int]:
    """Frames where most is given and where most is taken, by turns, none near another."""
    net = power.sum(axis=1)
    apart = max(len(net) // (2 * panels), 1)
    free, found = np.full(len(net), True), list[int]()
    for i in range(panels):
        t = int(np.argmax(np.where(free, (-1.0) ** i * net, -np.inf)))
        free[max(t - apart + 1, 0) : t + apart] = False
        found.append(t)
    return sorted(found)


def _pictures(
    humanoid: Humanoid, surface: Surface, q: np.ndarray, force: np.ndarray, power: np.ndarray, moments: list[int],
    norm: Normalize,
) -> list[np.ndarray]:  # fmt: skip
    shown = np.asarray(q)[moments]
    motion = world_motion(humanoid, shown)
    arrows = force_arrows(humanoid, motion, np.asarray(force)[moments])
    ahead = facing(np.asarray(q))
    left = np.cross((0.0, 0.0, 1.0), ahead)
    pictures = []
    for i, t in enumerate(moments):
        vertices, normals = surface.pose(motion.rotations[i], motion.positions[i])
        of_face = vertex_power(surface, power[t])[surface.faces].mean(axis=1)
        body = Mesh(vertices, normals, surface.faces, _MAP(norm(of_face))[:, :3])
        centre = np.array((*motion.positions[i, 0, :2], 0.86))
        camera = Camera(centre + 1.6 * ahead - 4.6 * left + (0.0, 0.0, 0.7), centre, np.deg2rad(21.5), _PANEL)
        overlay = [Mesh(*arrow(start, span), _ARROW) for start, span in arrows[i]]
        pictures.append(draw([body], camera, overlay))
    return pictures


def _bars(axes: np.ndarray, joints: Work) -> None:
    """Positive and negative work of the left and of the right side's joints; what is in the middle counts on both."""
    largest = 0.0
    for axis, side in zip(axes, ("left", "right"), strict=True):
        for place, row in enumerate(_ROWS):
            names = _MIDDLE.get(row) or [f"{side}_{name}" for name in _OF_ROW.get(row, (row,))]
            of = [JOINT_NAMES.index(name) - 1 for name in names]
            for value, colour in ((joints.positive[of].sum(), GIVES), (joints.negative[of].sum(), TAKES)):
                axis.barh(place, value, color=colour, height=0.66)
                largest = max(largest, abs(value))
        axis.axvline(0.0, color="#9aa0a8", linewidth=0.8)
        axis.set_yticks(range(len(_ROWS)), _ROWS)
        axis.invert_yaxis()
        axis.set_title(f"work, {side} side and middle")
        axis.set_xlabel("J/kg")
    for axis in axes:
        axis.set_xlim(-1.08 * largest, 1.08 * largest)


def _over_time(axis: Axes, power: np.ndarray, fps: float, moments: list[int]) -> None:
    time = np.arange(len(power)) / fps
    gives, takes = np.maximum(power, 0).sum(axis=1), np.minimum(power, 0).sum(axis=1)
    axis.fill_between(time, gives, color=GIVES, alpha=0.75, linewidth=0)
    axis.fill_between(time, takes, color=TAKES, alpha=0.75, linewidth=0)
    axis.plot(time, gives + takes, color=RECORDED, linewidth=1.2)
    for t in moments:
        axis.axvline(t / fps, color="#9aa0a8", linewidth=0.8, linestyle=":")
    axis.margins(x=0.0)
    axis.set(title="power of all joints; line: net; dotted: moments above", xlabel="time (s)", ylabel="W/kg")


def _legend(figure: Figure) -> None:
    handles = [Patch(color=colour) for colour in (GIVES, TAKES, _ARROW)]
    names = ["positive work: put into the body", "negative: taken out of it", "force of the floor"]
    figure.legend(handles, names, loc="outside upper right", ncols=3, frameon=False)
