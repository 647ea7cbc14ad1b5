"""Losses of the solver (Liu et al., ICLR 2025, section 4.2), one function per term, of one window.

A further term is one more function here, one more field of LossWeights, one more entry in `loss_terms`.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from imdy_jax.solver.equations import Equations, remaining_torque, whole_body_residual
from imdy_jax.solver.features import REFERENCE_FPS, Features, Targets, advance
from imdy_jax.solver.heads import UNIT
from imdy_jax.solver.intervals import BEARING
from imdy_jax.solver.model import Prediction

# A vector shorter than this has no direction to learn: a segment without contact, a joint at rest. For a person of
# 70 kg that is 0.2 N of contact force, and 0.2 N·m of torque.
SHORTEST = 3e-3  # N/kg, N·m/kg


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """Weight of each term by name; the defaults are the paper's. What has no weight is not computed.

    The last five are beyond the paper: the errors' own length, the Newton–Euler terms, and those of heads that are
    there only on demand.
    """

    magnitude: float = 0.01  # L_mag, α₁
    direction: float = 1.0  # L_cos, α₂
    forward: float = 0.01  # L_FD, α₃
    plausible: float = 1.0  # L_cls, α₄
    error: float = 0.0  # length of the errors, which is what is judged; 0.01 is as strong as L_mag
    whole_body: float = 0.0  # contact forces against the motion of the whole body; 0.001 is as strong as L_mag
    each_joint: float = 0.0  # torques against what those forces leave to each joint; 0.01 is as strong as L_mag
    contact: float = 1.0  # cross-entropy, where the model has `contact`
    spread: float = 1.0  # score of the spread, where the model has `spread`

    @property
    def newton_euler(self) -> bool:
        """Whether the equation of motion is asked for."""
        return bool(self.whole_body or self.each_joint)


class Outputs(NamedTuple):
    """All that the losses are made of; None where nothing asks for it (cycle.py makes it)."""

    prediction: Prediction
    advance: jax.Array | None  # (..., N, C) by forward dynamics, as features.advance has it from the motion
    logits: tuple[jax.Array, jax.Array] | None  # (...) of the windows as recorded, and of the spoiled ones


def loss_terms(
    outputs: Outputs, features: Features, targets: Targets, equations: Equations | None = None
) -> dict[str, jax.Array]:
    """The unweighted terms () by name; without equations, none of Newton–Euler."""
    said = outputs.prediction
    terms = {
        "magnitude": magnitude_loss(said, targets), "direction": direction_loss(said, targets),
        "error": error_loss(said, targets),
    }  # fmt: skip
    if equations is not None:
        terms["whole_body"] = whole_body_loss(said, equations)
        terms["each_joint"] = each_joint_loss(said, equations)
    if said.contact_logit is not None:
        terms["contact"] = contact_loss(said.contact_logit, targets)
    if said.torque_spread is not None:
        terms["spread"] = spread_loss(said, targets)
    if outputs.advance is not None:
        terms["forward"] = forward_loss(outputs.advance, features)
    if outputs.logits is not None:
        terms["plausible"] = plausible_loss(*outputs.logits)
    return terms


def total_loss(terms: dict[str, jax.Array], weights: LossWeights) -> jax.Array:
    """Weighted sum of the terms."""
    return sum(getattr(weights, name) * term for name, term in terms.items())


def magnitude_loss(prediction: Prediction, targets: Targets) -> jax.Array:
    """L_mag: mean absolute error of the magnitudes, of the torques in N·m and of the forces in N.

    Both for the reference body, whatever the subject's mass: the paper gives no unit, but chooses its weights so that
    the terms are of one size, and with α₁ = 0.01 they are in these units.
    """
    torque = jnp.abs(prediction.torque_magnitude - jnp.linalg.norm(targets.torque, axis=-1))
    force = jnp.abs(prediction.force_magnitude - jnp.linalg.norm(targets.contact_force, axis=-1))
    return 100.0 * (jnp.mean(torque) + jnp.mean(force)) / UNIT


def direction_loss(prediction: Prediction, targets: Targets) -> jax.Array:
    """L_cos: one less the cosine between the vectors in space, mean over those that have a direction."""
    torque = _cosine_distance(prediction.torque_direction, targets.torque)
    force = _cosine_distance(prediction.force_direction, targets.contact_force)
    return torque + force


def error_loss(prediction: Prediction, targets: Targets) -> jax.Array:
    """Mean length of the errors of the torques, N·m, and of the forces, N, on the reference body."""
    length = lambda x: jnp.sqrt(jnp.sum(x * x, axis=-1) + 1e-12)  # noqa: E731
    torque = jnp.mean(length(prediction.torque - targets.torque))
    return 100.0 * (torque + jnp.mean(length(prediction.contact_force - targets.contact_force))) / UNIT


def forward_loss(told: jax.Array, features: Features) -> jax.Array:
    """L_FD: mean absolute error of the next frame's coordinates (equation 5), mm at 30 frames per second.

    At other rates the error counts as it would after 1/30 s, so that the same error of force weighs the same. An entry
    of a rotation matrix counts as a metre. As for L_mag the paper gives no unit; α₃ = 0.01 asks for these.
    """
    there = features.mask[:, None]
    error = jnp.where(there, jnp.abs(told - advance(features)), 0.0)
    return 1000.0 / REFERENCE_FPS * jnp.sum(error) / jnp.maximum(jnp.sum(there) * error.shape[-1], 1)


def plausible_loss(recorded: jax.Array, spoiled: jax.Array) -> jax.Array:
    """L_cls: binary cross-entropy of the judge's logits () of one recorded and one spoiled window."""
    return 0.5 * (jax.nn.softplus(-recorded) + jax.nn.softplus(spoiled))


