"""Inverse dynamics of an OpenSim model and motion, and how far it is from OpenSim's own.

    python experiments/inverse_dynamics.py --model subject.osim --motion walk_ik.mot --loads walk_grf.xml
    python experiments/inverse_dynamics.py --model subject.osim --motion walk_ik.mot --forces walk_grf.mot \\
        --bodies ground_force=calcn_l 1_ground_force=calcn_r --reference walk_id.sto

The output folder then holds the generalised forces (inverse_dynamics.sto), the table, and for models that name their
legs as OpenSim's gait models do a figure of hip, knee and ankle moments.
"""

import dataclasses
import warnings
from pathlib import Path

import numpy as np

from imdy_jax.biomechanics import opensim
from imdy_jax.biomechanics.opensim_gait import gait, root_force
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.report import Table, command, show
from imdy_jax.view.joint_moments import joint_moments


def main(
    model: str, motion: str, loads: str | None = None, forces: str | None = None, bodies: tuple[str, ...] = (),
    reference: str | None = None, cutoff: float | None = 6.0, margin: float = 0.1, couplers: bool = False,
    kinematics: opensim.Kinematics = "opensim", out: str = "runs/inverse_dynamics", json: str | None = None,
) -> None:  # fmt: skip
    """Compute, write, compare and draw.

    Args:
      model: `.osim` file.
      motion: `.mot` or `.sto` file of its coordinates.
      loads: external-loads `.xml` file; its data file is found beside it, or is `forces`.
      forces: `.mot` or `.sto` file of the measured forces.
      bodies: without `loads`, which columns of `forces` act on which body, as ground_force=calcn_l.
      reference: OpenSim's own result, `.sto`.
      cutoff: of the low-pass on the coordinates, Hz; None for none.
      margin: seconds left out at both ends of the comparison, where filters differ.
      couplers: move coupled coordinates with those that they depend on; OpenSim's tool does not.
      kinematics: "opensim" repeats OpenSim's errors at ball joints and where one coordinate drives several rotations,
        so that results agree; "exact" does not.
      out: folder to write.
      json: where to write the table, in place of the folder.
    """
    enable_compilation_cache()
    subject, track = opensim.read_model(model), opensim.read_storage(motion)
    applied = external_loads(loads, forces, bodies)
    if not 0.0 <= 2.0 * margin < track.time[-1] - track.time[0]:
        raise ValueError(
            f"margin: found {margin} s, expected zero or more, and something left of {motion}, which lasts "
            f"{track.time[-1] - track.time[0]:g} s; name a shorter one"
        )
    told = opensim.read_storage(reference) if reference else None
    time = common_times(told, track) if told else None
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        result = opensim.inverse_dynamics(subject, track, applied, cutoff, time, couplers, kinematics)
        smooth = opensim.coordinate_motion(subject, track, cutoff, result.time)
    notes = list(dict.fromkeys(str(warning.message) for warning in heard if warning.category is UserWarning))
    notes += opensim.misplaced_loads(subject, smooth, applied) if applied else []
    if odd := opensim.misjudged_joints(subject):
        notes.append(f"OpenSim errs in the kinematics of {', '.join(odd)}; computed with --kinematics {kinematics}")
    folder = Path(out)
    opensim.write_storage(folder / "inverse_dynamics.sto", result)
    print(f"wrote {folder / 'inverse_dynamics.sto'}")
    table = comparison(subject, result, told, margin) if told else summary(subject, result)
    table = dataclasses.replace(table, notes=(*table.notes, residual_note(subject, result, margin), *notes))
    show(table, json or folder / "tables" / "inverse_dynamics.json")
    draw(folder / "joint_moments.png", subject, smooth, result, applied, told)


