"""Several processes, on one machine or on many, that train one policy together (jax.distributed).

Each runs the same program at the same time and waits for the others wherever they exchange arrays. What one of them
finds out by itself, by a clock or in a file, it therefore tells the others before anybody acts on it. Process 0 alone
writes and talks (imdy_jax.files.leading).
"""

import hashlib
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from imdy_jax.files import leading

AUTO = "auto"
PATIENCE = 300.0  # s that processes wait for each other to begin with
_AGAIN = 0.5  # s between two attempts
Result = TypeVar("Result")


def connect(processes: int, process: int, coordinator: str | None, patience: float = PATIENCE) -> None:
    """Join the processes that train together; one that is alone needs nothing. Before JAX computes anything.

    coordinator: host:port of process 0, which listens there; AUTO: that and the numbers as the launcher's environment
    has them (SLURM, Open MPI). Raises ValueError where they are not as they should be, and ConnectionError where one
    does not come within so many seconds of patience.
    """
    if coordinator is None and processes == 1:
        return
    if coordinator == AUTO:
        jax.distributed.initialize(initialization_timeout=round(patience))
    else:
        _join(processes, process, coordinator, patience)
    # At once, while all are here: Gloo, by which CPUs talk, waits 30 s for the others the first time, and later longer.
    multihost_utils.sync_global_devices("connected")


def _join(processes: int, process: int, coordinator: str | None, patience: float) -> None:
    if processes < 2 or not 0 <= process < processes:
        raise ValueError(
            f"found processes {processes}, process {process}, coordinator {coordinator}; expected two processes or "
            "more, numbered from 0; start one command for each, with its number"
        )
    host, port = _address(coordinator)
    if process:
        _knock(host, port, process, patience)
    else:
        _wait_for_all(port, processes, patience)
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
    led: Any = together(first if leading() else lambda: None)
    followed: Any = together((lambda: None) if leading() else then)
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


def _knock(host: str, port: int, process: int, patience: float) -> None:
    """Tell process 0, once it listens, who is there: where it never does, JAX would end with a dump of its stack."""
    end = time.monotonic() + patience
    while True:
        try:
            with socket.create_connection((host.strip("[]"), port), timeout=max(end - time.monotonic(), 0.1)) as line:
                line.sendall(str(process).encode())
            return
        except OSError as error:
            if time.monotonic() + _AGAIN > end:
                raise ConnectionError(
                    f"coordinator {host}:{port}: not reached in {patience:.0f} s ({error.strerror or error}); expected "
                    "process 0 to listen there; start it, and check the address and the firewall"
                ) from None
        time.sleep(_AGAIN)


def _wait_for_all(port: int, processes: int, patience: float) -> None:
    """Listen until every other process has told that it is there."""
    end, missing = time.monotonic() + patience, set(range(1, processes))
    with _listening(port) as door:
        while missing:
            door.settimeout(max(end - time.monotonic(), 0.01))
            try:
                line, _ = door.accept()
            except TimeoutError:
                raise ConnectionError(
                    f"process {min(missing)} of {processes} has not come to port {port} in {patience:.0f} s; start it "
                    "with the same --processes and --coordinator"
                ) from None
            with line, suppress(ValueError, OSError):  # somebody else's
                line.settimeout(1.0)
                missing.discard(int(line.recv(16)))


def _listening(port: int) -> socket.socket:
    both = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(("", port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both)
    except (OSError, OverflowError) as error:
        raise ValueError(f"coordinator: cannot listen at port {port} ({error}); choose another") from None
