"""Stage 2 of the paper's curriculum (section 4.2): a laboratory's joint torques, by one more linear head.

The encoder stays as it was fitted to imitated dynamics; the head learns τ_jt, N·m/kg, of whatever coordinates the
laboratory's model has. Its loss is α₃ L_FD + α₅ L_L2, with forward dynamics that is told τ_jt beside τ_am and λ. The
paper's α₄ L_cls is left out: where the encoder does not change, it changes no estimate.

The motions are the solver's own representation: of laboratory markers those of MARKER_NAMES that there are, the others
NaN (fit the solver with `hidden_markers`, so that it knows such sets).
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct

from imdy_jax.solver.cycle import NUM_DRIVES, ForwardDynamics, dynamics
from imdy_jax.solver.features import Features, history, tokens, window_features
from imdy_jax.solver.heads import UNIT
from imdy_jax.solver.infer import Solver, in_blocks, windows_of
from imdy_jax.solver.loss import forward_loss
from imdy_jax.solver.model import ImDyS, ModelConfig, whitening


class Trial(NamedTuple):
    """One recording of T + 1 frames of a laboratory."""

    name: str
    motion: np.ndarray  # (T+1, points, channels) as infer.estimate takes it
    torque: np.ndarray  # (T+1, D) N·m at each frame, of any D coordinates; a frame of which it is not known is NaN
    fps: float
    mass: float  # kg


@dataclasses.dataclass(frozen=True)
class StageTwoConfig:
    """How the head is fitted; the weights are the paper's."""

    forward: float = 0.01  # weight of L_FD, α₃; 0: without forward dynamics
    torque: float = 1.0  # weight of L_L2, α₅
    steps: int = 1000  # batches in all
    batch_size: int = 64  # windows
    learning_rate: float = 3e-3  # of AdamW at the start; it falls to zero along a half cosine
    weight_decay: float = 0.01  # of AdamW
    seed: int = 0


@struct.dataclass
class TorqueHead:
    """Linear head on f_ID."""

    kernel: jax.Array  # (d, D)
    bias: jax.Array  # (D,)

    def __call__(self, feature: jax.Array) -> jax.Array:
        """τ_jt (..., D), N·m/kg."""
        return UNIT * (jnp.matmul(feature, self.kernel) + self.bias)


class Examples(NamedTuple):
    """What the head is fitted to, a row per window."""

    motion: np.ndarray  # (W, 2w+2, points, channels)
    dt: np.ndarray  # (W,) s
    feature: np.ndarray  # (W, d) f_ID
    dynamics: np.ndarray  # (W, 141) τ_am and λ, as estimated
    torque: np.ndarray  # (W, D) N·m/kg


