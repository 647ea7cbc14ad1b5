"""Reading a list of arrays that joblib has pickled, without running what the file says, and without loading it.

joblib writes a pickle in which each array is an object of its own class NumpyArrayWrapper, whose data follow in the
file as they are. Only that class and the names it needs are admitted; the arrays come back as memory maps, so that a
file may be larger than memory.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core.multiarray import scalar

_Interpreted: Any = pickle._Unpickler  # not the one in C, which reads ahead into the data


class _Wrapper:
    """joblib.numpy_pickle.NumpyArrayWrapper: what precedes the data of one array."""

    shape: tuple[int, ...]
    order: str
    dtype: np.dtype
    numpy_array_alignment_bytes: int | None = None  # absent before joblib 1.2, which did not align

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in ("shape", "order", "dtype"):
            setattr(self, name, state[name])
        self.numpy_array_alignment_bytes = state.get("numpy_array_alignment_bytes")


_ADMITTED = {
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Wrapper,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    # Plain numbers in the list, such as each person's mass.
    ("numpy.core.multiarray", "scalar"): scalar,
    ("numpy._core.multiarray", "scalar"): scalar,
}


class _Unpickler(_Interpreted):
    dispatch = _Interpreted.dispatch.copy()

    def __init__(self, path: Path, file: Any):
        super().__init__(file)
        self._file = file
        self._bytes = np.memmap(path, np.uint8, "r")  # one for all arrays: a process may have 65,530 of them

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(
                f"it holds an object of type {module}.{name}, expected arrays and numbers alone"
            )
        return _ADMITTED[module, name]

    def load_build(self) -> None:
        """Where an array's wrapper is complete, its data begin."""
        super().load_build()
        if isinstance(self.stack[-1], _Wrapper):
            self.stack.append(self._array(self.stack.pop()))

    dispatch[pickle.BUILD[0]] = load_build

    def _array(self, wrapper: _Wrapper) -> np.ndarray:
        if wrapper.dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"it holds an array of type {wrapper.dtype}, expected numbers")
        if wrapper.numpy_array_alignment_bytes is not None:
            self._file.seek(self._file.read(1)[0], 1)
        begin, size = self._file.tell(), wrapper.dtype.itemsize * int(np.prod(wrapper.shape))
        if self._file.seek(0, 2) < begin + size:
            raise pickle.UnpicklingError(f"it ends within an array of shape {wrapper.shape}: the file is cut off")
        self._file.seek(begin + size)
        if size == 0:
            return np.zeros(wrapper.shape, wrapper.dtype)
        order = "F" if wrapper.order == "F" else "C"
        return self._bytes[begin : begin + size].view(wrapper.dtype).reshape(wrapper.shape, order=order)


def read_arrays(path: Path) -> list[Any]:
    """The arrays, memory-mapped, and numbers of a file that joblib.dump(list) has written, uncompressed.

    Raises ValueError that names the file, and the type where one was refused.
    """
    try:
        with path.open("rb") as file:
            found = _Unpickler(path, file).load()
    except FileNotFoundError:
        raise ValueError(f"{path}: not found; a release has pos.pkl, rot.pkl, torque.pkl and grf.pkl") from None
    # A damaged or hostile stream fails wherever its instructions lead, with any exception.
    except Exception as error:
        raise ValueError(f"{path}: not readable as a list of arrays written by joblib: {error}") from error
    if not isinstance(found, list):
        raise ValueError(f"{path}: holds a {type(found).__name__}, expected a list with an array per sequence")
    return found
