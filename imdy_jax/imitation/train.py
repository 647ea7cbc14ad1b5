"""Training loop: compiled iterations, with the host in between for the log, the clock and the checkpoints."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from imdy_jax.checkpoints import Checkpoints
from imdy_jax.files import check_least
from imdy_jax.imitation.best import NEWEST, kept_policies
from imdy_jax.imitation.distil import DistilConfig, Tutored, distil, graduated, init_pupil
from imdy_jax.imitation.environment import Environment
from imdy_jax.imitation.policy import Normalizer, Trained, init_normalizer, make_policy
from imdy_jax.imitation.ppo import PPOConfig, at_scale, deployed, init_learner, iterate
from imdy_jax.imitation.processes import of_first
from imdy_jax.imitation.sharding import everywhere, on_host, placements
from imdy_jax.report import Progress
from imdy_jax.run import MetricLog, RunFolder


@dataclass(frozen=True)
class TrainConfig:
    """How long to train and what to keep."""

    minutes: float = 10.0  # of training wall-clock, compiling and evaluating not counted
    iterations: int = 1_000_000  # at most
    checkpoint_every: int = 20  # iterations
    ppo: PPOConfig = field(default_factory=PPOConfig)

    def __post_init__(self) -> None:
        check_least(self, "train.", minutes=0, iterations=0, checkpoint_every=1)


class Method(NamedTuple):
    """A way of learning: the learner's state to begin with, one iteration of it, and what acts."""

    label: str
    init: Callable[[jax.Array], Any]  # of a key
    iterate: Callable[[Any, Any], tuple[Any, dict[str, jax.Array]]]  # of the learner and of `given`
    trained: Callable[[Any], Trained]
    samples: int  # of an iteration
    given: Any = ()  # arrays that do not change
    mesh: Mesh | None = None  # the devices that share the environments, where there are several
    num_envs: int = 0


def reinforcement(
    env: Environment, config: PPOConfig, begin: Trained | None = None, columns: Sequence[Trained] = (),
    mesh: Mesh | None = None,
) -> Method:  # fmt: skip
    """PPO, from nothing or from a policy that knows something already; with columns, of what weighs their actions.

    mesh: the devices that share the environments, where there are several.
    """
    config = at_scale(config, env.num_envs)
    policy = make_policy(config.hidden, config.critic_hidden, env.action_size, config.spread, columns)
    return Method(
        "training the composer" if columns else "training the imitator",
        partial(init_learner, policy, env, config, begin),
        lambda learner, frozen: iterate(policy.with_columns(frozen), env, config, learner, mesh),
        lambda learner: Trained(policy, *_gathered(mesh, (deployed(learner), learner.normalizer))),
        env.num_envs * config.horizon,
        tuple(column.arrays for column in columns),
        mesh,
        env.num_envs,
    )


def tuition(env: Tutored, lessons: Any, config: DistilConfig, ppo: PPOConfig) -> Method:
    """Learning from a teacher, for the policy that PPO would train."""
    policy = make_policy(ppo.hidden, ppo.critic_hidden, env.action_size, ppo.spread)
    return Method(
        "learning the lessons",
        lambda key: init_pupil(policy, env, lessons, key),
        lambda learner, lessons: distil(policy, env, config, learner, lessons),
        lambda learner: Trained(policy, graduated(learner), learner.normalizer),
        env.num_envs * config.horizon,
        lessons,
    )


