"""What benchmark.py times: ways to compute inverse dynamics of the humanoid and its gradient, ours and the peers'.

A peer that is not installed, or does not work here, raises when it is called for; the benchmark says so in its row.
The gradient is that of a random scalar product of the torques by position, velocity and acceleration; pinocchio gives
whole Jacobians instead.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynamics_benchmark.hinges import States
from imdy_jax.dynamics.batched import batched_inverse_dynamics
from imdy_jax.dynamics.newton_euler import inverse_dynamics
from imdy_jax.humanoid import Humanoid

CORES = os.cpu_count() or 1


class Ready(NamedTuple):
    """A call that is ready to be timed."""

    run: Callable[[], Any]  # computes, waits for the result and returns it
    compiling: float | None = None  # s
    memory: float | None = None  # bytes: arguments, results and what lies between
    operations: float | None = None  # floating-point operations of one call as written; a loop's body counts once
    executed: float | None = None  # the same as compiled, with what is computed more than once


class Contender(NamedTuple):
    """One row of the table."""

    name: str
    result: str  # torques or gradient
    precision: str
    prepare: Callable[[int], Ready]  # for the first n states
    torques: Callable[[Any], np.ndarray] | None = None  # (n, 69) out of what run returns
    hinges: bool = False  # torques about hinges, not of ball joints
    least: int = 1  # states in one call


def in_jax(
    name: str, torques: Callable[..., jax.Array], arrays: tuple[np.ndarray, ...], hinges: bool = False,
    order: Any = slice(None), precisions: tuple[str, ...] = ("float32", "float64"),
) -> Iterator[Contender]:  # fmt: skip
    """A batched function of JAX, and its gradient by all its arguments.

    Args:
      torques: arrays of the first n states ↦ (n, 69); called anew, with float64 enabled or not, for each precision.
      arrays: its arguments for all states.
      order: takes its torques to SMPL's order.
    """

    def gradient(weight: jax.Array, *inputs: jax.Array) -> Any:
        return jax.vjp(torques, *inputs)[1](weight)

    for precision in precisions:
        for result, function in (("torques", torques), ("gradient", gradient)):

            def prepare(n: int, result: str = result, function: Any = function, precision: str = precision) -> Ready:
                weight = np.random.default_rng(1).normal(size=(len(arrays[0]), 69))
                with jax.enable_x64(precision == "float64"):
                    chosen = arrays if result == "torques" else (weight, *arrays)
                    return compiled(function, tuple(jnp.asarray(x[:n], precision) for x in chosen))

            read = (lambda answer: np.asarray(answer)[:, order]) if result == "torques" else None
            yield Contender(name, result, precision, prepare, read, hinges)


def compiled(function: Callable[..., Any], inputs: tuple[jax.Array, ...]) -> Ready:
    """The function, compiled afresh for these inputs."""
    begun = time.perf_counter()
    lowered = jax.jit(lambda *x: function(*x)).lower(*inputs)
    program = lowered.compile()
    compiling = time.perf_counter() - begun
    use = program.memory_analysis()
    memory = use and use.argument_size_in_bytes + use.output_size_in_bytes + use.temp_size_in_bytes
    written, executed = ((x.cost_analysis() or {}).get("flops") for x in (lowered, program))
    return Ready(lambda: jax.block_until_ready(program(*inputs)), compiling, memory, written, executed)


def in_threads(contender: Contender) -> Contender:
    """The same in as many threads as there are cores, each with its share of n: the first n / CORES states."""
    pool = ThreadPoolExecutor(CORES)

    def prepare(n: int) -> Ready:
        share = contender.prepare(n // CORES)
        memory = None if share.memory is None else share.memory * CORES
        return share._replace(run=lambda: list(pool.map(lambda _: share.run(), range(CORES))), memory=memory)

    return contender._replace(name=f"{contender.name}, {CORES} threads", prepare=prepare, torques=None, least=CORES)


def ours(humanoid: Humanoid, states: States) -> Iterator[Contender]:
    """The batched function, on one core and in threads, and the function of one state under vmap."""

    def person(like: jax.Array) -> Humanoid:
        return jax.tree.map(lambda x: jnp.asarray(x, like.dtype), humanoid)

    def batched(q: jax.Array, v: jax.Array, a: jax.Array) -> jax.Array:
        return batched_inverse_dynamics(person(q), q, v, a)[0].reshape(-1, 69)

    def mapped(q: jax.Array, v: jax.Array, a: jax.Array) -> jax.Array:
        return jax.vmap(inverse_dynamics, in_axes=(None, 0, 0, 0))(person(q), q, v, a)[0].reshape(-1, 69)

    arrays = (states.q, states.v, states.a)
    alone = tuple(in_jax("imdy_jax batched", batched, arrays))
    yield from alone
    yield from (in_threads(contender) for contender in alone)
    yield from in_jax("imdy_jax vmap", mapped, arrays)


def every(humanoid: Humanoid, states: States) -> Iterator[tuple[str, Callable[[], list[Contender]]]]:
    """Names of the peers, each with a call that makes its contenders."""
    from dynamics_benchmark import native, urdf_peers

    makers = {"imdy_jax": ours, "pinocchio": native.pinocchio, "MuJoCo": native.mujoco, "mjx": native.mjx,
              "jaxsim": urdf_peers.jaxsim, "adam": urdf_peers.adam}  # fmt: skip
    for name, make in makers.items():
        yield name, lambda make=make: list(make(humanoid, states))  # type: ignore[misc]
