"""Measure how much of the bare simulator's speed training keeps, or the dynamics beside its peers, in one run.

    python experiments/benchmark.py                                     # training: 1,024 humanoids, built-in motions
    python experiments/benchmark.py dynamics                            # inverse dynamics: dynamics_benchmark/

Compile time is kept apart from run time; every measurement waits for its result. The bare engine steps the same
humanoids from the same states, with nothing recorded and nothing learned.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from dynamics_benchmark.comparison import dynamics

from envs.c_physics import CPhysics
from envs.imitation import ImitationEnv
from envs.imitator import ImitatorConfig
from envs.people import load_cast
from envs.world import training_env
from imdy_jax.imitation.policy import make_policy
from imdy_jax.imitation.ppo import LearnerState, init_learner, iterate
from imdy_jax.report import Table, command, show
from imdy_jax.run import enable_compilation_cache


def main(
    config: ImitatorConfig = ImitatorConfig(), iterations: int = 10, json: str = "runs/benchmark/imitator.json"
) -> None:
    """Benchmark the imitator.

    Args:
      config: what would be trained; see train_imitator.py.
      iterations: of each measurement.
      json: where to write the table.
    """
    enable_compilation_cache()
    cast, _ = load_cast(config.people)
    env, ppo = training_env(cast, config.world, config.num_envs), config.train.ppo
    policy = make_policy(ppo.hidden, ppo.critic_hidden, env.action_size, ppo.spread)
    learner = jax.jit(partial(init_learner, policy, env, ppo, None))(jax.random.PRNGKey(config.seed))
    train = jax.jit(lambda learner: iterate(policy, env, ppo, learner)[0])
    samples = env.num_envs * ppo.horizon

    rows: list[tuple[str, float | None, float]] = []
    compiling, _ = clock(train, learner, 1)
    for _ in range(2):  # let the learner leave its first, easy states
        learner = train(learner)
    if isinstance(env.physics, CPhysics):
        rows.append(("engine alone, C", None, bare_engine(env, learner, iterations * ppo.horizon)))
    stepping = jax.jit(partial(step_physics, env, ppo.horizon))
    physics_compiling, seconds = clock(stepping, learner, iterations)
    rows.append(("engine within JAX", physics_compiling, samples / seconds))
    _, seconds = clock(train, learner, iterations)
    rows.append(("training", compiling, samples / seconds))
    best = rows[0][2]
    show(
        Table(
            f"Control steps per second, {env.num_envs} humanoids, {config.world.substeps} substeps",
            ("what", "compiling s", "control steps/s", "of the first"),
            tuple((*row, row[2] / best) for row in rows),
            ("Training: collecting, learning and resetting, everything included.",),
        ),
        json,
    )


def clock(function: Callable[[Any], Any], argument: Any, repeats: int) -> tuple[float, float]:
    """Seconds of the first call, which compiles, and of each later one."""
    begun = time.perf_counter()
    jax.block_until_ready(function(argument))
    compiled = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(function(argument))
    return compiled - begun, (time.perf_counter() - compiled) / repeats


def step_physics(env: ImitationEnv, horizon: int, learner: LearnerState) -> Any:
    """The physics of one iteration, following the reference without a policy."""

    def step(carry: Any, _: None) -> tuple[Any, None]:
        clip, frame = learner.env.clip, learner.env.frame + 1
        target = env.target(carry, clip, frame, jnp.zeros((env.num_envs, env.action_size)))
        return env.physics.step(carry, target)[0], None

    return jax.lax.scan(step, learner.env.physics, None, length=horizon)[0]


def bare_engine(env: ImitationEnv, learner: LearnerState, steps: int) -> float:
    """Control steps per second of the C engine alone, holding the pose it starts from."""
    physics = env.physics
    assert isinstance(physics, CPhysics)
    seconds = physics.time_engine(learner.env.physics, steps)
    return env.num_envs * steps / seconds


if __name__ == "__main__":
    if sys.argv[1:2] == ["dynamics"]:
        del sys.argv[1]
        command(dynamics)
    else:
        command(main)