def whole_body_loss(prediction: Prediction, equations: Equations) -> jax.Array:
    """Newton and Euler: mean over the components of what the predicted forces miss of the force and the moment (over
    LEVER) that the motion of the whole body takes, N on the reference body.
    """
    return 100.0 * jnp.mean(jnp.abs(whole_body_residual(equations, prediction.contact_force[0]))) / UNIT


def each_joint_loss(prediction: Prediction, equations: Equations) -> jax.Array:
    """Inverse dynamics: mean over the components of the predicted torques less those that the predicted forces leave to
    the joints, N·m on the reference body.
    """
    left = remaining_torque(equations, prediction.contact_force[0])
    return 100.0 * jnp.mean(jnp.abs(prediction.torque - left)) / UNIT


def contact_loss(logit: jax.Array, targets: Targets) -> jax.Array:
    """Binary cross-entropy of logits (2, 24) that a segment bears load: that λ is longer than BEARING."""
    bears = jnp.linalg.norm(targets.contact_force, axis=-1) > BEARING
    return jnp.mean(jax.nn.softplus(jnp.where(bears, -logit, logit)))


def spread_loss(prediction: Prediction, targets: Targets) -> jax.Array:
    """Logarithmic score of Laplace distributions about the estimates of the step t → t+1, a proper score.

    The estimates' own gradient is kept apart: how they are fitted does not depend on how well they know it.
    """
    errors = targets.torque - prediction.torque, targets.contact_force[0] - prediction.contact_force[0]
    scales = prediction.torque_spread, prediction.force_spread
    score = lambda e, b: jnp.mean(jnp.log(2.0 * b / UNIT) + jnp.abs(e) / b)  # noqa: E731
    torque, force = (score(jax.lax.stop_gradient(e), b) for e, b in zip(errors, scales, strict=True))
    return torque + force


def _cosine_distance(direction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean of 1 − cos over the vectors (..., 3) of a target longer than SHORTEST; zero where there is none."""
    length = jnp.linalg.norm(target, axis=-1)
    defined = length > SHORTEST
    norm = jnp.sqrt(jnp.maximum(jnp.sum(direction * direction, axis=-1), 1e-12))
    cosine = jnp.sum(direction * target, axis=-1) / (norm * jnp.where(defined, length, 1.0))
    return jnp.sum(jnp.where(defined, 1.0 - cosine, 0.0)) / jnp.maximum(jnp.sum(defined), 1)
