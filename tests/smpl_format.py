"""A small body in the format of SMPL's model files, and writers that imitate the released files.

Each of the 24 segments is a closed ellipsoid from its joint to the next, so that every quantity of the body has a
closed form; skinning weights blend across the joint, shape and pose directions are random but fixed.
"""

import io
import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import scipy.sparse

from imdy_jax.skeleton import PARENTS

# Rest joints, m, x left, y up, z forward: left side and midline by eye, the right side mirrored.
_JOINTS = {
    0: (0, 0, 0), 3: (0, 0.12, -0.02), 6: (0, 0.25, -0.01), 9: (0, 0.32, 0), 12: (0, 0.52, -0.02), 15: (0, 0.6, 0.03),
    1: (0.07, -0.08, 0), 4: (0.11, -0.47, 0), 7: (0.1, -0.88, -0.03), 10: (0.12, -0.94, 0.1), 13: (0.08, 0.43, 0),
    16: (0.19, 0.46, -0.01), 18: (0.45, 0.45, -0.02), 20: (0.7, 0.45, -0.02), 22: (0.78, 0.44, -0.02),
}  # fmt: skip
_TIPS = {0: (0, -0.1, 0.0), 15: (0, 0.82, 0.05), 10: (0.12, -0.95, 0.18), 22: (0.88, 0.44, -0.02)}  # far ends of leaves
_NEXT = {3: 6, 6: 9, 9: 12, 12: 15, 1: 4, 4: 7, 7: 10, 13: 16, 16: 18, 18: 20, 20: 22}
_RIGHT = {1: 2, 4: 5, 7: 8, 10: 11, 13: 14, 16: 17, 18: 19, 20: 21, 22: 23}
_THICKNESS = 0.35  # of an ellipsoid, to its length


