"""Fitting the solver: AdamW on the weighted losses, every step a pure function of the state and the step's windows."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from flax import struct

from imdy_jax.checkpoints import Checkpoints
from imdy_jax.files import check_least, from_json, read_json, to_json, write_json
from imdy_jax.report import Progress
from imdy_jax.run import SCHEMA_VERSION, MetricLog, RunFolder
from imdy_jax.solver.cycle import Training
from imdy_jax.solver.data import WindowBatches, Windows, prefetch
from imdy_jax.solver.evaluate import window_errors
from imdy_jax.solver.features import window_features
from imdy_jax.solver.fitted import FILE as FITTED_TO
from imdy_jax.solver.infer import Solver
from imdy_jax.solver.intervals import Calibration
from imdy_jax.solver.loss import LossWeights, total_loss
from imdy_jax.solver.model import ModelConfig
from imdy_jax.solver.objective import batch_loss, statistics
from imdy_jax.solver.representation import REPRESENTATIONS
from imdy_jax.solver.weights import FILE as WEIGHTS
from imdy_jax.solver.weights import read_weights

CALIBRATION = "calibration.json"  # of the error bars, in the run folder
CPU_MICROBATCH = 32  # windows that fit a core's cache: larger passes through the network run slower


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """How the solver is fitted; the defaults are for minutes on two CPU cores.

    The paper: batches of 2,400 windows, a constant learning rate of 1e-3, 140 passes over 27,501 sequences, and
    weights as LossWeights() has them. L_FD and L_cls are off here, as they make a step longer, L_cls alone by a second
    pass of the encoder: the time goes further in more steps. `ablate_solver.py` fits with all.
    """

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    weights: LossWeights = LossWeights(forward=0.0, plausible=0.0)
    steps: int = 2000  # batches in all
    batch_size: int = 64  # windows
    learning_rate: float = 3e-3  # of AdamW at the start; it falls to zero along a half cosine unless `constant`
    constant: bool = False  # hold the learning rate, as the paper does
    weight_decay: float = 0.01  # of AdamW
    hidden_markers: float = 0.0  # share of the markers (or joints) that a training window hides at random
    checkpoint_every: int = 200  # steps
    log_every: int = 20  # steps
    seed: int = 0  # of the first parameters, the split, the shuffling and the hidden markers

    def __post_init__(self) -> None:
        check_least(self, "fit.", steps=1, batch_size=1, checkpoint_every=1, log_every=1, hidden_markers=0)
        if not self.hidden_markers < 1:
            raise ValueError(f"fit.hidden_markers is {self.hidden_markers}, expected a share below 1")


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
        """What ImDyS is applied with; what is beside it in training is left out."""
        return {"params": self.params["inverse"], "statistics": self.statistics["inverse"]}

    @property
    def judge(self) -> dict | None:
        """The discriminator of L_cls, where it is learnt."""
        return self.params.get("judge")


def fit(
    config: FitConfig, batches: WindowBatches, held_out: WindowBatches, run: RunFolder, begin: Solver | None = None
) -> Solver:
    """Fit to the end, going on from the run folder's newest checkpoint if it has one, or else from the solver `begin`.

    The state and the log after step n are the same whether or not the process was killed on the way. The log holds
    the loss and its terms, and with each checkpoint the errors on one batch of held-out windows.

    Raises:
      ValueError: the checkpoint was made with other windows, the windows are of another representation, or the solver
        to begin with is another network.
      FloatingPointError: the loss is no longer finite.
    """
    checkpoints = Checkpoints(run.path / "checkpoints")
    check_losses(config)
    _check_config(config, batches)
    state = start(config, statistics(config.model, config.weights, batches))
    if begin is not None:
        state = _going_on(state, config, begin)
    if checkpoints.latest_step() is not None:
        state, metadata = checkpoints.restore(state)
        _check_same_data(metadata["data"], batches.digest, checkpoints.folder)
    metadata = {"schema_version": SCHEMA_VERSION, "config": to_json(config), "data": batches.digest}
    rates = [1.0 / (batches.data.dt * stride) for stride in batches.data.strides]
    write_json(run.path / "solver.json", {"rates": (min(rates), max(rates)), "config": to_json(config)})
    done = int(state.step)
    if done < config.steps:
        for name in (CALIBRATION, FITTED_TO):  # of what it was before
            (run.path / name).unlink(missing_ok=True)
    log = MetricLog(run.path / "metrics.jsonl", resume_step=done)
    judged = jax.device_put(held_out[0])
    with Progress(config.steps, "fitting the solver", "batch", initial=done) as progress:
        for windows in prefetch(batches, range(done, config.steps)):
            state, row = fit_step(config, state, windows)
            done += 1
            keep = done % config.checkpoint_every == 0 or done == config.steps
            if keep:
                row |= window_errors(state.variables, config.model, judged)
            if keep or done % config.log_every == 0:
                row = {name: float(value) for name, value in row.items()}
                run.check_finite(row, done)
                log.append(done, **row)
                progress.advance(done - progress.done, loss=row["loss"])
            if keep:
                checkpoints.save(done, state, metadata)
    log.close()
    checkpoints.close()
    return Solver(state.variables, config.model, (min(rates), max(rates)), judge=state.judge)


def read_kept(folder: Path) -> tuple[tuple[float, float], FitConfig]:
    """Least and greatest frame rate of a solver's folder, and the config of its fit.

    Raises ValueError where they are not there, or damaged.
    """
    path, mend = folder / "solver.json", "fit the solver again"
    if not path.exists():
        raise ValueError(f"{path}: not found, expected a run folder of fit_solver.py; fit a solver first")
    kept = read_json(path, mend)
    rates = kept.get("rates")
    if not (isinstance(rates, list) and len(rates) == 2 and all(isinstance(rate, float | int) for rate in rates)):
        raise ValueError(f"{path}: rates is {rates}, expected the least and the greatest; {mend}")
    return (rates[0], rates[1]), from_json(FitConfig, kept.get("config"), path)


def load_solver(run: RunFolder) -> Solver:
    """The solver of a run folder as of its newest checkpoint, or of a published folder.

    Raises ValueError where there is none, or a published one is damaged.
    """
    rates, config = read_kept(run.path)
    if not any((run.path / name).exists() for name in (WEIGHTS, "checkpoints")):
        raise ValueError(f"{run.path}: found neither {WEIGHTS} nor checkpoints, expected a solver; copy it again")
    judge = None
    if (run.path / WEIGHTS).exists():
        variables = read_weights(run.path / WEIGHTS, jax.eval_shape(partial(start, config)).variables)
    else:
        state = Checkpoints(run.path / "checkpoints").restore(start(config))[0]
        variables, judge = state.variables, state.judge
    known = Calibration.read(run.path / CALIBRATION) if (run.path / CALIBRATION).exists() else None
    return Solver(variables, config.model, rates, known, judge)


def start(config: FitConfig, known: dict | None = None) -> FitState:
    """State before the first step; without known statistics, ones that leave the tokens as they are."""
    key, first = jax.random.split(jax.random.PRNGKey(config.seed))
    kind = REPRESENTATIONS[config.model.representation]

    def begin(key: jax.Array) -> dict:
        blank = window_features(kind, jnp.zeros((2 * config.model.window + 2, *kind.shape)), 1.0)
        return Training(config.model, config.weights).init(key, blank, blank)

    fresh = jax.jit(begin)(first)
    constants = fresh["statistics"] if known is None else jax.tree.map(jnp.asarray, known)
    optimizer = _optimizer(config).init(fresh["params"])
    return FitState(jnp.zeros((), jnp.int32), fresh["params"], constants, optimizer, key)


@partial(jax.jit, static_argnames="config", donate_argnames="state")
def fit_step(config: FitConfig, state: FitState, windows: Windows) -> tuple[FitState, dict[str, jax.Array]]:
    """One update from a batch of windows: the next state, and the loss, its terms and the gradient's norm.

    The gradient is the mean over microbatches: on a CPU they are small, elsewhere the whole batch is one.
    """
    count = len(windows.mass)
    size = CPU_MICROBATCH if jax.default_backend() == "cpu" and count % CPU_MICROBATCH == 0 else count
    keys = jax.random.split(jax.random.fold_in(state.key, state.step), count)
    parts = jax.tree.map(lambda x: x.reshape(count // size, size, *x.shape[1:]), (windows, keys))
    asked = (config.model, config.weights, config.hidden_markers)
    differentiate = jax.grad(partial(batch_loss, *asked, state.statistics), has_aux=True)
    gradients = jax.lax.map(lambda part: differentiate(state.params, *part), parts)
    gradient, terms = jax.tree.map(lambda x: jnp.mean(x, axis=0), gradients)
    updates, optimizer = _optimizer(config).update(gradient, state.optimizer, state.params)
    metrics = {"loss": total_loss(terms, config.weights), **terms, "gradient": optax.tree.norm(gradient)}
    params = optax.apply_updates(state.params, updates)
    return dataclasses.replace(state, step=state.step + 1, params=params, optimizer=optimizer), metrics


def _optimizer(config: FitConfig) -> optax.GradientTransformation:
    rate = config.learning_rate
    schedule = rate if config.constant else optax.cosine_decay_schedule(rate, config.steps)
    return optax.adamw(schedule, weight_decay=config.weight_decay)


def _going_on(state: FitState, config: FitConfig, begin: Solver) -> FitState:
    """The first state with a solver's parameters, and the token statistics that they are made for."""
    for field in dataclasses.fields(ModelConfig):
        found, wanted = (getattr(model, field.name) for model in (begin.config, config.model))
        if found != wanted:
            raise ValueError(
                f"model.{field.name}: {found} in the solver to begin with, {wanted} here; pass the same, or begin from "
                "nothing"
            )
    own = jax.tree.map(jnp.asarray, begin.variables)
    params, known = state.params | {"inverse": own["params"]}, state.statistics | {"inverse": own["statistics"]}
    return dataclasses.replace(state, params=params, statistics=known)


