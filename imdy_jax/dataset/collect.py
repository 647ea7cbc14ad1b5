"""Collecting: a trained policy plays clips and every substep of it becomes a Rollout."""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.humanoid import Humanoid
from imdy_jax.imitation.environment import Environment, Transition
from imdy_jax.imitation.evaluate import ClipScore, Player, make_player, play, score
from imdy_jax.imitation.policy import Trained
from imdy_jax.imitation.rollout import Rollout


def make_recorder(trained: Trained, env: Environment) -> Player:
    """Compiled recording; env records wrenches and lets episodes run on (envs.world.playing_env)."""
    return make_player(trained, env, lambda transition: transition)


def collect(
    recorder: Player,
    humanoids: Humanoid,
    seats: list[list[int]],
    lengths: np.ndarray,
    advance: Callable[[float], None] = lambda steps: None,
) -> Iterator[tuple[int, Rollout, ClipScore]]:
    """Play every clip once and yield its row, its rollout and how well it followed.

    Args:
      recorder: of make_recorder.
      humanoids: the subject in each environment, leaves (N, ...).
      seats: for each environment, the rows of the reference table that it plays, one after the other.
      lengths: frames of each row of the table.
      advance: told the number of control steps of each clip as it is finished.

    A clip that is lost on the way is cut at the frame where it fails.
    """
    for turn in range(max(len(own) for own in seats)):
        rows = np.array([own[min(turn, len(own) - 1)] for own in seats])
        fresh = [i for i, own in enumerate(seats) if turn < len(own)]
        steps = int(lengths[rows[fresh]].max()) - 1
        kept = play(recorder, rows, np.zeros(len(rows), int), steps)
        for i in fresh:
            whole = slice(lengths[rows[i]] - 1)
            own = jax.tree.map(lambda x, i=i, whole=whole: x[whole, i], kept)
            judged = score(own.position, own.reference)
            cut = jax.tree.map(lambda x, n=judged.frames: x[:n], own)
            yield int(rows[i]), _rollout(cut, jax.tree.map(lambda x, i=i: x[i], humanoids)), judged
            advance(float(lengths[rows[i]] - 1))


def _rollout(played: Transition, humanoid: Humanoid) -> Rollout:
    """One environment's transitions, leaves (T, ...), as a Rollout; it starts on the reference."""
    after = lambda first, rest: np.concatenate([first[:1], rest])  # noqa: E731
    start = np.asarray(forward_kinematics(humanoid, played.q[0]).position)[None]
    substeps = played.substeps
    return Rollout(
        q=after(played.q, played.next_q),
        v=after(played.v, played.next_v),
        target=played.target,
        substep_v=substeps.v,
        torque=substeps.torque,
        wrench=substeps.wrench,
        clipped=substeps.clipped,
        converged=substeps.converged,
        reference=np.concatenate([start, played.reference]),
    )
