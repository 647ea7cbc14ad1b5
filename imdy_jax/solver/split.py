"""Which sequences are fitted and which are held out, so that what is judged has not been seen."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from imdy_jax.motion.clip import is_gait
from imdy_jax.solver.pack import PackedSequence

HoldOut = Literal["clip", "subject", "both"]


def split(sequences: Sequence[PackedSequence], by: HoldOut, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices of the training and of the test sequences.

    by: "clip" holds out clips and "subject" people, with all that they have; "both" holds out both, and fits what is
      neither: what is held out then has a clip, a person, or both, that are new (see `novelty`).
    share: of the clips, and of the people, each at least one and not all.

    Raises ValueError where there is one clip or one person alone, or nothing is left to fit.
    """
    every = set(range(len(sequences)))
    train = set(every)
    if by in ("clip", "both"):
        train &= set(split_by_clip([s.clip for s in sequences], share, seed)[0])
    if by in ("subject", "both"):
        train &= set(split_by_subject([s.subject for s in sequences], share, seed)[0])
    if not train:
        raise ValueError(
            "dataset: no sequence is of a clip and of a person that are both to be fitted, expected some; let more "
            "people play each clip, or hold out clips or people alone"
        )
    return sorted(train), sorted(every - train)


def novelty(sequences: Sequence[PackedSequence], train: list[int], test: list[int]) -> list[str]:
    """What of each test sequence the training sequences do not have."""
    clips, subjects = ({getattr(sequences[i], name) for i in train} for name in ("clip", "subject"))
    label = {(True, False): "new clip", (False, True): "new person", (True, True): "new clip and person"}
    return [label[sequences[i].clip not in clips, sequences[i].subject not in subjects] for i in test]


def split_by_clip(clips: list[str], test_share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices of the training and of the test sequences, such that no clip has sequences on both sides.

    Gaits (motion.clip.is_gait) are drawn apart from the rest: of two or more, some are on either side.

    Args:
      clips: name of each sequence's clip.
      test_share: of the clips, at least one of them and not all.

    Raises:
      ValueError: fewer than two clips.
    """
    shuffled = _shuffled(clips, "clip", seed)
    gaits = [clip for clip in shuffled if is_gait(clip)]
    count = _share(test_share, len(shuffled))
    if 2 <= len(gaits) < len(shuffled):
        of_gaits = _share(test_share, len(gaits))
        others = [clip for clip in shuffled if clip not in gaits]
        return _sides(clips, {*gaits[:of_gaits], *others[: max(count - of_gaits, 0)]})
    return _sides(clips, set(shuffled[:count]))


def split_by_subject(subjects: list[str], test_share: float, seed: int) -> tuple[list[int], list[int]]:
    """The same for people: no subject has sequences on both sides."""
    shuffled = _shuffled(subjects, "subject", seed)
    return _sides(subjects, set(shuffled[: _share(test_share, len(shuffled))]))


def _shuffled(labels: list[str], what: str, seed: int) -> list[str]:
    distinct = sorted(set(labels))
    if len(distinct) < 2:
        raise ValueError(
            f"dataset: its sequences come from {len(distinct)} {what}(s), expected at least 2 to hold one out; "
            f"generate the dataset from more {'motions' if what == 'clip' else 'people'}"
        )
    return [distinct[i] for i in np.random.default_rng(seed).permutation(len(distinct))]


def _sides(labels: list[str], held_out: set[str]) -> tuple[list[int], list[int]]:
    test = [i for i, label in enumerate(labels) if label in held_out]
    return [i for i, label in enumerate(labels) if label not in held_out], test


def _share(share: float, count: int) -> int:
    """A share of count, at least one and not all."""
    return min(max(1, round(share * count)), count - 1)
