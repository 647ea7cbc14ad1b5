"""Tasks done side by side, in processes here or on a Ray cluster, where a lost worker costs its task alone."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
LOCAL = "local"  # a cluster of this machine's own, for as long as the tasks take
_TRIES = 5  # times that a task is begun again after its worker was lost


def side_by_side(
    function: Callable[[Task], Result], tasks: Iterable[Task], processes: int
) -> Iterator[tuple[Task, Result]]:
    """Each task with function(task), by some processes of this machine, in the order in which they end.

    function is one that can be imported. What it raises is raised here; what has not been begun by then is left out.
    Where this process is killed, those end, too. Raises ChildProcessError where one of them is lost.
    """
    spawning = multiprocessing.get_context("spawn")  # JAX's threads do not survive a fork
    pool = ProcessPoolExecutor(processes, spawning, initializer=_end_with_parent)
    try:
        waiting = {pool.submit(function, task): task for task in tasks}
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a process was lost, perhaps for want of memory; call it again, and it goes on"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Nobody waits for what an orphan computes, and who calls again would compute it a second time beside it."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "side by side means in processes of their own"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def on_cluster(
    function: Callable[[Task], Result], tasks: Iterable[Task], address: str, cores: int
) -> Iterator[tuple[Task, Result]]:
    """Each task with function(task), computed by Ray in processes of `cores` cores, in the order in which they end.

    address: of a running cluster ("auto" finds the one this machine is part of), or LOCAL. Every machine needs this
    package, and the current folder's files under the same path. What function raises is raised here, and ends it all.

    Raises ValueError where Ray is not installed, or no cluster is at the address.
    """
    try:
        import ray
    except ImportError:
        raise ValueError("ray: not installed; pip install 'imdy-jax[distributed]', or leave --ray out") from None
    folder = os.getcwd()

    def there(task: Task) -> Result:
        os.chdir(folder)
        return function(task)

    try:
        if address == LOCAL:
            ray.init(num_cpus=max(cores, os.cpu_count() or 1), include_dashboard=False, log_to_driver=False)
        else:
            ray.init(address, log_to_driver=False)
    except (ConnectionError, RuntimeError) as error:
        raise ValueError(f"ray: no cluster at {address!r} ({error}); start one with `ray start --head`") from error
    remote = ray.remote(num_cpus=cores, max_retries=_TRIES)(there)
    try:
        waiting = {remote.remote(task): task for task in tasks}
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            yield waiting.pop(done), ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    finally:
        ray.shutdown()
