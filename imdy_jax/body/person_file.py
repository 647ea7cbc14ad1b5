"""A person of the embedded body in a small file: sex, stature, mass and shape vector."""

import json
from pathlib import Path

import numpy as np

from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.body.person import Body
from imdy_jax.files import write_json

_KEYS = ("sex", "stature", "mass", "betas")
_MEND = "write it with fit_markers.py, or as docs/markers.md has it"


def write_person(path: str | Path, body: Body, stature: float) -> None:
    """Write an embedded body of that stature, m, under a temporary name until it is whole."""
    mass, betas = float(np.sum(np.asarray(body.mass, float))), np.asarray(body.betas, float)
    write_json(Path(path), dict(zip(_KEYS, (body.sex, stature, mass, betas.tolist()), strict=True)))


def read_person(path: str | Path) -> Body:
    """The body of a person's file; raises ValueError for one that is none, or of a person that cannot be."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: found no file, expected a person's; {_MEND}")
    try:
        told = json.loads(path.read_text())
        sex, stature, mass, betas = (told[key] for key in _KEYS)
        return anthropometric_body(str(sex), float(stature), float(mass), np.asarray(betas, float))
    except (ValueError, TypeError, LookupError) as error:  # also what JSON and text raise
        wanted = f"JSON with {', '.join(_KEYS)}"
        raise ValueError(f"{path}: found {type(error).__name__}: {error}, expected {wanted}; {_MEND}") from error
