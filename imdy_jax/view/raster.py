"""A z-buffer in NumPy: draws triangles on machines that have neither a graphics card nor its drivers."""

from typing import NamedTuple

import numpy as np

NEAR = 0.1  # m; triangles closer to the camera are not drawn


class Camera(NamedTuple):
    """A pinhole camera held level: world z is up in the picture."""

    position: np.ndarray  # (3,) m
    target: np.ndarray  # (3,) m, shown in the middle of the picture
    view_angle: float  # rad, vertical
    size: tuple[int, int]  # pixels, width and height

    def axes(self) -> np.ndarray:
        """(3, 3) rows: right, down and forward of the camera in the world."""
        forward = self.target - self.position
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return 0.5 * self.size[1] / np.tan(0.5 * self.view_angle)

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (P, 3) → pixel column, pixel row and depth in m, (P, 3)."""
        local = (points - self.position) @ self.axes().T
        depth = np.maximum(local[:, 2:], 1e-6)
        column_row = local[:, :2] / depth * self.focal + 0.5 * np.array(self.size)
        return np.concatenate([column_row, local[:, 2:]], axis=1)

    def floor_points(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each pixel looks at the floor: (H, W, 2) m, and the distance (H, W) m, infinite above the horizon."""
        width, height = self.size
        right, down, forward = self.axes()
        column = (np.arange(width) + 0.5 - width / 2) / self.focal
        row = (np.arange(height) + 0.5 - height / 2) / self.focal
        ray = forward + column[None, :, None] * right + row[:, None, None] * down
        length = np.sqrt(1.0 + column[None, :] ** 2 + row[:, None] ** 2)
        below = ray[..., 2] < -1e-6
        reach = np.where(below, self.position[2] / np.where(below, -ray[..., 2], 1.0), 0.0)
        return self.position[:2] + reach[..., None] * ray[..., :2], np.where(below, reach * length, np.inf)


class Fragments(NamedTuple):
    """What is seen: K pixels that a triangle covers."""

    pixel: np.ndarray  # (K,) flat index into the picture
    face: np.ndarray  # (K,) index of the triangle seen there
    weight: np.ndarray  # (K, 3) barycentric weights of its corners


def rasterize(corners: np.ndarray, size: tuple[int, int]) -> Fragments:
    """The nearest triangle at every pixel centre.

    corners (F, 3, 3): pixel column, row and depth of each triangle's corners, as Camera.project gives them. A triangle
    is seen only from the side from which it runs counter-clockwise.
    """
    width, height = size
    a, b, c = (corners[:, i, :2] for i in range(3))
    area = _cross(b - a, c - a)  # rows run downwards, so a front face has a negative area
    drawn = (area < -1e-9) & np.all(corners[..., 2] > NEAR, axis=1)
    low = np.clip(np.ceil(corners[..., :2].min(axis=1) - 0.5), 0, size).astype(np.int64)
    high = np.clip(np.ceil(corners[..., :2].max(axis=1) - 0.5), 0, size).astype(np.int64)
    extent = np.where(drawn[:, None], high - low, 0)

    # Every pixel of every bounding box, flat: the boxes are small where the meshes are fine.
    count = extent[:, 0] * extent[:, 1]
    face = np.repeat(np.arange(len(corners)), count)
    index = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    column = low[face, 0] + index % np.maximum(extent[face, 0], 1)
    row = low[face, 1] + index // np.maximum(extent[face, 0], 1)

    point = np.stack([column + 0.5, row + 0.5], axis=1)
    u = _cross(b[face] - point, c[face] - point) / area[face]
    v = _cross(c[face] - point, a[face] - point) / area[face]
    inside = (u >= 0.0) & (v >= 0.0) & (u + v <= 1.0)
    face, pixel = face[inside], (row * width + column)[inside]
    weight = np.stack([u, v, 1.0 - u - v], axis=1)[inside]

    # Screen-linear interpolation is right for 1/depth.
    nearness = np.sum(weight / corners[face, :, 2], axis=1)
    best = np.zeros(width * height)
    np.maximum.at(best, pixel, nearness)
    seen = nearness == best[pixel]
    return Fragments(pixel[seen], face[seen], weight[seen])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