def draw(
    path: Path, model: opensim.Model, track: opensim.CoordinateMotion, ours: opensim.Storage,
    loads: opensim.ExternalLoads | None, told: opensim.Storage | None,
) -> None:  # fmt: skip
    """The figure of joint moments, where the model has the coordinates that it needs."""
    try:
        curves = gait(model, track, ours, loads)
        reference = None if told is None else gait(model, track, at(told, track.time))
    except opensim.OpenSimFileError as error:
        print(f"no figure of joint moments: {error}")
        return
    joint_moments(path, curves, reference, f"{model.name}, {model.mass:.1f} kg", ("imdy_jax", "OpenSim"))
    print(f"wrote {path}")


def common_times(told: opensim.Storage, track: opensim.Storage) -> np.ndarray:
    """Times of the reference within the motion; raises ValueError where there are none."""
    time = told.time[(told.time >= track.time[0]) & (told.time <= track.time[-1])]
    if not len(time):
        found, expected = (f"{t.time[0]:g} to {t.time[-1]:g} s" for t in (told, track))
        raise ValueError(f"{told.source}: time: found {found}, expected some of {expected}; take the one that belongs")
    return time


def at(storage: opensim.Storage, time: np.ndarray) -> opensim.Storage:
    """The rows of a table at some of its own times."""
    rows = np.searchsorted(storage.time, time)
    return dataclasses.replace(storage, time=storage.time[rows], values=storage.values[rows])


def external_loads(loads: str | None, forces: str | None, bodies: tuple[str, ...]) -> opensim.ExternalLoads | None:
    """The forces of the command line; None for a motion without."""
    if loads:
        return opensim.read_external_loads(loads, forces)
    if not forces:
        return None
    pairs = dict(word.partition("=")[::2] for word in bodies)
    if not pairs or not all(pairs.values()):
        raise ValueError(f"bodies: found {bodies}, expected columns=body as ground_force=calcn_l; name them or --loads")
    return opensim.loads_on(opensim.read_storage(forces), pairs)


def comparison(model: opensim.Model, ours: opensim.Storage, told: opensim.Storage, margin: float) -> Table:
    """Error of each generalised force against a reference; units N·m and N."""
    inside = (ours.time >= ours.time[0] + margin) & (ours.time <= ours.time[-1] - margin)
    truth = at(told, ours.time)
    rows = []
    for column in (c for c in ours.columns if c in told.columns):
        error, size = (ours[column] - truth[column])[inside], rms(truth[column][inside])
        unit = "N·m" if column.endswith("_moment") else "N"
        rows.append((column, unit, size, rms(error), float(np.abs(error).max())))
    if not rows:
        raise ValueError(
            f"{told.source}: columns: found {', '.join(told.columns[:5])} …, expected some of "
            f"{', '.join(ours.columns[:5])} …; name the inverse dynamics of this model"
        )
    absent = [c for c in told.columns if c not in ours.columns]
    notes = [f"{inside.sum()} frames; largest error {max(row[-1] for row in rows):.2g}"]
    if absent:
        notes.append(f"not in the model: {', '.join(absent)}")
    title = f"inverse dynamics of {model.name} against {Path(told.source).name}"
    return Table(
        title, ("generalised force", "unit", "reference rms", "error rms", "error max"), tuple(rows), tuple(notes)
    )


def summary(model: opensim.Model, ours: opensim.Storage) -> Table:
    """Size of each generalised force."""
    rows = [
        (column, "N·m" if column.endswith("_moment") else "N", rms(ours[column]), float(np.abs(ours[column]).max()))
        for column in ours.columns
    ]
    return Table(f"inverse dynamics of {model.name}", ("generalised force", "unit", "rms", "peak"), tuple(rows))


def residual_note(model: opensim.Model, ours: opensim.Storage, margin: float) -> str:
    """Root residual as a share of body weight."""
    inside = (ours.time >= ours.time[0] + margin) & (ours.time <= ours.time[-1] - margin)
    share = np.linalg.norm(root_force(model, ours)[inside], axis=1) / (model.mass * np.linalg.norm(model.gravity))
    return f"root residual force: {rms(share):.1%} of body weight rms, {share.max():.1%} at most, {model.mass:.1f} kg"


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


if __name__ == "__main__":
    command(main)
