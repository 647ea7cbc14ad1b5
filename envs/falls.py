"""Fallen humanoids: dropped by the simulator itself, flailing at random, and left to lie until they are at rest."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.physics import Physics
from envs.reference import Bodies, body_state
from envs.subjects import distinct
from imdy_jax import rotation
from imdy_jax.dynamics.contact import contact_points
from imdy_jax.dynamics.kinematics import Pose
from imdy_jax.humanoid import Humanoid
from imdy_jax.imitation.sharding import on_host
from imdy_jax.mjcf import standing_height
from imdy_jax.skeleton import NUM_JOINTS

_BEND, _FLAIL = 0.3, 0.5  # rad, standard deviation of each component of a joint's rotation vector: dropped, flailing
_DROP = (0.05, 0.4)  # m from the lowest point to the floor
_HOLD = 5  # control steps that a random target is held
_FALLING, _LIMP, _RESTING = 25, 50, 25  # control steps: flailing; limp, damped alone; holding the pose come to
_SLOW, _AFLOAT, _LOW = 0.1, 0.02, 0.5  # m/s; m off the floor; m, in units of the pelvis' height when standing


@struct.dataclass
class Falls:
    """F states at rest on the floor of each of B bodies, the root above the origin, for N environments."""

    q: jax.Array  # (B, F, 99)
    v: jax.Array  # (B, F, 75)
    body: jax.Array  # (N,) whose states each environment draws from


def make_falls(physics: Physics, seed: int, per_body: int) -> Falls:
    """Falls of the humanoids of a physics, at least per_body of each distinct one; the same seed gives the same.

    All of them fall side by side, and again until there are enough. Raises ValueError where a body does not come to
    rest.
    """
    first, body = distinct(physics.humanoid)
    people = [jax.tree.map(lambda x, k=k: x[k], physics.humanoid) for k in first]
    heights = np.array([standing_height(person) for person in people])[body]
    rounds = -(-per_body // int(np.bincount(body).min()))
    kept: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in people]
    for key in jax.random.split(jax.random.PRNGKey(seed), 2 * rounds):
        q, v, speed, lowest = on_host(_drop(physics, key))
        rests = (speed < _SLOW) & (np.abs(lowest) < _AFLOAT) & (q[:, 2] < _LOW * heights)
        for i in np.flatnonzero(rests):
            kept[body[i]].append((q[i], v[i]))
        if min(map(len, kept)) >= per_body:
            break
    for k, states in enumerate(kept):
        if len(states) < per_body:
            raise ValueError(
                f"falls: body {k} came to rest in {len(states)} of {2 * rounds * int(np.sum(body == k))} drops, "
                f"expected at least {per_body}; check its masses, solids and gains, or ask for fewer falls"
            )
    most = max(map(len, kept))
    q, v = (np.stack([np.resize([s[n] for s in states], (most, x.shape[-1])) for states in kept])
            for n, x in enumerate((q, v)))  # fmt: skip
    return Falls(jnp.asarray(q), jnp.asarray(v), jnp.asarray(body))


def lay(falls: Falls, key: jax.Array, beside: jax.Array, away: float) -> tuple[jax.Array, jax.Array]:
    """States q (N, 99), v (N, 75): any of each body's falls, turned at random about the vertical, at most away (m)
    beside the places (N, 2).
    """
    which, turned, far, around = jax.random.split(key, 4)
    count = len(falls.body)
    choice = jax.random.randint(which, (count,), 0, falls.q.shape[1])
    q, v = falls.q[falls.body, choice], falls.v[falls.body, choice]
    uniform = partial(jax.random.uniform, shape=(count,), dtype=q.dtype)
    turn = rotation.exp(2.0 * jnp.pi * uniform(turned)[:, None] * jnp.array([0.0, 0.0, 1.0], q.dtype))
    distance, direction = away * jnp.sqrt(uniform(far)), 2.0 * jnp.pi * uniform(around)  # evenly over the disc
    place = beside + distance[:, None] * jnp.stack([jnp.cos(direction), jnp.sin(direction)], axis=-1)
    q = q.at[:, :2].set(place.astype(q.dtype)).at[:, 3:7].set(rotation.multiply(turn, q[:, 3:7]))
    return q, v.at[:, :3].set(rotation.rotate(turn, v[:, :3]))


@partial(jax.jit, static_argnums=0)
def _drop(physics: Physics, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Where a drop of N humanoids ends: q (N, 99), v (N, 75), fastest joint (N,) m/s, lowest point (N,) m."""
    humanoid, count = physics.humanoid, physics.num_envs
    for_turn, for_pose, for_height, for_flail = jax.random.split(key, 4)
    turn = rotation.normalize(jax.random.normal(for_turn, (count, 4)))
    pose = rotation.exp(_BEND * jax.random.normal(for_pose, (count, NUM_JOINTS, 3))).reshape(count, -1)
    q = jnp.concatenate([jnp.zeros((count, 3)), turn, pose], axis=1).astype(humanoid.mass.dtype)
    v = jnp.zeros((count, 6 + 3 * NUM_JOINTS), q.dtype)
    low, high = _DROP
    above = jax.random.uniform(for_height, (count,), minval=low, maxval=high)
    q = q.at[:, 2].set(above - jax.vmap(_lowest)(humanoid, jax.vmap(body_state)(humanoid, q, v)))
    flailing = rotation.exp(_FLAIL * jax.random.normal(for_flail, (-(-_FALLING // _HOLD), count, NUM_JOINTS, 3)))

    def step(carry: tuple, t: jax.Array) -> tuple[tuple, None]:
        state, held = carry
        # A spring that pulls to where the joint is pulls nowhere: only dampers are left.
        held = jnp.where(t < _FALLING + _LIMP, state.q[:, 7:].reshape(held.shape), held)
        target = jnp.where(t < _FALLING, flailing[jnp.minimum(t // _HOLD, len(flailing) - 1)], held)
        return (physics.step(state, target.astype(q.dtype))[0], held), None

    start = physics.reset(q, v), q[:, 7:].reshape(count, NUM_JOINTS, 4)
    (state, _), _ = jax.lax.scan(step, start, jnp.arange(_FALLING + _LIMP + _RESTING))
    bodies = jax.vmap(body_state)(humanoid, state.q, state.v)
    fastest = jnp.max(jnp.linalg.norm(bodies.linear, axis=-1), axis=-1)
    q = state.q.at[:, :2].set(0.0)
    return q, state.v, fastest, jax.vmap(_lowest)(humanoid, bodies)


def _lowest(humanoid: Humanoid, bodies: Bodies) -> jax.Array:
    """Height of the lowest point of the solids, m."""
    return jnp.min(contact_points(humanoid, Pose(bodies.rotation, bodies.position))[1])
