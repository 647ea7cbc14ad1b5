"""D'Alembert's principle: no virtual displacement δ of a mechanism lets its inertial and its applied forces do work.

For rigid bodies with poses T = [R p] (3, 4) and second moments of mass S = ∫ [r; 1][r; 1]ᵀ dm (4, 4) it reads

    Q·δ = Σ_b tr((T̈ − [0 g]) S δTᵀ) − Σ_b (F·δp + M·δθ)        for every δ,

Q being the generalised forces. Two functions say all there is to know of the mechanism: where it goes in time, which is
differentiated twice forward, and where a virtual displacement takes it, through which the forces are pulled back. So
the same lines hold for every kind of joint (Lanczos, The Variational Principles of Mechanics, 1949, chapter IV).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

_EXACT = jax.lax.Precision.HIGHEST  # on GPUs the default would round to TF32


def generalized_forces(
    motion: Callable[[jax.Array], jax.Array],
    displaced: Callable[[jax.Array], jax.Array],
    size: int,
    second_moment: jax.Array,
    gravity: jax.Array,
    load: jax.Array | None = None,
) -> jax.Array:
    """Generalised forces (size,) that explain a motion, one for each virtual displacement.

    Args:
      motion: time from now, s, a scalar → poses of the bodies (B, 3, 4): rotation body-to-world, position in m. Only
        its value and first two derivatives at zero matter.
      displaced: virtual displacement (size,) → poses (B, 3, 4). Equal to motion(0) at zero, where alone it is used.
      second_moment: (B, 4, 4), from `second_moment` below.
      gravity: (3,) m/s², world axes.
      load: (B, 3, 4), from `load` below; None where nothing else acts.

    Returns:
      Forces in the units of work per unit of displacement: N for metres, N·m for radians.
    """
    now, tick = jnp.zeros((), second_moment.dtype), jnp.ones((), second_moment.dtype)
    velocity = lambda t: jax.jvp(motion, (t,), (tick,))[1]  # noqa: E731
    acceleration = jax.jvp(velocity, (now,), (tick,))[1]
    weightless = acceleration.at[..., 3].add(-gravity[None, :])
    force = jnp.matmul(weightless, second_moment, precision=_EXACT)
    if load is not None:
        force = force - load
    return jax.vjp(displaced, jnp.zeros(size, second_moment.dtype))[1](force)[0]


def second_moment(mass: jax.Array, com: jax.Array, inertia: jax.Array) -> jax.Array:
    """∫ [r; 1][r; 1]ᵀ dm (4, 4) of one rigid body, r from the body's origin in its axes.

    mass kg, com (3,) m, inertia (3, 3) kg·m² about the centre of mass.
    """
    spread = 0.5 * jnp.trace(inertia) * jnp.eye(3, dtype=inertia.dtype) - inertia + mass * jnp.outer(com, com)
    first = mass * com
    return jnp.block([[spread, first[:, None]], [first[None, :], mass[None, None]]])


def load(pose: jax.Array, force: jax.Array, moment: jax.Array) -> jax.Array:
    """Applied forces as `generalized_forces` wants them, (..., 3, 4): tr(load δTᵀ) = F·δp + M·δθ.

    pose (..., 3, 4); force (..., 3) N on the body; moment (..., 3) N·m about the body's origin; world axes.
    """
    turning = 0.5 * jnp.cross(moment[..., None, :], jnp.swapaxes(pose[..., :3], -1, -2))
    return jnp.concatenate([jnp.swapaxes(turning, -1, -2), force[..., None]], axis=-1)
