"""Refine noisy poses until they obey dynamics.

python experiments/refine_pose.py --motions folder                  # files of poses in, AMASS-style files out
python experiments/refine_pose.py                                   # what it is worth, on noisy built-in motions
python experiments/refine_pose.py --config.memory 0.1                # the same, noise as video estimates have it
"""

from pathlib import Path

import jax
import numpy as np

from envs.people import PeopleConfig, make_bodies
from imdy_jax.analysis.clean_motion import inner_frames, procedural_scenes
from imdy_jax.analysis.refinement import Outcome, RefinementStudy, difference, estimate, outcome_table, study
from imdy_jax.body.person import Body
from imdy_jax.dynamics.refine import Refinement, refine
from imdy_jax.humanoid import GRAVITY, Humanoid, from_body
from imdy_jax.motion.amass import write_amass
from imdy_jax.motion.clip import Clip, from_generalized_positions, generalized_positions
from imdy_jax.motion.filters import NoFilter
from imdy_jax.motion.load import load_clips
from imdy_jax.report import Progress, Table, command, show
from imdy_jax.run import enable_compilation_cache
from imdy_jax.skeleton import joint_index
from imdy_jax.view import noise_figures

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
    jax.config.update("jax_enable_x64", True)
    enable_compilation_cache()
    body = make_bodies(person)[0]
    if motions is None:
        compare(body, config, settings, Path(out))
    else:
        mend(load_clips(motions, body, fps), body, settings, Path(out))


def mend(loaded: tuple, body: Body, settings: Refinement, folder: Path) -> None:
    """Refine clips one by one, so that what is done is kept; a clip that fails is reported and left out."""
    clips, rejected = loaded
    humanoid, rows = from_body(body), []
    problems = [item.reason for item in rejected]
    with Progress(len(clips), "refining", "clip") as progress:
        for clip in clips:
            try:
                rows.append(mend_one(clip, body, humanoid, settings, folder))
            except (ValueError, FloatingPointError) as error:
                problems.append(f"{clip.source}: {error}")
            progress.advance()
    columns = (
        "motion",
        "pose change °",
        "mm",
        "unexplained % of weight, before",
        "after",
        "torque N·m rms, before",
        "after",
    )
    title = f"Refinement of {len(rows)} motions, {len(problems)} left out"
    show(
        Table(title, columns, tuple(rows), tuple(f"left out: {p}" for p in problems)),
        folder / "tables" / "refined.json",
    )
    print(f"wrote {folder}")


def mend_one(clip: Clip, body: Body, humanoid: Humanoid, settings: Refinement, folder: Path) -> tuple:
    """Refine and write one clip; its row of the table."""
    before = np.asarray(generalized_positions(clip, body), float)
    after = refine(humanoid, [before], clip.fps, settings).motions[0]
    write_amass(folder / f"{Path(clip.name).stem}.npz", from_generalized_positions(after, body, clip.fps, clip.name))
    told = [estimate(humanoid, q, clip.fps, NoFilter()) for q in (before, after)]
    rms = lambda x: float(np.sqrt(np.mean(np.asarray(x) ** 2)))  # noqa: E731
    weight = float(humanoid.total_mass) * GRAVITY
    unexplained = (100.0 * 3**0.5 * rms(each.residual[:, :3]) / weight for each in told)
    return clip.name, *difference(humanoid, after, before), *unexplained, *(rms(each.torque) for each in told)


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
