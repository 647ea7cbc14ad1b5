"""Batches of windows: shuffled over the whole dataset, read ahead, shared over hosts.

The windows of batch n are a function of the seed and n alone: going on from the middle needs nothing but n, and each
of several hosts reads its part of every batch without hearing of the others.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from imdy_jax.dataset.background import in_background
from imdy_jax.solver.pack import PackedDataset


class Windows(NamedTuple):
    """A batch of B windows around frame t, as recorded."""

    motion: np.ndarray  # (B, 2w+2, points, channels) frames t-w … t+w+1, world
    angular_momentum: np.ndarray  # (B, 23, 3) N·m·s of the step t → t+1
    contact_force: np.ndarray  # (B, 2, 24, 3) N of the steps t → t+1 and t+1 → t+2
    mass: np.ndarray  # (B,) kg
    dt: np.ndarray  # (B,) s between frames
    balance: np.ndarray | None = None  # (B, SIZE) of the step t → t+1, see balance.py


class WindowBatches:
    """Batches of whole windows, shuffled over all sequences anew in each pass; batches[n] is the n-th of the run.

    Of each rate that the dataset was packed for there is a window around every packed frame: the rates have shares of
    one size, and a slow one sees the moments between its frames too.

    part: (k, K): of each batch every K-th window from the k-th on, for host k of K (jax.process_index and
      process_count); batch_size, per_pass and the digest are those of the whole batches.
    """

    def __init__(
        self, data: PackedDataset, sequences: list[int], window: int, batch_size: int, seed: int,
        part: tuple[int, int] = (0, 1),
    ):  # fmt: skip
        self.data, self.seed, self.part = data, seed, part
        self.frames = np.arange(-window, window + 2)
        chosen = [data.sequences[i] for i in sequences]
        inside = [
            (s.start + np.arange(stride * window, s.steps - stride * (max(window, 1) + 1) + 1), stride, s.mass)
            for stride in data.strides
            for s in chosen
        ]
        counts = [len(times) for times, *_ in inside]
        self.times = np.concatenate([np.zeros(0, int), *(times for times, *_ in inside)])
        self.strides = np.repeat([stride for _, stride, _ in inside], counts).astype(int)
        self.mass = np.repeat(np.array([mass for *_, mass in inside], np.float32), counts)
        if len(self.times) == 0:
            raise ValueError(
                f"{data.folder}: {len(sequences)} sequences hold no window of {len(self.frames)} frames; "
                "generate longer sequences"
            )
        self.batch_size = min(batch_size, len(self.times))
        if not 0 <= part[0] < part[1] or self.batch_size % part[1]:
            raise ValueError(
                f"part: found {part}, expected (k, K) with 0 ≤ k < K, and K to divide the batch of {self.batch_size} "
                "windows; choose another batch_size"
            )
        self.per_pass = len(self.times) // self.batch_size
        identity = [data.source, sorted(s.name for s in chosen), window, self.batch_size, seed]
        self.digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        self._order = (-1, self.times)

    @property
    def hours(self) -> float:
        """Of motion around which there is a window."""
        return len(self.times) * self.data.dt / len(self.data.strides) / 3600

    def __getitem__(self, batch: int) -> Windows:
        number, place = divmod(batch, self.per_pass)
        if self._order[0] != number:
            self._order = number, np.random.default_rng([self.seed, number]).permutation(len(self.times))
        host, hosts = self.part
        return self.windows(self._order[1][place * self.batch_size + host : (place + 1) * self.batch_size : hosts])

    def windows(self, chosen: np.ndarray) -> Windows:
        """The windows of the given numbers (B,), each below len(times)."""
        t, stride = self.times[chosen][:, None], self.strides[chosen][:, None]
        steps = _sums(self.data.contact_force, t + stride * np.arange(2), stride)
        count = stride.astype(np.float32)
        balance = None if self.data.balance is None else _sums(self.data.balance, t, stride)[:, 0] / count
        return Windows(
            motion=self.data.motion[t + stride * self.frames],
            angular_momentum=_sums(self.data.angular_momentum, t, stride)[:, 0],
            contact_force=steps / count[..., None, None],
            mass=self.mass[chosen],
            dt=(stride[:, 0] * self.data.dt).astype(np.float32),
            balance=balance,
        )


def prefetch(batches: WindowBatches, numbers: Iterable[int], ahead: int = 2) -> Iterator[Windows]:
    """Batches of these numbers on the device, read by a thread that keeps `ahead` of the consumer."""
    return in_background(lambda number: jax.device_put(batches[number]), numbers, ahead=ahead)


def _sums(rows: np.ndarray, first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Sums over count (B, 1) rows from `first` (B, K): (B, K, ...)."""
    total = np.array(rows[first])
    for further in range(1, int(count.max(initial=1))):
        more = count[:, 0] > further
        total[more] += rows[first[more] + further]
    return total
