"""A person and their motions from a laboratory's markers, for everything else here to work on.

    python experiments/fit_markers.py trials --sex female --mass 62.6     # all .trc of a folder: one person
    python experiments/fit_markers.py walk.trc --mass 70 --belt 1.3 0 0   # on a treadmill
    python experiments/solve.py runs/markers --config.person.person runs/markers/person.json

The output folder then holds the person (person.json), each recording as an AMASS-style motion (name.npz), and how far
the markers are from where the body carries them. Any marker set will do (docs/markers.md).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro

from imdy_jax.biomechanics.marker_fit import FittedMotion, FittedPerson, fit_motion, fit_person
from imdy_jax.biomechanics.opensim_storage import Markers, read_markers
from imdy_jax.body.person_file import write_person
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.motion.amass import write_amass
from imdy_jax.report import Progress, Table, command, show
from imdy_jax.skeleton import JOINT_NAMES


def main(
    recordings: tyro.conf.Positional[str], sex: str = "neutral", mass: float | None = None,
    stature: float | None = None, up: str | None = None, belt: tuple[float, float, float] = (0.0, 0.0, 0.0),
    out: str = "runs/markers",
) -> None:  # fmt: skip
    """Fit.

    Args:
      recordings: a .trc file, or a folder of them, of one person with the markers in the same places.
      sex: female, male or neutral.
      mass: kg; by default that of the fitted stature at the mean adult's body-mass index.
      stature: m; by default as the markers tell.
      up: vertical axis of the recordings, y or z; by default as the markers tell.
      belt: m/s, velocity of a treadmill's belt in the recordings' axes.
      out: folder to write.
    """
    enable_compilation_cache()
    trials = read_all(find(recordings))
    person = fit_person(list(trials.values()), sex, mass, stature, up)
    folder, motions = Path(out), dict[str, FittedMotion]()
    write_person(folder / "person.json", person.body, person.stature)
    with Progress(len(trials), "fitting", "recording") as progress:
        for name, markers in trials.items():
            try:
                motions[name] = fit_motion(markers, person, name, up, belt)
                write_amass(folder / f"{name}.npz", motions[name].clip)
            except ValueError as error:
                print(f"left out: {error}", file=sys.stderr)
            progress.advance()
    if not motions:
        raise ValueError(f"{recordings}: no recording could be fitted; see above")
    show(person_table(person, motions), folder / "tables" / "places.json")
    show(motion_table(person, motions), folder / "tables" / "motions.json")
    print(f"wrote {folder}")


def find(path: str) -> list[Path]:
    """The marker files of a path, in order of name."""
    files = sorted(Path(path).rglob("*.trc")) if Path(path).is_dir() else [Path(path)]
    if not files:
        raise ValueError(f"{path}: found no .trc file, expected marker recordings; name another folder")
    return files


def read_all(files: Sequence[Path]) -> dict[str, Markers]:
    """Recordings by name; a file that cannot be read is told and left out where there are others."""
    found = dict[str, Markers]()
    for file in files:
        try:
            found[file.stem] = read_markers(file)
        except ValueError as error:
            if len(files) == 1:
                raise
            print(f"left out: {error}", file=sys.stderr)
    if not found:
        raise ValueError(f"{files[0].parent}: found no readable recording among {len(files)}; see above")
    return found


def motion_table(person: FittedPerson, motions: dict[str, FittedMotion]) -> Table:
    """How well each recording is explained."""
    rows = []
    for name, motion in motions.items():
        by_marker, by_frame = rms(motion.error, 0), rms(motion.error, 1)
        worst = int(np.nanargmax(by_marker))
        clip, seen = motion.clip, 100.0 * float(np.isfinite(motion.error).mean())
        rows.append((name, clip.num_frames, clip.fps, seen, float(rms(motion.error, None)), float(by_frame.max()),
                     person.names[worst], float(by_marker[worst])))  # fmt: skip
    columns = ("recording", "frames", "Hz", "seen %", "rms mm", "worst frame mm", "worst marker", "mm")
    mass, size = float(np.sum(np.asarray(person.body.mass))), person.stature
    title = f"{len(motions)} recordings of a {person.body.sex} person, {size:.2f} m, {mass:.1f} kg"
    return Table(title, columns, tuple(rows), ("distance of the markers from where the body carries them",))


def person_table(person: FittedPerson, motions: dict[str, FittedMotion]) -> Table:
    """Where each marker sits."""
    error = rms(np.concatenate([motion.error for motion in motions.values()]), 0)
    rows = [
        (name, JOINT_NAMES[segment], "yes" if placed else "no", *np.rint(1000.0 * shift).astype(int).tolist(), float(e))
        for name, segment, placed, shift, e in zip(
            person.names, person.segment, person.placed, person.shift, error, strict=True
        )
    ]  # fmt: skip
    columns = ("marker", "on the segment of", "known place", "x mm", "y mm", "z mm", "rms mm")
    notes = ("x left, y up, z forward in the T-pose: from the landmark, or from the joint where no place is known",)
    return Table("Where the markers sit", columns, tuple(rows), notes)


def rms(error: np.ndarray, axis: int | None) -> np.ndarray:
    """Root mean square of what is there, mm."""
    return 1000.0 * np.sqrt(np.nanmean(error**2, axis=axis))


if __name__ == "__main__":
    command(main)
