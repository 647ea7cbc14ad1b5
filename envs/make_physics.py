"""Which engine computes the world: chosen by the device that is there, or by name."""

import jax

from envs.c_physics import CPhysics
from envs.physics import Physics
from imdy_jax.humanoid import Humanoid
from imdy_jax.imitation.sharding import one_each, spread

ENGINES = ("auto", "c", "mjx", "warp")


def make_physics(
    humanoids: Humanoid, engine: str = "auto", substeps: int = 2, record: bool = False, shared: bool = False
) -> Physics:
    """N humanoids (leaves stacked) in the named engine; see CPhysics and MjxPhysics for the other settings.

    "c" is MuJoCo's C engine on the CPU, "mjx" is MJX in JAX, "warp" is MJX on MuJoCo Warp (NVIDIA GPUs); "auto" takes
    "c" where JAX runs on the CPU and "mjx" elsewhere. shared: each of several processes (jax.distributed) has its part
    of the humanoids. Raises ValueError for an unknown name, and for one that processes cannot share.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown physics engine {engine!r}; known engines: {', '.join(ENGINES)}")
    if engine == "auto":
        engine = "c" if jax.default_backend() == "cpu" else "mjx"
    if engine == "c":
        mesh = spread(len(humanoids.mass), one_each()) if shared else None
        return CPhysics(humanoids, substeps=substeps, record=record, mesh=mesh)
    if engine == "warp" and shared and jax.process_count() > 1:
        raise ValueError(
            f'physics engine "warp" in {jax.process_count()} processes: it steps on one GPU; use "mjx", or one process'
        )
    # Imported only where it is used: MJX takes seconds to load and announces which packages it misses.
    from envs.mjx_physics import MjxPhysics

    return MjxPhysics(humanoids, substeps=substeps, record=record, impl="warp" if engine == "warp" else "jax")