def ellipsoid(rings: int, sectors: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit sphere as a closed mesh, poles at z = -1 (first vertex) and z = 1 (last), faces turned outwards."""
    polar = np.pi * np.arange(1, rings) / rings
    around = 2 * np.pi * np.arange(sectors) / sectors
    body = [[np.sin(t) * np.cos(a), np.sin(t) * np.sin(a), -np.cos(t)] for t in polar for a in around]
    vertices = np.array([[0.0, 0.0, -1.0], *body, [0.0, 0.0, 1.0]])
    ring = lambda i: 1 + i * sectors + np.arange(sectors)  # noqa: E731
    turn = lambda i: np.roll(ring(i), -1)  # noqa: E731
    south, north = np.zeros(sectors, int), np.full(sectors, len(vertices) - 1)
    faces = [np.stack([south, turn(0), ring(0)], 1), np.stack([north, ring(rings - 2), turn(rings - 2)], 1)]
    for i in range(rings - 2):
        faces.append(np.stack([ring(i), turn(i), turn(i + 1)], 1))
        faces.append(np.stack([ring(i), turn(i + 1), ring(i + 1)], 1))
    return vertices, np.concatenate(faces)


def ends() -> tuple[np.ndarray, np.ndarray]:
    """Near and far end (24, 3) of each segment's ellipsoid."""
    mirror = np.array([-1.0, 1.0, 1.0])
    near, far = np.zeros((24, 3)), np.zeros((24, 3))
    for k, place in _JOINTS.items():
        near[k] = place
        far[k] = _TIPS[k] if k in _TIPS else _JOINTS[_NEXT[k]]
        if k in _RIGHT:
            near[_RIGHT[k]], far[_RIGHT[k]] = near[k] * mirror, far[k] * mirror
    return near, far


def small_fields(num_betas: int = 10, blend: float = 0.5, seed: int = 0) -> dict[str, np.ndarray]:
    """Fields of a model file. blend: the parent's share of the skin at a joint, 0 for rigid segments."""
    rng = np.random.default_rng(seed)
    sphere, faces = ellipsoid(rings=6, sectors=8)
    near, far = ends()
    vertices, weights = [], np.zeros((24 * len(sphere), 24))
    regressor = np.zeros((24, 24 * len(sphere)))
    for k in range(24):
        axis = far[k] - near[k]
        length = np.linalg.norm(axis)
        across = np.linalg.svd(axis[None])[2][1:]
        frame = np.stack([*across * _THICKNESS * length / 2, axis / 2])
        if np.linalg.det(frame) < 0:
            frame[0] *= -1
        vertices.append((near[k] + far[k]) / 2 + sphere @ frame)
        rows = slice(k * len(sphere), (k + 1) * len(sphere))
        along = (1 + sphere[:, 2]) / 2
        shared = blend * np.clip(1 - 2 * along, 0, 1) ** 2 if k else np.zeros(len(sphere))
        weights[rows, k] = 1 - shared
        weights[rows, max(PARENTS[k], 0)] += shared
        regressor[k, rows] = np.exp(-8 * along)
    vertices, count = np.concatenate(vertices), 24 * len(sphere)
    return {
        "v_template": vertices,
        "shapedirs": 0.003 * rng.standard_normal((count, 3, num_betas)),
        "posedirs": 0.002 * rng.standard_normal((count, 3, 207)),
        "J_regressor": regressor / regressor.sum(axis=1, keepdims=True),
        "weights": weights,
        "f": np.concatenate([faces + k * len(sphere) for k in range(24)]).astype(np.uint32),
        "kintree_table": np.array([PARENTS, range(24)]).astype(np.uint32),
    }


def write_npz(path: Path, fields: dict[str, np.ndarray]) -> Path:
    np.savez(path, **fields)
    return path


def write_pkl(path: Path, fields: dict[str, np.ndarray], protocol: int = 4) -> Path:
    """As a cleaned-up release: NumPy arrays and a sparse joint regressor."""
    path.write_bytes(pickle.dumps(_released(fields), protocol))
    return path


def write_python2_pkl(path: Path, fields: dict[str, np.ndarray], protocol: int = 2) -> Path:
    """As released: written by Python 2 with chumpy arrays, byte strings and the module names of those days."""
    with _chumpy() as (ch, reordering):
        content = _released(fields) | {"bs_type": b"lrotmin", "bs_style": b"lbs"}
        content["v_template"] = ch.Ch(x=fields["v_template"], _dirty_vars=set(), _itr=None)
        every = np.arange(fields["shapedirs"].size)
        stored = ch.Ch(x=np.append(fields["shapedirs"].ravel(), 7.0), _dirty_vars={"x"}, _itr=None)
        content["shapedirs"] = reordering.Select(
            a=stored, idxs=every, preferred_shape=fields["shapedirs"].shape, _depends_on_deps={}, _status="new"
        )
        flat = ch.Ch(x=fields["weights"].ravel())
        content["weights"] = reordering.Reshape(a=flat, newshape=fields["weights"].shape)
        buffer = io.BytesIO()
        _Python2Pickler(buffer, protocol).dump(content)
    renamed = buffer.getvalue()
    for new, old in ((b"numpy._core.", b"numpy.core."), (b"scipy.sparse._csc", b"scipy.sparse.csc")):
        renamed = renamed.replace(b"c" + new, b"c" + old)
    path.write_bytes(renamed)
    return path


def _released(fields: dict[str, np.ndarray]) -> dict[str, object]:
    return fields | {"J_regressor": scipy.sparse.csc_matrix(fields["J_regressor"]), "bs_type": "lrotmin"}


class _Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_string(self, text: bytes) -> None:
        if self.proto == 0:
            self.write(b"S" + repr(text)[1:].encode("ascii") + b"\n")
        else:
            self.write(b"T" + len(text).to_bytes(4, "little") + text)
        self.memoize(text)

    dispatch[bytes] = save_string


@contextmanager
def _chumpy() -> Iterator[tuple[types.ModuleType, types.ModuleType]]:
    """Modules that stand in for chumpy while a pickle is being written."""
    modules = {name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}
    for module, names in (("chumpy.ch", ["Ch"]), ("chumpy.reordering", ["Select", "Reshape"])):
        for name in names:
            cls = type(name, (), {"__module__": module, "__init__": lambda self, **state: self.__dict__.update(state)})
            setattr(modules[module], name, cls)
    sys.modules |= modules
    try:
        yield modules["chumpy.ch"], modules["chumpy.reordering"]
    finally:
        for name in modules:
            del sys.modules[name]
