"""Training loop: compiled iterations, with the host in between for the log, the clock and the checkpoints."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import jax

from imdy_jax.imitation.environment import Environment
from imdy_jax.imitation.policy import Normalizer, Trained, init_normalizer, make_policy
from imdy_jax.imitation.ppo import PPOConfig, deployed, init_learner, iterate
from imdy_jax.report import Progress
from imdy_jax.run import Checkpoints, MetricLog, RunFolder


@dataclass(frozen=True)
class TrainConfig:
    """How long to train and what to keep."""

    minutes: float = 10.0  # of training wall-clock, compiling and evaluating not counted
    iterations: int = 1_000_000  # at most
    checkpoint_every: int = 20  # iterations
    ppo: PPOConfig = field(default_factory=PPOConfig)


def train(
    env: Environment,
    config: TrainConfig,
    run: RunFolder,
    seed: int,
    milestones: tuple[float, ...] = (),
    on_milestone: Callable[[float, Trained, int], None] = lambda minutes, trained, samples: None,
) -> Trained:
    """Train, or go on with what the run folder holds, until the clock or the iterations run out.

    At each milestone (minutes of training) on_milestone is called with the minutes, the policy so far and the number
    of samples it has seen, the clock stopped.
    Raises FloatingPointError if the networks stop being finite.
    """
    policy = make_policy(config.ppo.hidden, config.ppo.critic_hidden, env.action_size, config.ppo.spread)
    learner = jax.jit(partial(init_learner, policy, env, config.ppo))(jax.random.PRNGKey(seed))
    checkpoints, policies = Checkpoints(run.path / "checkpoints"), Checkpoints(run.path / "policy")
    step, seconds = 0, 0.0
    latest = checkpoints.latest_step()
    if latest is not None:
        learner, clock = checkpoints.restore(learner)
        step, seconds = latest, clock["seconds"]
    log = MetricLog(run.path / "metrics.jsonl", resume_step=step if step else None)
    samples = env.num_envs * config.ppo.horizon
    compiled = jax.jit(partial(iterate, policy, env, config.ppo), donate_argnums=0).lower(learner).compile()

    def save() -> None:
        checkpoints.save(step, learner, {"seconds": seconds})
        policies.save(step, {"params": deployed(learner), "normalizer": learner.normalizer})

    with Progress(round(config.minutes * 60), "training the imitator", "s", initial=round(seconds)) as progress:
        while step < config.iterations and seconds < config.minutes * 60:
            before = seconds
            begun = time.monotonic()
            learner, metrics = jax.block_until_ready(compiled(learner))
            seconds += time.monotonic() - begun
            step += 1
            row = {name: float(value) for name, value in metrics.items()}
            rate = samples / (seconds - before)
            log.append(step, seconds=seconds, samples=step * samples, samples_per_second=rate, **row)
            run.check_finite(row, step)
            progress.advance(
                seconds - before, reward=row["reward"], error_mm=1e3 * row["body_error"], samples_per_s=rate
            )
            for minutes in milestones:
                if before < minutes * 60 <= seconds:
                    save()
                    on_milestone(minutes, Trained(policy, deployed(learner), learner.normalizer), step * samples)
            if step % config.checkpoint_every == 0:
                save()
    save()
    log.close()
    return Trained(policy, deployed(learner), learner.normalizer)


def load(run: RunFolder, config: TrainConfig, observation_size: int, action_size: int) -> Trained:
    """The newest policy of a run folder; raises ValueError where there is none."""
    policy = make_policy(config.ppo.hidden, config.ppo.critic_hidden, action_size, config.ppo.spread)
    blank = policy.init(jax.random.PRNGKey(0), observation_size)
    template = {"params": blank, "normalizer": init_normalizer(observation_size)}
    kept, _ = Checkpoints(run.path / "policy").restore(template)
    return Trained(policy, kept["params"], Normalizer(*kept["normalizer"]))
