"""What `benchmark.py solver` times: ImDyS as fitted and used here, and its peer in PyTorch, data loading included."""

import itertools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from imdy_jax.dataset.background import in_background
from imdy_jax.solver import infer
from imdy_jax.solver.data import WindowBatches, prefetch
from imdy_jax.solver.fit import FitConfig, FitState, fit_step, start
from imdy_jax.solver.infer import Solver
from imdy_jax.solver.objective import statistics

CORES = os.cpu_count() or 1


class Task(NamedTuple):
    """What every entrant does."""

    config: FitConfig
    batches: WindowBatches  # to learn from
    motion: np.ndarray  # (T+1, 66, 3) m, markers of a motion to solve
    fps: float
    mass: float  # kg


class Entrant(NamedTuple):
    """A network that learns a batch further, and solves the motion."""

    learn: Callable[[], Any]
    solve: Callable[[], Any]


def ours(task: Task) -> Entrant:
    """fit_step on prefetched batches, and infer.estimate."""
    config, data = task.config, task.batches.data
    state = start(config, statistics(config.model, config.weights, task.batches))
    solver = Solver(jax.tree.map(np.asarray, state.variables), config.model, (data.fps, data.fps))
    batches, kept = prefetch(task.batches, itertools.count()), [state]

    def learn() -> Any:
        windows = next(batches)
        held: FitState = kept.pop()
        following, row = fit_step(config, held, windows)
        kept.append(following)
        return jax.block_until_ready(row)

    return Entrant(learn, lambda: infer.estimate(solver, task.motion, task.fps, task.mass))


def pytorch(task: Task, compiled: bool, threads: int) -> Entrant:
    """The network of torch_imdys.py with PyTorch's AdamW; raises ImportError where there is no PyTorch.

    On a busy machine its threads wait for one another by spinning, which can cost many times the work itself.
    """
    import torch

    from solver_benchmark import torch_imdys as peer

    torch.set_num_threads(threads)  # compiled code has it built in
    config, data = task.config, task.batches.data
    network = peer.TorchImDyS(config.model)
    known = start(config, statistics(config.model, config.weights, task.batches)).variables
    peer.copy_weights(known, network)
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    made: Callable[[Any], Any] = torch.compile if compiled else lambda f: f
    loss, estimate = made(peer.batch_loss), made(peer.estimate)
    tensors = lambda n: tuple(torch.from_numpy(np.ascontiguousarray(x)) for x in task.batches[n] if x is not None)  # noqa: E731
    batches = in_background(tensors, itertools.count(), ahead=2)
    solver = Solver(known, config.model, (data.fps, data.fps))

    def learn() -> float:
        torch.set_num_threads(threads)
        network.train()
        optimizer.zero_grad(set_to_none=True)
        value = loss(network, config, next(batches))
        value.backward()
        optimizer.step()
        return value.item()

    def block(windows: np.ndarray) -> tuple[np.ndarray, ...]:
        dt = torch.full((len(windows),), 1.0 / task.fps)
        return tuple(x.numpy() for x in estimate(network, torch.from_numpy(np.ascontiguousarray(windows)), dt))

    def solve() -> Any:
        torch.set_num_threads(threads)
        network.eval()
        with torch.inference_mode():
            return infer.in_blocks(block, infer.windows_of(solver, task.motion, task.fps, task.mass))

    return Entrant(learn, solve)


ENTRANTS: dict[str, Callable[[Task], Entrant]] = {
    "imdy_jax": ours,
    "PyTorch eager": lambda task: pytorch(task, False, 1),
    "PyTorch compiled": lambda task: pytorch(task, True, 1),
    f"PyTorch eager, {CORES} threads": lambda task: pytorch(task, False, CORES),
    f"PyTorch compiled, {CORES} threads": lambda task: pytorch(task, True, CORES),
}
