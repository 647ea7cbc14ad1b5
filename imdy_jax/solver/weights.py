"""A solver's parameters and token statistics as one file of plain arrays: nothing in it is run when it is read."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from flax import traverse_util

from imdy_jax.files import replacing

FILE = "weights.npz"


def write_weights(path: str | Path, variables: dict, half: bool = False) -> None:
    """Write the variables of ImDyS, each array under its path in their tree ("params/embed/…").

    half: the parameters in half precision. The statistics are kept as they are: they span orders of magnitude.
    """
    flat = traverse_util.flatten_dict(variables, sep="/")
    short = lambda name, x: x.astype(np.float16) if half and name.startswith("params/") else x  # noqa: E731
    with replacing(path) as partial:
        np.savez_compressed(partial, **{name: short(name, np.asarray(x)) for name, x in flat.items()})


def read_weights(path: str | Path, expected: dict) -> dict:
    """Variables as write_weights has written them.

    Args:
      path: the file.
      expected: a tree of arrays, or of their shapes and types, as the network of the solver's config has it.

    Raises ValueError where the file is damaged, or holds other arrays than those, or such as are not finite.
    """
    mend = "publish the solver again with experiments/publish_solver.py"
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: found no .npz file of arrays, expected the parameters of a solver; {mend}")
    wanted = traverse_util.flatten_dict(expected, sep="/")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (ValueError, OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: damaged, expected plain arrays ({error}); {mend}") from error
    for name in sorted(wanted.keys() | found.keys()):
        shapes = [x[name].shape if name in x else "nothing" for x in (found, wanted)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{path}: {name}: found {shapes[0]}, expected {shapes[1]} by its solver.json; {mend}")
        if not (np.issubdtype(found[name].dtype, np.floating) and np.isfinite(found[name]).all()):
            raise ValueError(f"{path}: {name}: found what is no finite number, expected numbers alone; {mend}")
    return traverse_util.unflatten_dict({n: x.astype(wanted[n].dtype) for n, x in found.items()}, sep="/")
