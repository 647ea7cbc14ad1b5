"""Figure of motion assessment, as figure 10 of Liu et al. (ImDy, ICLR 2025): where a motion departs from physics."""

from pathlib import Path

import numpy as np

from imdy_jax.analysis.assessment import Assessed
from imdy_jax.analysis.plausibility import IMPLAUSIBLE
from imdy_jax.humanoid import Humanoid
from imdy_jax.view.plots import ESTIMATED, RECORDED, saved_figure
from imdy_jax.view.raster import Camera
from imdy_jax.view.render import facing
from imdy_jax.view.solution_figure import shade
from imdy_jax.view.stage import Mesh, draw
from imdy_jax.view.surface import Surface, world_motion

PLANTED, SOUND, WRONG = "#f6d9d6", np.array((0.80, 0.82, 0.84)), np.array((0.83, 0.24, 0.19))
_PANELS, _PICTURE = 7, (230, 300)


def assessment_figure(
    path: str | Path, humanoid: Humanoid, surface: Surface, shown: list[Assessed], fps: float
) -> None:
    """Of each motion the body about the planted frames, the redder the less plausible, and the score over time."""
    with saved_figure(path, (10.0, 3.55 * len(shown))) as figure:
        title = "Planted artefacts: the redder the body, the less plausible the frame"
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=RECORDED)
        parts = np.atleast_1d(figure.subfigures(len(shown), 1, hspace=0.04))
        for part, each in zip(parts, shown, strict=True):
            strip, curve = part.subfigures(2, 1, height_ratios=(1.35, 1.0))
            frames = _frames(each.wrong)
            pictures = _pictures(humanoid, surface, each, frames)
            for axis, t, picture in zip(strip.subplots(1, _PANELS), frames, pictures, strict=True):
                axis.imshow(picture)
                axis.set_axis_off()
                axis.set_title(f"{t / fps:.2f} s{', planted' if each.wrong[t] else ''}", fontsize=8.5)
            axis, time = curve.subplots(), np.arange(len(each.score)) / fps
            shade(axis, time, each.wrong, PLANTED, "planted")
            axis.plot(time, each.score, color=RECORDED, label="by physics")
            if each.learnt is not None:
                axis.plot(time, each.learnt, color=ESTIMATED, linewidth=1.0, label="by a solver's discriminator")
                axis.legend(loc="lower right", fontsize=8, frameon=False)
            axis.axhline(IMPLAUSIBLE, color="#9aa0a8", linewidth=0.8, linestyle=":")
            for t in frames:
                axis.plot(time[t], each.score[t], "o", color=RECORDED, markersize=3.5)
            axis.set(ylim=(-0.03, 1.05), ylabel="plausibility", xlabel="time (s)")
            axis.set_title(f"{each.clip}, {each.artefact}; shaded: planted frames, dots: the pictures")
            axis.margins(x=0.0)


def _frames(wrong: np.ndarray) -> np.ndarray:
    """Frames from before the planted ones to after them, three or more of them within."""
    first, last = np.flatnonzero(wrong)[[0, -1]]
    beside = max((last - first) // 2, 6)
    inner = np.linspace(first, last, 3)
    outer = [first - beside, first - beside // 2, last + beside // 2, last + beside]
    return np.clip(np.sort([*inner, *outer]).round().astype(int), 0, len(wrong) - 1)


def _pictures(humanoid: Humanoid, surface: Surface, each: Assessed, frames: np.ndarray) -> list[np.ndarray]:
    motion, ahead = world_motion(humanoid, each.q[frames]), facing(each.q)
    left = np.cross((0.0, 0.0, 1.0), ahead)
    pictures = []
    for i, t in enumerate(frames):
        vertices, normals = surface.pose(motion.rotations[i], motion.positions[i])
        colour = SOUND + (WRONG - SOUND) * (1.0 - each.score[t])
        centre = np.array((*motion.positions[i, 0, :2], 0.88))
        camera = Camera(centre + 2.2 * ahead - 4.5 * left + (0.0, 0.0, 0.4), centre, np.deg2rad(22.5), _PICTURE)
        pictures.append(draw([Mesh(vertices, normals, surface.faces, tuple(colour))], camera))
    return pictures
