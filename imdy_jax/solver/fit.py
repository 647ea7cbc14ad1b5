"""Fitting the solver: AdamW on the weighted losses, every step a pure function of the state and the step's windows."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from imdy_jax.report import Progress
from imdy_jax.run import SCHEMA_VERSION, Checkpoints, MetricLog, RunFolder, from_json, to_json, write_json
from imdy_jax.solver import model
from imdy_jax.solver.data import WindowBatches, Windows, prefetch
from imdy_jax.solver.evaluate import window_errors
from imdy_jax.solver.features import PELVIS, window_features, window_targets
from imdy_jax.solver.infer import Solver
from imdy_jax.solver.loss import LossWeights, loss_terms, total_loss
from imdy_jax.solver.model import ImDyS, ModelConfig, whitening

CPU_MICROBATCH = 32  # windows that fit a core's cache: larger passes through the network run slower


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """How the solver is fitted; the defaults are for minutes on two CPU cores.

    The paper: batches of 2,400 windows, a constant learning rate of 1e-3, 140 passes over 27,501 sequences.
    """

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    weights: LossWeights = dataclasses.field(default_factory=LossWeights)
    steps: int = 2000  # batches in all
    batch_size: int = 64  # windows
    learning_rate: float = 3e-3  # of AdamW at the start; it falls to zero along a half cosine unless `constant`
    constant: bool = False  # hold the learning rate, as the paper does
    weight_decay: float = 0.01  # of AdamW
    hidden_markers: float = 0.0  # share of the markers that a training window hides at random
    checkpoint_every: int = 200  # steps
    log_every: int = 20  # steps
    seed: int = 0  # of the first parameters, the split, the shuffling and the hidden markers


@struct.dataclass
class FitState:
    """All that the next step depends on, the windows apart."""

    step: jax.Array  # () int32, steps done: the position in the data as well
    params: dict
    statistics: dict  # of the tokens, constant
    optimizer: optax.OptState
    key: jax.Array  # of the whole run; each step folds its number into it

    @property
    def variables(self) -> dict:
        """What the network is applied with."""
        return {"params": self.params, "statistics": self.statistics}


def fit(config: FitConfig, batches: WindowBatches, held_out: WindowBatches, run: RunFolder) -> Solver:
    """Fit to the end, going on from the run folder's newest checkpoint if it has one.

    The state and the log after step n are the same whether or not the process was killed on the way. The log holds
    the loss and its terms, and with each checkpoint the errors on one batch of held-out windows.

    Raises:
      ValueError: the checkpoint was made with other windows.
      FloatingPointError: the loss is no longer finite.
    """
    dt = batches.data.dt
    checkpoints = Checkpoints(run.path / "checkpoints")
    state = start(config, whitening(training_tokens(batches)))
    if checkpoints.latest_step() is not None:
        state, metadata = checkpoints.restore(state)
        _check_same_data(metadata["data"], batches.digest, checkpoints.folder)
    metadata = {"schema_version": SCHEMA_VERSION, "config": to_json(config), "data": batches.digest}
    write_json(run.path / "solver.json", {"fps": 1.0 / dt, "config": to_json(config)})
    done = int(state.step)
    log = MetricLog(run.path / "metrics.jsonl", resume_step=done)
    judged = jax.device_put(held_out[0])
    with Progress(config.steps, "fitting the solver", "batch", initial=done) as progress:
        for windows in prefetch(batches, range(done, config.steps)):
            state, row = fit_step(config, dt, state, windows)
            done += 1
            keep = done % config.checkpoint_every == 0 or done == config.steps
            if keep:
                row |= window_errors(state.variables, config.model, judged, dt)
            if keep or done % config.log_every == 0:
                row = {name: float(value) for name, value in row.items()}
                run.check_finite(row, done)
                log.append(done, **row)
                progress.advance(done - progress.done, loss=row["loss"])
            if keep:
                checkpoints.save(done, state, metadata)
    log.close()
    checkpoints.close()
    return Solver(state.variables, config.model, 1.0 / dt)


def load_solver(run: RunFolder) -> Solver:
    """The solver of a run folder as of its newest checkpoint; raises ValueError where there is none."""
    path = run.path / "solver.json"
    if not path.exists():
        raise ValueError(f"{path}: not found, expected a run folder of fit_solver.py; fit a solver first")
    kept = json.loads(path.read_text())
    config = from_json(FitConfig, kept["config"], path)
    state, _ = Checkpoints(run.path / "checkpoints").restore(start(config))
    return Solver(state.variables, config.model, kept["fps"])


def start(config: FitConfig, statistics: dict | None = None) -> FitState:
    """State before the first step; without statistics, one of the right shapes."""
    key, first = jax.random.split(jax.random.PRNGKey(config.seed))
    fresh = model.init(config.model, first)
    statistics = fresh["statistics"] if statistics is None else jax.tree.map(jnp.asarray, statistics)
    return FitState(
        jnp.zeros((), jnp.int32), fresh["params"], statistics, _optimizer(config).init(fresh["params"]), key
    )


def training_tokens(batches: WindowBatches, count: int = 512) -> np.ndarray:
    """Tokens (N, 12w+12) of markers that are there, in about `count` windows spread evenly over the training set."""
    chosen = np.unique(np.linspace(0, len(batches.times) - 1, count).astype(int))
    features = jax.jit(jax.vmap(partial(window_features, dt=batches.data.dt)))(batches.windows(chosen).markers)
    return np.asarray(features.tokens)[np.asarray(features.mask)]


@partial(jax.jit, static_argnames=("config", "dt"), donate_argnames="state")
def fit_step(config: FitConfig, dt: float, state: FitState, windows: Windows) -> tuple[FitState, dict[str, jax.Array]]:
    """One update from a batch of windows: the next state, and the loss, its terms and the gradient's norm.

    The gradient is the mean over microbatches: on a CPU they are small, elsewhere the whole batch is one.
    """
    count = len(windows.mass)
    size = CPU_MICROBATCH if jax.default_backend() == "cpu" and count % CPU_MICROBATCH == 0 else count
    keys = jax.random.split(jax.random.fold_in(state.key, state.step), count)
    parts = jax.tree.map(lambda x: x.reshape(count // size, size, *x.shape[1:]), (windows, keys))
    differentiate = jax.grad(partial(_batch_loss, config, dt, state.statistics), has_aux=True)
    gradients = jax.lax.map(lambda part: differentiate(state.params, *part), parts)
    gradient, terms = jax.tree.map(lambda x: jnp.mean(x, axis=0), gradients)
    updates, optimizer = _optimizer(config).update(gradient, state.optimizer, state.params)
    metrics = {"loss": total_loss(terms, config.weights), **terms, "gradient": optax.tree.norm(gradient)}
    params = optax.apply_updates(state.params, updates)
    return dataclasses.replace(state, step=state.step + 1, params=params, optimizer=optimizer), metrics


def _batch_loss(
    config: FitConfig, dt: float, statistics: dict, params: dict, windows: Windows, keys: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean loss over windows (B, ...), and its terms."""
    hide = jax.vmap(partial(_hide_markers, config.hidden_markers))
    features = jax.vmap(partial(window_features, dt=dt))(hide(windows.markers, keys))
    targets = jax.vmap(window_targets)(windows.angular_momentum, windows.contact_force, windows.mass, features.heading)
    variables = {"params": params, "statistics": statistics}
    prediction = ImDyS(config.model).apply(variables, features.tokens, features.mask)
    terms = jax.tree.map(jnp.mean, jax.vmap(loss_terms)(prediction, targets))
    return total_loss(terms, config.weights), terms


def _hide_markers(share: float, markers: jax.Array, key: jax.Array) -> jax.Array:
    """Markers (F, M, 3) with some of them missing; those that fix the heading stay."""
    hidden = jax.random.bernoulli(key, share, markers.shape[1:2])
    return jnp.where(hidden.at[jnp.array(PELVIS)].set(False)[:, None], jnp.nan, markers)


def _optimizer(config: FitConfig) -> optax.GradientTransformation:
    rate = config.learning_rate
    schedule = rate if config.constant else optax.cosine_decay_schedule(rate, config.steps)
    return optax.adamw(schedule, weight_decay=config.weight_decay)


def _check_same_data(found: str, expected: str, folder: Path) -> None:
    if found != expected:
        raise ValueError(
            f"{folder}: the checkpoint was fitted to other windows (digest {found[:12]}, now {expected[:12]}); "
            "resume with the dataset and the split it was started with, or start again with --overwrite"
        )