def fit_head(solver: Solver, trials: Sequence[Trial], config: StageTwoConfig = StageTwoConfig()) -> TorqueHead:
    """A head for the coordinates of the trials; takes seconds to minutes, and is not checkpointed.

    Raises ValueError where a trial's torques do not go with its motion or with the other trials', or none is known.
    """
    parts = [_examples(solver, trial, trials[0].torque.shape[1]) for trial in trials]
    data = Examples(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    if not len(data.torque):
        raise ValueError(f"trials: none of {len(trials)} has a frame whose torques are finite; give some that have")
    rng = np.random.default_rng(config.seed)
    cycle = _Cycle(solver.config)
    params, constants = _start(solver, config, cycle, data)
    state = _optimizer(config).init(params)
    size = min(config.batch_size, len(data.torque))
    for _ in range(config.steps):
        rows = rng.choice(len(data.torque), size, replace=False)
        batch = jax.tree.map(lambda x, rows=rows: x[rows], data)
        params, state = _step(solver, config, cycle, constants, params, state, batch)
    return params["head"]


def estimate_joint_torque(solver: Solver, head: TorqueHead, motion: np.ndarray, fps: float, mass: float) -> np.ndarray:
    """τ_jt (T, D), N·m, at all frames but the last; arguments and errors are those of infer.estimate."""
    encode = partial(_encode, solver)
    feature, _ = in_blocks(lambda block: encode(block, 1.0 / fps), windows_of(solver, motion, fps, mass))
    return np.asarray(head(feature)) * mass


class _Cycle(nn.Module):
    """Forward dynamics that is told τ_jt beside τ_am and λ."""

    config: ModelConfig

    def setup(self) -> None:
        self.forward = ForwardDynamics(self.config)

    def __call__(self, features: Features, known: jax.Array, torque: jax.Array) -> jax.Array:
        told = jnp.concatenate([known, torque / UNIT], axis=-1)
        return self.forward(history(features), features.mask, told)


def _start(solver: Solver, config: StageTwoConfig, cycle: _Cycle, data: Examples) -> tuple[dict, dict]:
    """First parameters, and the constant statistics of forward dynamics."""
    keys = jax.random.split(jax.random.PRNGKey(config.seed))
    count = data.torque.shape[1]
    width = data.feature.shape[1]
    head = TorqueHead(nn.initializers.lecun_normal()(keys[0], (width, count)), jnp.zeros(count))
    if not config.forward:
        return {"head": head}, {}
    some = np.unique(np.linspace(0, len(data.torque) - 1, 512).astype(int))
    features = _see(solver, data.motion[some], data.dt[some])
    fresh = cycle.init(keys[1], features, data.dynamics[some], data.torque[some])
    known = whitening(np.asarray(history(features))[np.asarray(features.mask)])
    constants = {"forward": {"embed": jax.tree.map(jnp.asarray, known)}}
    return {"head": head, "cycle": fresh["params"]}, constants


@partial(jax.jit, static_argnames=("config", "cycle"))
def _step(
    solver: Solver, config: StageTwoConfig, cycle: _Cycle, constants: dict, params: dict, state: optax.OptState,
    batch: Examples,
) -> tuple[dict, optax.OptState]:  # fmt: skip
    """One update from a batch of examples."""

    def loss(params: dict) -> jax.Array:
        torque = params["head"](batch.feature)
        total = config.torque * jnp.mean((torque - batch.torque) ** 2)  # L_L2
        if config.forward:
            features = _see(solver, batch.motion, batch.dt)
            variables = {"params": params["cycle"], "statistics": constants}
            told = cycle.apply(variables, features, batch.dynamics, torque)
            total += config.forward * jnp.mean(jax.vmap(forward_loss)(told, features))
        return total

    updates, state = _optimizer(config).update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state


def _examples(solver: Solver, trial: Trial, count: int) -> Examples:
    """The windows of a trial whose torques are known."""
    if trial.torque.shape != (len(trial.motion), count):
        raise ValueError(
            f"trial {trial.name}: torque has shape {trial.torque.shape}, expected ({len(trial.motion)}, {count}): a "
            "row per frame of its motion, and the coordinates of the first trial"
        )
    windows = windows_of(solver, trial.motion, trial.fps, trial.mass)
    torque = trial.torque[:-1] / trial.mass
    known = np.isfinite(torque).all(axis=1)
    windows, torque = windows[known], torque[known].astype(np.float32)
    if not len(windows):
        dt, feature, told = (np.zeros((0, *n), np.float32) for n in ((), (solver.config.width,), (NUM_DRIVES,)))
        return Examples(windows, dt, feature, told, torque)
    feature, told = in_blocks(lambda block: _encode(solver, block, 1.0 / trial.fps), windows)
    return Examples(windows, np.full(len(windows), 1.0 / trial.fps, np.float32), feature, told, torque)


@jax.jit
def _encode(solver: Solver, motion: jax.Array, dt: jax.Array) -> tuple[jax.Array, jax.Array]:
    """f_ID (B, d) and the estimated dynamics (B, 141) of windows."""
    features = _see(solver, motion, jnp.full(len(motion), dt))
    network = ImDyS(solver.config).bind(solver.variables)
    seen = tokens(features)
    feature = network.encode(seen, features.mask)
    return feature, dynamics(network.decode(feature, seen))


def _see(solver: Solver, motion: jax.Array, dt: jax.Array) -> Features:
    return jax.vmap(partial(window_features, solver.representation))(motion, dt)


def _optimizer(config: StageTwoConfig) -> optax.GradientTransformation:
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    return optax.adamw(schedule, weight_decay=config.weight_decay)
