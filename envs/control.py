"""What an action makes of the PD targets, with the aids that the task gives its controller."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from envs.feedforward import balancing_torque
from envs.physics import PhysicsState, joint_velocity
from envs.recovery import Recovery
from envs.reference import ReferenceTable
from envs.select import select
from envs.switching import Placed, put_motion
from envs.task import TaskConfig
from imdy_jax import rotation
from imdy_jax.humanoid import Humanoid
from imdy_jax.skeleton import GROUPS, NUM_JOINTS

# How far an action turns a joint, against a leg joint: balance is made with legs and trunk, and what the policy tries
# out in the hands only blurs what it learns about the legs.
_REACH = np.array([{"leg": 1.0, "toe": 0.5, "spine": 1.0, "arm": 0.5, "hand": 0.25}[g] for g in GROUPS[1:]])[:, None]


def pd_target(
    config: TaskConfig, humanoid: Humanoid, table: ReferenceTable, state: PhysicsState, row: jax.Array,
    action: jax.Array, advice: jax.Array | None, recovery: Recovery | None, placed: Placed | None,
) -> jax.Array:  # fmt: skip
    """PD target (N, 23, 4) for action (N, 69) of who follows the table's rows (N,), or recovers.

    advice (N, 69): a guide's action, which is added to that of who follows; placed: where references have been moved.
    """
    guided = action if advice is None else action + advice
    target = _following(config, humanoid, table, state, row, guided, placed)
    if recovery is None:
        return target
    return select(recovery.active, _rising(config, table, row, action.astype(target.dtype)), target)


def _following(
    config: TaskConfig, humanoid: Humanoid, table: ReferenceTable, state: PhysicsState, row: jax.Array,
    action: jax.Array, placed: Placed | None,
) -> jax.Array:  # fmt: skip
    """Reference ∘ exp(feed-forward / kp) ∘ exp(scale · action)."""
    q = state.q
    offset = action.reshape(-1, NUM_JOINTS, 3).astype(q.dtype)
    advance = jnp.zeros_like(offset)
    if config.reference_velocity:
        lag = humanoid.damping / humanoid.stiffness
        advance = advance + lag[..., None] * joint_velocity(table.v[row])
    if config.feedforward:
        advance = advance + _feedforward(config, humanoid, table, state, row, placed) / humanoid.stiffness[..., None]
    turn = rotation.exp(advance.astype(q.dtype))
    if not config.relative_target:
        return rotation.multiply(rotation.exp(config.absolute_action_scale * offset), turn)
    base = table.q[row][:, 7:].reshape(-1, NUM_JOINTS, 4).astype(q.dtype)
    return rotation.multiply(rotation.multiply(base, turn), rotation.exp(config.action_scale * _REACH * offset))


def _rising(config: TaskConfig, table: ReferenceTable, row: jax.Array, action: jax.Array) -> jax.Array:
    """Of who recovers: action turns the pose that waits, and far enough to fold and push up.

    Without feed-forward and reference velocity, which are for who is on the reference.
    """
    offset = action.reshape(-1, NUM_JOINTS, 3)
    if not config.relative_target:
        return rotation.exp(config.absolute_action_scale * offset)
    pose = table.q[row][:, 7:].reshape(-1, NUM_JOINTS, 4).astype(action.dtype)
    return rotation.multiply(pose, rotation.exp(config.recovery.action_scale * offset))


def _feedforward(
    config: TaskConfig, humanoid: Humanoid, table: ReferenceTable, state: PhysicsState, row: jax.Array,
    placed: Placed | None,
) -> jax.Array:  # fmt: skip
    if not config.balance:
        assert table.feedforward is not None, "a table without the feed-forward that the controller needs"
        return table.feedforward[row]
    wanted = put_motion(placed, table.q[row], table.v[row], table.a[row])
    balance = jax.vmap(partial(balancing_torque, gains=config.gains))
    return balance(humanoid, state.q, state.v, *wanted)
