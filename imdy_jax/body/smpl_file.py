"""SMPL model files on disk: where they are, what they hold, and whether that is an SMPL model."""

import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imdy_jax.body.unpickle import dense, load_pickle
from imdy_jax.skeleton import NUM_BODIES, NUM_JOINTS, PARENTS

ENVIRONMENT = "SMPL_MODEL_DIR"
SEXES = ("female", "male", "neutral")
POSE_FEATURES = 9 * NUM_JOINTS  # entries of R - 1 of every joint but the root

_FIELDS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f", "kintree_table")
_LETTER = {"female": "f", "male": "m", "neutral": "neutral"}
_FOLDERS = (".", "smpl", "models", "smpl/models", "SMPL_python_v.1.1.0/smpl/models", "SMPL_python_v.1.0.0/smpl/models")
_OTHER_MODELS = {16: "MANO", 5: "FLAME", 52: "SMPL+H", 55: "SMPL-X"}  # by number of joints
_TOLERANCE = 1e-3  # on sums that should be 1: released files keep them to about 1e-6


class SmplFileError(ValueError):
    """A model file that is missing, unreadable or not an SMPL model; says where to get the right one."""


def find_model(path: str | os.PathLike | None = None, sex: str = "neutral") -> Path:
    """The model file: path itself, or the file of that sex in the folder path or $SMPL_MODEL_DIR.

    In a folder the usual names are known, in any letter case: SMPL_MALE, basicmodel_m_lbs_10_207_0_v1.1.0 and so on,
    also in the subfolders in which they are released; .npz goes before .pkl, version 1.1 before 1.0. Raises
    SmplFileError where there is none.
    """
    if sex not in SEXES:
        raise ValueError(f"unknown sex {sex!r}; known: {', '.join(SEXES)}")
    place = path or os.environ.get(ENVIRONMENT)
    if not place:
        raise SmplFileError(f"no SMPL model: give a file or folder, or set {ENVIRONMENT}. {_where_to_get(sex)}")
    root = Path(place).expanduser()
    if root.is_file():
        return root
    if not root.is_dir():
        raise SmplFileError(f"{root}: no such file or folder. {_where_to_get(sex)}")
    files = [file for folder in _FOLDERS for file in sorted((root / folder).glob("*")) if file.is_file()]
    for pattern in _file_names(sex):
        for file in files:
            if re.fullmatch(pattern, file.name, re.IGNORECASE):
                return file
    raise SmplFileError(f"{root}: no {sex} SMPL model in this folder. {_where_to_get(sex)}")


def read_model(file: Path, sex: str = "neutral") -> dict[str, np.ndarray]:
    """The checked arrays of a model file by their names there, as they are stored.

    v_template (V, 3) m, shapedirs (V, 3, B), posedirs (V, 3, 207), J_regressor (24, V), weights (V, 24), f (F, 3),
    kintree_table (2, 24). Raises SmplFileError that names the file, the field, what was found and what was expected.
    """
    named = [s for s in SEXES if any(re.fullmatch(pattern, file.name, re.IGNORECASE) for pattern in _file_names(s))]
    try:
        if named and sex not in named:
            raise ValueError(f"{file}: is the {named[0]} model, asked for {sex}")
        arrays = _read_npz(file) if file.suffix.lower() == ".npz" else _read_pkl(file)
        _check_shapes(file, arrays)
        _check_values(file, arrays)
    except ValueError as error:
        raise SmplFileError(f"{error}. {_where_to_get(sex)}") from error
    return arrays


def _file_names(sex: str) -> tuple[str, ...]:
    """Patterns of the names under which a model is released or usually kept, the preferred first."""
    release = rf"basicmodel_{_LETTER[sex]}_lbs_10_207_0_v"
    return tuple(
        rf"{stem}\.{suffix}" for stem in (f"SMPL_{sex}", rf"{release}1\.1\.\d", rf"{release}1\.0\.\d")
        for suffix in ("npz", "pkl")
    )  # fmt: skip


def _where_to_get(sex: str) -> str:
    return (
        f"Expected basicmodel_{_LETTER[sex]}_lbs_10_207_0_v1.1.0.pkl from SMPL_python_v.1.1.0.zip (also under the name "
        f"SMPL_{sex.upper()}.pkl, or converted to .npz); get it at https://smpl.is.tue.mpg.de"
    )


def _read_npz(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: _array(file, archive, name) for name in _FIELDS}
    except (OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file}: not readable as .npz: {error}") from error


def _read_pkl(file: Path) -> dict[str, np.ndarray]:
    if file.suffix.lower() != ".pkl":
        raise ValueError(f"{file}: found a file of type {file.suffix or 'unknown'}, expected .pkl or .npz")
    fields = load_pickle(file)
    return {name: _array(file, fields, name) for name in _FIELDS}


def _array(file: Path, fields: Mapping[str, Any], name: str) -> np.ndarray:
    if name not in fields:
        raise ValueError(f"{file}: has no field {name}; it has {', '.join(sorted(map(str, fields)))}")
    try:
        return dense(fields[name])
    except (ValueError, TypeError, IndexError, RecursionError, MemoryError) as error:
        raise ValueError(f"{file}: {name}: {error}") from error


def _check_shapes(file: Path, arrays: dict[str, np.ndarray]) -> None:
    table = arrays["kintree_table"]
    joints = table.shape[-1] if table.ndim else 0
    if table.shape != (2, NUM_BODIES):
        kind = f" ({_OTHER_MODELS[joints]}'s)" if joints in _OTHER_MODELS else ""
        raise ValueError(f"{file}: kintree_table: found shape {table.shape}{kind}, expected (2, {NUM_BODIES})")
    count = len(np.atleast_1d(arrays["v_template"]))
    expected: dict[str, tuple[int | str, ...]] = {
        "v_template": (count, 3),
        "shapedirs": (count, 3, "B"),
        "posedirs": (count, 3, POSE_FEATURES),
        "J_regressor": (NUM_BODIES, count),
        "weights": (count, NUM_BODIES),
        "f": ("F", 3),
    }
    for name, shape in expected.items():
        found = arrays[name].shape
        if len(found) != len(shape) or any(n != m for n, m in zip(shape, found, strict=True) if isinstance(n, int)):
            raise ValueError(f"{file}: {name}: found shape {found}, expected ({', '.join(map(str, shape))})")


def _check_values(file: Path, arrays: dict[str, np.ndarray]) -> None:
    parents = tuple(int(parent) for parent in arrays["kintree_table"][0, 1:])
    if parents != PARENTS[1:]:
        raise ValueError(f"{file}: kintree_table: found parents {parents}, expected {PARENTS[1:]}")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(
                f"{file}: {name}: found {np.count_nonzero(~np.isfinite(array))} values that are not finite"
            )
    for name in ("weights", "J_regressor"):
        error = np.abs(arrays[name].sum(axis=1) - 1.0).max()
        if error > _TOLERANCE:
            raise ValueError(
                f"{file}: {name}: found a row whose sum is off by {error:.3g}, expected rows that sum to 1"
            )
    if arrays["weights"].min() < -_TOLERANCE:
        raise ValueError(f"{file}: weights: found {arrays['weights'].min():.3g}, expected no negative weight")
    count, faces = len(arrays["v_template"]), arrays["f"]
    if faces.size == 0 or faces.min() < 0 or faces.max() >= count:
        raise ValueError(f"{file}: f: found vertex numbers beyond the {count} vertices (or no faces)")
