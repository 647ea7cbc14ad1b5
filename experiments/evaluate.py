"""Play motions with a trained imitator, each once from its first frame, without noise, and tell how well it follows.

    python experiments/evaluate.py                                      # the motions that it was trained on
    python experiments/evaluate.py --motions my_clips                   # anyone's
    python experiments/evaluate.py --column 0                           # one of its columns, not their composer
    python experiments/evaluate.py --substeps 4                         # at the recording's physics
    python experiments/evaluate.py --subjects 33                        # by 32 people more, drawn at random
    python experiments/evaluate.py --mirrored                           # and their mirror images
    python experiments/evaluate.py --jitter.degrees 2                   # told as an estimate from video would
    python experiments/evaluate.py --push.per-clip 8                    # also pushed: 300 N for 0.2 s, anywhere
    python experiments/evaluate.py --fallen.per-clip 8                  # also from lying on the floor
    python experiments/evaluate.py --switching.per-clip 4               # also changing from clip to clip on the way

A clip is a success if the body is never more than 0.5 m (mean over joints) from its reference.
"""

import logging
from dataclasses import replace
from typing import Literal

import numpy as np

from envs.fall_judges import fall_judge
from envs.imitator import column_name, lead, open_columns
from envs.jitter import JitterConfig
from envs.people import load_cast
from envs.rises import leads_up
from envs.scoreboard import clip_rows, shared_rows, summary
from envs.world import CONTROL_HZ, Cast, WorldConfig, jittered, playing_env, switching_env
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.imitation.evaluate import ClipScore, evaluate_together
from imdy_jax.imitation.evaluate_falls import FallenConfig
from imdy_jax.imitation.evaluate_pushes import PushedConfig, evaluate_pushed_over, evaluate_pushes
from imdy_jax.imitation.evaluate_switches import SwitchingConfig, evaluate_switches
from imdy_jax.imitation.policy import Trained
from imdy_jax.motion.resample import is_mirror_image
from imdy_jax.report import Table, command, show

Shares = list[tuple[Trained, np.ndarray]]  # who plays which rows of the cast


