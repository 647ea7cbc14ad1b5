"""How far a humanoid is from what it follows: one vector whose square is the cost, of the search and its refinement."""

import jax
import jax.numpy as jnp

from envs.imitation import ImitationEnv
from envs.reference import Bodies
from imdy_jax import rotation
from imdy_jax.humanoid import Humanoid
from imdy_jax.skeleton import NUM_BODIES

_FALL_TIME = 0.32  # s: √(height / gravity) of an inverted pendulum as high as the centre of mass
# Cost of the mean square over bodies, per m², rad², (m/s)² and (rad/s)²; of the trunk's turn, per rad²; of the
# extrapolated centre of mass, per m².
_PLACE, _TURN, _LINEAR, _ANGULAR, _TRUNK, _FALLING = 100.0, 3.0, 0.1, 0.0025, 5.0, 50.0


def shortfall(humanoid: Humanoid, bodies: Bodies, wanted: Bodies) -> jax.Array:
    """Weighted differences (294,): places, turns, velocities of the bodies, turn of the trunk, where it is falling."""
    place, turn = bodies.position - wanted.position, rotation.between(bodies.rotation, wanted.rotation)
    linear, angular = bodies.linear - wanted.linear, bodies.angular - wanted.angular
    # The extrapolated centre of mass (Hof et al. 2005) tells whether the feet can still catch it.
    falling = (humanoid.mass / humanoid.total_mass) @ (place + _FALL_TIME * linear)
    per_body = ((_PLACE, place), (_TURN, turn), (_LINEAR, linear), (_ANGULAR, angular))
    mean = [(weight / NUM_BODIES) ** 0.5 * x.reshape(-1) for weight, x in per_body]
    return jnp.concatenate([*mean, _TRUNK**0.5 * turn[0], _FALLING**0.5 * falling])


def apart(env: ImitationEnv, bodies: Bodies, clips: jax.Array, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean distance of the bodies (N,), m, and square shortfall (N,) of the humanoids of env from frames of clips."""
    wanted = jax.tree.map(lambda x: x[env.table.row(clips, frames)], env.table.bodies)
    gap = jnp.mean(jnp.linalg.norm(bodies.position - wanted.position, axis=-1), axis=-1)
    return gap, jnp.sum(jax.vmap(shortfall)(env.physics.humanoid, bodies, wanted) ** 2, axis=-1)
