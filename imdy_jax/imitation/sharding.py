"""Environments spread over devices: each device has its share of the humanoids, and the whole of the networks.

The compiled iteration stays what it is on one device. XLA's partitioner cuts it up by where its arrays are said to lie,
and random numbers do not depend on that (JAX's partitionable Threefry), so several devices learn what one would.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import numpy as np
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
        raise ValueError(
            f"num_envs is {num_envs} on {len(devices)} devices, expected a multiple of {len(devices)}; change num_envs"
        )
    return Mesh(np.array(devices), (AXIS,))


def placements(mesh: Mesh, num_envs: int, learner: Any) -> Any:
    """Where each array of a learner's state (or its shape) lies: on all devices, or its rows shared out over them."""

    def place(path: tuple, leaf: Any) -> NamedSharding:
        shared = path[0].name in _PER_ENV and leaf.shape[:1] == (num_envs,)
        return NamedSharding(mesh, PartitionSpec(AXIS) if shared else PartitionSpec())

    return jax.tree_util.tree_map_with_path(place, learner)


def everywhere(mesh: Mesh) -> NamedSharding:
    """The whole of an array on each device."""
    return NamedSharding(mesh, PartitionSpec())


def share_rows(mesh: Mesh | None, batch: Tree) -> Tree:
    """A batch (B, ...) of which each device works on its rows; as it is where they do not come out even."""
    if mesh is None or len(jax.tree.leaves(batch)[0]) % mesh.size:
        return batch
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, PartitionSpec(AXIS)))