def main(
    imitator: str = "runs/default/imitator", motions: str | None = None, substeps: int = 2, check: bool = True,
    subjects: int | None = None, subject_seed: int = 1, engine: str = "auto", column: int | None = None,
    mirrored: bool = False, speeds: tuple[float, ...] | None = None, up: Literal["y", "z"] | None = None,
    jitter: JitterConfig = JitterConfig(), push: PushedConfig = PushedConfig(per_clip=0),
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
      mirrored: also every motion's mirror image. What has not learnt any follows them in a mirror.
      speeds: every motion at each of these factors of its speed.
      up: axis upward in .npz and .bvh files; by default z and y.
      column: which of its columns plays; by default their composer, or of each clip the column that follows it best.
      jitter: of what it is told of the motions, as an estimate from video has it; judged it is by the motions as they
        are.
      push: pushes of the chest in clips that are followed without, but for get-ups; the row tells how many it recovers
        from, and a second one, where it gets up along get-ups, after how many it is up again and follows another clip.
      fallen: falls beside every clip, which waits; the row tells from how many the humanoid gets up and follows it.
      switching: changes to another clip of the same person, which begins where the humanoid is; two rows tell how many
        it survives, and how soon it is back at its reference.
      json: where to write the table.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    enable_compilation_cache()
    opened = open_columns(imitator)
    config, players = opened.config, opened.players(column)
    people = replace(config.people, check=check)
    if motions is not None:  # as they are, and not as those that it was trained on
        people = replace(people, motions=motions, mirrored=False, speeds=(1.0,))
    people = replace(people, mirrored=people.mirrored or mirrored, speeds=speeds or people.speeds, up=up or people.up)
    if subjects is not None:
        people = replace(people, subjects=subjects, subject_seed=subject_seed)
    cast, rejected = load_cast(people)
    cast = jittered(lead(cast, config, imitator), jitter)
    world = replace(config.world, substeps=substeps, engine=engine)
    scores, who = evaluate_together(players, playing_env(cast, world, cast.subjects), cast.lengths)
    by = [f", {column_name(k)}" if len(players) > 1 else "" for k in who]
    alone = len(cast.bodies) == 1
    rows: list[tuple] = clip_rows(cast.clips, scores, by) if alone else shared_rows(cast.clips, scores)
    rows += means(cast, scores)
    shares = [(trained, np.flatnonzero(who == k)) for k, trained in enumerate(players)]
    shares = [(trained, own) for trained, own in shares if len(own)]
    # Who is pushed while lying has nothing to recover from.
    followed = np.array([s.success for s in scores]) & ~leads_up(cast.table)
    if push.per_clip and followed.any():
        steady = [(trained, own[followed[own]]) for trained, own in shares]
        rows += pushed(cast, world, [(trained, own) for trained, own in steady if len(own)], push, config.seed)
    if fallen.per_clip:
        rows.append(risen(cast, world, shares, fallen, config.seed))
    if switching.per_clip:
        rows += changed(cast, world, shares, switching, config.seed)
    diverged = sum(s.diverged for s in scores)
    notes = (f"{len(rejected)} motion(s) left out by the checks, {diverged} simulation(s) diverged",)
    headings = ("clip", "followed", "s", "MPJPE mm", "root-rel. mm", "vel. mm/frame", "acc. mm/frame²")
    show(Table(f"Imitator at {substeps} substeps", headings, tuple(rows), notes), json)


def means(cast: Cast, scores: list[ClipScore]) -> list[tuple]:
    """Success and the successes' means of all; before it those of the first of several people and of the others, and of
    what is as it was recorded, and of mirror images.
    """
    rows, first = [], cast.subjects == 0
    mirrored = np.array([is_mirror_image(clip.name) for clip in cast.clips])
    parts = {"by the first person": first, "by the others": ~first, "as recorded": ~mirrored, "mirror images": mirrored}
    for label, chosen in parts.items():
        if chosen.any() and not chosen.all():
            share, *own, _ = summary([s for s, ours in zip(scores, chosen, strict=True) if ours])
            rows.append((f"{label}: the successes' means", f"{share:.1f} %", None, *own))
    success, *errors, _ = summary(scores)
    seconds = sum(clip.duration for clip in cast.clips)
    return [*rows, ("all: the successes' means", f"{success:.1f} %", seconds, *errors)]


def pushed(cast: Cast, world: WorldConfig, shares: Shares, push: PushedConfig, seed: int) -> list[tuple]:
    """From how many pushes the humanoid recovers; and how many it gets over, if need be by falling and getting up."""
    held, over = [], []
    asked = world.task.recovery
    for trained, rows in shares:
        players, lengths = np.repeat(cast.subjects[rows], push.per_clip), cast.lengths[rows]
        held.append(evaluate_pushes(trained, playing_env(cast, world, players), rows, lengths, push, seed))
        if asked.led and leads_up(cast.table).any():
            env = playing_env(cast, world, players, recovery=replace(asked, share=0.0, harvest=1.0))
            strayed, up = evaluate_pushed_over(trained, env, rows, lengths, push, seed)
            over.append(~strayed | up)
    label = f"pushed, {push.newtons:g} N for {push.steps / CONTROL_HZ:.1f} s"
    told = [(label, f"{100 * np.concatenate(held).mean():.1f} % recovered", *[None] * 5)]
    if over:
        share = 100 * np.concatenate(over).mean()
        within = f"– or up again within {push.up / CONTROL_HZ:.1f} s and following another clip"
        told.append((within, f"{share:.1f} %", *[None] * 5))
    return told


def risen(cast: Cast, world: WorldConfig, shares: Shares, fallen: FallenConfig, seed: int) -> tuple:
    """From how many falls it gets up."""
    up = [fall_judge(cast, world, rows, fallen, seed)(trained) for trained, rows in shares]
    label = f"fallen, {fallen.steps / CONTROL_HZ:.1f} s to be within {world.task.recovery.near:g} m and follow"
    return label, f"{100 * np.concatenate(up).mean():.1f} % got up", *[None] * 5


def changed(cast: Cast, world: WorldConfig, shares: Shares, switching: SwitchingConfig, seed: int) -> list[tuple]:
    """How many changes of clip it survives, and how soon it is near the new one."""
    played = []
    for trained, rows in shares:
        env = switching_env(cast, world, np.repeat(cast.subjects[rows], switching.per_clip), switching.rate)
        played.append(evaluate_switches(trained, env, rows, cast.lengths, switching, seed))
    survived, steps = (np.concatenate(x) for x in zip(*played, strict=True))
    arrived = np.isfinite(steps)
    took = f", in {np.median(steps[arrived]) / CONTROL_HZ:.2f} s (median)" if arrived.any() else ""
    share, there = f"{100 * survived.mean():.1f} % of {len(survived)} survived", f"{100 * arrived.mean():.1f} %{took}"
    return [
        (f"changing clips, {switching.rate:g} per s", share, *[None] * 5),
        (f"within {switching.near:g} m of the new one", there, *[None] * 5),
    ]


if __name__ == "__main__":
    command(main)
