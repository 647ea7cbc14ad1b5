"""The imitation task: reset and step of N humanoids, each following a clip. Orchestration only."""

from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.feedforward import BalanceGains, balancing_torque
from envs.guide import Guide
from envs.observation import observation_size, observe
from envs.physics import Physics, PhysicsState
from envs.reference import Bodies, ReferenceTable, body_state
from envs.reward import RewardScales, RewardWeights, energy_term, imitation_terms, total
from envs.starts import StartConfig, Tally, blank_tally, count, draw_starts, start_weights
from envs.style import STYLE_SIZE, style_features
from envs.termination import diverged, strayed
from imdy_jax import rotation
from imdy_jax.imitation.environment import StepResult, Transition
from imdy_jax.skeleton import GROUPS, NUM_JOINTS

Tree = TypeVar("Tree", PhysicsState, Bodies, jax.Array, jax.Array | None)
ACTION_SIZE = 3 * NUM_JOINTS
# How far an action turns a joint, against a leg joint: balance is made with legs and trunk, and what the policy tries
# out in the hands only blurs what it learns about the legs.
_REACH = np.array([{"leg": 1.0, "toe": 0.5, "spine": 1.0, "arm": 0.5, "hand": 0.25}[g] for g in GROUPS[1:]])[:, None]


@dataclass(frozen=True)
class TaskConfig:
    """The imitation task. All three of the controller's aids off is the plain PD control of the paper."""

    relative_target: bool = True  # the action turns the reference pose; off: it turns the rest pose
    reference_velocity: bool = True  # the damper acts on the velocity error; off: on the velocity
    feedforward: bool = True  # the reference's inverse-dynamics torque is added to the target
    balance: bool = True  # the feed-forward is computed at the state reached and corrects the root; off: precomputed
    gains: BalanceGains = BalanceGains()
    action_scale: float = 0.4  # rad of target rotation per unit of action, relative target
    absolute_action_scale: float = 3.0  # the same without it: the action has to span the joint's whole range
    stray_limit: float = 0.25  # m: training episodes end beyond it
    ahead: tuple[int, ...] = (2, 5, 9, 14)  # control steps after the next one that the policy foresees; PHC: none
    style_steps: int = 0  # control steps that style is judged by (imdy_jax.imitation.amp); 0: it is not
    starts: StartConfig = StartConfig()
    weights: RewardWeights = RewardWeights()
    scales: RewardScales = RewardScales()


@struct.dataclass
class TaskState:
    """N episodes under way."""

    physics: PhysicsState
    clip: jax.Array  # (N,) index into the reference table
    frame: jax.Array  # (N,) frame of the clip that the humanoid is at
    history: jax.Array | None  # (N, K, 196) what style is judged by, if it is
    tally: Tally  # where episodes have failed lately
    key: jax.Array