def _check_config(config: FitConfig, batches: WindowBatches) -> None:
    if config.model.representation != batches.data.representation:
        raise ValueError(
            f"{batches.data.folder}: motions as {batches.data.representation}, expected {config.model.representation} "
            "as model.representation says; pack them so"
        )
    if config.weights.newton_euler and batches.data.balance is None:
        raise ValueError(
            f"{batches.data.folder}: packed without what the equation of motion asks for, expected it where "
            "weights.whole_body or weights.each_joint is not 0; pack a dataset of generate.py with balance=True (the "
            "published release has no bodies and no substeps), or leave these weights 0"
        )


def check_losses(config: FitConfig) -> None:
    """Raises ValueError where the network cannot be fitted by the losses that are asked for, whatever the data."""
    inertia = REPRESENTATIONS[config.model.representation].inertia
    if not config.model.window and (inertia or config.weights.forward):
        where = "model.representation is segments" if inertia else "weights.forward is not 0"
        raise ValueError(
            f"model.window is 0, expected 1 or more where {where}: the dynamics of a window have to know a velocity"
        )
    unfit = {"weights.plausible": config.weights.plausible, "hidden_markers": config.hidden_markers}
    for name, value in unfit.items() if inertia else ():
        if value:
            raise ValueError(
                f"{name}: {value}, expected 0 where model.representation is segments: a window that is spoiled or "
                "lacks a segment has no dynamics; pass 0, or another representation"
            )


def _check_same_data(found: str, expected: str, folder: Path) -> None:
    if found != expected:
        raise ValueError(
            f"{folder}: the checkpoint was fitted to other windows (digest {found[:12]}, now {expected[:12]}); "
            "resume with the dataset and the split it was started with, or start again with --overwrite"
        )
