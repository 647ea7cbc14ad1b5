"""Reading a body model's pickle without running what it says.

A pickle is a small program that may import and call anything. The unpickler here knows by name the handful of
types that SMPL model files hold: NumPy arrays, SciPy's compressed sparse matrices and chumpy's array expressions.
The last two are read into inert holders, so chumpy is not needed and SciPy's internals do not matter; every other
name is refused.
"""

import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy._core.multiarray import _reconstruct, scalar


class _Holder:
    """Keeps what was pickled, and does nothing with it."""

    state: dict[str, Any] | None = None

    def array(self) -> np.ndarray:
        raise NotImplementedError

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise ValueError(f"{type(self).__name__} holds a {type(state).__name__}, expected a dict")
        self.state = state

    def term(self, *names: str) -> Any:
        """The first of the attributes that is there, as it was pickled."""
        for name in names:
            if self.state and name in self.state:
                return self.state[name]
        raise ValueError(f"{type(self).__name__} without attribute {names[0]!r}")


class _Ch(_Holder):
    """chumpy.Ch: a plain array."""

    def array(self) -> np.ndarray:
        return dense(self.term("x"))


class _Select(_Holder):
    """chumpy.reordering.Select: entries of an array by flat index."""

    def array(self) -> np.ndarray:
        chosen = dense(self.term("a")).ravel()[np.asarray(dense(self.term("idxs")), dtype=np.int64)]
        shape = (self.state or {}).get("preferred_shape")
        return chosen if shape is None else chosen.reshape(shape)


class _Reshape(_Holder):
    """chumpy.reordering.Reshape: an array in another shape."""

    def array(self) -> np.ndarray:
        return dense(self.term("a")).reshape(self.term("newshape"))


class _Compressed(_Holder):
    column_major: bool

    def array(self) -> np.ndarray:
        shape = tuple(int(n) for n in self.term("_shape", "shape"))
        starts, minor, data = (dense(self.term(name)) for name in ("indptr", "indices", "data"))
        major = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        matrix = np.zeros(shape, data.dtype)
        # add.at: entries that are stored twice add up, as they do in SciPy.
        np.add.at(matrix, (minor, major) if self.column_major else (major, minor), data)
        return matrix


class _ColumnCompressed(_Compressed):
    column_major = True


class _RowCompressed(_Compressed):
    column_major = False


def dense(value: Any) -> np.ndarray:
    """The numeric array that a field of a model file stands for; raises ValueError where it stands for none."""
    array = value.array() if isinstance(value, _Holder) else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"found an array of type {array.dtype}, expected numbers")
    return array


def _rebuild(cls: type, base: type, state: object) -> object:
    """copyreg's constructor of the oldest pickle protocols."""
    if not (isinstance(cls, type) and issubclass(cls, _Holder)) or base is not object or state is not None:
        raise pickle.UnpicklingError(f"construction of {cls!r}")
    return cls()


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in protocols 0 to 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}, expected 'latin1'")
    return text.encode("latin1")


def _from_buffer(data: bytes, dtype: np.dtype, shape: tuple[int, ...], order: Literal["C", "F"]) -> np.ndarray:
    """How NumPy writes contiguous arrays in protocol 5."""
    return np.frombuffer(data, dtype).reshape(shape, order=order)


_BUILTINS = {"set": set, "frozenset": frozenset, "object": object}
_NUMPY = {"_reconstruct": _reconstruct, "scalar": scalar}
_CHUMPY = {"Ch": _Ch, "Select": _Select, "Reshape": _Reshape}
_CSC = {"csc_matrix": _ColumnCompressed, "csc_array": _ColumnCompressed}
_CSR = {"csr_matrix": _RowCompressed, "csr_array": _RowCompressed}
# Module names old and new: Python 2 and 3, NumPy 1 and 2, SciPy before and after 1.8.
_ADMITTED: dict[str, dict[str, Any]] = {
    "__builtin__": _BUILTINS,
    "builtins": _BUILTINS,
    "copy_reg": {"_reconstructor": _rebuild},
    "copyreg": {"_reconstructor": _rebuild},
    "_codecs": {"encode": _encode},
    "numpy": {"ndarray": np.ndarray, "dtype": np.dtype},
    "numpy.core.multiarray": _NUMPY,
    "numpy._core.multiarray": _NUMPY,
    "numpy.core.numeric": {"_frombuffer": _from_buffer},
    "numpy._core.numeric": {"_frombuffer": _from_buffer},
    "scipy.sparse.csc": _CSC,
    "scipy.sparse._csc": _CSC,
    "scipy.sparse.csr": _CSR,
    "scipy.sparse._csr": _CSR,
    "chumpy": _CHUMPY,
    "chumpy.ch": _CHUMPY,
    "chumpy.reordering": _CHUMPY,
}


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in _ADMITTED.get(module, {}):
            return _ADMITTED[module][name]
        raise pickle.UnpicklingError(
            f"it holds an object of type {module}.{name}, which SMPL model files do not hold; only NumPy arrays, "
            "SciPy sparse matrices and chumpy arrays are read, since a pickle can run any code"
        )


def load_pickle(path: Path) -> dict[str, Any]:
    """The fields of a pickled body model, `dense` makes arrays of them; strings of Python 2 are read as latin1.

    Raises ValueError that names the file, and the type where one was refused.
    """
    with open(path, "rb") as file:
        try:
            fields = _RestrictedUnpickler(file, encoding="latin1").load()
        # A damaged or hostile stream fails wherever its instructions lead, with any exception.
        except Exception as error:
            raise ValueError(f"{path}: not readable as a body model: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: holds a {type(fields).__name__}, expected the dict of fields of a body model")
    return fields
