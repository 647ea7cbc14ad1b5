"""The imitation task: reset and step of N humanoids, each following a clip. Orchestration only."""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from envs.episodes import TaskState, under_way
from envs.falls import lay, make_falls
from envs.feedforward import BalanceGains, balancing_torque
from envs.guide import Guide
from envs.observation import observation_size, observe
from envs.physics import Physics, PhysicsState, Substeps
from envs.pushes import Push, PushConfig, no_push, push_on
from envs.recovery import Recovery, RecoveryConfig, judge, recovering, tell, waiting
from envs.reference import Bodies, ReferenceTable, body_state
from envs.reward import RewardScales, RewardWeights, energy_term, imitation_terms, recovery_term, total
from envs.starts import StartConfig, Tally, blank_tally, count, draw_starts, start_weights
from envs.style import STYLE_SIZE, at_rest, flat, moved_on, style_features
from envs.termination import diverged, strayed
from imdy_jax import rotation
from imdy_jax.imitation.environment import StepResult, Transition
from imdy_jax.skeleton import GROUPS, NUM_JOINTS

Tree = TypeVar("Tree")
ACTION_SIZE = 3 * NUM_JOINTS
_HARVEST, _FALL, _PUSH = 11, 12, 13  # what is folded into a step's key, beyond what drawing starts splits off it
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
    recovery: RecoveryConfig = RecoveryConfig()
    push: PushConfig = PushConfig()
    weights: RewardWeights = RewardWeights()
    scales: RewardScales = RewardScales()

    def __post_init__(self) -> None:
        if self.recovery.on and not self.recovery.near < self.stray_limit:
            raise ValueError(
                f"recovery.near is {self.recovery.near} m with stray_limit {self.stray_limit} m, expected less: who "
                "has just recovered must not have strayed"
            )


class _Start(NamedTuple):
    """How N episodes begin."""

    q: jax.Array
    v: jax.Array
    bodies: Bodies
    history: jax.Array | None
    recovery: Recovery | None


