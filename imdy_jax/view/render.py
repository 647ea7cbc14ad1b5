"""Pictures of a humanoid beside its reference, with the forces of the floor, drawn in software; film strips of them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter1d

from imdy_jax import rotation
from imdy_jax.files import replacing
from imdy_jax.humanoid import Humanoid
from imdy_jax.view.arrows import ARROW, Arrow, body_weight, pressure_arrows
from imdy_jax.view.raster import Camera
from imdy_jax.view.stage import Mesh, draw
from imdy_jax.view.surface import Motion, Surface, arrow, world_motion

SIMULATED = (0.91, 0.52, 0.32)
REFERENCE = (0.52, 0.63, 0.76)
FORCE = (0.05, 0.55, 0.38)
INK = (62, 66, 74)
LANE = 1.1  # m between the simulated one and its reference
AZIMUTH = np.deg2rad(50.0)  # of the camera from where the person faces
EDGE = 14  # pixels between words and the picture's edge


class Scene(NamedTuple):
    """A person's simulated motion, and the one that it was to follow; T frames at fps."""

    humanoid: Humanoid  # one subject
    surface: Surface  # what is drawn of it
    simulated: np.ndarray  # q (T, 99)
    reference: np.ndarray  # q (T, 99)
    wrench: np.ndarray | None = None  # (T, 24, 6) N, N·m about the joints, on the simulated one; world axes
    fps: float = 30.0
    title: str = ""


class Play(NamedTuple):
    """Everything that a picture of frame t is made from."""

    surface: Surface
    simulated: Motion
    reference: Motion  # beside the simulated one
    arrows: list[list[Arrow]] | None  # per frame
    error: np.ndarray  # (T,) mm, MPJPE up to the frame
    centre: np.ndarray  # (T, 3) m, followed by the camera
    view: np.ndarray  # (3,) from the centre to the camera, m
    weight: float  # N
    fps: float
    title: str


def film_strip(path: str | Path, scene: Scene, panels: int = 6, size: tuple[int, int] = (290, 390)) -> None:
    """Write one picture with `panels` moments, evenly spaced in time, each of `size` pixels; raises as prepare."""
    play = prepare(scene)
    strip = Image.new("RGB", (panels * size[0], size[1]))
    for i, t in enumerate(np.linspace(0, len(play.centre) - 1, panels).astype(int)):
        strip.paste(picture(play, t, size, scale=i == 0), (i * size[0], 0))
    add_legend(strip, EDGE, play.arrows is not None)
    with replacing(path) as partial:
        strip.save(partial)


def prepare(scene: Scene) -> Play:
    """What the pictures of a scene have in common; raises ValueError where its motions differ in length."""
    simulated, reference = np.asarray(scene.simulated, float), np.asarray(scene.reference, float)
    if simulated.shape != reference.shape:
        raise ValueError(f"simulated is {simulated.shape} and reference {reference.shape}; expected (T, 99) for both")
    acting, wanted = (world_motion(scene.humanoid, q) for q in (simulated, reference))
    apart = np.linalg.norm(acting.positions - wanted.positions, axis=-1).mean(axis=1)
    ahead = facing(reference)
    left = np.cross((0.0, 0.0, 1.0), ahead)
    wanted = wanted._replace(positions=wanted.positions + LANE * left)
    middle = 0.5 * (acting.positions[:, 0] + wanted.positions[:, 0])
    centre = gaussian_filter1d(middle, sigma=0.3 * scene.fps, axis=0, mode="nearest")
    centre[:, 2] = 0.93
    return Play(
        surface=scene.surface,
        simulated=acting,
        reference=wanted,
        arrows=None if scene.wrench is None else pressure_arrows(scene.humanoid, acting, scene.wrench),
        error=1000.0 * np.cumsum(apart) / np.arange(1, len(apart) + 1),
        centre=centre,
        view=5.2 * (np.cos(AZIMUTH) * ahead - np.sin(AZIMUTH) * left) + np.array((0.0, 0.0, 0.85)),
        weight=body_weight(scene.humanoid),
        fps=scene.fps,
        title=scene.title,
    )


