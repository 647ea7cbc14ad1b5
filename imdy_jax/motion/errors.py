"""What every importer says about a bad file, in one sentence."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

SLOWEST, FASTEST = 5.0, 10_000.0  # frames per second between which a recording can be one of motion
MIN_FRAMES = 10  # fewer hold no motion: velocities need differences, and filters a start and an end


class MotionFileError(ValueError):
    """A motion file that cannot be used: names the file, the field, what was found, what was expected, the mend."""

    def __init__(self, path: str | Path, field: str, found: str, expected: str, mend: str):
        super().__init__(f"{path}: {field}: found {found}, expected {expected}; {mend}")
        self.path, self.field, self.found, self.expected, self.mend = str(path), field, found, expected, mend


_TRIPS = (ArithmeticError, EOFError, LookupError, StopIteration, TypeError, ValueError, BadZipFile, zlib.error)


@contextmanager
def parsing(path: str | Path, kind: str) -> Iterator[None]:
    """Whatever a parser trips over becomes a MotionFileError that says what the file should have been."""
    try:
        yield
    except MotionFileError:
        raise
    except OSError as error:
        raise MotionFileError(path, "file", str(error), "a readable file", "check the path") from error
    except _TRIPS as error:
        found = f"something else ({type(error).__name__}: {error})"
        raise MotionFileError(path, "file", found, kind, "export or download it again") from error


def require_finite(path: str | Path, field: str, values: np.ndarray) -> None:
    """Raise MotionFileError naming the first frame of values (T, ...) that is not finite."""
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if len(bad):
        raise MotionFileError(
            path, field, f"NaN or infinity in {len(bad)} of {len(values)} frames, first in frame {bad[0]}",
            "finite numbers", "cut the motion before that frame or fill the gap",
        )  # fmt: skip


def require_length(path: str | Path, field: str, frames: int) -> None:
    """Raise MotionFileError if there are fewer than MIN_FRAMES frames."""
    if frames < MIN_FRAMES:
        raise MotionFileError(
            path,
            field,
            f"{frames} frames",
            f"at least {MIN_FRAMES}",
            "leave the file out or join it with its neighbour",
        )
