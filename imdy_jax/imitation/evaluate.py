"""Playing clips with a trained policy, deterministically and from the first frame, and judging how well it followed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.imitation.environment import Environment, Transition
from imdy_jax.imitation.policy import Normalizer, Policy, normalize
from imdy_jax.metrics import acceleration_error, joint_position_error, root_relative_error, velocity_error

FAILURE_DISTANCE = 0.5  # m, mean over bodies: a clip fails if it is ever exceeded (Luo et al. 2023)
_CHUNK = 30  # control steps per compiled call


class ClipScore(NamedTuple):
    """How one clip was followed; the errors are means over the frames up to the failure, if there was one."""

    success: bool
    frames: int  # control steps followed before failing, or to the end
    mpjpe: float  # mm, global
    mpjpe_root: float  # mm, relative to the root
    velocity: float  # mm/frame
    acceleration: float  # mm/frame²
    diverged: bool  # the simulation produced a value that is not finite


def play(
    policy: Policy,
    params: dict,
    normalizer: Normalizer,
    env: Environment,
    clips: jax.Array,
    steps: int,
    frames: jax.Array | None = None,
    keep: Callable[[Transition], Any] = lambda transition: transition,
    advance: Callable[[int], None] = lambda steps: None,
) -> Any:
    """Follow clips (N,) with the mean action for a number of control steps.

    frames (N,) are the starts, the first frame by default. keep picks what is returned of each transition; its
    leaves come back in NumPy as (steps, N, ...). An environment that ends early restarts and what follows is no
    longer the clip's: callers cut each sequence to its length. advance is told of every chunk of steps done.
    """
    frames = jnp.zeros_like(clips) if frames is None else frames
    state, observation = env.start(clips, frames, jax.random.PRNGKey(0))

    @jax.jit
    def run(params: dict, normalizer: Normalizer, carry: tuple) -> tuple:
        def step(carry: tuple, _: None) -> tuple:
            state, observation = carry
            result = env.step(state, policy.mean(params, normalize(normalizer, observation)))
            return (result.state, result.observation), keep(result.transition)

        return jax.lax.scan(step, carry, None, length=_CHUNK)

    kept, carry = [], (state, observation)
    for done in range(0, steps, _CHUNK):
        carry, chunk = run(params, normalizer, carry)
        kept.append(jax.tree.map(np.asarray, chunk))
        advance(min(_CHUNK, steps - done))
    return jax.tree.map(lambda *xs: np.concatenate(xs)[:steps], *kept)


def evaluate(
    policy: Policy, params: dict, normalizer: Normalizer, env: Environment, lengths: np.ndarray
) -> list[ClipScore]:
    """Score of every clip, clip i in environment i; lengths (N,) in frames. env must not end episodes on its own."""
    steps = int(np.max(lengths)) - 1
    kept = play(
        policy,
        params,
        normalizer,
        env,
        jnp.arange(len(lengths)),
        steps,
        keep=lambda transition: (transition.position, transition.reference),
    )
    position, reference = kept
    return [score(position[: n - 1, i], reference[: n - 1, i]) for i, n in enumerate(lengths)]


def score(position: np.ndarray, reference: np.ndarray) -> ClipScore:
    """Judge one sequence from joint positions (T, 24, 3), m, simulated and wanted, at the same frames."""
    finite = np.isfinite(position).all(axis=(1, 2))
    gap = np.linalg.norm(position - reference, axis=-1).mean(axis=-1)
    failed = ~finite | (np.where(finite, gap, np.inf) > FAILURE_DISTANCE)
    frames = int(np.argmax(failed)) if failed.any() else len(position)
    a, b = position[: max(frames, 1)], reference[: max(frames, 1)]
    errors = (f(a, b) * 1e3 for f in (joint_position_error, root_relative_error, velocity_error, acceleration_error))
    return ClipScore(not failed.any(), frames, *errors, diverged=not finite.all())