def train(
    method: Method,
    config: TrainConfig,
    run: RunFolder,
    seed: int,
    milestones: tuple[float, ...] = (),
    on_milestone: Callable[[float, Trained, int], bool | None] = lambda minutes, trained, samples: None,
    spent: float = 0.0,
    every: float = 0.0,
) -> Trained:
    """Train, or go on with what the run folder holds, until the clock or the iterations run out.

    At each milestone (minutes of training), and once in so many minutes, on_milestone is called with the minutes, the
    policy so far and the number of samples it has seen, the clock stopped; where it returns True, training ends. A run
    that goes on from a milestone calls it again: nobody knows whether it had come to its end. spent: seconds on the
    clock when it begins.
    Raises FloatingPointError if the networks stop being finite.
    """
    learner, advance = prepared(method, jax.random.PRNGKey(seed))
    checkpoints, policies = Checkpoints(run.path / "checkpoints"), Checkpoints(run.path / NEWEST)
    step, seconds, before = 0, spent, spent
    latest = checkpoints.latest_step()
    if latest is not None:
        learner, clock = checkpoints.restore(learner)
        step, seconds = latest, clock["seconds"]
        before = clock.get("before", seconds)
    log = MetricLog(run.path / "metrics.jsonl", resume_step=step if step else None)
    ended = lambda: step >= config.iterations or seconds >= config.minutes * 60  # noqa: E731
    compiled = advance if ended() else advance.lower(learner, method.given).compile()

    def save() -> None:
        checkpoints.save(step, learner, {"seconds": seconds, "before": before})
        trained = method.trained(learner)
        policies.save(step, {"params": trained.params, "normalizer": trained.normalizer})

    def passed() -> list[float]:
        """Milestones between the latest iteration's beginning and its end."""
        regular = every and int(before / 60 / every) < int(seconds / 60 / every)
        return [m for m in milestones if before < m * 60 <= seconds] + ([seconds / 60] if regular else [])

    def tell() -> bool:
        """Whether this is to be the end."""
        answers = [on_milestone(m, method.trained(learner), step * method.samples) for m in passed()]
        return bool(answers) and bool(of_first(True in answers))

    with Progress(round(config.minutes * 60), method.label, "s", initial=round(seconds)) as progress:
        over = tell()
        while not over and not ended():
            before = seconds
            begun = time.monotonic()
            learner, metrics = jax.block_until_ready(compiled(learner, method.given))
            seconds += of_first(time.monotonic() - begun)  # all processes stop at the same iteration
            step += 1
            row = {name: float(value) for name, value in metrics.items()}
            rate = method.samples / (seconds - before)
            log.append(step, seconds=seconds, samples=step * method.samples, samples_per_second=rate, **row)
            run.check_finite(row, step)
            progress.advance(seconds - before, **_shown(row), samples_per_s=rate)
            if passed() or step % config.checkpoint_every == 0:
                save()
            over = tell()
    if {checkpoints.latest_step(), policies.latest_step()} != {step}:
        save()
    log.close()
    return method.trained(learner)


def prepared(method: Method, key: jax.Array) -> tuple[Any, Any]:
    """The learner to begin with, and the jitted iteration, each array where it belongs."""
    if method.mesh is None:
        return jax.jit(method.init)(key), jax.jit(method.iterate, donate_argnums=0)
    places = placements(method.mesh, method.num_envs, jax.eval_shape(method.init, key))
    learner = jax.jit(method.init, out_shardings=places)(key)
    return learner, jax.jit(method.iterate, donate_argnums=0, out_shardings=(places, everywhere(method.mesh)))


def _gathered(mesh: Mesh | None, tree: Any) -> Any:
    """What lies on several devices, for whoever computes on one."""
    return tree if mesh is None else on_host(tree)


def _shown(row: dict[str, float]) -> dict[str, float]:
    """What the progress bar tells of an iteration."""
    named = {"reward": ("reward", 1.0), "body_error": ("error_mm", 1e3), "loss": ("loss", 1.0)}
    return {label: scale * row[name] for name, (label, scale) in named.items() if name in row}


def load(
    run: RunFolder, config: TrainConfig, observation_size: int, action_size: int, columns: Sequence[Trained] = ()
) -> Trained:
    """The policy of a run folder, or what weighs columns: the best where it was judged on its way, or else the newest.

    Raises ValueError where there is none.
    """
    policy = make_policy(config.ppo.hidden, config.ppo.critic_hidden, action_size, config.ppo.spread, columns)
    blank = policy.init(jax.random.PRNGKey(0), observation_size)
    template = {"params": blank, "normalizer": init_normalizer(observation_size)}
    folder = kept_policies(run.path)
    kept, _ = Checkpoints(folder).restore(template)
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(kept)):
        raise ValueError(f"{folder}: the policy holds numbers that are not finite, expected none; copy it again")
    return Trained(policy, kept["params"], Normalizer(*kept["normalizer"]))
