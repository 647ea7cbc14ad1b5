"""Measure how much of the bare simulator's speed training keeps, or dynamics and solver beside their peers, in one run.

    python experiments/benchmark.py                                     # training: 1,024 humanoids, built-in motions
    python experiments/benchmark.py dynamics                            # inverse dynamics: dynamics_benchmark/
    python experiments/benchmark.py solver                              # ImDyS beside PyTorch: solver_benchmark/

Compile time is kept apart from run time; every measurement waits for its result, and the rows take turns, so that a
machine whose speed changes changes it for all of them: each figure is the median of the rounds. The bare engine steps
the same humanoids from the same states, with nothing recorded and nothing learned.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dynamics_benchmark.comparison import dynamics
from solver_benchmark.comparison import solver

from envs.c_physics import CPhysics
from envs.imitation import ImitationEnv
from envs.imitator import ImitatorConfig
from envs.people import load_cast
from envs.world import training_env
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.imitation.policy import Policy, make_policy
from imdy_jax.imitation.ppo import LearnerState, at_scale, collect, init_learner, iterate
from imdy_jax.report import Table, command, show

_REPEATS = 2  # iterations of a measurement


def main(
    config: ImitatorConfig = ImitatorConfig(), rounds: int = 9, json: str = "runs/benchmark/imitator.json"
) -> None:
    """Benchmark the imitator.

    Args:
      config: what would be trained; see train_imitator.py.
      rounds: of two iterations of each measurement.
      json: where to write the table.
    """
    enable_compilation_cache()
    cast, _ = load_cast(config.people)
    env, ppo = training_env(cast, config.world, config.num_envs), at_scale(config.train.ppo, config.num_envs)
    policy = make_policy(ppo.hidden, ppo.critic_hidden, env.action_size, ppo.spread)
    learner = jax.jit(partial(init_learner, policy, env, ppo, None))(jax.random.PRNGKey(config.seed))
    train = jax.jit(lambda learner: iterate(policy, env, ppo, learner)[0])
    samples = env.num_envs * ppo.horizon

    collecting = jax.jit(lambda learner: collect(policy, env, ppo, learner, learner.key))
    acting = jax.jit(partial(act, policy, ppo.horizon))
    measured = measurements(env, ppo.horizon, train, learner, {"collecting": collecting, "policy": acting})
    seconds = np.array([[measure() for _, measure in measured.values()] for _ in range(rounds)])
    rate = np.median(_REPEATS * samples / seconds, axis=0)
    share = np.median(seconds[:, :1] / seconds, axis=0)
    took = dict(zip(measured, seconds.T, strict=True))
    physics = took.get("engine alone, C", took["engine within JAX"])
    parts = {
        "physics": physics, "policy": took["policy"],
        "task": took["collecting"] - physics - took["policy"], "learning": took["training"] - took["collecting"],
    }  # fmt: skip
    told = ", ".join(f"{name} {np.median(part / took['training']):.0%}" for name, part in parts.items())
    use = train.lower(learner).compile().memory_analysis()
    assert use is not None  # every backend of JAX's own tells it
    memory = (use.argument_size_in_bytes + use.output_size_in_bytes + use.temp_size_in_bytes) / env.num_envs
    show(
        Table(
            f"Control steps per second, {env.num_envs} humanoids, {config.world.substeps} substeps",
            ("what", "compiling s", "control steps/s", "of the first"),
            tuple((name, first, *x) for (name, (first, _)), *x in zip(measured.items(), rate, share, strict=True)),
            (
                "Training: collecting, learning and resetting, everything included.",
                f"Of training's time: {told}; the task is rewards, resets, observations and the controller.",
                f"Medians of {rounds} rounds in which the rows took turns.",
                f"Memory of a compiled iteration: {memory / 1e3:.0f} kB per environment, the engine's own not counted.",
            ),
        ),
        json,
    )


def measurements(
    env: ImitationEnv, horizon: int, train: Callable[[LearnerState], LearnerState], learner: LearnerState,
    parts: dict[str, Callable[[LearnerState], Any]],
) -> dict[str, tuple[float | None, Callable[[], float]]]:  # fmt: skip
    """What is measured: seconds of compiling, and a function that tells the seconds of _REPEATS iterations."""
    compiling = first_call(train, learner)
    for _ in range(2):  # let the learner leave its first, easy states
        learner = train(learner)
    stepping = jax.jit(partial(step_physics, env, horizon))
    measured: dict[str, tuple[float | None, Callable[[], float]]] = {
        "engine within JAX": (first_call(stepping, learner), partial(clock, stepping, learner, _REPEATS)),
        "training": (compiling, partial(clock, train, learner, _REPEATS)),
        **{name: (first_call(part, learner), partial(clock, part, learner, _REPEATS)) for name, part in parts.items()},
    }
    if isinstance(env.physics, CPhysics):
        alone = partial(env.physics.time_engine, learner.env.physics, _REPEATS * horizon)
        measured = {"engine alone, C": (None, alone)} | measured
    return measured


def first_call(function: Callable[[Any], Any], argument: Any) -> float:
    """Seconds of the call that compiles."""
    begun = time.perf_counter()
    jax.block_until_ready(function(argument))
    return time.perf_counter() - begun


def clock(function: Callable[[Any], Any], argument: Any, repeats: int) -> float:
    """Seconds of so many calls."""
    begun = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(function(argument))
    return time.perf_counter() - begun


def act(policy: Policy, horizon: int, learner: LearnerState) -> jax.Array:
    """The policy's actions of one iteration, at the same observations again and again."""

    def step(observation: jax.Array, _: None) -> tuple[jax.Array, None]:
        action = policy.mean(learner.params, policy.see(learner.normalizer, observation))
        return observation.at[:, 0].add(1e-6 * action[:, 0]), None  # so that every step has to be taken

    return jax.lax.scan(step, learner.observation, None, length=horizon)[0]


def step_physics(env: ImitationEnv, horizon: int, learner: LearnerState) -> Any:
    """The physics of one iteration, following the reference without a policy."""

    def step(carry: Any, _: None) -> tuple[Any, None]:
        clip, frame = learner.env.clip, learner.env.frame + 1
        target = env.tracker.target(carry, clip, frame, jnp.zeros((env.num_envs, env.action_size)))
        return env.physics.step(carry, target)[0], None

    return jax.lax.scan(step, learner.env.physics, None, length=horizon)[0]


if __name__ == "__main__":
    parts: dict[str, Callable[..., None]] = {"dynamics": dynamics, "solver": solver}
    command(parts[sys.argv.pop(1)] if sys.argv[1:2] and sys.argv[1] in parts else main)
