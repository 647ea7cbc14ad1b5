"""References as an estimate from video tells them: with noise that lasts for a while, on every joint and the root."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.dynamics.noise import perturb
from imdy_jax.files import check_least


@dataclass(frozen=True)
class JitterConfig:
    """Noise of what humanoids are told of their references (imdy_jax.dynamics.noise); none by default."""

    degrees: float = 0.0  # standard deviation of each component of every joint's rotation vector
    millimetres: float = 0.0  # of each component of the root's position
    memory: float = 0.1  # s, after which the noise's correlation is 1/e
    takes: int = 8  # of every motion, each with noise of its own; humanoids are told one of them each
    seed: int = 0

    def __post_init__(self) -> None:
        check_least(self, "jitter.", degrees=0, millimetres=0, memory=0, takes=1, seed=0)

    @property
    def on(self) -> bool:
        return self.degrees > 0 or self.millimetres > 0


def with_jitter(trajectories: list[np.ndarray], fps: float, config: JitterConfig) -> list[np.ndarray]:
    """Trajectories q (T_r, 99) with noise, each with its own: all of them in a first take, then in a second one …"""
    trajectories = trajectories * config.takes
    longest = max(len(q) for q in trajectories)
    padded = np.stack([np.pad(q, ((0, longest - len(q)), (0, 0)), mode="edge") for q in trajectories])
    draw = jax.random.PRNGKey(config.seed)

    def perturbed(row: jax.Array, q: jax.Array) -> jax.Array:
        turns, key = q[:, 3:].reshape(longest, -1, 4), jax.random.fold_in(draw, row)
        sd = jnp.deg2rad(config.degrees), config.millimetres / 1000.0
        turned, moved = perturb(key, turns, q[:, :3], fps, *sd, config.memory)
        return jnp.concatenate([moved, turned.reshape(longest, -1)], axis=1)

    noisy = np.asarray(jax.jit(jax.vmap(perturbed))(jnp.arange(len(padded)), jnp.asarray(padded)))
    return [x[: len(q)] for x, q in zip(noisy, trajectories, strict=True)]
