"""One picture: shaded meshes on a floor with a grid of metres and soft shadows."""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from imdy_jax.view.raster import Camera, Fragments, rasterize

PAPER = np.array((0.962, 0.966, 0.972))
FLOOR = np.array((0.905, 0.912, 0.922))
LINES = np.array((0.74, 0.76, 0.79))
LAMP = (-0.5, -0.45)  # where the lamp hangs, seen from the camera, for each metre of height: right, forward
FADE = (6.0, 16.0)  # m from the camera, where the floor begins to fade into the paper and where it is gone
OVERSAMPLING = 2


class Mesh(NamedTuple):
    """A closed mesh in the world."""

    vertices: np.ndarray  # (V, 3) m
    normals: np.ndarray  # (V, 3) outward, unit
    faces: np.ndarray  # (F, 3) int
    colour: tuple[float, float, float] | np.ndarray  # of the whole, or (F, 3) of its faces


def draw(meshes: list[Mesh], camera: Camera, overlay: list[Mesh] | None = None) -> np.ndarray:
    """The picture (H, W, 3) in 0…255 that the camera takes; the overlay is drawn over everything, without shadow."""
    scene = _merge(meshes)
    picture = _floor(camera) * (1.0 - 0.42 * _shadow(scene, camera)[..., None])
    for layer in (scene, _merge(overlay)) if overlay else (scene,):
        colour, cover = _layer(layer, camera)
        picture = picture * (1.0 - cover) + colour
    return (255.0 * np.clip(picture, 0.0, 1.0) + 0.5).astype(np.uint8)


class _Scene(NamedTuple):
    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    face_colours: np.ndarray


def _light(camera: Camera) -> np.ndarray:
    """Unit vector towards the lamp, which moves with the camera."""
    right = camera.axes()[0]
    forward = np.cross((0.0, 0.0, 1.0), right)
    light = LAMP[0] * right + LAMP[1] * forward + np.array((0.0, 0.0, 1.0))
    return light / np.linalg.norm(light)


def _merge(meshes: list[Mesh]) -> _Scene:
    first = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    return _Scene(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, first, strict=False)]),
        np.concatenate([np.broadcast_to(mesh.colour, (len(mesh.faces), 3)) for mesh in meshes]),
    )


def _layer(scene: _Scene, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Colour (H, W, 3), weighted by how much of each pixel is covered, (H, W, 1)."""
    width, height = camera.size
    fine = camera._replace(size=(width * OVERSAMPLING, height * OVERSAMPLING))
    seen = rasterize(fine.project(scene.vertices)[scene.faces], fine.size)
    layer = np.zeros((fine.size[0] * fine.size[1], 4), np.float32)
    layer[seen.pixel, :3] = _shade(scene, seen, fine)
    layer[seen.pixel, 3] = 1.0
    layer = layer.reshape(fine.size[1], fine.size[0], 4)
    corners = [layer[i::OVERSAMPLING, j::OVERSAMPLING] for i in range(OVERSAMPLING) for j in range(OVERSAMPLING)]
    mean = sum(corners[1:], start=corners[0]) / len(corners)
    return mean[..., :3], mean[..., 3:]


def _shade(scene: _Scene, seen: Fragments, camera: Camera) -> np.ndarray:
    """Colours (K, 3): light from the sky and the lamp, and a faint gleam at grazing angles."""
    corners = scene.faces[seen.face]
    normal = np.einsum("kc,kci->ki", seen.weight, scene.normals[corners])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    towards_camera = -camera.axes()[2]
    lamp = np.maximum(normal @ _light(camera), 0.0)
    sky = 0.5 + 0.5 * normal[:, 2]
    edge = (1.0 - np.clip(normal @ towards_camera, 0.0, 1.0)) ** 3
    bright = 0.47 + 0.22 * sky + 0.42 * lamp
    return scene.face_colours[seen.face] * bright[:, None] + 0.10 * edge[:, None]


def _floor(camera: Camera) -> np.ndarray:
    """(H, W, 3): lines every metre, fine ones between, thinned out and faded with distance."""
    points, distance = camera.floor_points()
    pixel = np.where(np.isfinite(distance), distance, 1.0) / camera.focal  # m that one pixel spans
    slant = np.clip(camera.position[2] / np.where(np.isfinite(distance), distance, np.inf), 0.05, 1.0)
    near = np.clip((FADE[1] - distance) / (FADE[1] - FADE[0]), 0.0, 1.0)
    strength = np.maximum(_lines(points, 1.0, pixel / slant), 0.35 * _lines(points, 0.25, pixel / slant))
    floor = FLOOR + (LINES - FLOOR) * strength[..., None]
    return PAPER + (floor - PAPER) * near[..., None]


def _lines(points: np.ndarray, spacing: float, pixel: np.ndarray) -> np.ndarray:
    """How much of each pixel a line covers, (H, W); half-width 6 mm or half a pixel."""
    away = np.abs(points / spacing - np.round(points / spacing)) * spacing
    away = np.minimum(away[..., 0], away[..., 1])
    reach = np.maximum(0.006, 0.5 * pixel)
    return np.clip(1.5 - away / reach, 0.0, 1.0) * np.clip(0.02 / reach, 0.0, 1.0)


def _shadow(scene: _Scene, camera: Camera) -> np.ndarray:
    """(H, W) in 0…1: where the lamp does not reach the floor."""
    width, height = camera.size
    # The faces that look at the lamp land on the floor face up, which is the side the camera sees.
    light = _light(camera)
    cast = scene.vertices - scene.vertices[:, 2:] / light[2] * light
    seen = rasterize(camera.project(cast)[scene.faces], camera.size)
    mask = np.zeros(width * height)
    mask[seen.pixel] = 1.0
    return gaussian_filter(mask.reshape(height, width), sigma=height / 300)
