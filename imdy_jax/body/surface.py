"""Implicit surfaces for the default body's figure, and the mesh around them.

A figure is the smooth union of lofts, tubes of elliptical section along a line, and ellipsoids. Its zero level is
meshed by surface nets (Gibson 1998) on a rectilinear grid and moved onto the level by Newton steps. Everything is
given for the left half (x > 0) and mirrored.
"""

from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

_EDGE = 0.012  # m, how broadly the edge at the floor is rounded


class Loft(NamedTuple):
    """A tube of superelliptic section, m: centres (N, 3), half-axes (N, 2), the first of them along `axis`."""

    centres: np.ndarray
    radii: np.ndarray
    axis: tuple[float, float, float]
    blend: float  # m, how broadly it melts into what stands before it in the list
    power: float = 2.0

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Roughly the signed distance (P,) of points (P, 3), m; exactly zero on the surface."""
        start, chord = self.centres[0], self.centres[-1] - self.centres[0]
        length = np.linalg.norm(chord)
        along = chord / length
        first = np.array(self.axis) - np.dot(self.axis, along) * along
        first /= np.linalg.norm(first)
        second = np.cross(along, first)
        knots = (self.centres - start) @ along
        t = (points - start) @ along
        inside = np.clip(t, 0.0, length)
        across = np.stack([self.centres @ first, self.centres @ second, *self.radii.T], axis=1)
        c1, c2, r1, r2 = PchipInterpolator(knots, across)(inside).T
        thin = np.minimum(r1, r2)
        ratios = (points @ first - c1) / r1, (points @ second - c2) / r2, (t - inside) / thin
        return thin * (sum(np.abs(r) ** self.power for r in ratios) ** (1 / self.power) - 1.0)

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners of a box outside which the distance exceeds `blend`."""
        reach = self.radii.max() * (1.0 + self.blend / self.radii.min())
        return self.centres.min(axis=0) - reach, self.centres.max(axis=0) + reach


class Ellipsoid(NamedTuple):
    """An ellipsoid with axes along x, y, z, m."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    blend: float

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Roughly the signed distance (P,) of points (P, 3), m; exactly zero on the surface."""
        return min(self.radii) * (np.linalg.norm((points - self.centre) / np.array(self.radii), axis=1) - 1.0)

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners of a box outside which the distance exceeds `blend`."""
        reach = np.array(self.radii) * (1.0 + self.blend / min(self.radii))
        return self.centre - reach, self.centre + reach


def mesh(solids: list, floor: float, axes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3), m, and faces (F, 3), outward, of the union of the solids and their mirror images above a floor.

    axes: the grid's coordinates; x > 0, its first step twice the distance from the midline to the first one.
    """
    x, y, z = axes
    grid = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1)
    half = _field(solids, floor, grid.reshape(-1, 3)).reshape(grid.shape[:3])
    field = np.concatenate([half[::-1], half])
    vertices, quads = _surface_nets(field, (np.concatenate([-x[::-1], x]), y, z))
    for _ in range(3):
        vertices = _newton_step(solids, floor, vertices)
    vertices[vertices[:, 1] < floor + 2e-3, 1] = floor
    return vertices, _triangles(vertices, quads)


