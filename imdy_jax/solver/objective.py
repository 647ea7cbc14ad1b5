"""What a step of the fit makes smaller: from windows as recorded to the weighted sum of the losses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.solver.cycle import Training, spoil
from imdy_jax.solver.data import WindowBatches, Windows
from imdy_jax.solver.equations import window_equations
from imdy_jax.solver.features import Features, frames, history, tokens, window_features, window_targets
from imdy_jax.solver.loss import LossWeights, loss_terms, total_loss
from imdy_jax.solver.model import ModelConfig, whitening
from imdy_jax.solver.representation import REPRESENTATIONS, Representation


def batch_loss(
    config: ModelConfig, weights: LossWeights, hidden: float, constants: dict, params: dict, windows: Windows,
    keys: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:  # fmt: skip
    """Mean loss over windows (B, ...), each with a key, and its terms; hidden: the share of the points to hide."""
    kind = REPRESENTATIONS[config.representation]
    motion = jax.vmap(partial(hide_points, kind, hidden))(windows.motion, keys)
    features = jax.vmap(partial(window_features, kind))(motion, windows.dt)
    targets = jax.vmap(window_targets)(
        windows.angular_momentum, windows.contact_force, windows.mass, features.heading, windows.dt
    )
    equations = None
    if weights.newton_euler:
        known = jnp.asarray(windows.balance), windows.contact_force[:, 0]
        equations = jax.vmap(window_equations)(*known, windows.mass, features.heading)
    spoiled = jax.vmap(_spoiled)(features, keys) if weights.plausible else None
    variables = {"params": params, "statistics": constants}
    outputs = Training(config, weights).apply(variables, features, spoiled)
    terms = jax.tree.map(jnp.mean, jax.vmap(loss_terms)(outputs, features, targets, equations))
    return total_loss(terms, weights), terms


def hide_points(kind: Representation, share: float, motion: jax.Array, key: jax.Array) -> jax.Array:
    """A window (F, N, channels) with some points missing; enough of those that fix the heading stay.

    Where one of them can be spared, one drawn at random is hidden as often as makes their share the same, up to 1/4.
    """
    hidden = jax.random.bernoulli(key, share, motion.shape[1:2])
    which, whether = jax.random.split(jax.random.fold_in(key, 1))
    anchors = jnp.array(kind.anchors)
    lost = jax.random.bernoulli(whether, min(1.0, share * len(kind.anchors))) & (kind.spare > 0)
    hidden = hidden.at[anchors].set(False).at[jax.random.choice(which, anchors)].set(lost)
    return jnp.where(hidden[:, None], jnp.nan, motion)


def statistics(config: ModelConfig, weights: LossWeights, batches: WindowBatches, count: int = 512) -> dict:
    """Statistics of each embedding, from the points that are there in about `count` windows of the training set."""
    chosen = batches.windows(np.unique(np.linspace(0, len(batches.times) - 1, count).astype(int)))
    see = jax.jit(jax.vmap(partial(window_features, REPRESENTATIONS[config.representation])))
    features = see(chosen.motion, chosen.dt)
    there = np.asarray(features.mask)
    seen = tokens(features)
    found: dict[str, dict] = {"inverse": {"embed": whitening(np.asarray(seen)[there])}}
    if config.attention != "markers":
        states = np.asarray(frames(REPRESENTATIONS[config.representation], seen, config.window))[there]
        found["inverse"]["time"] = {"embed": whitening(states.reshape(-1, states.shape[-1]))}
    if weights.forward:
        found["forward"] = {"embed": whitening(np.asarray(history(features))[there])}
    return found


def _spoiled(features: Features, key: jax.Array) -> Features:
    return spoil(features, jax.random.fold_in(key, 2))
