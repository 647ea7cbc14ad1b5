"""Any path → clips for a person: read, resample, fit, check. A new format is a new file here and a line in FORMATS."""

import collections
import dataclasses
import itertools
import logging
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from imdy_jax.body.person import Body
from imdy_jax.motion.acclaim import read_acclaim
from imdy_jax.motion.amass import read_amass
from imdy_jax.motion.bvh import read_bvh
from imdy_jax.motion.check import Problem, check_clip, rejected
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.deepmimic import read_deepmimic
from imdy_jax.motion.errors import MotionFileError, parsing, require_length
from imdy_jax.motion.fit import fit, settle
from imdy_jax.motion.procedural import CLIPS, procedural_clip
from imdy_jax.motion.resample import at_speed, mirror, resample

logger = logging.getLogger(__name__)

PROCEDURAL = "procedural"


class Format(NamedTuple):
    """A kind of motion file."""

    read: Callable[..., Clip]
    foreign: bool  # made of another skeleton than SMPL's
    turned: bool = False  # its files may have y or z upward


FORMATS = {
    "*.npz": Format(read_amass, foreign=False, turned=True),
    "*.amc": Format(read_acclaim, foreign=True),
    "*.bvh": Format(read_bvh, foreign=True, turned=True),
    "humanoid3d_*.txt": Format(read_deepmimic, foreign=True),
}
NOT_MOTIONS = ("shape.npz", "*_stagei.npz")  # AMASS keeps body shapes and calibrations beside the motions


class Rejected(NamedTuple):
    """A clip that was left out, and why."""

    source: str
    reason: str  # one sentence: file, field or frames, found, expected
    problems: tuple[Problem, ...] = ()  # empty where the file could not be read


def load_clips(
    path: str | Path, body: Body, fps: float = 30.0, check: bool = True, mirrored: bool = False,
    speeds: Sequence[float] = (1.0,), names: Collection[str] | None = None, up: str | None = None,
) -> tuple[list[Clip], list[Rejected]]:  # fmt: skip
    """Clips of a file, of a folder (with its subfolders, in order of name) or of the built-in set, fitted to a body.

    path: a file or folder, or "procedural". fps: frame rate of the clips returned. check: leave out clips that no
    person can have made (check.py); lesser problems are logged as warnings. mirrored: add each clip's mirror image.
    speeds: each clip is there once for each of these factors of its speed.
    names: read these motions of list_motions alone; by default all.
    up: "y" or "z", the vertical axis of .npz and .bvh files; None: z of the first, as in AMASS, and y of the others.
    A bad file is reported in the second list and does not stop the others. Raises FileNotFoundError where the path
    does not exist, ValueError where a folder holds no motion file or a single file is in an unknown format.
    """
    bad: list[Rejected] = []
    if str(path) == PROCEDURAL:
        clips = [procedural_clip(name, body, fps) for name in CLIPS if names is None or name in names]
    else:
        clips, bad = _read_all(Path(path), body, fps, names, up)
    clips = [at_speed(clip, speed) for clip in clips for speed in speeds]
    if check:
        clips, unsound = _sound(clips, body)
        bad = bad + unsound
    if mirrored:
        clips = [each for clip in clips for each in (clip, mirror(clip))]
    return clips, bad


def list_motions(path: str | Path) -> dict[str, Path | None]:
    """The motions of a file, of a folder or of the built-in set: name → file, None for a built-in one.

    The names are those that load_clips gives. Raises as load_clips does.
    """
    if str(path) == PROCEDURAL:
        return dict.fromkeys(CLIPS)
    files = find_files(Path(path))
    return dict(zip(_unique_names(files, Path(path)), files, strict=True))


def load_motion(
    name: str, file: Path | None, body: Body, fps: float = 30.0, check: bool = True, up: str | None = None
) -> Clip:
    """One of list_motions, as load_clips loads it; raises ValueError with the reason where it is left out."""
    if file is None:
        return procedural_clip(name, body, fps)
    clips, bad = load_clips(file, body, fps, check, up=up)
    for item in bad:
        raise ValueError(item.reason)
    return dataclasses.replace(clips[0], name=name)


def find_files(path: Path) -> list[Path]:
    """Motion files under a path, sorted; raises FileNotFoundError or ValueError that lists the known formats."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: found nothing, expected a motion file or a folder of them; check the path")
    known = ", ".join(FORMATS)
    if path.is_file():
        if _format(path) is None:
            raise ValueError(f"{path}: found format {path.suffix!r}, expected one of {known}; convert the file")
        return [path]
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and _format(file)]
    files = [file for file in files if not any(file.match(pattern) for pattern in NOT_MOTIONS)]
    if not files:
        raise ValueError(f"{path}: found no motion file, expected some named {known}; name another folder")
    return files


def _format(file: Path) -> Format | None:
    """The format of a file of this name."""
    return next((kind for pattern, kind in FORMATS.items() if fnmatch(file.name.lower(), pattern)), None)


def _read_all(
    path: Path, body: Body, fps: float, names: Collection[str] | None, up: str | None
) -> tuple[list[Clip], list[Rejected]]:
    files = find_files(path)
    clips, bad = [], []
    for file, name in zip(files, _unique_names(files, path), strict=True):
        if names is not None and name not in names:
            continue
        try:
            kind = _format(file)
            assert kind is not None  # find_files lists no others
            with parsing(file, f"a motion as {file.suffix} files hold it"):
                own = {"up": up} if up and kind.turned else {}
                clip = resample(kind.read(file, **own), fps)
            require_length(file, f"motion at {fps:g} fps", clip.num_frames)
        except MotionFileError as error:
            bad.append(Rejected(str(file), str(error)))
            continue
        fitted = fit(dataclasses.replace(clip, name=name), body)
        clips.append(settle(fitted, body) if kind.foreign else fitted)
    return clips, bad


def _sound(clips: list[Clip], body: Body) -> tuple[list[Clip], list[Rejected]]:
    """Clips without grave problems, and the others."""
    sound, bad = [], []
    for clip in clips:
        problems = check_clip(clip, body)
        grave = rejected(problems)
        if grave:
            bad.append(Rejected(clip.source, str(grave[0]), tuple(problems)))
            continue
        sound.append(clip)
        for problem in problems:
            logger.warning("%s", problem)
    return sound, bad


def _unique_names(files: list[Path], top: Path) -> list[str]:
    """File stems; the path below the top folder where a stem occurs twice, numbered where even that is taken."""
    stems = collections.Counter(file.stem for file in files)
    names: dict[str, None] = {}  # in order
    for file in files:
        name = file.stem if stems[file.stem] == 1 else "-".join(file.relative_to(top).with_suffix("").parts)
        candidates = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
        names[next(candidate for candidate in candidates if candidate not in names)] = None
    return list(names)
