"""Environments spread over devices: each device has its share of the humanoids, and the whole of the networks.

The devices may belong to several processes (imdy_jax.imitation.processes).

The compiled iteration stays what it is on one device. XLA's partitioner cuts it up by where its arrays are said to lie,
and random numbers do not depend on that (JAX's partitionable Threefry), so several devices learn what one would.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "envs"
_PER_ENV = ("env", "observation", "deviation")  # parts of a learner's state that have the environments in front
Tree = TypeVar("Tree")


def spread(num_envs: int, devices: Sequence[jax.Device] | None = None) -> Mesh | None:
    """The devices (all, by default) in a row; None where there is one. Raises ValueError for unequal shares."""
    devices = jax.devices() if devices is None else devices
    if len(devices) == 1:
        return None
    if num_envs % len(devices):
        processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
        raise ValueError(
            f"num_envs is {num_envs} on {len(devices)} devices{processes}, expected a multiple of {len(devices)}; "
            "change num_envs"
        )
    return Mesh(np.array(devices), (AXIS,))


def one_each() -> list[jax.Device]:
    """The first device of every process."""
    return [next(d for d in jax.devices() if d.process_index == k) for k in range(jax.process_count())]


def own_rows(mesh: Mesh, num_envs: int) -> np.ndarray:
    """Indices of the rows (num_envs, ...) that lie on the one device of this process in a mesh."""
    own = [device.process_index for device in mesh.devices.flat].index(jax.process_index())
    return np.arange(num_envs).reshape(mesh.size, -1)[own]


def on_own_rows(mesh: Mesh | None, function: Callable[..., Tree]) -> Callable[..., Tree]:
    """function of arrays (N, ...) as each device calls it with its rows, for its rows; as it is without a mesh."""
    if mesh is None:
        return function
    return jax.shard_map(function, mesh=mesh, in_specs=PartitionSpec(AXIS), out_specs=PartitionSpec(AXIS))


def placements(mesh: Mesh, num_envs: int, learner: Any) -> Any:
    """Where each array of a learner's state (or its shape) lies: on all devices, or its rows shared out over them."""

    def place(path: tuple, leaf: Any) -> NamedSharding:
        shared = path[0].name in _PER_ENV and leaf.shape[:1] == (num_envs,)
        return NamedSharding(mesh, PartitionSpec(AXIS) if shared else PartitionSpec())

    return jax.tree_util.tree_map_with_path(place, learner)


def everywhere(mesh: Mesh) -> NamedSharding:
    """The whole of an array on each device."""
    return NamedSharding(mesh, PartitionSpec())


def on_host(tree: Any) -> Any:
    """The whole of each array in NumPy, whichever processes' devices its rows lie on."""

    def whole(x: jax.Array) -> np.ndarray:
        near = x.is_fully_addressable or x.is_fully_replicated
        return np.asarray(x) if near else multihost_utils.process_allgather(x, tiled=True)

    return jax.tree.map(whole, tree)


def share_rows(mesh: Mesh | None, batch: Tree) -> Tree:
    """A batch (B, ...) of which each device works on its rows; as it is where they do not come out even."""
    if mesh is None or len(jax.tree.leaves(batch)[0]) % mesh.size:
        return batch
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, PartitionSpec(AXIS)))
