"""Collecting: a trained policy plays clips and every substep of it becomes a Rollout."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.humanoid import Humanoid
from imdy_jax.imitation.environment import Transition
from imdy_jax.imitation.evaluate import ClipScore, frames_followed, score
from imdy_jax.imitation.rollout import Rollout


class Recorder(NamedTuple):
    """Compiled playing, compiled restarting of some of N humanoids, and who they are."""

    chunk: Callable[[Any], tuple[Any, Transition]]  # scene → scene some control steps later, and these, (T, N, ...)
    restart: Callable[..., Any]  # scene, fresh (N,) bool, clip (N,), frame (N,) → scene
    start: Any  # some scene
    humanoids: list[Humanoid]  # in NumPy


class _Take(NamedTuple):
    """A clip that a humanoid is playing."""

    row: int
    steps: int  # from where it starts to the clip's end
    parts: list[Transition]  # what has been played of it, leaves (T, ...)


def collect(
    recorder: Recorder,
    subjects: Sequence[int],
    queues: Mapping[int, Sequence[int]],
    lengths: np.ndarray,
    advance: Callable[[float], None] = lambda steps: None,
    starts: np.ndarray | None = None,
) -> Iterator[tuple[int, Rollout, ClipScore]]:
    """Play every clip once and yield its row, its rollout and how well it followed.

    Args:
      recorder: of N humanoids.
      subjects: number of the subject that each humanoid is (N,).
      queues: for each subject, the rows of the reference table that it plays; whichever of its humanoids is free takes
        the next one.
      lengths: frames of each row of the table.
      advance: told the number of control steps of each clip as it is finished.
      starts: frame of each row at which it begins; by default the first.

    A clip that is lost on the way ends there, and is cut at the frame where it fails.
    """
    starts = np.zeros_like(lengths) if starts is None else starts
    waiting = {subject: deque(rows) for subject, rows in queues.items()}
    takes: list[_Take | None] = [None] * len(subjects)
    rows = np.zeros(len(subjects), int)
    scene = recorder.start
    while True:
        fresh = np.zeros(len(subjects), bool)
        for i, subject in enumerate(subjects):
            if takes[i] is None and waiting[subject]:
                rows[i], fresh[i] = waiting[subject].popleft(), True
                takes[i] = _Take(int(rows[i]), int(lengths[rows[i]] - 1 - starts[rows[i]]), [])
        if not any(takes):
            return
        if fresh.any():
            scene = recorder.restart(scene, jnp.asarray(fresh), jnp.asarray(rows), jnp.asarray(starts[rows]))
        scene, kept = recorder.chunk(scene)
        for i, take in enumerate(takes):
            if take is not None and _extend(take, jax.tree.map(lambda x, i=i: x[:, i], kept)):
                takes[i] = None
                played = jax.tree.map(lambda *parts: np.concatenate(parts), *take.parts)
                yield take.row, *as_rollout(played, recorder.humanoids[i])
                advance(take.steps)


def _extend(take: _Take, part: Transition) -> bool:
    """Add the next steps to a take; whether that was its end, or its failure."""
    left = take.steps - sum(len(earlier.q) for earlier in take.parts)
    part = jax.tree.map(lambda x: x[:left], part)
    take.parts.append(part)
    return len(part.q) == left or frames_followed(part.position, part.reference) < len(part.q)


def as_rollout(played: Transition, humanoid: Humanoid) -> tuple[Rollout, ClipScore]:
    """What was played of a clip, leaves (T, ...), up to where it fails, and its score; it starts on the reference."""
    judged = score(played.position, played.reference)
    kept = jax.tree.map(lambda x: x[: judged.frames], played)
    substeps = kept.substeps
    rollout = Rollout(
        q=np.concatenate([played.q[:1], kept.next_q]),
        v=np.concatenate([played.v[:1], kept.next_v]),
        target=kept.target,
        substep_v=substeps.v,
        torque=substeps.torque,
        wrench=substeps.wrench,
        clipped=substeps.clipped,
        converged=substeps.converged,
        reference=np.concatenate([np.asarray(_joints(humanoid, played.q[0]))[None], kept.reference]),
    )
    return rollout, judged


@jax.jit
def _joints(humanoid: Humanoid, q: jax.Array) -> jax.Array:
    return forward_kinematics(humanoid, q).position
