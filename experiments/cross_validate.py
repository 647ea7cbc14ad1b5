"""How well an imitator follows motions like those that it learns from, but that it has never seen.

    python experiments/cross_validate.py --config.people.motions folder --config.train.minutes 20
    python experiments/cross_validate.py … --resume     # after an interruption

The motions are dealt out in so many folds; for each, a policy is trained on all the others, and then plays every clip
once from its first frame, without noise. Variants of one motion, mirrored or at other speeds, share a fold.
"""

import logging
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from envs.imitator import ImitatorConfig
from envs.preparing import prepare
from envs.scoreboard import COLUMNS, NOTE, summary
from envs.world import Cast, playing_env, training_env, training_mesh
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.files import read_json, write_json
from imdy_jax.imitation.evaluate import ClipScore, make_judge
from imdy_jax.imitation.train import reinforcement, train
from imdy_jax.motion.resample import original
from imdy_jax.report import Table, command, show
from imdy_jax.run import RunFolder


def main(
    config: ImitatorConfig = ImitatorConfig(), run: str = "runs/cross_validation", folds: int = 4,
    from_pretrained: str | None = None, resume: bool = False, overwrite: bool = False,
) -> None:  # fmt: skip
    """Cross-validate an imitator by motion.

    Args:
      config: what to train, as for train_imitator.py; train.minutes are those of each fold.
      run: folder of the run folders of the folds, and of the table.
      folds: how many; at most as many as there are motions.
      from_pretrained: run folder whose policy to begin with; it must not have seen the motions.
      resume: go on with the run that is in the folder.
      overwrite: throw away the run that is in the folder.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    enable_compilation_cache()
    check_simple(config)
    config = replace(config, begun_with=from_pretrained)
    cast, rejected, begin = prepare(config, from_pretrained)
    fold = deal([clip.name for clip in cast.clips], folds)
    judge = make_judge(playing_env(cast, config.world, cast.subjects), np.arange(len(fold)), cast.lengths)
    rows: list[tuple] = []
    unseen: dict[int, ClipScore] = {}
    for number in range(folds):
        folder = RunFolder.create(Path(run) / f"fold-{number}", config, config.seed, resume, overwrite)
        keep_deal(
            folder.path / "deal.json", {clip.name: int(f) for clip, f in zip(cast.clips, fold, strict=True)}, resume
        )
        env = training_env(cast, config.world, config.num_envs, np.flatnonzero(fold != number))
        learning = reinforcement(env, config.train.ppo, begin, mesh=training_mesh(env))
        scores = judge(train(learning, config.train, folder, config.seed))
        for what, chosen in (("seen", fold != number), ("not seen", fold == number)):
            own = [s for s, ours in zip(scores, chosen, strict=True) if ours]
            rows.append((f"fold {number}: {what}", len(own), *summary(own)))
        unseen |= {row: score for row, score in enumerate(scores) if fold[row] == number}
        told = [*rows, *_each(cast, unseen)] if number == folds - 1 else rows
        title = f"Imitator on unseen motions, {folds} folds of {len(fold)} clips, {len(rejected)} left out"
        table = Table(f"{title}, {jax.default_backend()}", ("", "clips", *COLUMNS), tuple(told), (NOTE,))
        show(table, Path(run) / "tables" / "cross_validation.json")


def check_simple(config: ImitatorConfig) -> None:
    """Raises ValueError that names a setting which the training of a fold has no place for."""
    asked = {"mining.columns": config.mining.columns - 1, "teach.minutes": config.teach.minutes, "guide": config.guide}
    for name, more in (asked | {"evaluate_at": config.evaluate_at}).items():
        if more:
            raise ValueError(
                f"config.{name} is asked for in a cross-validation, expected its default: each fold is one policy that "
                "is judged at its end, and searches see all motions; leave it out"
            )


def deal(names: list[str], folds: int) -> np.ndarray:
    """Fold of each clip (R,): motions take turns in the order of their names, which brings like to different folds.

    Raises ValueError where there are fewer motions than folds, or fewer folds than two.
    """
    motions = sorted({original(name) for name in names})
    if not 2 <= folds <= len(motions):
        raise ValueError(f"--folds is {folds} with {len(motions)} motions, expected from 2 to as many as there are")
    return np.array([motions.index(original(name)) % folds for name in names])


def keep_deal(path: Path, dealt: dict[str, int], resume: bool) -> None:
    """Write down who is in which fold; raises ValueError where a run that is resumed was dealt otherwise, since its
    policies have seen what would count as unseen now."""
    if resume and path.exists() and (kept := read_json(path)) != dealt:
        differing = sorted(name for name in kept.keys() | dealt.keys() if kept.get(name) != dealt.get(name))
        raise ValueError(
            f"{path}: motions were dealt out otherwise (differing: {differing[:5]}), expected the same motions and "
            "--folds; use these, or start again with --overwrite"
        )
    write_json(path, dealt)


def _each(cast: Cast, scores: dict[int, ClipScore]) -> list[tuple]:
    """A row for all clips, each by the policy that has not seen it, and one for each that is followed."""
    rows: list[tuple] = [("all, not seen", len(scores), *summary(list(scores.values())))]
    followed = [(row, score) for row, score in sorted(scores.items()) if score.success]
    return rows + [(f"– {cast.clips[row].name}", 1, *summary([score])) for row, score in followed]


if __name__ == "__main__":
    command(main)