def facing(q: np.ndarray) -> np.ndarray:
    """Horizontal unit vector: the way the person travels, or faces where it stays in place."""
    travel = (q[-1, :3] - q[0, :3]) * (1.0, 1.0, 0.0)
    if np.linalg.norm(travel) < 0.7:
        turn = rotation.heading(np.asarray(q[0, 3:7], np.float32))
        travel = np.asarray(rotation.rotate(turn, np.array((0.0, -1.0, 0.0), np.float32)), float)
    return travel / np.linalg.norm(travel)


def picture(play: Play, t: int, size: tuple[int, int], scale: bool = True, error: bool = False) -> Image.Image:
    """Frame t with its time; scale: how long an arrow of one body weight is; error: the MPJPE so far."""
    meshes = []
    for motion, colour in ((play.simulated, SIMULATED), (play.reference, REFERENCE)):
        vertices, normals = play.surface.pose(motion.rotations[t], motion.positions[t])
        meshes.append(Mesh(vertices, normals, play.surface.faces, colour))
    arrows = [Mesh(*arrow(start, span), FORCE) for start, span in (play.arrows[t] if play.arrows else ())]
    camera = Camera(play.centre[t] + play.view, play.centre[t], np.deg2rad(27.0), size)
    image = Image.fromarray(draw(meshes, camera, arrows))
    told = [f"{t / play.fps:.2f} s", *([f"MPJPE so far {play.error[t]:.0f} mm"] if error else [])]
    corner = (size[0] - EDGE, size[1] - EDGE)
    ImageDraw.Draw(image).text(corner, "   ".join(told), INK, ImageFont.load_default(15), anchor="rs")
    if scale and play.arrows is not None:
        _add_scale(image, camera, play.simulated.positions[t, 0], play.weight)
    return image


def add_title(image: Image.Image, title: str) -> None:
    """The title at the top left, its end cut off where it is too long."""
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(17)
    while pen.textlength(title, font) > image.width - 2 * EDGE:
        title = title[:-2].rstrip(" …") + "…"
    pen.text((EDGE, 22), title, INK, font, anchor="lm")


def add_legend(image: Image.Image, top: int, with_force: bool) -> None:
    """Whose colour is which, from the left, at `top` pixels."""
    pen, font, x = ImageDraw.Draw(image), ImageFont.load_default(15), EDGE
    names = [("simulated", SIMULATED), ("reference", REFERENCE), ("force of the floor", FORCE)]
    for name, colour in names[: 3 if with_force else 2]:
        pen.ellipse((x, top, x + 10, top + 10), fill=_ink(colour))
        pen.text((x + 17, top + 5), name, INK, font, anchor="lm")
        x += 17 + int(pen.textlength(name, font)) + 18


def _add_scale(image: Image.Image, camera: Camera, pelvis: np.ndarray, weight: float) -> None:
    """How long an upright arrow of one body weight is where the person is, at the bottom left."""
    foot = pelvis * (1.0, 1.0, 0.0)
    low, high = camera.project(np.stack([foot, foot + (0.0, 0.0, ARROW)]))[:, 1]
    bottom, pen, colour = image.height - EDGE, ImageDraw.Draw(image), _ink(FORCE)
    top = bottom - (low - high)
    pen.line((EDGE + 4, bottom, EDGE + 4, top), colour, 3)
    for end in (bottom, top):
        pen.line((EDGE, end, EDGE + 8, end), colour, 2)
    pen.text((EDGE + 16, bottom), f"1 body weight, {weight:.0f} N", INK, ImageFont.load_default(13), anchor="ls")


def _ink(colour: tuple[float, float, float]) -> tuple[int, ...]:
    return tuple(int(255 * c) for c in colour)
