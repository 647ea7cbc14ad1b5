"""Why poses break inverse dynamics: how noise of poses becomes noise of torques, predicted and measured.

    python experiments/study_noise.py                                   # the built-in motions, two people
    python experiments/study_noise.py --quick                           # a tiny one, to see that it runs
    python experiments/study_noise.py --config.dataset runs/default/dataset/dataset.zarr

The motions are limited to 12 Hz; the ground's forces that they need and the torques of their equation of motion at
240 frames/s are the truth. The estimates know the ground's forces, and see the poses, with noise, at fewer frames/s.
"""

from pathlib import Path

import jax
import numpy as np

from envs.people import PeopleConfig, make_bodies
from imdy_jax.analysis import noise_tables as tables
from imdy_jax.analysis.calibration import half_widths, interval_factor, sample
from imdy_jax.analysis.clean_motion import Scene, dataset_scenes, inner_frames, procedural_scenes, view
from imdy_jax.analysis.noise_study import QUICK, StudyConfig
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.report import Progress, Table, command, show
from imdy_jax.run import RunFolder
from imdy_jax.skeleton import joint_index
from imdy_jax.view import noise_figures as figures
from imdy_jax.view.surface import skin_surface

SHOWN = {"left hip, extension": ("left_hip", 1.0), "left knee, extension": ("left_knee", -1.0),
         "lower spine, extension": ("spine1", -1.0)}  # fmt: skip
EXAMPLE = 0.5  # degrees of noise


def main(
    config: StudyConfig = StudyConfig(), quick: bool = False, out: str = "runs/noise", overwrite: bool = False
) -> None:
    """Run the study: tables and figures go to the folder.

    Args:
      config: what is studied.
      quick: a tiny study in place of it.
      out: run folder to write.
      overwrite: throw away the study that is there.
    """
    enable_compilation_cache()
    config = QUICK if quick else config
    folder = RunFolder.create(out, config, config.seed, overwrite=overwrite).path
    with jax.enable_x64(True):
        study(config, folder)
    print(f"wrote {folder}")


def study(config: StudyConfig, folder: Path) -> None:
    """All tables and figures of the study."""
    scenes = load(config)
    noises = {"white": 0.0, "correlated": config.memory}
    few = np.random.default_rng(config.seed).permutation(len(scenes))[: config.sampled]
    amplify(config, [scenes[i] for i in sorted(few)], noises, folder)
    locate(config, scenes, folder)
    calibrate(config, scenes, noises, folder)


def load(config: StudyConfig) -> list[Scene]:
    """The clean motions."""
    bodies = make_bodies(PeopleConfig(subjects=config.subjects, subject_seed=config.seed))
    found, total = procedural_scenes(config.clips, bodies, config.seconds), len(config.clips) * len(bodies)
    if config.dataset:
        found, total = dataset_scenes(config.dataset, config.seconds, config.sequences), config.sequences
    scenes = []
    with Progress(total, "clean motions") as progress:
        for scene in found:
            scenes.append(scene)
            progress.advance()
    if not scenes:
        raise ValueError(f"{config.dataset}: found no certified sequence of {config.seconds:g} s; study fewer seconds")
    return scenes


def amplify(config: StudyConfig, scenes: list[Scene], noises: tables.Noises, folder: Path) -> None:
    """How much noise grows, and what filters do about it."""
    table = save(folder, "amplification", tables.amplification_table(config, scenes, noises))
    figures.amplification(folder / "figures" / "amplification.png", table, config.levels)
    sweep = tables.sweep_table(config, scenes, noises)
    sweep.write(folder / "tables" / "cutoffs.json")
    best = save(folder, "best_cutoffs", tables.best_table(config, scenes, noises, sweep))
    figures.trade_off(folder / "figures" / "cutoffs.png", sweep, config.noises)
    rate = config.rates[len(config.rates) // 2]
    online = save(folder, "lag", tables.lag_table(config, scenes, rate))
    least = {row[2]: row[4] for row in best.rows if row[:2] == (rate, "white")}
    figures.lag(folder / "figures" / "lag.png", online, least, config.noises, rate)


def locate(config: StudyConfig, scenes: list[Scene], folder: Path) -> None:
    """Which joints suffer."""
    surface = skin_surface(make_bodies(PeopleConfig())[0])
    for kind, (joints, matrix) in tables.sensitivity_tables(config, scenes, config.rates[0]).items():
        name = "unfiltered" if kind == "none" else "filtered"
        save(folder, f"sensitivity_{name}", joints)
        matrix.write(folder / "tables" / f"influence_{name}.json")
        figures.sensitivity(folder / "figures" / f"sensitivity_{name}.png", joints, surface)
        figures.influence(folder / "figures" / f"influence_{name}.png", matrix)


def calibrate(config: StudyConfig, scenes: list[Scene], noises: tables.Noises, folder: Path) -> None:
    """Whether the error bars are right, and what they look like."""
    table = save(folder, "calibration", tables.calibration_table(config, scenes, noises))
    rows = [row for row in table.rows if row[:2] == (config.rates[0], "correlated")]
    nearest = min(rows, key=lambda row: abs(row[2] - EXAMPLE))
    illustrate(config, scenes[0], nearest[table.columns.index("bias weight")], folder)


def illustrate(config: StudyConfig, scene: Scene, weight: float, folder: Path) -> None:
    """One motion at the slowest rate, correlated noise, and the interval around its torques."""
    fps, key = config.rates[0], jax.random.PRNGKey(config.seed)
    seen, smooth = view(scene, fps), tables.butterworth(tables.CUTOFF, config, fps)
    frames = inner_frames(len(seen.position), fps)
    found = sample(seen, smooth, fps, frames, np.deg2rad(EXAMPLE), config.memory, key)
    half = half_widths(found.sd, found.bias, weight, interval_factor())
    pick = lambda x: np.stack([sign * x[:, joint_index(joint) - 1, 0] for joint, sign in SHOWN.values()])  # noqa: E731
    curves = pick(found.true), pick(found.noisy), np.abs(pick(half))
    title = f"{scene.clip}, {fps:g} frames/s, {EXAMPLE:g}° of correlated noise, {tables.CUTOFF:g} Hz filter"
    figures.error_bars(folder / "figures" / "error_bars.png", frames / fps, *curves, tuple(SHOWN), title)


def save(folder: Path, name: str, table: Table) -> Table:
    """Print and keep a table."""
    show(table, folder / "tables" / f"{name}.json")
    return table


if __name__ == "__main__":
    command(main)
