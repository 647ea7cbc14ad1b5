"""Reward as a dict of named terms; the weights and scales are PHC's (Luo et al. 2023), who have no effort."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from envs.physics import Substeps, joint_velocity
from envs.recovery import Recovery
from envs.reference import Bodies
from imdy_jax import rotation


@dataclass(frozen=True)
class RewardWeights:
    """Weight of each term; recovery's is of who recovers, for whom there are no terms but it, energy and effort."""

    position: float = 0.5
    rotation: float = 0.3
    linear: float = 0.1
    angular: float = 0.1
    energy: float = 0.0005
    effort: float = 0.0
    recovery: float = 0.5


@dataclass(frozen=True)
class RewardScales:
    """Sharpness of each exponential: per m², rad², (m/s)² and (rad/s)²."""

    position: float = 100.0
    rotation: float = 10.0
    linear: float = 0.1
    angular: float = 0.1


def imitation_terms(bodies: Bodies, reference: Bodies, scales: RewardScales) -> dict[str, jax.Array]:
    """exp(−scale · mean square error over the 24 bodies) of position, rotation, linear and angular velocity."""
    turn = rotation.between(bodies.rotation, reference.rotation)
    error = {
        "position": bodies.position - reference.position,
        "rotation": turn,
        "linear": bodies.linear - reference.linear,
        "angular": bodies.angular - reference.angular,
    }
    return {name: jnp.exp(-getattr(scales, name) * _mean_square(x)) for name, x in error.items()}


def step_terms(
    bodies: Bodies, reference: Bodies, substeps: Substeps, gap: jax.Array, recovery: Recovery | None,
    scales: RewardScales, seconds: float, mass: jax.Array,
) -> dict[str, jax.Array]:  # fmt: skip
    """Named parts of the reward (N,) of a control step: of imitating or of recovering, of energy and of effort.

    gap (N,) m from the reference, mean over joints; recovery: as it was before the step; mass (N,) kg of each person.
    """
    terms = jax.vmap(partial(imitation_terms, scales=scales))(bodies, reference)
    if recovery is not None:
        rises = jax.vmap(partial(recovery_term, seconds=seconds))(bodies, reference, gap, recovery.gap)
        terms = {name: jnp.where(recovery.active, 0.0, x) for name, x in terms.items()}
        terms["recovery"] = jnp.where(recovery.active, rises, 0.0)
    terms["energy"] = jax.vmap(energy_term)(substeps.torque, joint_velocity(substeps.v))
    terms["effort"] = jax.vmap(effort_term)(substeps.torque, mass)
    return terms


def energy_term(torque: jax.Array, velocity: jax.Array) -> jax.Array:
    """Mean over substeps of the power that crosses the joints, Σ|τ·ω|, W, with its sign as a cost.

    torque and joint velocity (S, 23, 3), both in child axes.
    """
    power = jnp.abs(jnp.sum(torque * velocity, axis=-1))
    return -jnp.mean(jnp.sum(power, axis=-1))


def effort_term(torque: jax.Array, mass: jax.Array) -> jax.Array:
    """Mean over substeps of Σ|τ|²/mass², (N·m/kg)², as a cost: legs that strain against each other do no work.

    torque (S, 23, 3), mass () kg.
    """
    return -jnp.mean(jnp.sum(torque**2, axis=(1, 2))) / mass**2


def recovery_term(
    bodies: Bodies, reference: Bodies, gap: jax.Array, gap_before: jax.Array, seconds: float
) -> jax.Array:
    """Mean of: the approach to the reference in these seconds, m/s within ±1; the share of the pelvis' height; and how
    far the pelvis has turned upright, 0 … 1, the last two as the reference has them.
    """
    approach = jnp.clip((gap_before - gap) / seconds, -1.0, 1.0)
    height = jnp.clip(bodies.position[0, 2] / jnp.maximum(reference.position[0, 2], 1e-3), 0.0, 1.0)
    upwards = jnp.array([0.0, 1.0, 0.0], bodies.position.dtype)
    along = jnp.sum(rotation.rotate(bodies.rotation[0], upwards) * rotation.rotate(reference.rotation[0], upwards))
    return (approach + height + 0.5 * (1.0 + along)) / 3.0


def total(terms: dict[str, jax.Array], weights: RewardWeights) -> jax.Array:
    """Weighted sum of the terms."""
    return sum(getattr(weights, name) * value for name, value in terms.items())


def _mean_square(x: jax.Array) -> jax.Array:
    return jnp.mean(jnp.sum(x * x, axis=-1))
