"""Which engine computes the world: chosen by the device that is there, or by name."""

import jax

from envs.c_physics import CPhysics
from envs.physics import Physics
from imdy_jax.humanoid import Humanoid

ENGINES = ("auto", "c", "mjx", "warp")


def make_physics(humanoids: Humanoid, engine: str = "auto", substeps: int = 2, record: bool = False) -> Physics:
    """N humanoids (leaves stacked) in the named engine; see CPhysics and MjxPhysics for the other settings.

    "c" is MuJoCo's C engine on the CPU, "mjx" is MJX in JAX, "warp" is MJX on MuJoCo Warp (NVIDIA GPUs); "auto" takes
    "c" where JAX runs on the CPU and "mjx" elsewhere. Raises ValueError for an unknown name.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown physics engine {engine!r}; known engines: {', '.join(ENGINES)}")
    if engine == "auto":
        engine = "c" if jax.default_backend() == "cpu" else "mjx"
    if engine == "c":
        return CPhysics(humanoids, substeps=substeps, record=record)
    # Imported only where it is used: MJX takes seconds to load and announces which packages it misses.
    from envs.mjx_physics import MjxPhysics

    return MjxPhysics(humanoids, substeps=substeps, record=record, impl="warp" if engine == "warp" else "jax")
