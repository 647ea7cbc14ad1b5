"""Fixtures shared by all tests: the shared data, the strict session of the dynamics tests, a warm compilation cache."""

import os
from collections.abc import Iterator
from pathlib import Path

# Before JAX is imported: the tests ask for nothing but a CPU, and most programs of theirs run once, so that compiling
# them well costs more than it saves.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

import jax
import pytest

from imdy_jax.compiling import enable_compilation_cache

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def compilation_cache() -> None:
    """Compiled programs are kept between test runs."""
    enable_compilation_cache()


@pytest.fixture(autouse=True)
def precision_is_left_alone() -> Iterator[None]:
    """A precision that outlives its test changes the random numbers of those after it."""
    before = jax.config.jax_enable_x64
    yield
    assert jax.config.jax_enable_x64 == before, "the precision of JAX was set and not set back"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared recordings, beside the checkout; the test is skipped where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no shared data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="module")
def strict() -> Iterator[None]:
    """float64, and arrays of different rank never broadcast silently. For a whole file:

    pytestmark = pytest.mark.usefixtures("strict")
    """
    # JAX remembers NumPy index arrays with the integer type they had in the other precision (seen in 0.10.2).
    jax.clear_caches()
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        yield
    jax.clear_caches()
