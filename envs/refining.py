"""A way through a clip made closer to it and less laborious: iterative LQR (Todorov & Li 2005) in the simulator itself.

The simulation is linearised along the way by central differences, so wide that contact looks smooth. The feedback
that comes of it is followed while the way is improved, so that an improvement here does not fall over there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.closeness import apart, shortfall
from envs.guide import moved, strayed
from envs.imitation import ImitationEnv
from envs.physics import PhysicsState
from envs.planning import Plan, departing
from envs.reference import body_state
from envs.task import ACTION_SIZE
from imdy_jax.imitation.policy import Trained
from imdy_jax.skeleton import NUM_V

STATE_SIZE = 2 * NUM_V
_PROBES = 2 * (STATE_SIZE + ACTION_SIZE)  # humanoids that linearise one control step
_SHARES = (1.0, 0.5, 0.25, 0.12, 0.06, 0.0)  # of an improvement, tried side by side
_MORE_CAUTION = 8.0  # times, where hardly anything was gained
_PAD = 64  # control steps: ways are computed in multiples of it, so that few lengths compile


@dataclass(frozen=True)
class RefineConfig:
    """Settings of the refinement."""

    rounds: int = 1  # times that the simulation is linearised anew
    improvements: int = 6  # with each linearisation
    effort: float = 20.0  # cost of the mean square departure, in units of the action
    caution: float = 150.0  # the same of its change in one improvement
    pose: float = 0.1  # m, rad: half the width of the differences
    rate: float = 1.0  # m/s, rad/s
    departure: float = 0.6  # in units of the action
    feedback: float = 1.0  # bound of what the feedback adds to the action


class Way(NamedTuple):
    """T control steps through a clip; leaves (T, ...), of physics (T + 1, ...)."""

    departure: np.ndarray  # (T, A) from the policy's action
    target: np.ndarray  # (T, 23, 4)
    physics: PhysicsState
    cost: float


class Feedback(NamedTuple):
    """What the linear-quadratic model of a way recommends."""

    change: np.ndarray  # (T, A) of the departure
    answer: np.ndarray  # (T, A, 150) of the departure to straying from the way
    stake: np.ndarray  # (T, A, A) curvature of the cost to come in the departure


class Refiner:
    """The refinement, compiled, for one subject: make_env(N) is its env with N humanoids (envs.world.playing_env)."""

    def __init__(self, make_env: Callable[[int], ImitationEnv], config: RefineConfig, trained: Trained):
        self._config, self._runners = config, make_env(len(_SHARES))
        self._run = jax.jit(partial(_run, self._runners, config, trained))
        self._slopes = jax.jit(partial(_slopes, make_env(_PROBES), config, trained))
        self._expand = jax.jit(partial(_expand, self._runners))

    def refine(self, clip: int, plan: Plan, lost: float) -> tuple[Way, Feedback] | None:
        """A better way through row clip than the plan's, never further off than lost, m, and how to keep to it.

        None where the plan does not even lead there again: in a long clip the rounding of the policy's action is
        enough for that.
        """
        departure = plan.departure
        feedback = _no_feedback(departure)
        everyone = jnp.full(len(_SHARES), clip)
        start = self._runners.start(everyone, jnp.zeros_like(everyone), jax.random.PRNGKey(0))[0].physics
        along = jax.tree.map(lambda x: np.broadcast_to(x[0], (len(departure) + 1, *x.shape[1:])), start)
        way = self._best(clip, start, Way(departure, plan.target, along, np.inf), feedback, lost)
        if not np.isfinite(way.cost):
            return None
        for _ in range(self._config.rounds):
            slopes = [np.asarray(self._slopes(clip, k, *_at(way, k))) for k in range(len(departure))]
            caution, price = self._config.caution, (self._config.effort, self._config.caution)
            for _ in range(self._config.improvements):
                model = slopes, *self._expansion(clip, way), way.departure
                better = self._best(clip, start, way, _feedback(*model, self._config.effort, caution), lost)
                if better.cost > 0.99 * way.cost:
                    caution *= _MORE_CAUTION
                way = better
            feedback = _feedback(slopes, *self._expansion(clip, way), way.departure, *price)
        return way, feedback

    def _best(self, clip: int, start: PhysicsState, way: Way, feedback: Feedback, lost: float) -> Way:
        """The cheapest of the ways that shares of the change lead to; the way as it is where none is better."""
        steps = len(way.departure)
        along = jax.tree.map(lambda x: x[:-1], way.physics)
        told = self._run(clip, start, *jax.tree.map(_padded, (along, way.departure, feedback.change, feedback.answer)))
        departure, target, gap, cost, physics = jax.tree.map(lambda x: np.asarray(x)[:steps], told)
        total = np.where(np.isfinite(cost).all(axis=0) & (gap.max(axis=0) <= lost), cost.sum(axis=0), np.inf)
        best = int(np.argmin(total))
        if not total[best] < way.cost:
            return way
        physics = jax.tree.map(lambda x, s: np.concatenate([np.asarray(s)[:1], x[:, best]]), physics, start)
        return Way(departure[:, best], target[:, best], physics, float(total[best]))

    def _expansion(self, clip: int, way: Way) -> tuple[np.ndarray, np.ndarray]:
        """Curvature (T, 150, 150) and gradient (T, 150) of the cost of the states that the steps lead to."""
        steps = len(way.departure)
        states = _padded(way.physics.q[1:]), _padded(way.physics.v[1:])
        curvature, gradient = self._expand(clip, *states)
        return np.asarray(curvature, float)[:steps], np.asarray(gradient, float)[:steps]


def _run(
    env: ImitationEnv, config: RefineConfig, trained: Trained, clip: Any, start: PhysicsState, along: PhysicsState,
    departure: jax.Array, change: jax.Array, answer: jax.Array,
) -> tuple:  # fmt: skip
    """What humanoids that take different shares of a change do: departures, targets, gaps, costs, states after."""
    humanoid, clips = env.physics.humanoid, jnp.full(env.num_envs, clip)
    share = jnp.asarray(_SHARES, departure.dtype)[:, None]

    def step(physics: PhysicsState, told: tuple) -> tuple[PhysicsState, tuple]:
        k, was, departure, change, answer = told
        off = jax.vmap(partial(strayed, was.q, was.v))(physics.q, physics.v)
        answered = jnp.clip(off @ answer.T, -config.feedback, config.feedback)
        departs = departure[None] + share * change[None] + answered
        frames, bodies = jnp.full(env.num_envs, k), jax.vmap(body_state)(humanoid, physics.q, physics.v)
        target = departing(env, trained, physics, bodies, clips, frames, departs)
        physics, _ = env.physics.step(physics, target)
        gap, cost = apart(env, jax.vmap(body_state)(humanoid, physics.q, physics.v), clips, frames + 1)
        return physics, (departs, target, gap, cost + config.effort * jnp.mean(departs**2, axis=-1), physics)

    return jax.lax.scan(step, start, (jnp.arange(len(departure)), along, departure, change, answer))[1]


def _slopes(
    env: ImitationEnv, config: RefineConfig, trained: Trained, clip: Any, k: Any, was: PhysicsState,
    departure: jax.Array,
) -> jax.Array:  # fmt: skip
    """Derivatives (150, 219) of the state after control step k with respect to the state before it and departure."""
    width = np.repeat([config.pose, config.rate, config.departure], [NUM_V, NUM_V, ACTION_SIZE])
    probe = jnp.concatenate([jnp.diag(width), jnp.diag(-width)]).astype(departure.dtype)
    q, v = jax.vmap(partial(moved, was.q, was.v))(probe[:, :STATE_SIZE])
    warmstart = jnp.broadcast_to(was.warmstart, (len(probe), *was.warmstart.shape))
    physics, clips = PhysicsState(q, v, warmstart), jnp.full(len(probe), clip)
    departs = departure[None] + probe[:, STATE_SIZE:]
    bodies = jax.vmap(body_state)(env.physics.humanoid, q, v)
    target = departing(env, trained, physics, bodies, clips, jnp.full(len(probe), k), departs)
    after, _ = env.physics.step(physics, target)
    middle = len(width)
    apart = jax.vmap(strayed)(after.q[middle:], after.v[middle:], after.q[:middle], after.v[:middle])
    return (apart / (2.0 * width[:, None])).T


def _expand(env: ImitationEnv, clip: Any, q: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gauss–Newton curvature (T, 150, 150) and gradient (T, 150) of half the cost at the states after each step."""
    humanoid = jax.tree.map(lambda x: x[0], env.physics.humanoid)

    def one(k: jax.Array, q: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        wanted = jax.tree.map(lambda x: x[env.table.row(clip, k + 1)], env.table.bodies)

        def short(move: jax.Array) -> jax.Array:
            return shortfall(humanoid, body_state(humanoid, *moved(q, v, move)), wanted)

        still = jnp.zeros(STATE_SIZE, q.dtype)
        slope = jax.jacfwd(short)(still)
        return slope.T @ slope, slope.T @ short(still)

    return jax.lax.map(lambda x: one(*x), (jnp.arange(len(q)), q, v), batch_size=_PAD)


def _feedback(
    slopes: list[np.ndarray], curvature: np.ndarray, gradient: np.ndarray, departure: np.ndarray, effort: float,
    caution: float,
) -> Feedback:  # fmt: skip
    """What the linear-quadratic model of the way recommends, found backwards in time."""
    feedback = _no_feedback(departure)
    dear = (effort + caution) / ACTION_SIZE * np.eye(ACTION_SIZE)
    value, slope = np.zeros((STATE_SIZE, STATE_SIZE)), np.zeros(STATE_SIZE)
    for k in reversed(range(len(departure))):
        by_state, by_departure = np.split(slopes[k].astype(float), [STATE_SIZE], axis=1)
        value, slope = value + curvature[k], slope + gradient[k]
        ahead = value @ by_departure
        stake = dear + by_departure.T @ ahead
        right = np.column_stack([effort / ACTION_SIZE * departure[k] + by_departure.T @ slope, ahead.T @ by_state])
        solved = -np.linalg.solve(stake, right)
        feedback.change[k], feedback.answer[k], feedback.stake[k] = solved[:, 0], solved[:, 1:], stake
        slope = by_state.T @ slope + right[:, 1:].T @ solved[:, 0]
        value = by_state.T @ value @ by_state + right[:, 1:].T @ solved[:, 1:]
        value = (value + value.T) / 2
    return feedback


def _no_feedback(departure: np.ndarray) -> Feedback:
    """The departure as it is, whatever happens."""
    blank = lambda *shape: np.zeros((*departure.shape, *shape), departure.dtype)  # noqa: E731
    return Feedback(blank(), blank(STATE_SIZE), blank(ACTION_SIZE))


def _at(way: Way, k: int) -> tuple[PhysicsState, np.ndarray]:
    return jax.tree.map(lambda x: x[k], way.physics), way.departure[k]


def _padded(x: np.ndarray) -> np.ndarray:
    return np.pad(x, ((0, -len(x) % _PAD), *[(0, 0)] * (x.ndim - 1)), mode="edge")