def tube(path: np.ndarray, radius: np.ndarray, sides: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A closed tube with points at both ends: path (N, 3), m, whose first and last points close it, and radius (N,)."""
    along = path[-1] - path[0]
    along /= np.linalg.norm(along)
    first = np.cross(along, [0.0, 1.0, 0.0])
    first /= np.linalg.norm(first)
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = np.cos(angle)[:, None] * np.cross(first, along) + np.sin(angle)[:, None] * first
    rings = path[1:-1, None] + radius[1:-1, None, None] * ring
    vertices = np.concatenate([path[:1], rings.reshape(-1, 3), path[-1:]])
    i = np.arange(sides)
    j, last = (i + 1) % sides, len(vertices) - 1
    faces = [np.stack([np.zeros_like(i), 1 + j, 1 + i], axis=1)]
    for k in range(len(path) - 3):
        a, b = 1 + k * sides, 1 + (k + 1) * sides
        faces += [np.stack([a + i, a + j, b + j], axis=1), np.stack([a + i, b + j, b + i], axis=1)]
    a = 1 + (len(path) - 3) * sides
    return vertices, np.concatenate([*faces, np.stack([a + i, a + j, np.full_like(i, last)], axis=1)])


def _field(solids: list, floor: float, points: np.ndarray) -> np.ndarray:
    """Smooth union of the solids, cut by the floor, at points (P, 3) of either side: negative inside."""
    points = np.concatenate([np.abs(points[:, :1]), points[:, 1:]], axis=1)
    level = np.full(len(points), 1.0)
    for solid in solids:
        low, high = solid.box()
        near = np.all((points > low) & (points < high), axis=1)
        other = solid.distance(points[near])
        overlap = np.maximum(solid.blend - np.abs(level[near] - other), 0.0)
        level[near] = np.minimum(level[near], other) - overlap**2 / (4 * solid.blend)
    below = floor - points[:, 1]
    overlap = np.maximum(_EDGE - np.abs(level - below), 0.0)
    return np.maximum(level, below) + overlap**2 / (4 * _EDGE)


def _newton_step(solids: list, floor: float, vertices: np.ndarray) -> np.ndarray:
    """Vertices moved along the gradient towards the zero level, m, by 5 mm at most."""
    step = 1e-4
    level = _field(solids, floor, vertices)
    rise = [_field(solids, floor, vertices + e) - _field(solids, floor, vertices - e) for e in step * np.eye(3)]
    slope = np.stack(rise, axis=1) / (2 * step)
    move = -level / np.maximum(np.sum(slope**2, axis=1), 0.1)
    return vertices + np.clip(move, -5e-3, 5e-3)[:, None] * slope


def _surface_nets(field: np.ndarray, axes: tuple) -> tuple[np.ndarray, np.ndarray]:
    """One vertex per cell that the level crosses, one quad per crossed grid edge: (V, 3), (Q, 4) outward."""
    inside = field < 0.0
    cells = tuple(n - 1 for n in field.shape)
    total, count = np.zeros((*cells, 3)), np.zeros(cells)
    quads = []
    coordinates = np.meshgrid(*axes, indexing="ij")
    for axis in range(3):
        lower = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        upper = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        crossed = inside[lower] != inside[upper]
        span = field[lower] - field[upper]
        share = np.where(crossed, field[lower] / np.where(crossed, span, 1.0), 0.0)
        point = np.stack([c[lower] + share * (c[upper] - c[lower]) for c in coordinates], axis=-1)
        b, c = [a for a in range(3) if a != axis]
        for db in (0, 1):
            for dc in (0, 1):
                near = [slice(None)] * 3
                near[b], near[c] = slice(db, cells[b] + db), slice(dc, cells[c] + dc)
                total += np.where(crossed[tuple(near)][..., None], point[tuple(near)], 0.0)
                count += crossed[tuple(near)]
        quads.append(_edge_quads(crossed, inside[lower], axis, cells))
    used = count > 0
    number = np.full(cells, -1)
    number[used] = np.arange(used.sum())
    vertices = total[used] / count[used][:, None]
    return vertices, number.reshape(-1)[np.concatenate(quads)]


def _edge_quads(crossed: np.ndarray, lower_inside: np.ndarray, axis: int, cells: tuple) -> np.ndarray:
    """Flat numbers (Q, 4) of the cells around each crossed grid edge along an axis, in outward order."""
    edges = np.argwhere(crossed)
    b, c = (axis + 1) % 3, (axis + 2) % 3
    edges = edges[(edges[:, b] > 0) & (edges[:, c] > 0) & (edges[:, b] < cells[b]) & (edges[:, c] < cells[c])]
    corners = []
    for db, dc in ((1, 1), (0, 1), (0, 0), (1, 0)):
        shift = np.zeros(3, int)
        shift[b], shift[c] = -db, -dc
        corners.append(np.ravel_multi_index((edges + shift).T, cells))
    quads = np.stack(corners, axis=1)
    outward = lower_inside[tuple(edges.T)]
    return np.where(outward[:, None], quads, quads[:, ::-1])


def _triangles(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Each quad cut along its shorter diagonal."""
    a, b, c, d = quads.T
    one = _distance(vertices, a, c) <= _distance(vertices, b, d) + 1e-9
    first = np.stack([a, b, np.where(one, c, d)], axis=1)
    second = np.stack([np.where(one, a, b), c, d], axis=1)
    return np.concatenate([first, second])


def _distance(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[a] - points[b], axis=1)
