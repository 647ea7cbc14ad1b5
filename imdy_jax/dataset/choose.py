"""Which sequences of a dataset to look at: by name, or a few of different activities."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from imdy_jax.dataset.certify import certified_ids
from imdy_jax.dataset.store import Dataset, sequence_attributes, sequence_ids
from imdy_jax.motion.clip import family

_NAMED = 12  # sequences that an error lists
Rank = tuple[bool, bool, float, str]


def choose_various(dataset: Dataset, count: int) -> list[str]:
    """Up to `count` certified sequences of as many clips, of different activities as far as there are so many.

    Of each clip the best sequence: followed to its end, from its first frame, with the smallest MPJPE; then clips
    followed to their end first. The same for the same dataset.
    """
    best: dict[str, Rank] = {}
    for name in certified_ids(dataset):
        attributes = sequence_attributes(dataset, name)
        clip, rank = attributes["clip"]["name"], _rank(attributes, name)
        best[clip] = min(rank, best.get(clip, rank))
    activities: dict[str, list[Rank]] = {}
    for clip, rank in sorted(best.items(), key=lambda item: (item[1][0], item[0])):
        activities.setdefault(family(clip), []).append(rank)
    rounds = zip_longest(*activities.values())
    return [rank[-1] for each in rounds for rank in each if rank is not None][:count]


def choose_named(dataset: Dataset, wanted: Sequence[str]) -> list[str]:
    """For each text the best sequence whose name holds it; raises ValueError where there is none."""
    names = sequence_ids(dataset)
    return [_best(dataset, text, names) for text in wanted]


def _rank(attributes: Mapping[str, Any], name: str) -> Rank:
    return not attributes["success"], attributes["start_frame"] > 0, attributes["position_error_mm"], name


def _best(dataset: Dataset, text: str, names: Sequence[str]) -> str:
    found = [name for name in names if text in name]
    if not found:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise ValueError(
            f"{dataset.path}: found no sequence whose name holds {text!r}, expected some part of one of "
            f"{', '.join(names[:_NAMED])}{more}; name another, or none for a choice of activities"
        )
    return min(found, key=lambda name: _rank(sequence_attributes(dataset, name), name))
