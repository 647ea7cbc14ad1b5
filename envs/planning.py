"""Plans: ways through a clip that the simulated body can go, found by sampling (after Liu et al. 2010).

Many humanoids follow one clip side by side, each with its own random turn of the joint targets for a few frames; those
that have stayed closest to the recording are copied over the others, and so on to the end of the clip. Where all of
them are lost, the search goes back and tries anew. What the best one did is the plan: a recording of what is possible,
with the reference's intent, from which a policy learns where following the reference itself would only end in a fall.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.imitation import ImitationEnv
from envs.physics import PhysicsState
from envs.reference import Bodies, body_state
from imdy_jax import rotation
from imdy_jax.humanoid import Humanoid
from imdy_jax.imitation.policy import Trained

_FALL_TIME = 0.32  # s: √(height / gravity) of an inverted pendulum as high as the centre of mass


@dataclass(frozen=True)
class PlanConfig:
    """Settings of the search."""

    particles: int = 512  # humanoids that search together
    window: int = 3  # control steps for which a deviation is held
    spread: float = 0.25  # standard deviation of what is tried, in units of the action
    persistence: float = 0.7  # of a survivor's deviation into the next window
    memory: float = 0.7  # share of the cost so far that still counts after the next window
    survivors: float = 0.3  # share of the humanoids that is copied over the others
    lost: float = 0.4  # m: mean body distance at which the search goes back
    back: int = 8  # windows to go back, twice as many at each further failure
    attempts: int = 6  # times that the search goes back before it gives up


class Plan(NamedTuple):
    """One humanoid's way through a clip of T frames, beginning in the clip's first."""

    q: np.ndarray  # (T, 99)
    v: np.ndarray  # (T, 75)
    target: np.ndarray  # (T, 23, 4) PD target that led to the frame; the first is never used
    gap: np.ndarray  # (T,) m, mean distance of the bodies from the recording


class _Search(NamedTuple):
    """Where the particles stand at the beginning of a window."""

    physics: PhysicsState
    deviation: jax.Array  # (N, A)
    score: jax.Array  # (N,)


class _Window(NamedTuple):
    """What the particles did in one window, and from whom each of the next window comes."""

    q: np.ndarray  # (K, N, 99)
    v: np.ndarray
    target: np.ndarray
    gap: np.ndarray  # (K, N)
    origin: np.ndarray  # (N,) best first


class Planner:
    """The compiled search, for the subject whom all environments of env simulate."""

    def __init__(self, env: ImitationEnv, config: PlanConfig):
        self.env, self.config = env, config
        self._window = jax.jit(partial(_advance, env, config))

    def plan(self, clip: int, trained: Trained | None, seed: int) -> Plan | None:
        """A way through row clip of the table, trying what the policy does and variations of it; None if all fail."""
        config, env = self.config, self.env
        length, everywhere = int(env.table.length[clip]), jnp.full(env.num_envs, clip)
        state, _ = env.start(everywhere, jnp.zeros_like(everywhere), jax.random.PRNGKey(0))
        blank = jnp.zeros((env.num_envs, env.action_size)), jnp.zeros(env.num_envs)
        stops, done, tries, furthest = [_Search(state.physics, *blank)], [], 0, 0
        key = jax.random.PRNGKey(seed)
        while len(done) * config.window < length - 1:
            key, draw = jax.random.split(key)
            following, window = self._window(trained, stops[-1], clip, len(done) * config.window, draw)
            stops.append(following)
            done.append(jax.tree.map(np.asarray, window))
            if done[-1].gap[:, done[-1].origin[0]].max() > config.lost:
                if tries == config.attempts:
                    return None
                back = config.back * 2 ** (tries if len(done) <= furthest + config.back else 0)
                furthest = max(furthest, len(done))
                tries += 1
                keep = max(len(done) - back, 0)
                stops, done = stops[: keep + 1], done[:keep]
        return _trace(done, np.asarray(env.table.q[env.table.start[clip]]), np.asarray(state.physics.v[0]), length)


def _advance(
    env: ImitationEnv, config: PlanConfig, trained: Trained | None, search: _Search, clip: Any, frame: Any,
    key: jax.Array,
) -> tuple[_Search, _Window]:  # fmt: skip
    fresh, choose = jax.random.split(key)
    noise = jax.random.normal(fresh, search.deviation.shape)
    # The first one goes on as it did, undisturbed.
    deviation = config.persistence * search.deviation + config.spread * noise.at[0].set(0.0)
    clips = jnp.full(env.num_envs, clip)

    def step(physics: PhysicsState, ahead: jax.Array) -> tuple[PhysicsState, tuple]:
        frames = jnp.full(env.num_envs, frame + ahead)
        share = (ahead + 1) / config.window  # targets move steadily, without a jerk from window to window
        action = (1.0 - share) * search.deviation + share * deviation
        if trained is not None:
            bodies = jax.vmap(body_state)(env.physics.humanoid, physics.q, physics.v)
            action = action + trained.act(env.observe(bodies, clips, frames))
        target = env.target(physics, clips, frames + 1, action)
        physics, _ = env.physics.step(physics, target)
        bodies = jax.vmap(body_state)(env.physics.humanoid, physics.q, physics.v)
        recorded = jax.tree.map(lambda x: x[env.table.row(clips, frames + 1)], env.table.bodies)
        gap = jnp.mean(jnp.linalg.norm(bodies.position - recorded.position, axis=-1), axis=-1)
        return physics, (physics.q, physics.v, target, gap, jax.vmap(_distance)(env.physics.humanoid, bodies, recorded))

    physics, (q, v, target, gap, cost) = jax.lax.scan(step, search.physics, jnp.arange(config.window))
    effort = 0.02 * jnp.mean(deviation**2, axis=-1)
    score = config.memory * search.score + jnp.mean(cost, axis=0) + effort
    score = jnp.where(jnp.isfinite(score), score, jnp.inf)  # a simulation that diverged survives nothing
    best = jnp.argsort(score)[: max(int(config.survivors * env.num_envs), 1)]
    origin = best[jax.random.randint(choose, (env.num_envs,), 0, len(best))].at[0].set(best[0])
    survived = jax.tree.map(lambda x: x[origin], _Search(physics, deviation, score))
    return survived, _Window(q, v, target, gap, origin)


def _distance(humanoid: Humanoid, bodies: Bodies, recorded: Bodies) -> jax.Array:
    """How far one humanoid is from the recording: places, turns of all bodies and of the trunk, speed of the whole."""
    square = lambda x: jnp.mean(jnp.sum(x * x, axis=-1))  # noqa: E731
    turn = rotation.between(bodies.rotation, recorded.rotation)
    share = humanoid.mass / humanoid.total_mass
    # Where the centre of mass is going (Hof 2008): what decides whether the feet can still catch it.
    ahead = share @ (bodies.position - recorded.position + _FALL_TIME * (bodies.linear - recorded.linear))
    place = square(bodies.position - recorded.position)
    return 100.0 * place + 3.0 * square(turn) + 5.0 * jnp.sum(turn[0] ** 2) + 50.0 * jnp.sum(ahead**2)


def _trace(done: list[_Window], q: np.ndarray, v: np.ndarray, length: int) -> Plan:
    """The way of the best humanoid of the last window, told from its beginning."""
    who, parts = done[-1].origin[0], []
    for k in range(len(done) - 1, -1, -1):
        parts.append([x[:, who] for x in done[k][:4]])
        if k:
            who = done[k - 1].origin[who]
    first = q, v, np.tile([1.0, 0.0, 0.0, 0.0], (23, 1)), 0.0
    steps = zip(first, *parts[::-1], strict=True)
    return Plan(*(np.concatenate([np.asarray(start)[None], *rest])[:length] for start, *rest in steps))

