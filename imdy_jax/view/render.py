"""Films and film strips of a humanoid beside its reference, with the forces of the floor, drawn in software."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter1d

from imdy_jax import rotation
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.humanoid import GRAVITY, SOLID_BODY, Humanoid
from imdy_jax.skeleton import LEFT_FOOT, NUM_BODIES, RIGHT_FOOT
from imdy_jax.view.raster import Camera
from imdy_jax.view.stage import Mesh, draw
from imdy_jax.view.surface import Surface, arrow

SIMULATED = (0.91, 0.52, 0.32)
REFERENCE = (0.52, 0.63, 0.76)
FORCE = (0.05, 0.55, 0.38)
INK = (62, 66, 74)
LANE = 1.1  # m between the simulated one and its reference
AZIMUTH = np.deg2rad(50.0)  # of the camera from where the person faces
ARROW = 0.6  # m per body weight
LEAST_FORCE = 0.05  # body weights; smaller forces are not drawn
FILM_SUFFIXES = (".gif", ".webp")


class Motion(NamedTuple):
    """World poses of one figure, NumPy."""

    rotations: np.ndarray  # (T, 24, 3, 3)
    positions: np.ndarray  # (T, 24, 3) m


class Play(NamedTuple):
    """Everything that a picture of frame t is made from."""

    surface: Surface
    simulated: Motion
    reference: Motion
    arrows: list[list[tuple[np.ndarray, np.ndarray]]]  # per frame: start and span, m
    centre: np.ndarray  # (T, 3) m, followed by the camera
    view: np.ndarray  # (3,) from the centre to the camera, m
    fps: float


def film(
    path: str | Path,
    humanoid: Humanoid,
    surface: Surface,
    simulated: jax.Array,
    reference: jax.Array,
    force: jax.Array | None = None,
    fps: float = 30.0,
    film_fps: float = 15.0,
    size: tuple[int, int] = (720, 405),
) -> None:
    """Write a film, at the speed of life, of the simulated humanoid beside its reference.

    Args:
      path: file to write, .gif or .webp.
      humanoid: one subject.
      surface: what is drawn of it, from view.surface.
      simulated, reference: q (T, 99) at fps.
      force: (T, 24, 3) N, contact force on each segment of the simulated one, world axes.
      fps, film_fps: frames per second of the motions and of the film.
      size: width and height in pixels.

    Raises:
      ValueError: the suffix is not a film's, or the motions differ in length.
    """
    path = Path(path)
    if path.suffix not in FILM_SUFFIXES:
        raise ValueError(f"{path}: cannot write a film as {path.suffix!r}; use one of {', '.join(FILM_SUFFIXES)}")
    play = _prepare(humanoid, surface, simulated, reference, force, fps)
    times = np.arange(0, len(play.centre), fps / film_fps).astype(int)
    frames = [_add_legend(_picture(play, t, size), force is not None) for t in times]
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":  # one palette for all frames, or flat colours flicker
        palette = frames[len(frames) // 2].quantize(256, dither=Image.Dither.NONE)
        frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    shown = np.round(100 * np.arange(len(frames) + 1) / film_fps) * 10  # ms; GIF counts in hundredths of a second
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=np.diff(shown).astype(int).tolist(), loop=0)


def film_strip(
    path: str | Path,
    humanoid: Humanoid,
    surface: Surface,
    simulated: jax.Array,
    reference: jax.Array,
    force: jax.Array | None = None,
    fps: float = 30.0,
    panels: int = 6,
    size: tuple[int, int] = (290, 390),
) -> None:
    """Write one picture with `panels` moments, evenly spaced in time; other arguments as for film."""
    play = _prepare(humanoid, surface, simulated, reference, force, fps)
    strip = Image.new("RGB", (panels * size[0], size[1]))
    for i, t in enumerate(np.linspace(0, len(play.centre) - 1, panels).astype(int)):
        strip.paste(_picture(play, t, size), (i * size[0], 0))
    _add_legend(strip, force is not None)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    strip.save(path)


def _prepare(humanoid, surface, simulated, reference, force, fps) -> Play:
    if simulated.shape != reference.shape:
        raise ValueError(f"simulated is {simulated.shape} and reference {reference.shape}; expected (T, 99) for both")
    acting, wanted = (world_motion(humanoid, q) for q in (simulated, reference))
    ahead = facing(np.asarray(reference))
    left = np.cross((0.0, 0.0, 1.0), ahead)
    wanted = wanted._replace(positions=wanted.positions + LANE * left)
    arrows = force_arrows(humanoid, acting, force) if force is not None else [[]] * len(simulated)
    middle = 0.5 * (acting.positions[:, 0] + wanted.positions[:, 0])
    centre = gaussian_filter1d(middle, sigma=0.3 * fps, axis=0, mode="nearest")
    centre[:, 2] = 0.93
    view = 5.2 * (np.cos(AZIMUTH) * ahead - np.sin(AZIMUTH) * left) + np.array((0.0, 0.0, 0.85))
    return Play(surface, acting, wanted, arrows, centre, view, fps)


def world_motion(humanoid: Humanoid, q: jax.Array) -> Motion:
    """World poses of q (T, 99); each T compiles a program of its own."""
    pose = jax.jit(jax.vmap(forward_kinematics, in_axes=(None, 0)))(humanoid, q)
    return Motion(np.asarray(rotation.to_matrix(pose.rotation), float), np.asarray(pose.position, float))


def facing(q: np.ndarray) -> np.ndarray:
    """Horizontal unit vector: the way the person travels, or faces where it stays in place."""
    travel = (q[-1, :3] - q[0, :3]) * (1.0, 1.0, 0.0)
    if np.linalg.norm(travel) < 0.7:
        travel = np.asarray(rotation.rotate(rotation.heading(q[0, 3:7]), np.array((0.0, -1.0, 0.0), q.dtype)))
    return travel / np.linalg.norm(travel)


def force_arrows(humanoid: Humanoid, motion: Motion, force: jax.Array) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """One arrow per foot (ankle and toes together) and per other segment, from below its capsules."""
    force = np.asarray(force, float)
    ends = np.asarray(humanoid.solid_ends, float).mean(axis=1)
    middle = np.stack([ends[np.array(SOLID_BODY) == k].mean(axis=0) for k in range(NUM_BODIES)])
    points = np.einsum("tkij,kj->tki", motion.rotations, middle) + motion.positions
    points[..., 2] = np.minimum(points[..., 2], 0.01)
    others = [(k,) for k in range(NUM_BODIES) if k not in (*LEFT_FOOT, *RIGHT_FOOT)]
    weight = float(humanoid.total_mass) * GRAVITY
    frames = []
    for now, where in zip(force, points, strict=True):
        arrows = []
        for group in (LEFT_FOOT, RIGHT_FOOT, *others):
            parts = now[list(group)]
            size = np.linalg.norm(parts, axis=1)
            if np.linalg.norm(parts.sum(axis=0)) > LEAST_FORCE * weight:
                arrows.append((size @ where[list(group)] / size.sum(), parts.sum(axis=0) * ARROW / weight))
        frames.append(arrows)
    return frames


def _picture(play: Play, t: int, size: tuple[int, int]) -> Image.Image:
    meshes = []
    for motion, colour in ((play.simulated, SIMULATED), (play.reference, REFERENCE)):
        vertices, normals = play.surface.pose(motion.rotations[t], motion.positions[t])
        meshes.append(Mesh(vertices, normals, play.surface.faces, colour))
    arrows = [Mesh(*arrow(start, span), FORCE) for start, span in play.arrows[t]]
    camera = Camera(play.centre[t] + play.view, play.centre[t], np.deg2rad(27.0), size)
    image = Image.fromarray(draw(meshes, camera, arrows))
    corner = (size[0] - 12, size[1] - 10)
    ImageDraw.Draw(image).text(corner, f"{t / play.fps:.2f} s", INK, ImageFont.load_default(15), anchor="rs")
    return image


def _add_legend(image: Image.Image, with_force: bool) -> Image.Image:
    pen, font, x = ImageDraw.Draw(image), ImageFont.load_default(15), 14
    names = [("simulated", SIMULATED), ("reference", REFERENCE), ("force on the body", FORCE)]
    for name, colour in names[: 3 if with_force else 2]:
        pen.ellipse((x, 13, x + 10, 23), fill=tuple(int(255 * c) for c in colour))
        pen.text((x + 17, 18), name, INK, font, anchor="lm")
        x += 17 + int(pen.textlength(name, font)) + 18
    return image
