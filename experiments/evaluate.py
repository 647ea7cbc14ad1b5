"""Play motions with a trained imitator, each once from its first frame, without noise, and tell how well it follows.

    python experiments/evaluate.py                                      # the motions that it was trained on
    python experiments/evaluate.py --motions my_clips                   # anyone's
    python experiments/evaluate.py --substeps 4                         # at the recording's physics
    python experiments/evaluate.py --push.per-clip 8                    # also pushed: 300 N for 0.2 s, anywhere
    python experiments/evaluate.py --fallen.per-clip 8                  # also from lying on the floor

A clip is a success if the body is never more than 0.5 m (mean over joints) from its reference.
"""

import logging
from dataclasses import replace

import numpy as np
from train_imitator import summary

from envs.imitator import lead, open_imitator
from envs.people import load_cast
from envs.world import CONTROL_HZ, Cast, WorldConfig, playing_env
from imdy_jax.imitation.evaluate import ClipScore, PushConfig, evaluate, evaluate_pushes
from imdy_jax.imitation.evaluate_falls import FallenConfig, evaluate_falls
from imdy_jax.imitation.policy import Trained
from imdy_jax.report import Table, command, show
from imdy_jax.run import enable_compilation_cache


def main(
    imitator: str = "runs/default/imitator", motions: str | None = None, substeps: int = 2, check: bool = True,
    engine: str = "auto", push: PushConfig = PushConfig(per_clip=0), fallen: FallenConfig = FallenConfig(per_clip=0),
    json: str = "runs/evaluation/imitator.json",
) -> None:  # fmt: skip
    """Evaluate an imitator.

    Args:
      imitator: run folder of train_imitator.py.
      motions: a motion file or a folder of them; by default what the imitator was trained on.
      substeps: physics substeps per control step.
      check: leave out motions that nobody can have made.
      engine: c, mjx or warp; auto takes MJX where there is a GPU or TPU.
      push: pushes of the chest in clips that are followed without; the row tells how many are recovered from.
      fallen: falls beside every clip, which waits; the row tells from how many the humanoid gets up and follows it.
      json: where to write the table.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    enable_compilation_cache()
    config, trained = open_imitator(imitator)
    people = replace(config.people, motions=motions or config.people.motions, check=check)
    cast, rejected = load_cast(people)
    cast = lead(cast, config, imitator)
    world = replace(config.world, substeps=substeps, engine=engine)
    scores = evaluate(trained, playing_env(cast, world, cast.subjects), cast.lengths)
    rows: list[tuple] = [
        (clip.name, "yes" if s.success else f"lost at {s.frames / clip.fps:.1f} s", clip.duration, *_errors(s))
        for clip, s in zip(cast.clips, scores, strict=True)
    ]
    success, *errors, diverged = summary(scores)
    seconds = sum(clip.duration for clip in cast.clips)
    rows.append(("all: the successes' means", f"{success:.1f} %", seconds, *errors))
    if push.per_clip and success:
        followed = [row for row, s in enumerate(scores) if s.success]
        shoved = pushed(cast, world, trained, followed, push, config.seed)
        rows.append(
            (
                f"pushed, {push.newtons:g} N for {push.steps / CONTROL_HZ:.1f} s",
                f"{shoved:.1f} % recovered",
                *[None] * 5,
            )
        )
    if fallen.per_clip:
        rows.append(
            (
                f"fallen, {fallen.steps / CONTROL_HZ:.1f} s to be within {world.task.recovery.near:g} m and follow",
                f"{risen(cast, world, trained, fallen, config.seed):.1f} % got up",
                *[None] * 5,
            )
        )
    notes = (f"{len(rejected)} motion(s) left out by the checks, {diverged} simulation(s) diverged",)
    columns = ("clip", "followed", "s", "MPJPE mm", "root-rel. mm", "vel. mm/frame", "acc. mm/frame²")
    show(Table(f"Imitator at {substeps} substeps", columns, tuple(rows), notes), json)


def pushed(cast: Cast, world: WorldConfig, trained: Trained, rows: list[int], push: PushConfig, seed: int) -> float:
    """Share of pushes in rows of the cast that the humanoid recovers from, %."""
    env = playing_env(cast, world, np.repeat(cast.subjects[rows], push.per_clip))
    return 100.0 * float(np.mean(evaluate_pushes(trained, env, np.array(rows), cast.lengths[rows], push, seed)))


def risen(cast: Cast, world: WorldConfig, trained: Trained, fallen: FallenConfig, seed: int) -> float:
    """Share of falls beside the clips of the cast from which the humanoid gets up, %."""
    recovery = replace(world.task.recovery, share=1.0, harvest=0.0, steps=fallen.steps)
    env = playing_env(cast, world, np.repeat(cast.subjects, fallen.per_clip), recovery=recovery)
    rows = np.arange(len(cast.clips))
    return 100.0 * float(np.mean(evaluate_falls(trained, env, rows, cast.lengths, fallen, seed)))


def _errors(score: ClipScore) -> tuple[float, float, float, float]:
    return score.mpjpe, score.mpjpe_root, score.velocity, score.acceleration


if __name__ == "__main__":
    command(main)
