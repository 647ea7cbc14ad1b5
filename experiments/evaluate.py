"""Play motions with a trained imitator, each once from its first frame, without noise, and tell how well it follows.

    python experiments/evaluate.py                                      # the motions that it was trained on
    python experiments/evaluate.py --motions my_clips                   # anyone's
    python experiments/evaluate.py --substeps 4                         # at the recording's physics

A clip is a success if the body is never more than 0.5 m (mean over joints) from its reference.
"""

import logging
from dataclasses import replace

from train_imitator import summary

from envs.imitator import open_imitator
from envs.people import load_cast
from envs.world import playing_env
from imdy_jax.imitation.evaluate import ClipScore, evaluate
from imdy_jax.report import Table, command, show
from imdy_jax.run import enable_compilation_cache


def main(
    imitator: str = "runs/default/imitator", motions: str | None = None, substeps: int = 2, check: bool = True,
    engine: str = "auto", json: str = "runs/evaluation/imitator.json",
) -> None:  # fmt: skip
    """Evaluate an imitator.

    Args:
      imitator: run folder of train_imitator.py.
      motions: a motion file or a folder of them; by default what the imitator was trained on.
      substeps: physics substeps per control step.
      check: leave out motions that nobody can have made.
      engine: c, mjx or warp; auto takes MJX where there is a GPU or TPU.
      json: where to write the table.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    enable_compilation_cache()
    config, trained = open_imitator(imitator)
    people = replace(config.people, motions=motions or config.people.motions, check=check)
    cast, rejected = load_cast(people)
    world = replace(config.world, substeps=substeps, engine=engine)
    scores = evaluate(trained, playing_env(cast, world, cast.subjects), cast.lengths)
    rows = [
        (clip.name, "yes" if s.success else f"lost at {s.frames / clip.fps:.1f} s", clip.duration, *_errors(s))
        for clip, s in zip(cast.clips, scores, strict=True)
    ]
    success, *errors, diverged = summary(scores)
    seconds = sum(clip.duration for clip in cast.clips)
    rows.append(("all: the successes' means", f"{success:.1f} %", seconds, *errors))
    notes = (f"{len(rejected)} motion(s) left out by the checks, {diverged} simulation(s) diverged",)
    columns = ("clip", "followed", "s", "MPJPE mm", "root-rel. mm", "vel. mm/frame", "acc. mm/frame²")
    show(Table(f"Imitator at {substeps} substeps", columns, tuple(rows), notes), json)


def _errors(score: ClipScore) -> tuple[float, float, float, float]:
    return score.mpjpe, score.mpjpe_root, score.velocity, score.acceleration


if __name__ == "__main__":
    command(main)
