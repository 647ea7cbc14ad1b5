"""Search for a way through a clip that the policy alone does not find (after Liu et al. 2010).

Many humanoids follow one clip side by side, each with its own random departures from what the policy does; those that
have stayed closest to the clip are copied over the others, and so on to its end. Where all are lost, the search goes
back a while and tries more boldly. What the best humanoid was told to do is the plan: told again, it does it again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.closeness import apart
from envs.guide import Guide
from envs.imitation import ImitationEnv
from envs.physics import PhysicsState
from envs.reference import Bodies, body_state
from imdy_jax.imitation.environment import Transition
from imdy_jax.imitation.policy import Trained

_EFFORT = 0.02  # cost of the mean square departure, in units of the action
_RESTING = 0.3  # m/s, mean over bodies
_PAD = 64  # control steps: plans are replayed in multiples of it, so that few lengths compile


@dataclass(frozen=True)
class PlanConfig:
    """Settings of the search."""

    particles: int = 512  # humanoids that search together
    window: int = 3  # control steps from one choice of survivors to the next
    spread: float = 0.25  # standard deviation of a departure, in units of the action
    boldness: float = 0.2  # share by which the spread grows with each time that the search goes back
    persistence: float = 0.7  # of a survivor's departure into the next window
    memory: float = 0.7  # of the distance so far, from window to window
    survivors: float = 0.3  # share of the humanoids that is copied over all of them
    lost: float = 0.45  # m, mean over bodies: beyond it the search goes back
    back: int = 8  # windows to go back; twice as many each time that this led no further
    attempts: int = 6  # times that it goes back before it gives up
    beyond: int = 5  # windows after the end of a clip that ends at rest, so that it does not end in a fall


class Plan(NamedTuple):
    """What leads one humanoid through a clip in T control steps."""

    departure: np.ndarray  # (T, A) from the policy's action
    target: np.ndarray  # (T, 23, 4) what it comes to


class _Search(NamedTuple):
    """Where the N humanoids stand at the beginning of a window."""

    physics: PhysicsState
    departure: jax.Array  # (N, A)
    score: jax.Array  # (N,)


class _Window(NamedTuple):
    """What the humanoids were told in a window of K steps, how far off it led, and from whom the next ones descend."""

    departure: np.ndarray  # (K, N, A)
    target: np.ndarray  # (K, N, 23, 4)
    gap: np.ndarray  # (K, N) m
    origin: np.ndarray  # (N,) the best first


class Planner:
    """The search, compiled, for an env (envs.world.playing_env) whose humanoids are all the same subject."""

    def __init__(self, env: ImitationEnv, config: PlanConfig, trained: Trained):
        self._env, self._config = env, config
        self._advance = jax.jit(partial(_advance, env, config, trained))

    def plan(self, clip: int, seed: int, guide: Guide | None = None, spread: float = 1.0) -> Plan | None:
        """What leads through row clip, of T frames, from its first; None if nothing is found.

        guide: a way that is known already, by the clip's frames; the search is for a better one beside it. spread: of
        the departures, in units of the config's.

        It has T − 1 steps, or a few more: the clip's last frame is held where a window goes beyond it, and for a
        while where the clip ends at rest.
        """
        config, env = self._config, self._env
        steps, everyone = int(env.table.length[clip]) - 1, jnp.full(env.num_envs, clip)
        start, _ = env.start(everyone, jnp.zeros_like(everyone), jax.random.PRNGKey(0))
        stops = [_Search(start.physics, jnp.zeros((env.num_envs, env.action_size)), jnp.zeros(env.num_envs))]
        windows: list[_Window] = []
        last = np.asarray(env.table.bodies.linear[env.table.start[clip] + steps])
        beyond = config.beyond if np.linalg.norm(last, axis=-1).mean() < _RESTING else 0
        tries, back, furthest = 0, config.back, 0
        key = jax.random.PRNGKey(seed)
        while (len(windows) - beyond) * config.window < steps:
            key, draw = jax.random.split(key)
            bold = spread * config.spread * (1.0 + config.boldness * tries)
            following, window = self._advance(guide, stops[-1], clip, len(windows) * config.window, bold, draw)
            stops.append(following)
            windows.append(jax.tree.map(np.asarray, window))
            if np.max(windows[-1].gap[:, windows[-1].origin[0]]) <= config.lost:
                continue
            if tries == config.attempts:
                return None
            back = config.back if len(windows) > furthest else 2 * back
            tries, furthest = tries + 1, max(furthest, len(windows))
            kept = max(len(windows) - back, 0)
            stops, windows = stops[: kept + 1], windows[:kept]
        return _trace(windows)


def make_replay(env: ImitationEnv) -> Callable[[int, np.ndarray], Transition]:
    """What happens to the one humanoid of env when it is told targets (T, 23, 4) from row clip's first frame on.

    The leaves of what the function returns are in NumPy, (T, ...).
    """

    def step(clip: jax.Array, carry: tuple, target: jax.Array) -> tuple[tuple, Transition]:
        before, frame = carry
        after, substeps = env.physics.step(before, target)
        bodies = jax.vmap(body_state)(env.physics.humanoid, after.q, after.v)
        wanted = env.table.bodies.position[env.table.row(clip, frame)]
        told = Transition(before.q, before.v, target, substeps, after.q, after.v, bodies.position, wanted)
        return (after, frame + 1), told

    @jax.jit
    def play(clip: jax.Array, target: jax.Array) -> Transition:
        start, _ = env.start(clip, jnp.zeros_like(clip), jax.random.PRNGKey(0))
        return jax.lax.scan(partial(step, clip), (start.physics, jnp.ones_like(clip)), target)[1]

    def replay(clip: int, target: np.ndarray) -> Transition:
        steps = len(target)
        padded = np.pad(target, ((0, -steps % _PAD), (0, 0), (0, 0)), mode="edge")[:, None]
        return jax.tree.map(lambda x: np.asarray(x)[:steps, 0], play(jnp.full(1, clip), padded))

    return replay


def _advance(
    env: ImitationEnv, config: PlanConfig, trained: Trained, guide: Guide | None, search: _Search, clip: Any,
    frame: Any, spread: Any, key: jax.Array,
) -> tuple[_Search, _Window]:  # fmt: skip
    """One window, and who survives it."""
    draw, choose = jax.random.split(key)
    noise = jax.random.normal(draw, search.departure.shape).at[0].set(0.0)  # the best one also goes on as it was
    departure = config.persistence * search.departure + spread * noise
    clips, humanoid = jnp.full(env.num_envs, clip), env.physics.humanoid

    def step(carry: tuple[PhysicsState, Bodies], ahead: jax.Array) -> tuple[tuple, tuple]:
        physics, bodies = carry
        frames = jnp.full(env.num_envs, frame + ahead)
        share = (ahead + 1) / config.window  # from the last window's departure to this one's without a jerk
        departs = (1.0 - share) * search.departure + share * departure
        if guide is not None:
            departs = departs + guide.advise(jnp.minimum(frames, len(guide.q) - 1), physics.q, physics.v)
        target = departing(env, trained, physics, bodies, clips, frames, departs)
        physics, _ = env.physics.step(physics, target)
        bodies = jax.vmap(body_state)(humanoid, physics.q, physics.v)
        return (physics, bodies), (departs, target, *apart(env, bodies, clips, frames + 1))

    start = search.physics, jax.vmap(body_state)(humanoid, search.physics.q, search.physics.v)
    (physics, _), (departs, target, gap, distance) = jax.lax.scan(step, start, jnp.arange(config.window))
    score = config.memory * search.score + jnp.mean(distance, axis=0) + _EFFORT * jnp.mean(departure**2, axis=-1)
    score = jnp.where(jnp.isfinite(score), score, jnp.inf)  # who diverged does not survive
    best = jnp.argsort(score)[: max(int(config.survivors * env.num_envs), 1)]
    origin = best[jax.random.randint(choose, score.shape, 0, len(best))].at[0].set(best[0])
    survived = jax.tree.map(lambda x: x[origin], _Search(physics, departure, score))
    return survived, _Window(departs, target, gap, origin)


def departing(
    env: ImitationEnv, trained: Trained, physics: PhysicsState, bodies: Bodies, clips: jax.Array, frames: jax.Array,
    departure: jax.Array,
) -> jax.Array:  # fmt: skip
    """PD targets (N, 23, 4) of the policy's action at frames of clips and a departure (N, A) from it."""
    action = trained.act(env.tracker.observe(bodies, clips, frames)) + departure
    return env.tracker.target(physics, clips, frames + 1, action)


def _trace(windows: list[_Window]) -> Plan:
    """What the best humanoid of the last window, and those whom it descends from, did and were told."""
    who, told = windows[-1].origin[0], []
    for k, window in reversed(list(enumerate(windows))):
        told.append(Plan(window.departure[:, who], window.target[:, who]))
        who = windows[k - 1].origin[who] if k else who
    return jax.tree.map(lambda *parts: np.concatenate(parts), *told[::-1])
