"""Playing clips with a trained policy, deterministically and from the first frame, and judging how well it followed."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.imitation.environment import Environment, Transition
from imdy_jax.imitation.policy import Trained
from imdy_jax.metrics import acceleration_error, joint_position_error, root_relative_error, velocity_error

FAILURE_DISTANCE = 0.5  # m, mean over bodies: a clip fails if it is ever exceeded (Luo et al. 2023)
_CHUNK = 30  # control steps per compiled call
_NOWHERE = 1e6  # m: who is there has diverged, whether its numbers are finite or not


class ClipScore(NamedTuple):
    """How one clip was followed; the errors are means over the frames up to the failure, if there was one."""

    success: bool
    frames: int  # control steps followed before failing, or to the end
    mpjpe: float  # mm, global
    mpjpe_root: float  # mm, relative to the root
    velocity: float  # mm/frame
    acceleration: float  # mm/frame²
    diverged: bool  # the simulation produced a value that is not finite


class Player(NamedTuple):
    """An environment and its compiled chunk of control steps: carry → (carry, kept)."""

    env: Environment
    chunk: Callable[[Any], tuple[Any, Any]]
    steps: int  # of a chunk


def make_player(trained: Trained, env: Environment, keep: Callable[[Transition], Any], steps: int = _CHUNK) -> Player:
    """Compiled playing of env with the mean action; keep picks what is returned of each transition."""
    chunk = jax.jit(partial(_chunk, env, keep, steps, trained))
    return Player(env, chunk.lower(_anywhere(env)).compile(), steps)


def _chunk(
    env: Environment, keep: Callable[[Transition], Any], steps: int, trained: Trained, carry: tuple
) -> tuple[tuple, Any]:
    def step(carry: tuple, _: None) -> tuple:
        state, observation = carry
        result = env.step(state, trained.act(observation))
        return (result.state, result.observation), keep(result.transition)

    return jax.lax.scan(step, carry, None, length=steps)


def _anywhere(env: Environment) -> tuple:
    nowhere = jnp.zeros(env.num_envs, int)
    return env.start(nowhere, nowhere, jax.random.PRNGKey(0))


def play(
    player: Player,
    clips: np.ndarray,
    frames: np.ndarray,
    steps: int,
    advance: Callable[[int], None] = lambda steps: None,
) -> Any:
    """Follow clips (N,) from frames (N,) for a number of control steps; leaves come back in NumPy as (steps, N, ...).

    An environment that ends early restarts elsewhere and what follows is no longer the clip's: callers cut each
    sequence to its length. advance is told of every chunk of steps done.
    """
    carry = player.env.start(jnp.asarray(clips), jnp.asarray(frames), jax.random.PRNGKey(0))
    kept = []
    for done in range(0, steps, player.steps):
        carry, chunk = player.chunk(carry)
        kept.append(jax.tree.map(np.asarray, chunk))
        advance(min(player.steps, steps - done))
    return jax.tree.map(lambda *xs: np.concatenate(xs)[:steps], *kept)


def evaluate(trained: Trained, env: Environment, lengths: np.ndarray) -> list[ClipScore]:
    """Score of every clip from its first frame, clip i in environment i; lengths (N,) in frames.

    env must let episodes run on when the humanoid strays, so that nothing restarts before its clip is over.
    """
    return _judged(make_player(trained, env, _places), np.arange(len(lengths)), lengths)


def make_judge(env: Environment, clips: np.ndarray, lengths: np.ndarray) -> Callable[[Trained], list[ClipScore]]:
    """As evaluate, for policies of one kind one after the other: what is compiled for the first serves them all.

    clips (N,): the clip in each environment; lengths (N,): their frames.
    """
    compiled: Callable | None = None

    def judge(trained: Trained) -> list[ClipScore]:
        nonlocal compiled
        if compiled is None:
            chunk = lambda arrays, carry: _chunk(env, _places, _CHUNK, trained.with_arrays(arrays), carry)  # noqa: E731
            compiled = jax.jit(chunk).lower(trained.arrays, _anywhere(env)).compile()
        return _judged(Player(env, partial(compiled, trained.arrays), _CHUNK), clips, lengths)

    return judge


def _places(transition: Transition) -> tuple[jax.Array, jax.Array]:
    return transition.position, transition.reference


def _judged(player: Player, clips: np.ndarray, lengths: np.ndarray) -> list[ClipScore]:
    position, reference = play(player, clips, np.zeros(len(clips), int), int(np.max(lengths)) - 1)
    return [score(position[: n - 1, i], reference[: n - 1, i]) for i, n in enumerate(lengths)]


def evaluate_together(
    policies: Sequence[Trained], env: Environment, lengths: np.ndarray, motions: Sequence[str] | None = None
) -> tuple[list[ClipScore], np.ndarray]:
    """As evaluate, each clip with the policy that follows it best (best_players); also which policy that is, (N,)."""
    together = make_judge(env, np.arange(len(lengths)), lengths)
    judge = together if len(policies) > 1 else partial(evaluate, env=env, lengths=lengths)
    scores = [judge(trained) for trained in policies]
    who = best_players(scores, motions)
    return [scores[k][i] for i, k in enumerate(who)], who


def best_players(scores: Sequence[Sequence[ClipScore]], motions: Sequence[str] | None = None) -> np.ndarray:
    """Which of the policies follows each clip (N,) furthest, and of several the one with the least error.

    scores: of each policy, those of all clips. motions (N,): of several policies that follow a clip equally far, that
    is taken which follows its motion best, whoever plays it (what is lost counts as FAILURE_DISTANCE away), so that few
    people are an exception, and who plays what is easier to learn.
    """
    cost = np.array([[s.mpjpe if s.success else 1e3 * FAILURE_DISTANCE for s in own] for own in scores])
    kinds = np.unique(motions, return_inverse=True)[1] if motions is not None else np.arange(cost.shape[1])
    of_kind = np.stack([np.bincount(kinds, own) / np.bincount(kinds) for own in cost])[:, kinds]
    rank = lambda k, i: (scores[k][i].frames, -of_kind[k, i], -scores[k][i].mpjpe)  # noqa: E731
    return np.array([max(range(len(scores)), key=partial(rank, i=i)) for i in range(cost.shape[1])])


def score(position: np.ndarray, reference: np.ndarray) -> ClipScore:
    """Judge one sequence from joint positions (T, 24, 3), m, simulated and wanted, at the same frames."""
    frames = frames_followed(position, reference)
    a, b = position[: max(frames, 1)], reference[: max(frames, 1)]
    millimetres = lambda error: 1e3 * error(a, b)  # noqa: E731
    return ClipScore(
        success=frames == len(position),
        frames=frames,
        mpjpe=millimetres(joint_position_error),
        mpjpe_root=millimetres(root_relative_error),
        velocity=millimetres(velocity_error),
        acceleration=millimetres(acceleration_error),
        diverged=not (np.abs(position) < _NOWHERE).all(),
    )


def frames_followed(position: np.ndarray, reference: np.ndarray) -> int:
    """Frames before the first at which the mean distance is beyond FAILURE_DISTANCE or not finite; as in score."""
    gap = np.linalg.norm(position - reference, axis=-1).mean(axis=-1)
    failed = ~(gap <= FAILURE_DISTANCE)
    return int(np.argmax(failed)) if failed.any() else len(position)
