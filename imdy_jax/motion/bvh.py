"""Biovision files (`.bvh`) → Clip: a skeleton with its motion, as most capture and animation tools export it.

The format tells neither unit nor vertical axis. The unit is taken from the length of a leg; the vertical axis is y
unless the caller says otherwise. The rest pose, all angles zero, should be a person standing upright.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from imdy_jax.motion.clip import Clip
from imdy_jax.motion.errors import MotionFileError, parsing
from imdy_jax.motion.retarget import Recording, retarget


def read_bvh(path: str | Path, up: str = "y", **options) -> Clip:
    """Clip of a `.bvh` file at its own frame rate; world z up, metres.

    up: the file's vertical axis, "y" or "z". options: as in retarget.
    Raises MotionFileError for a file that is not in the format or whose joints are not a person's.
    """
    path = Path(path)
    if up not in ("y", "z"):
        raise ValueError(f"up: found {up!r}, expected 'y' or 'z'; state the vertical axis of the file")
    with parsing(path, "a .bvh file: HIERARCHY and MOTION"):
        words = iter(path.read_text().split())
        names, parents, offsets, channels = _skeleton(path, words)
        period, values = _motion(path, words, sum(map(len, channels)))
        rotations, root = _turns(offsets, channels, values)
    recording = Recording(tuple(names), tuple(parents), np.array(offsets), rotations, root, 1.0 / period, up)
    return retarget(path, recording, **options)


def _turns(offsets: list[list[float]], channels: list[list[str]], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, J, 3, 3) of the joints in their parents, and positions (T, 3) of the root, from all channels."""
    rotations = np.tile(np.eye(3), (len(values), len(offsets), 1, 1))
    root = np.tile(offsets[0], (len(values), 1))
    column = 0
    for k, kinds in enumerate(channels):
        mine = values[:, column : column + len(kinds)]
        column += len(kinds)
        turns = [i for i, kind in enumerate(kinds) if kind.endswith("rotation")]
        if turns:  # in the order of the file, each about the axes that the ones before have turned
            order = "".join(kinds[i][0] for i in turns)
            rotations[:, k] = Rotation.from_euler(order.upper(), mine[:, turns], degrees=True).as_matrix()
        for i, kind in enumerate(kinds):
            if k == 0 and kind.endswith("position"):
                root[:, "xyz".index(kind[0])] = mine[:, i]
    return rotations, root


def _skeleton(path: Path, words: Iterator[str]) -> tuple[list[str], list[int], list[list[float]], list[list[str]]]:
    """Names, parents, offsets and channels of the joints, parents first; end sites carry no motion and are left out."""
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    if next(words) != "HIERARCHY":
        raise MotionFileError(path, "file", "another beginning", "HIERARCHY", "use a .bvh file")
    inside: list[int | None] = []  # the joints that are open, None for an end site
    for word in words:
        if word in ("ROOT", "JOINT"):
            parents.append(next((k for k in reversed(inside) if k is not None), -1))
            names.append(next(words))
            offsets.append([0.0, 0.0, 0.0])
            channels.append([])
            _expect(path, words, "{")
            inside.append(len(names) - 1)
        elif word == "End":
            next(words)  # "Site"
            _expect(path, words, "{")
            inside.append(None)
        elif word == "OFFSET":
            offset = [float(next(words)) for _ in range(3)]
            if inside[-1] is not None:
                offsets[inside[-1]] = offset
        elif word == "CHANNELS":
            count = int(next(words))
            channels[-1] = [next(words).lower() for _ in range(count)]
        elif word == "}":
            inside.pop()
        elif word == "MOTION":
            return names, parents, offsets, channels
        else:
            raise MotionFileError(path, "HIERARCHY", word, "ROOT, JOINT, End, OFFSET, CHANNELS", "export it again")
    raise MotionFileError(path, "MOTION", "nothing", "the motion after the hierarchy", "export it again")


def _motion(path: Path, words: Iterator[str], width: int) -> tuple[float, np.ndarray]:
    """Seconds per frame and all channels (T, C)."""
    _expect(path, words, "Frames:")
    frames = int(next(words))
    _expect(path, words, "Frame")
    _expect(path, words, "Time:")
    period = float(next(words))
    if not 0.0 < period < np.inf:
        raise MotionFileError(path, "Frame Time", str(period), "seconds above zero", "write the recording's period")
    values = np.array([float(word) for word in words])
    if values.size != frames * width:
        raise MotionFileError(
            path, "MOTION", f"{values.size} numbers", f"{frames} frames of {width}", "export or download it again"
        )
    return period, values.reshape(frames, width)


def _expect(path: Path, words: Iterator[str], wanted: str) -> None:
    word = next(words)
    if word != wanted:
        raise MotionFileError(path, "file", repr(word), repr(wanted), "export it again")
