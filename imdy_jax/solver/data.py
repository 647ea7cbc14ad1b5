"""Batches of windows: split by clip, shuffled over the whole dataset, read ahead.

The windows of batch n are a function of the seed and n alone: going on from the middle needs nothing but n.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from imdy_jax.dataset.background import in_background
from imdy_jax.motion.clip import is_gait
from imdy_jax.solver.pack import PackedDataset


class Windows(NamedTuple):
    """A batch of B windows around frame t, as recorded."""

    markers: np.ndarray  # (B, 2w+2, 66, 3) m, frames t-w … t+w+1
    angular_momentum: np.ndarray  # (B, 23, 3) N·m·s of the step t → t+1
    contact_force: np.ndarray  # (B, 2, 24, 3) N of the steps t → t+1 and t+1 → t+2
    mass: np.ndarray  # (B,) kg


def split_by_clip(clips: list[str], test_share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices of the training and of the test sequences, such that no clip has sequences on both sides.

    Gaits (motion.clip.is_gait) are drawn apart from the rest: of two or more, some are on either side.

    Args:
      clips: name of each sequence's clip.
      test_share: of the clips, at least one of them and not all.

    Raises:
      ValueError: fewer than two clips.
    """
    distinct = sorted(set(clips))
    if len(distinct) < 2:
        raise ValueError(
            f"dataset: its sequences come from {len(distinct)} clip(s), expected at least 2 to hold one out; "
            "generate the dataset from more motions"
        )
    shuffled = [distinct[i] for i in np.random.default_rng(seed).permutation(len(distinct))]
    gaits = [clip for clip in shuffled if is_gait(clip)]
    count = _share(test_share, len(distinct))
    if 2 <= len(gaits) < len(distinct):
        of_gaits = _share(test_share, len(gaits))
        others = [clip for clip in shuffled if clip not in gaits]
        held_out = {*gaits[:of_gaits], *others[: max(count - of_gaits, 0)]}
    else:
        held_out = set(shuffled[:count])
    test = [i for i, clip in enumerate(clips) if clip in held_out]
    return [i for i, clip in enumerate(clips) if clip not in held_out], test


def _share(share: float, count: int) -> int:
    """A share of count, at least one and not all."""
    return min(max(1, round(share * count)), count - 1)


class WindowBatches:
    """Batches of whole windows, shuffled over all sequences anew in each pass; batches[n] is the n-th of the run."""

    def __init__(self, data: PackedDataset, sequences: list[int], window: int, batch_size: int, seed: int):
        self.data, self.seed = data, seed
        self.frames = np.arange(-window, window + 2)
        chosen = [data.sequences[i] for i in sequences]
        inside = [s.start + np.arange(window, s.steps - max(window, 1)) for s in chosen]
        self.times = np.concatenate([np.zeros(0, int), *inside])
        self.mass = np.repeat(np.array([s.mass for s in chosen], np.float32), [len(t) for t in inside])
        if len(self.times) == 0:
            raise ValueError(
                f"{data.folder}: {len(sequences)} sequences hold no window of {len(self.frames)} frames; "
                "generate longer sequences"
            )
        self.batch_size = min(batch_size, len(self.times))
        self.per_pass = len(self.times) // self.batch_size
        identity = [data.source, sorted(s.name for s in chosen), window, self.batch_size, seed]
        self.digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        self._order = (-1, self.times)

    def __getitem__(self, batch: int) -> Windows:
        number, place = divmod(batch, self.per_pass)
        if self._order[0] != number:
            self._order = number, np.random.default_rng([self.seed, number]).permutation(len(self.times))
        return self.windows(self._order[1][place * self.batch_size : (place + 1) * self.batch_size])

    def windows(self, chosen: np.ndarray) -> Windows:
        """The windows of the given numbers (B,), each below len(times)."""
        t = self.times[chosen][:, None]
        return Windows(
            markers=self.data.markers[t + self.frames],
            angular_momentum=self.data.angular_momentum[t[:, 0]],
            contact_force=self.data.contact_force[t + np.arange(2)],
            mass=self.mass[chosen],
        )


def prefetch(batches: WindowBatches, numbers: Iterable[int], ahead: int = 2) -> Iterator[Windows]:
    """Batches of these numbers on the device, read by a thread that keeps `ahead` of the consumer."""
    return in_background(lambda number: jax.device_put(batches[number]), numbers, ahead=ahead)
