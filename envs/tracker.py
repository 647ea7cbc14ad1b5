"""Humanoids on their references: what they see of them, and what their joints are told."""

from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.feedforward import balancing_torque
from envs.guide import Guide
from envs.observation import observe
from envs.physics import PhysicsState
from envs.recovery import Recovery, waiting
from envs.reference import Bodies, ReferenceTable
from envs.task import TaskConfig
from imdy_jax import rotation
from imdy_jax.humanoid import Humanoid
from imdy_jax.skeleton import GROUPS, NUM_JOINTS

Tree = TypeVar("Tree")
# How far an action turns a joint, against a leg joint: balance is made with legs and trunk, and what the policy tries
# out in the hands only blurs what it learns about the legs.
_REACH = np.array([{"leg": 1.0, "toe": 0.5, "spine": 1.0, "arm": 0.5, "hand": 0.25}[g] for g in GROUPS[1:]])[:, None]


@struct.dataclass
class Tracker:
    """N humanoids and the motions that they may follow: a pytree, which a compiled program can take as an argument.

    Such a program then serves whoever they are and whatever they follow, as long as there are as many.
    """

    humanoid: Humanoid  # leaves (N, ...)
    table: ReferenceTable
    guide: Guide | None  # what the action is added to, where a way is known
    config: TaskConfig = struct.field(pytree_node=False)

    def target(
        self, state: PhysicsState, clip: jax.Array, frame: jax.Array, action: jax.Array,
        recovery: Recovery | None = None,
    ) -> jax.Array:  # fmt: skip
        """PD target (N, 23, 4) for action (N, 69): reference ∘ exp(feed-forward / kp) ∘ exp(scale · action).

        Where there is a guide, its action is added. Who recovers has neither feed-forward nor guide.
        """
        config, humanoid, q = self.config, self.humanoid, state.q
        row, guided = self.table.row(clip, frame), action
        if self.guide is not None:
            guided = action + self.guide.advise(self.table.row(clip, frame - 1), q, state.v)
        offset = guided.reshape(-1, NUM_JOINTS, 3).astype(q.dtype)
        advance = jnp.zeros_like(offset)
        if config.reference_velocity:
            lag = humanoid.damping / humanoid.stiffness
            advance = advance + lag[..., None] * joint_velocity(self.table.v[row])
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
        return select(recovery.active, self._rising(row, action.astype(q.dtype)), turn)

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
            assert self.table.feedforward is not None, "a table without the feed-forward that the controller needs"
            return self.table.feedforward[row]
        wanted = (self.table.q[row], self.table.v[row], self.table.a[row])
        balance = jax.vmap(partial(balancing_torque, gains=self.config.gains))
        return balance(self.humanoid, state.q, state.v, *wanted)

    def reference(self, row: jax.Array) -> Bodies:
        """Bodies (N, ...) of the reference in rows (N,) of the table."""
        return jax.tree.map(lambda x: x[row], self.table.bodies)

    def observe(self, bodies: Bodies, clip: jax.Array, frame: jax.Array, recovery: Recovery | None = None) -> jax.Array:
        """Observation (N, O) of humanoids whose bodies (N, ...) are at frame (N,) of clip (N,)."""
        ahead = self.reference(self.table.row(clip, frame + 1))
        further = 1 + jnp.asarray(self.config.ahead, jnp.int32)
        later = self.table.bodies.position[self.table.row(clip[:, None], frame[:, None] + further)]
        if recovery is not None:
            rest = partial(waiting, moments=len(further), sight=self.config.recovery.sight)
            waits = jax.vmap(rest)(bodies, self.reference(self.table.row(clip, frame)))
            ahead, later = select(recovery.active, waits, (ahead, later))
        return jax.vmap(observe)(bodies, ahead, self.humanoid.betas, later).astype(jnp.float32)


def joint_velocity(v: jax.Array) -> jax.Array:
    """Joint part of v (..., 75) as (..., 23, 3), rad/s, child axes."""
    return v[..., 6:].reshape(*v.shape[:-1], NUM_JOINTS, 3)


def select(where: jax.Array, yes: Tree, no: Tree) -> Tree:
    """Leaf-wise choice along the environment axis."""
    pick = lambda a, b: jnp.where(where.reshape(-1, *([1] * (a.ndim - 1))), a, b)  # noqa: E731
    return jax.tree.map(pick, yes, no)
