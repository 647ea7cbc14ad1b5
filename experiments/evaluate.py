"""Play motions with a trained imitator, each once from its first frame, without noise, and tell how well it follows.

    python experiments/evaluate.py                                      # the motions that it was trained on
    python experiments/evaluate.py --motions my_clips                   # anyone's
    python experiments/evaluate.py --column 0                           # one of its columns, not their composer
    python experiments/evaluate.py --substeps 4                         # at the recording's physics
    python experiments/evaluate.py --subjects 33                        # by 32 people more, drawn at random
    python experiments/evaluate.py --push.per-clip 8                    # also pushed: 300 N for 0.2 s, anywhere
    python experiments/evaluate.py --fallen.per-clip 8                  # also from lying on the floor
    python experiments/evaluate.py --switching.per-clip 4               # also changing from clip to clip on the way

A clip is a success if the body is never more than 0.5 m (mean over joints) from its reference.
"""

import logging
from dataclasses import replace

import numpy as np

from envs.imitator import column_name, lead, open_columns
from envs.people import load_cast
from envs.scoreboard import clip_rows, shared_rows, summary
from envs.world import CONTROL_HZ, Cast, WorldConfig, fall_judge, playing_env, switching_env
from imdy_jax.imitation.evaluate import PushConfig, evaluate_pushes, evaluate_together
from imdy_jax.imitation.evaluate_falls import FallenConfig
from imdy_jax.imitation.evaluate_switches import SwitchingConfig, evaluate_switches
from imdy_jax.imitation.policy import Trained
from imdy_jax.report import Table, command, show
from imdy_jax.run import enable_compilation_cache


def main(
    imitator: str = "runs/default/imitator", motions: str | None = None, substeps: int = 2, check: bool = True,
    subjects: int | None = None, subject_seed: int = 1, engine: str = "auto", column: int | None = None,
    push: PushConfig = PushConfig(per_clip=0),
    fallen: FallenConfig = FallenConfig(per_clip=0), switching: SwitchingConfig = SwitchingConfig(per_clip=0),
    json: str = "runs/evaluation/imitator.json",
) -> None:  # fmt: skip
    """Evaluate an imitator.

    Args:
      imitator: run folder of train_imitator.py.
      motions: a motion file or a folder of them; by default what the imitator was trained on.
      substeps: physics substeps per control step.
      check: leave out motions that nobody can have made.
      subjects: people who play every clip, the first of them the one that is described; by default whom the imitator
        was trained on. Of several, a row tells how many follow a clip, and the means are of those.
      subject_seed: of the draw of the others.
      engine: c, mjx or warp; auto takes MJX where there is a GPU or TPU.
      column: which of its columns plays; by default their composer, or each clip's first column that follows it.
      push: pushes of the chest in clips that are followed without; the row tells how many are recovered from.
      fallen: falls beside every clip, which waits; the row tells from how many the humanoid gets up and follows it.
      switching: changes to another clip of the same person, which begins where the humanoid is; two rows tell how many
        it survives, and how soon it is back at its reference.
      json: where to write the table.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    enable_compilation_cache()
    opened = open_columns(imitator)
    config, players = opened.config, opened.players(column)
    people = replace(config.people, motions=motions or config.people.motions, check=check)
    if subjects is not None:
        people = replace(people, subjects=subjects, subject_seed=subject_seed)
    cast, rejected = load_cast(people)
    cast = lead(cast, config, imitator)
    world = replace(config.world, substeps=substeps, engine=engine)
    scores, who = evaluate_together(players, playing_env(cast, world, cast.subjects), cast.lengths)
    by = [f", {column_name(k)}" if len(players) > 1 else "" for k in who]
    rows: list[tuple] = clip_rows(cast.clips, scores, by) if len(cast.bodies) == 1 else shared_rows(cast.clips, scores)
    success, *errors, diverged = summary(scores)
    seconds = sum(clip.duration for clip in cast.clips)
    if len(cast.bodies) > 1:
        first = cast.subjects == 0
        for label, chosen in (("by the first person", first), ("by the others", ~first)):
            share, *own, _ = summary([s for s, ours in zip(scores, chosen, strict=True) if ours])
            rows.append((f"{label}: the successes' means", f"{share:.1f} %", None, *own))
    rows.append(("all: the successes' means", f"{success:.1f} %", seconds, *errors))
    if push.per_clip and success:
        followed = np.array([s.success for s in scores])
        standing = [(trained, np.flatnonzero(followed & (who == k))) for k, trained in enumerate(players)]
        held = [pushed(cast, world, trained, own, push, config.seed) for trained, own in standing if len(own)]
        shoved = 100 * np.concatenate(held).mean()
        label = f"pushed, {push.newtons:g} N for {push.steps / CONTROL_HZ:.1f} s"
        rows.append((label, f"{shoved:.1f} % recovered", *[None] * 5))
    shares = [(trained, np.flatnonzero(who == k)) for k, trained in enumerate(players)]
    if fallen.per_clip:
        up = [fall_judge(cast, world, own, fallen, config.seed)(trained) for trained, own in shares if len(own)]
        near, seconds = world.task.recovery.near, fallen.steps / CONTROL_HZ
        label = f"fallen, {seconds:.1f} s to be within {near:g} m and follow"
        rows.append((label, f"{100 * np.concatenate(up).mean():.1f} % got up", *[None] * 5))
    if switching.per_clip:
        played = [changed(cast, world, trained, own, switching, config.seed) for trained, own in shares if len(own)]
        survived, steps = (np.concatenate(x) for x in zip(*played, strict=True))
        arrived = np.isfinite(steps)
        took = f", in {np.median(steps[arrived]) / CONTROL_HZ:.2f} s (median)" if arrived.any() else ""
        share = f"{100 * survived.mean():.1f} % of {len(survived)} survived"
        rows.append((f"changing clips, {switching.rate:g} per s", share, *[None] * 5))
        there = f"{100 * arrived.mean():.1f} %{took}"
        rows.append((f"within {switching.near:g} m of the new one", there, *[None] * 5))
    notes = (f"{len(rejected)} motion(s) left out by the checks, {diverged} simulation(s) diverged",)
    headings = ("clip", "followed", "s", "MPJPE mm", "root-rel. mm", "vel. mm/frame", "acc. mm/frame²")
    show(Table(f"Imitator at {substeps} substeps", headings, tuple(rows), notes), json)


def pushed(
    cast: Cast, world: WorldConfig, trained: Trained, rows: np.ndarray, push: PushConfig, seed: int
) -> np.ndarray:
    """Whether the humanoid recovers from each push in rows of the cast (R, P)."""
    env = playing_env(cast, world, np.repeat(cast.subjects[rows], push.per_clip))
    return evaluate_pushes(trained, env, rows, cast.lengths[rows], push, seed)


def changed(
    cast: Cast, world: WorldConfig, trained: Trained, rows: np.ndarray, switching: SwitchingConfig, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the humanoid survives each change of clip (C,), and control steps until it is near the new one (C,)."""
    env = switching_env(cast, world, np.repeat(cast.subjects[rows], switching.per_clip), switching.rate)
    return evaluate_switches(trained, env, rows, cast.lengths, switching, seed)


if __name__ == "__main__":
    command(main)
