"""Refine noisy poses until they obey dynamics.

python experiments/refine_pose.py --motions folder                  # files of poses in, AMASS-style files out
python experiments/refine_pose.py                                   # what it is worth, on noisy built-in motions
python experiments/refine_pose.py --config.memory 0.1                # the same, noise as video estimates have it
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from envs.people import PeopleConfig, make_bodies
from imdy_jax.analysis.clean_motion import inner_frames, procedural_scenes
from imdy_jax.analysis.refinement import Outcome, RefinementStudy, difference, estimate, outcome_table, study
from imdy_jax.body.person import Body
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.dynamics.refine import AT_ONCE, Refinement, refine
from imdy_jax.humanoid import GRAVITY, Humanoid, from_body
from imdy_jax.motion.amass import write_amass
from imdy_jax.motion.clip import Clip, from_generalized_positions, generalized_positions
from imdy_jax.motion.filters import NoFilter
from imdy_jax.motion.load import Rejected, load_clips
from imdy_jax.report import Progress, Table, command, show
from imdy_jax.skeleton import joint_index
from imdy_jax.view import noise_figures

EFFECTS = ("pose change °", "mm", "unexplained force before, % of weight", "after", "torque before, N·m rms", "after")
SHOWN = {"left hip, extension": ("left_hip", 1.0), "left knee, extension": ("left_knee", -1.0),
         "left ankle, plantar flexion": ("left_ankle", 1.0)}  # fmt: skip


def main(
    motions: str | None = None,
    person: PeopleConfig = PeopleConfig(),
    config: RefinementStudy = RefinementStudy(),
    settings: Refinement = Refinement(),
    fps: float = 30.0,
    out: str = "runs/refined",
) -> None:
    """Refine, or study refinement where no motions are given.

    Args:
      motions: a motion file, or a folder of them.
      person: whose motions they are.
      config: the study, of noisy copies of built-in motions.
      settings: how strongly each law is believed.
      fps: frame rate of the files to write.
      out: folder to write.
    """
    enable_compilation_cache()
    with jax.enable_x64(True):
        body = make_bodies(person)[0]
        if motions is None:
            compare(body, config, settings, Path(out))
        else:
            mend(load_clips(motions, body, fps), body, settings, Path(out))


def mend(loaded: tuple[list[Clip], list[Rejected]], body: Body, settings: Refinement, folder: Path) -> None:
    """Refine clips a few at a time and write each at once; a clip that fails is reported and left out."""
    clips, rejected = loaded
    humanoid, rows = from_body(body), []
    problems = [item.reason for item in rejected]
    with Progress(len(clips), "refining", "clip") as progress:
        for start in range(0, len(clips), AT_ONCE):
            some = clips[start : start + AT_ONCE]
            before = [np.asarray(generalized_positions(clip, body), float) for clip in some]
            for clip, old, new in zip(some, before, _refined(humanoid, before, some[0].fps, settings), strict=True):
                if isinstance(new, Exception):
                    problems.append(f"{clip.source}: {new}")
                else:
                    clean = from_generalized_positions(new, body, clip.fps, clip.name)
                    write_amass(folder / f"{Path(clip.name).stem}.npz", clean)
                    rows.append((clip.name, *effect(humanoid, old, new, clip.fps)))
                progress.advance()
    title = f"Refinement of {len(rows)} motions, {len(problems)} left out"
    notes = tuple(f"left out: {problem}" for problem in problems)
    show(Table(title, ("motion", *EFFECTS), tuple(rows), notes), folder / "tables" / "refined.json")
    print(f"wrote {folder}")


def _refined(
    humanoid: Humanoid, motions: list[np.ndarray], fps: float, settings: Refinement
) -> Sequence[np.ndarray | Exception]:
    """Refined motions, all at once; where that fails one by one, and the errors of those that cannot be."""
    try:
        return refine(humanoid, motions, fps, settings).motions
    except (ValueError, FloatingPointError) as error:
        if len(motions) == 1:
            return [error]
        return [_refined(humanoid, [q], fps, settings)[0] for q in motions]


def effect(humanoid: Humanoid, old: np.ndarray, new: np.ndarray, fps: float) -> tuple[float, ...]:
    """What EFFECTS names, of a motion (T, 99) before and after."""
    told = [estimate(humanoid, q, fps, NoFilter()) for q in (old, new)]
    rms = lambda x: float(np.sqrt(np.mean(np.asarray(x) ** 2)))  # noqa: E731
    weight = float(humanoid.total_mass) * GRAVITY
    unexplained = (100.0 * 3**0.5 * rms(each.residual[:, :3]) / weight for each in told)
    return *difference(humanoid, new, old), *unexplained, *(rms(each.torque) for each in told)


def compare(body: Body, config: RefinementStudy, settings: Refinement, folder: Path) -> None:
    """The table and the figure of noisy copies of clean motions."""
    with Progress(len(config.clips), "clean motions") as progress:
        scenes = []
        for scene in procedural_scenes(config.clips, [body], config.seconds):
            scenes.append(scene)
            progress.advance()
    with Progress(len(scenes) * settings.iterations, "refining", "motions × iterations") as progress:
        found, best = study(scenes, config, settings, progress.advance)
    show(outcome_table(found, best, config), folder / "tables" / "study.json")
    illustrate(found[0], config, folder)
    print(f"wrote {folder}")


def illustrate(outcome: Outcome, config: RefinementStudy, folder: Path) -> None:
    """The legs' torques in the first motion."""
    frames = inner_frames(round(config.seconds * config.fps) + 1, config.fps)
    pick = [[sign * torque[:, joint_index(name) - 1, 0] for name, sign in SHOWN.values()] for torque in outcome.torque]
    title = f"{outcome.clip}, {config.fps:g} frames/s, {config.degrees:g}° and {config.millimetres:g} mm of noise"
    path = folder / "figures" / "refinement.png"
    noise_figures.refinement(path, frames / config.fps, np.array(pick), tuple(SHOWN), title)


if __name__ == "__main__":
    command(main)
