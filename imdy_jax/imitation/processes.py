"""Several processes, on one machine or on many, that train one policy together (jax.distributed).

Each runs the same program at the same time and waits for the others wherever they exchange arrays. What one of them
finds out by itself, by a clock or in a file, it therefore tells the others before anybody acts on it. Process 0 alone
writes and talks (imdy_jax.run.leading).
"""

import hashlib
import os
import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from imdy_jax.run import leading

AUTO = "auto"
PATIENCE = 300.0  # s that processes wait for each other to begin with
Result = TypeVar("Result")


def connect(processes: int, process: int, coordinator: str | None, patience: float = PATIENCE) -> None:
    """Join the processes that train together; one that is alone needs nothing. Before JAX computes anything.

    coordinator: host:port of process 0, which listens there; AUTO: that and the numbers as the launcher's environment
    has them (SLURM, Open MPI). Raises ValueError where they are not as they should be and ConnectionError where nobody
    listens for so many seconds of patience.
    """
    if coordinator is None and processes == 1:
        return
    if coordinator == AUTO:
        jax.distributed.initialize(initialization_timeout=round(patience))
        return
    if processes < 2 or not 0 <= process < processes:
        raise ValueError(
            f"found processes {processes}, process {process}, coordinator {coordinator}; expected two processes or "
            "more, numbered from 0; start one command for each, with its number"
        )
    host, port = _address(coordinator)
    if process:
        _knock(host, port, patience)
    elif (taken := _taken(port)) is not None:
        raise ValueError(f"coordinator {coordinator}: cannot listen at port {port} ({taken}); choose another")
    jax.distributed.initialize(f"{host}:{port}", processes, process, initialization_timeout=round(patience))


def together(work: Callable[[], Result]) -> Result:
    """What work returns; where it fails in one process it fails in all, so that none waits for one that is gone.

    Raises ValueError where another one's has failed.
    """
    if jax.process_count() == 1:
        return work()
    failure: Exception | None = None
    try:
        result = work()
    except Exception as error:
        failure = error
    failed = np.flatnonzero(multihost_utils.process_allgather(np.array(failure is not None)))
    if failure is not None:
        raise failure
    if len(failed):
        raise ValueError(f"process {failed[0]} of {jax.process_count()} has failed and says why; mend that, start all")
    return result


def in_turn(first: Callable[[], Result], then: Callable[[], Result]) -> Result:
    """What first returns in process 0, and what then does in the others once that is done; errors as in together."""
    led = together(first if leading() else lambda: None)
    followed = together((lambda: None) if leading() else then)
    return led if leading() else followed


def same(name: str, content: Any) -> None:
    """Raises ValueError where the processes do not have the same content, a pytree of arrays or text, under a name."""
    if jax.process_count() == 1:
        return
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(content):
        digest.update(np.asarray(leaf).tobytes())
    digests = multihost_utils.process_allgather(np.frombuffer(digest.digest(), np.uint8))
    if np.any(digests != digests[0]):
        raise ValueError(
            f"{name}: not the same in all {jax.process_count()} processes, expected the same; start all of them with "
            "one command line and the same files, on machines of one kind"
        )


def of_first(number: float) -> float:
    """The number, in single precision, that process 0 has; unchanged where there is only that one."""
    return number if jax.process_count() == 1 else float(multihost_utils.broadcast_one_to_all(np.float32(number)))


def _address(coordinator: str | None) -> tuple[str, int]:
    host, _, port = (coordinator or "").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(
            f"coordinator is {coordinator}, expected host:port of process 0, as in localhost:4567, or {AUTO} where a "
            "launcher tells; pass --coordinator"
        )
    return host, int(port)


def _knock(host: str, port: int, patience: float) -> None:
    """Wait until process 0 listens: JAX itself would end the process with a dump of its stack."""
    end = time.monotonic() + patience
    while True:
        try:
            socket.create_connection((host.strip("[]"), port), timeout=max(end - time.monotonic(), 0.1)).close()
            return
        except OSError as error:
            if time.monotonic() + 0.5 > end:
                raise ConnectionError(
                    f"coordinator {host}:{port}: not reached in {patience:.0f} s ({error.strerror or error}); expected "
                    "process 0 to listen there; start it, and check the address and the firewall"
                ) from None
        time.sleep(0.5)


def _taken(port: int) -> str | None:
    """Why nobody can listen at a port of this machine; None where one can."""
    try:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(("", port))
    except (OSError, OverflowError) as error:
        return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return None
