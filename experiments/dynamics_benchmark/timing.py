"""Clocks of the benchmarks."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any


def clock(run: Callable[[], Any], n: int, least: float = 0.05) -> tuple[float, float]:
    """µs of processor time and of wall clock per evaluation, over at least so many seconds."""
    processor, wall, calls = time.process_time(), time.perf_counter(), 0
    while not calls or time.perf_counter() - wall < least:
        run()
        calls += 1
    scale = 1e6 / (calls * n)
    return (time.process_time() - processor) * scale, (time.perf_counter() - wall) * scale


def peak_memory(run: Callable[[], Any]) -> float | None:
    """MB by which the memory that is resident rises at most while run() works; None where the system does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
    except OSError:
        run()
        return None
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError after so many seconds of Python; a compiler at work is waited for."""

    def stop(_: int, __: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