class ImitationEnv:
    """Environment (imdy_jax.imitation.environment) over any Physics.

    clip_choices (N, K): the clips of each env. guide: what the action is added to, where a way is known.
    """

    action_size = ACTION_SIZE

    def __init__(
        self, physics: Physics, table: ReferenceTable, config: TaskConfig, clip_choices: jax.Array | None = None,
        guide: Guide | None = None,
    ):  # fmt: skip
        self.physics, self.table, self.config, self.guide = physics, table, config, guide
        self.num_envs = physics.num_envs
        self.observation_size = observation_size(len(config.ahead))
        everything = jnp.broadcast_to(jnp.arange(table.num_clips), (self.num_envs, table.num_clips))
        self.clip_choices = everything if clip_choices is None else jnp.asarray(clip_choices)
        self.style_size = config.style_steps * STYLE_SIZE
        self._style = jax.vmap(style_features)(table.bodies).astype(jnp.float32) if config.style_steps else None
        self._blank = blank_tally(table, int(jnp.max(table.length)))

    def reset(self, key: jax.Array) -> tuple[TaskState, jax.Array]:
        """Random clips and random frames of them."""
        key, draw = jax.random.split(key)
        clip, frame = self._draw_starts(draw, self._blank)
        return self.start(clip, frame, key)

    def start(self, clip: jax.Array, frame: jax.Array, key: jax.Array) -> tuple[TaskState, jax.Array]:
        """Every humanoid in the pose and motion of its reference: clip (N,), frame (N,)."""
        row = self.table.row(clip, frame)
        physics = self.physics.reset(self.table.q[row], self.table.v[row])
        observation = self.observe(self._reference(row), clip, frame)
        return TaskState(physics, clip, frame, self._recorded(clip, frame), self._blank, key), observation

    def restart(
        self, state: TaskState, observation: jax.Array, fresh: jax.Array, clip: jax.Array, frame: jax.Array
    ) -> tuple[TaskState, jax.Array]:
        """The humanoids marked in fresh (N,) bool start as in `start`, the others go on."""
        started, seen = self.start(clip, frame, state.key)
        begun = _select(fresh, started.physics, state.physics)
        clip, frame = jnp.where(fresh, clip, state.clip), jnp.where(fresh, frame, state.frame)
        history = _select(fresh, started.history, state.history)
        return TaskState(begun, clip, frame, history, state.tally, state.key), _select(fresh, seen, observation)

    def step(self, state: TaskState, action: jax.Array, push: jax.Array | None = None) -> StepResult:
        """One control step towards the reference's next frame, the chest pushed by (N, 3) N, world axes.

        Finished episodes restart elsewhere.
        """
        clip, frame = state.clip, state.frame + 1
        before = state.physics
        target = self.target(before, clip, frame, action)
        after, substeps = self.physics.step(before, target, push)

        broken = jax.vmap(diverged)(after.q, after.v)
        bodies = jax.vmap(body_state)(self.physics.humanoid, after.q, after.v)
        reference = self._reference(self.table.row(clip, frame))
        terms = jax.vmap(partial(imitation_terms, scales=self.config.scales))(bodies, reference)
        terms["energy"] = jax.vmap(energy_term)(substeps.torque, _joint_velocity(substeps.v))
        reward = total(terms, self.config.weights)
        off = jax.vmap(strayed, in_axes=(0, 0, None))(bodies.position, reference.position, self.config.stray_limit)
        terminated = off | broken
        truncated = ~terminated & (frame >= self.table.length[clip] - 1)
        final_observation = self.observe(bodies, clip, frame)

        done = terminated | truncated
        tally = count(state.tally, clip, frame, terminated, self.config.starts.memory)
        key, draw = jax.random.split(state.key)
        new_clip, new_frame = self._draw_starts(draw, tally)
        next_clip, next_frame = jnp.where(done, new_clip, clip), jnp.where(done, new_frame, frame)
        row = self.table.row(next_clip, next_frame)
        fresh = self.physics.reset(self.table.q[row].astype(after.q.dtype), self.table.v[row].astype(after.q.dtype))
        physics = _select(done, fresh, after)
        observation = self.observe(_select(done, self._reference(row), bodies), next_clip, next_frame)
        history = self._moved_on(state.history, bodies)
        next_history = _select(done, self._recorded(next_clip, next_frame), history)
        gap = jnp.mean(jnp.linalg.norm(bodies.position - reference.position, axis=-1), axis=-1)
        return StepResult(
            state=TaskState(physics, next_clip, next_frame, next_history, tally, key),
            observation=observation,
            # A diverged state has no usable reward or observation; it is counted in `diverged` and ends the episode.
            final_observation=jnp.where(broken[:, None], 0.0, final_observation),
            reward=jnp.where(broken, 0.0, reward),
            terms=terms | {"body_error": gap, "diverged": broken, "clipped": jnp.mean(substeps.clipped, axis=(1, 2))},
            style=_flat(history, broken),
            terminated=terminated,
            truncated=truncated,
            transition=Transition(
                before.q, before.v, target, substeps, after.q, after.v, bodies.position, reference.position
            ),
        )

    def demonstrate(self, key: jax.Array, count: int) -> jax.Array:
        """What style is judged by (count, K · 196), at random moments of the reference."""
        row = jax.random.randint(key, (count,), 0, len(self.table.q))
        clip = jnp.searchsorted(self.table.start, row, side="right") - 1
        return _flat(self._recorded(clip, row - self.table.start[clip]), jnp.zeros(count, bool))

    def _recorded(self, clip: jax.Array, frame: jax.Array) -> jax.Array | None:
        """The reference's history (N, K, 196) up to frame (N,) of clip (N,); before its start a clip stands still."""
        if self._style is None:
            return None
        back = jnp.arange(1 - self.config.style_steps, 1)
        return self._style[self.table.row(clip[:, None], frame[:, None] + back[None])]

    def _moved_on(self, history: jax.Array | None, bodies: Bodies) -> jax.Array | None:
        if history is None:
            return None
        now = jax.vmap(style_features)(bodies).astype(history.dtype)
        return jnp.concatenate([history[:, 1:], now[:, None]], axis=1)

    def target(self, state: PhysicsState, clip: jax.Array, frame: jax.Array, action: jax.Array) -> jax.Array:
        """PD target (N, 23, 4) for action (N, 69): reference ∘ exp(feed-forward / kp) ∘ exp(scale · action).

        Where there is a guide, its action is added.
        """
        config, humanoid, q = self.config, self.physics.humanoid, state.q
        row = self.table.row(clip, frame)
        if self.guide is not None:
            action = action + self.guide.advise(self.table.row(clip, frame - 1), q, state.v)
        offset = action.reshape(-1, NUM_JOINTS, 3).astype(q.dtype)
        advance = jnp.zeros_like(offset)
        if config.reference_velocity:
            lag = humanoid.damping / humanoid.stiffness
            advance = advance + lag[..., None] * _joint_velocity(self.table.v[row])
        if config.feedforward:
            advance = advance + self._feedforward(state, row) / humanoid.stiffness[..., None]
        turn = rotation.exp(advance.astype(q.dtype))
        if config.relative_target:
            base = self.table.q[row][:, 7:].reshape(-1, NUM_JOINTS, 4).astype(q.dtype)
            turn = rotation.multiply(rotation.multiply(base, turn), rotation.exp(config.action_scale * _REACH * offset))
        else:
            turn = rotation.multiply(rotation.exp(config.absolute_action_scale * offset), turn)
        return turn

    def _feedforward(self, state: PhysicsState, row: jax.Array) -> jax.Array:
        if not self.config.balance:
            return self.table.feedforward[row]
        wanted = (self.table.q[row], self.table.v[row], self.table.a[row])
        balance = jax.vmap(partial(balancing_torque, gains=self.config.gains))
        return balance(self.physics.humanoid, state.q, state.v, *wanted)

    def _reference(self, row: jax.Array) -> Bodies:
        return jax.tree.map(lambda x: x[row], self.table.bodies)

    def observe(self, bodies: Bodies, clip: jax.Array, frame: jax.Array) -> jax.Array:
        """Observation (N, O) of humanoids whose bodies (N, ...) are at frame (N,) of clip (N,)."""
        ahead = self._reference(self.table.row(clip, frame + 1))
        further = 1 + jnp.asarray(self.config.ahead, jnp.int32)
        later = self.table.bodies.position[self.table.row(clip[:, None], frame[:, None] + further)]
        return jax.vmap(observe)(bodies, ahead, self.physics.humanoid.betas, later).astype(jnp.float32)

    def _draw_starts(self, key: jax.Array, tally: Tally) -> tuple[jax.Array, jax.Array]:
        weights = start_weights(tally, self.table.length, self.config.starts.floor)
        clip, frame = draw_starts(key, weights, self.clip_choices)
        latest = jnp.maximum(self.table.length[clip] - 2, 0)  # leaves a step to go
        return clip, jnp.minimum(frame, latest)


def _joint_velocity(v: jax.Array) -> jax.Array:
    """Joint part of v (..., 75) as (..., 23, 3), rad/s, child axes."""
    return v[..., 6:].reshape(*v.shape[:-1], NUM_JOINTS, 3)


def _flat(history: jax.Array | None, broken: jax.Array) -> jax.Array:
    """Histories (N, K, 196) as (N, K · 196), zero where the simulation is broken (N,); (N, 0) where there are none."""
    if history is None:
        return jnp.zeros((len(broken), 0))
    return jnp.where(broken[:, None], 0.0, history.reshape(len(broken), -1))


def _select(where: jax.Array, yes: Tree, no: Tree) -> Tree:
    """Leaf-wise choice along the environment axis."""
    pick = lambda a, b: jnp.where(where.reshape(-1, *([1] * (a.ndim - 1))), a, b)  # noqa: E731
    return jax.tree.map(pick, yes, no)