class ImitationEnv:
    """Environment (imdy_jax.imitation.environment) over any Physics.

    clip_choices (N, K): the clips of each env. guide: what the action is added to, where a way is known.
    Where episodes may begin fallen, everyone falls once before the first of them: raises ValueError where a body does
    not come to rest.
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
        asked = config.recovery
        self._falls = make_falls(physics, asked.seed, asked.falls) if asked.share else None

    def reset(self, key: jax.Array) -> tuple[TaskState, jax.Array]:
        """Random clips and random frames of them, a share of the humanoids fallen beside them."""
        key, draw = jax.random.split(key)
        clip, frame = self._draw_starts(draw, self._blank)
        return self._started(clip, frame, key, draw, self.config.recovery.share)

    def start(self, clip: jax.Array, frame: jax.Array, key: jax.Array) -> tuple[TaskState, jax.Array]:
        """Every humanoid in the pose and motion of its reference: clip (N,), frame (N,)."""
        return self._started(clip, frame, key, key, 0.0)

    def start_fallen(self, clip: jax.Array, frame: jax.Array, key: jax.Array) -> tuple[TaskState, jax.Array]:
        """Every humanoid fallen beside its reference at frame (N,) of clip (N,), where that waits for it.

        Raises ValueError where no episode begins fallen.
        """
        if self._falls is None:
            raise ValueError(
                f"recovery.share is {self.config.recovery.share}, expected more than 0: nobody has fallen yet; set it"
            )
        key, draw = jax.random.split(key)
        return self._started(clip, frame, key, draw, 1.0)

    def restart(
        self, state: TaskState, observation: jax.Array, fresh: jax.Array, clip: jax.Array, frame: jax.Array
    ) -> tuple[TaskState, jax.Array]:
        """The humanoids marked in fresh (N,) bool start as in `start`, the others go on."""
        started, seen = self.start(clip, frame, state.key)
        apart = partial(replace, tally=None, key=None)  # those are of all humanoids together
        chosen = _select(fresh, apart(started), apart(state))
        return replace(chosen, tally=state.tally, key=state.key), _select(fresh, seen, observation)

    def step(self, state: TaskState, action: jax.Array, push: jax.Array | None = None) -> StepResult:
        """One control step towards the reference's next frame, the chest pushed by (N, 3) N, world axes.

        Finished episodes restart elsewhere, but for those that a harvest makes recover where they have failed.
        """
        config, clip, recovery, before = self.config, state.clip, state.recovery, state.physics
        frame = state.frame + (1 if recovery is None else ~recovery.active)
        key, draw = jax.random.split(state.key)
        push, pushing = self._push(state.push, push, draw)
        target = self.target(before, clip, frame, action, recovery)
        after, substeps = self.physics.step(before, target, push)

        broken = jax.vmap(diverged)(after.q, after.v)
        bodies = jax.vmap(body_state)(self.physics.humanoid, after.q, after.v)
        reference = self._reference(self.table.row(clip, frame))
        gap = jnp.mean(jnp.linalg.norm(bodies.position - reference.position, axis=-1), axis=-1)
        terms = self._terms(bodies, reference, substeps, gap, recovery)
        reward = total(terms, config.weights)
        off = jax.vmap(strayed, in_axes=(0, 0, None))(bodies.position, reference.position, config.stray_limit)
        failed, over, going = judge(recovery, off, frame >= self.table.length[clip] - 1, gap, config.recovery)
        terminated = failed | broken
        truncated = ~terminated & over
        history = moved_on(state.history, bodies)
        told = {"body_error": gap, "diverged": broken, "clipped": jnp.mean(substeps.clipped, axis=(1, 2))}
        told |= tell(recovery, going)
        counted = 1.0 if recovery is None else jnp.where(recovery.active, 0.0, 1.0)
        lost = terminated if recovery is None else terminated & ~recovery.active
        tally = count(state.tally, clip, frame, lost, config.starts.memory, counted)
        reached = under_way(after, clip, frame, history, tally, key, going, pushing)
        following, observation = self._go_on(reached, bodies, failed & ~broken & ~over, terminated | truncated, draw)
        return StepResult(
            state=following,
            observation=observation,
            # A diverged state has no usable reward or observation; it is counted in `diverged` and ends the episode.
            final_observation=jnp.where(broken[:, None], 0.0, self.observe(bodies, clip, frame, going)),
            reward=jnp.where(broken, 0.0, reward),
            terms=terms | told,
            style=flat(history, broken),
            terminated=terminated,
            truncated=truncated,
            transition=Transition(
                before.q, before.v, target, substeps, after.q, after.v, bodies.position, reference.position
            ),
        )

    def _go_on(
        self, reached: TaskState, bodies: Bodies, fallen: jax.Array, done: jax.Array, draw: jax.Array
    ) -> tuple[TaskState, jax.Array]:
        """Those who are done (N,) bool start elsewhere, or of the fallen (N,) bool some recover where they are."""
        config, going = self.config.recovery, reached.recovery
        if going is not None:
            harvested = fallen & (jax.random.uniform(jax.random.fold_in(draw, _HARVEST), done.shape) < config.harvest)
            going = _select(harvested, recovering(harvested, going.gap, config), going)
            done = done & ~harvested
        clip, frame = self._draw_starts(draw, reached.tally)
        clip, frame = jnp.where(done, clip, reached.clip), jnp.where(done, frame, reached.frame)
        start = self._begin(clip, frame, draw, config.share)
        dtype = reached.physics.q.dtype
        physics = _select(done, self.physics.reset(start.q.astype(dtype), start.v.astype(dtype)), reached.physics)
        recovery = _select(done, start.recovery, going)
        observation = self.observe(_select(done, start.bodies, bodies), clip, frame, recovery)
        history = _select(done, start.history, reached.history)
        push = _select(done, self._no_push(), reached.push)
        following = under_way(physics, clip, frame, history, reached.tally, reached.key, recovery, push)
        return following, observation

    def _started(
        self, clip: jax.Array, frame: jax.Array, key: jax.Array, draw: jax.Array, share: float
    ) -> tuple[TaskState, jax.Array]:
        start = self._begin(clip, frame, draw, share)
        physics = self.physics.reset(start.q, start.v)
        observation = self.observe(start.bodies, clip, frame, start.recovery)
        push = self._no_push()
        return under_way(physics, clip, frame, start.history, self._blank, key, start.recovery, push), observation

    def _begin(self, clip: jax.Array, frame: jax.Array, draw: jax.Array, share: float) -> _Start:
        """Episodes at frame (N,) of clip (N,): on the reference, but a share of them fallen beside it."""
        config, row = self.config.recovery, self.table.row(clip, frame)
        reference, upright = self._reference(row), None
        if config.on:
            upright = recovering(jnp.zeros(len(row), bool), jnp.zeros(len(row), self.table.q.dtype), config)
        start = _Start(self.table.q[row], self.table.v[row], reference, self._recorded(clip, frame), upright)
        if self._falls is None or not share:
            return start
        for_lot, for_fall = jax.random.split(jax.random.fold_in(draw, _FALL))
        q, v = lay(self._falls, for_fall, start.q[:, :2], config.away)
        bodies = jax.vmap(body_state)(self.physics.humanoid, q, v)
        gap = jnp.mean(jnp.linalg.norm(bodies.position - reference.position, axis=-1), axis=-1)
        lies = recovering(jnp.ones(len(row), bool), gap, config)
        fallen = _Start(q, v, bodies, at_rest(start.history, bodies), lies)
        return _select(jax.random.uniform(for_lot, row.shape) < share, fallen, start)

    def _push(self, pushing: Push | None, push: jax.Array | None, draw: jax.Array) -> tuple:
        """Force (N, 3) of this step, which pushes that are under way add to, or None; and what is left of those."""
        if pushing is None:
            return push, None
        force, pushing = push_on(self.config.push, pushing, jax.random.fold_in(draw, _PUSH))
        return force if push is None else force + push, pushing

    def _no_push(self) -> Push | None:
        return no_push(self.num_envs) if self.config.push.probability else None

    def _terms(
        self, bodies: Bodies, reference: Bodies, substeps: Substeps, gap: jax.Array, recovery: Recovery | None
    ) -> dict[str, jax.Array]:
        """Named parts of the reward (N,): of imitating or of recovering, and of energy."""
        terms = jax.vmap(partial(imitation_terms, scales=self.config.scales))(bodies, reference)
        if recovery is not None:
            seconds = self.physics.timestep * self.physics.substeps
            rises = jax.vmap(partial(recovery_term, seconds=seconds))(bodies, reference, gap, recovery.gap)
            terms = {name: jnp.where(recovery.active, 0.0, x) for name, x in terms.items()}
            terms["recovery"] = jnp.where(recovery.active, rises, 0.0)
        terms["energy"] = jax.vmap(energy_term)(substeps.torque, _joint_velocity(substeps.v))
        return terms

    def demonstrate(self, key: jax.Array, count: int) -> jax.Array:
        """What style is judged by (count, K · 196), at random moments of the reference."""
        row = jax.random.randint(key, (count,), 0, len(self.table.q))
        clip = jnp.searchsorted(self.table.start, row, side="right") - 1
        return flat(self._recorded(clip, row - self.table.start[clip]), jnp.zeros(count, bool))

    def _recorded(self, clip: jax.Array, frame: jax.Array) -> jax.Array | None:
        """The reference's history (N, K, 196) up to frame (N,) of clip (N,); before its start a clip stands still."""
        if self._style is None:
            return None
        back = jnp.arange(1 - self.config.style_steps, 1)
        return self._style[self.table.row(clip[:, None], frame[:, None] + back[None])]

    def target(
        self, state: PhysicsState, clip: jax.Array, frame: jax.Array, action: jax.Array,
        recovery: Recovery | None = None,
    ) -> jax.Array:  # fmt: skip
        """PD target (N, 23, 4) for action (N, 69): reference ∘ exp(feed-forward / kp) ∘ exp(scale · action).

        Where there is a guide, its action is added. Who recovers has neither feed-forward nor guide.
        """
        config, humanoid, q = self.config, self.physics.humanoid, state.q
        row, guided = self.table.row(clip, frame), action
        if self.guide is not None:
            guided = action + self.guide.advise(self.table.row(clip, frame - 1), q, state.v)
        offset = guided.reshape(-1, NUM_JOINTS, 3).astype(q.dtype)
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
        if recovery is None:
            return turn
        return _select(recovery.active, self._rising(row, action.astype(q.dtype)), turn)

    def _rising(self, row: jax.Array, action: jax.Array) -> jax.Array:
        """PD target (N, 23, 4) of who recovers: action turns the pose that waits, and far enough to fold and push up.

        Without feed-forward and reference velocity, which are for who is on the reference.
        """
        config, offset = self.config, action.reshape(-1, NUM_JOINTS, 3)
        if not config.relative_target:
            return rotation.exp(config.absolute_action_scale * offset)
        pose = self.table.q[row][:, 7:].reshape(-1, NUM_JOINTS, 4).astype(action.dtype)
        return rotation.multiply(pose, rotation.exp(config.recovery.action_scale * offset))

    def _feedforward(self, state: PhysicsState, row: jax.Array) -> jax.Array:
        if not self.config.balance:
            return self.table.feedforward[row]
        wanted = (self.table.q[row], self.table.v[row], self.table.a[row])
        balance = jax.vmap(partial(balancing_torque, gains=self.config.gains))
        return balance(self.physics.humanoid, state.q, state.v, *wanted)

    def _reference(self, row: jax.Array) -> Bodies:
        return jax.tree.map(lambda x: x[row], self.table.bodies)

    def observe(self, bodies: Bodies, clip: jax.Array, frame: jax.Array, recovery: Recovery | None = None) -> jax.Array:
        """Observation (N, O) of humanoids whose bodies (N, ...) are at frame (N,) of clip (N,)."""
        ahead = self._reference(self.table.row(clip, frame + 1))
        further = 1 + jnp.asarray(self.config.ahead, jnp.int32)
        later = self.table.bodies.position[self.table.row(clip[:, None], frame[:, None] + further)]
        if recovery is not None:
            rest = partial(waiting, moments=len(further), sight=self.config.recovery.sight)
            waits = jax.vmap(rest)(bodies, self._reference(self.table.row(clip, frame)))
            ahead, later = _select(recovery.active, waits, (ahead, later))
        return jax.vmap(observe)(bodies, ahead, self.physics.humanoid.betas, later).astype(jnp.float32)

    def _draw_starts(self, key: jax.Array, tally: Tally) -> tuple[jax.Array, jax.Array]:
        weights = start_weights(tally, self.table.length, self.config.starts.floor)
        clip, frame = draw_starts(key, weights, self.clip_choices)
        latest = jnp.maximum(self.table.length[clip] - 2, 0)  # leaves a step to go
        return clip, jnp.minimum(frame, latest)


def _joint_velocity(v: jax.Array) -> jax.Array:
    """Joint part of v (..., 75) as (..., 23, 3), rad/s, child axes."""
    return v[..., 6:].reshape(*v.shape[:-1], NUM_JOINTS, 3)


def _select(where: jax.Array, yes: Tree, no: Tree) -> Tree:
    """Leaf-wise choice along the environment axis."""
    pick = lambda a, b: jnp.where(where.reshape(-1, *([1] * (a.ndim - 1))), a, b)  # noqa: E731
    return jax.tree.map(pick, yes, no)
