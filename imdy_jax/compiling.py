"""Compiled programs: kept between runs, and what making them takes."""

import os
import threading
import time
from pathlib import Path

import jax


def enable_compilation_cache() -> Path:
    """Keep compiled programs between runs: in JAX_COMPILATION_CACHE_DIR, or else in the user's cache folder."""
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or user_cache / "imdy_jax" / "xla")
    folder.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return folder


class _CompilingClock(threading.local):
    """When this thread has traced, lowered, compiled or fetched programs, as JAX tells it."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []

    def __call__(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            begun, end = time.monotonic() - duration_secs, time.monotonic()
            while self.spans and self.spans[-1][0] > begun - 1e-3:  # what this one was made of has been told
                self.spans.pop()
            self.spans.append((begun, end))


_clock = _CompilingClock()
jax.monitoring.register_event_duration_secs_listener(_clock)


def compiling_seconds() -> float:
    """Seconds of wall clock that this thread has spent on making or fetching compiled programs so far."""
    return sum(end - begun for begun, end in _clock.spans)
