"""Losses of the solver (Liu et al., ICLR 2025, section 4.2), one function per term, of one window.

A further term is one more function here, one more field of LossWeights, one more entry in `loss_terms`.
"""

import dataclasses

import jax
import jax.numpy as jnp

from imdy_jax.solver.features import Targets
from imdy_jax.solver.model import FORCE_UNIT, MOMENTUM_UNIT, Prediction

# A vector shorter than this has no direction to learn: a segment without contact, a joint at rest. For a person of
# 70 kg that is 0.2 N of contact force, and 0.2 N·m of torque over 1/30 s.
MIN_MOMENTUM = 1e-4  # N·m·s/kg
MIN_FORCE = 3e-3  # N/kg


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """Weight of each term by name; the defaults are the paper's α₁ and α₂."""

    magnitude: float = 0.01  # L_mag, α₁
    direction: float = 1.0  # L_cos, α₂


def loss_terms(prediction: Prediction, targets: Targets) -> dict[str, jax.Array]:
    """The unweighted terms () by name."""
    return {"magnitude": magnitude_loss(prediction, targets), "direction": direction_loss(prediction, targets)}


def total_loss(terms: dict[str, jax.Array], weights: LossWeights) -> jax.Array:
    """Weighted sum of the terms."""
    return sum(getattr(weights, name) * term for name, term in terms.items())


def magnitude_loss(prediction: Prediction, targets: Targets) -> jax.Array:
    """L_mag: mean absolute error of the magnitudes, of the torques in N·m and of the forces in N.

    Both for the reference body and 1/30 s, whatever the subject's mass: the paper gives no unit, but chooses its
    weights so that the terms are of one size, and with α₁ = 0.01 they are in these units.
    """
    momentum = jnp.abs(prediction.momentum_magnitude - jnp.linalg.norm(targets.angular_momentum, axis=-1))
    force = jnp.abs(prediction.force_magnitude - jnp.linalg.norm(targets.contact_force, axis=-1))
    return 100.0 * (jnp.mean(momentum) / MOMENTUM_UNIT + jnp.mean(force) / FORCE_UNIT)


def direction_loss(prediction: Prediction, targets: Targets) -> jax.Array:
    """L_cos: one less the cosine between the vectors in space, mean over those that have a direction."""
    momentum = _cosine_distance(prediction.momentum_direction, targets.angular_momentum, MIN_MOMENTUM)
    force = _cosine_distance(prediction.force_direction, targets.contact_force, MIN_FORCE)
    return momentum + force


def _cosine_distance(direction: jax.Array, target: jax.Array, shortest: float) -> jax.Array:
    """Mean of 1 − cos over the vectors (..., 3) of a target longer than `shortest`; zero where there is none."""
    length = jnp.linalg.norm(target, axis=-1)
    defined = length > shortest
    norm = jnp.sqrt(jnp.maximum(jnp.sum(direction * direction, axis=-1), 1e-12))
    cosine = jnp.sum(direction * target, axis=-1) / (norm * jnp.where(defined, length, 1.0))
    return jnp.sum(jnp.where(defined, 1.0 - cosine, 0.0)) / jnp.maximum(jnp.sum(defined), 1)
