"""Hard-negative mining (Luo et al. 2023), run by rules: when a column is frozen, and what the next one is trained on.

A column is a policy. The first learns all clips; a further one those that no column follows, or where another one for
them would not help, those that are followed from afar.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imdy_jax.files import check_least, from_json, read_json, to_json, write_json

FILE = "curriculum.json"


@dataclass(frozen=True)
class MiningConfig:
    """Columns and what composes them."""

    columns: int = 1  # at most, each trained for train.minutes at most; 1: one policy for all clips, nothing is mined
    evaluate_every: float = 2.0  # minutes of a column's training between two evaluations on its own clips
    stall: int = 3  # a column is frozen where so many evaluations have not brought
    progress: float = 2.5  # points of success beyond the best before them,
    closer: float = 1.0  # nor, of no fewer clips, so many mm less MPJPE
    afar: float = 35.0  # mm, MPJPE: what is followed with more is followed from afar; 500: nothing is
    stray_limit: float = 0.5  # m, in place of a lesser world.task.stray-limit in the columns after the first
    position_scale: float = 300.0  # per m², in place of a lesser world.task.scales.position for what is afar
    inherit: bool = True  # a column begins with the weights of one before it, as PHC's do; off: with its own
    compose_minutes: float = 10.0  # of training what composes two columns or more; 0: they stay apart


@dataclass(frozen=True)
class Judged:
    """An evaluation of a column on its own clips."""

    minutes: float  # of its training
    samples: int
    failed: tuple[int, ...]  # rows of the cast that it does not follow to the end
    error: float | None = None  # mm, MPJPE, mean over the clips that it follows, if there are any
    afar: tuple[int, ...] = ()  # rows that it follows from afar
    down: float = 0.0  # falls that it does not get up from, of as many as there are clips, where that is judged


ALL, LOST, AFAR = "all", "lost", "afar"


@dataclass(frozen=True)
class Column:
    """What one column is trained on, and what is known of it."""

    clips: tuple[int, ...]  # rows of the cast
    kind: str = ALL  # what they were for the columns before it
    history: tuple[Judged, ...] = ()
    frozen: str = ""  # why it is not trained any further
    best: Judged | None = None  # the evaluation whose weights are kept; None: those of the last

    @property
    def known(self) -> Judged | None:
        """The evaluation of the weights that it keeps."""
        return self.best or next(reversed(self.history), None)

    def success(self, judged: Judged) -> float:
        """Success rate of one of its evaluations, %."""
        return 100.0 * (1.0 - len(judged.failed) / len(self.clips))


@dataclass(frozen=True)
class Curriculum:
    """How far the columns have come."""

    clips: tuple[str, ...]  # names of the cast's clips, by row
    columns: tuple[Column, ...]

    def with_last(self, column: Column) -> "Curriculum":
        """The curriculum with another last column."""
        return replace(self, columns=(*self.columns[:-1], column))

    @property
    def lost(self) -> tuple[int, ...]:
        """Rows that no column follows, as far as is known."""
        return self._left(lambda judged: judged.failed)

    @property
    def afar(self) -> tuple[int, ...]:
        """Rows that are followed, but by every column from afar."""
        near_none = self._left(lambda judged: (*judged.failed, *judged.afar))
        return tuple(row for row in near_none if row not in set(self.lost))

    def followed(self, number: int, rows: Sequence[int]) -> tuple[int, ...]:
        """Those of the rows that a column follows, as far as is known."""
        column = self.columns[number]
        known = column.known
        return tuple(sorted(set(rows) & set(column.clips) - set(known.failed))) if known else ()

    @property
    def ancestor(self) -> int:
        """Number of the column before the last that follows most of the last one's clips; of equals the latest."""
        return self.best_of(len(self.columns) - 1, self.columns[-1].clips)

    def best_of(self, count: int, rows: Sequence[int]) -> int:
        """Number of that of the first columns which follows most of the rows; of equals the latest."""
        return max(range(count), key=lambda k: (len(self.followed(k, rows)), k))

    def _left(self, bad: Callable[[Judged], Sequence[int]]) -> tuple[int, ...]:
        """Rows that are bad in every column which has been judged by them."""
        left = set(range(len(self.clips)))
        for column in self.columns:
            if (known := column.known) is not None:
                left -= set(column.clips) - set(bad(known))
        return tuple(sorted(left))


def begin_curriculum(clips: Sequence[str]) -> Curriculum:
    """One column to train on all clips."""
    return Curriculum(tuple(clips), (Column(tuple(range(len(clips)))),))


def judge(column: Column, judged: Judged, best: Judged | None = None) -> Column:
    """The column with one more evaluation, in place of those with as many samples or more: it was set back since.

    best: the evaluation whose weights are kept now.
    """
    earlier = tuple(old for old in column.history if old.samples < judged.samples)
    return replace(column, history=(*earlier, judged), best=best)


def beats(judged: Judged, before: Judged) -> bool:
    """Whether an evaluation on the same clips is better than one before it: fewer clips and falls are lost, or as many
    and what is followed is followed with less error. Of equals it is the later one, which has learnt for longer.
    """
    rank = lambda j: (len(j.failed) + j.down, _error(j))  # noqa: E731
    return rank(judged) <= rank(before)


def _error(judged: Judged) -> float:
    return float("inf") if judged.error is None else judged.error


def reason_to_freeze(column: Column, config: MiningConfig) -> str:
    """Why a column is to be frozen, after the evaluations in its history; empty where it is to go on."""
    if not column.history:
        return ""
    last = column.history[-1]
    if not (last.failed or last.afar):
        return "everything is followed"
    before, latest = column.history[: -config.stall], column.history[-config.stall :]
    if before and not any(_advances(column, judged, before, config) for judged in latest):
        return f"neither {config.progress:g} points more nor {config.closer:g} mm less in {config.stall} evaluations"
    return ""


def _advances(column: Column, judged: Judged, before: Sequence[Judged], config: MiningConfig) -> bool:
    """Whether an evaluation is ahead of all before it: clearly more is followed, or as much and clearly closer."""
    fewest = min(len(j.failed) for j in before)
    least = min(_error(j) for j in before if len(j.failed) == fewest)
    gained = fewest - len(judged.failed)
    more = 100.0 * gained / len(column.clips) >= config.progress
    return more or (gained >= 0 and _error(judged) < least - config.closer)


def mine(curriculum: Curriculum, config: MiningConfig) -> Curriculum | None:
    """The curriculum with a next column; None where nothing is to be trained.

    It is for what is lost. Where the last column was for just that and none of it came in, or nothing is lost, it is
    for what is followed from afar, as far as the column does with whose weights it begins; where the last one was for
    that, there is no next one.
    """
    last = curriculum.columns[-1]
    if not last.frozen or len(curriculum.columns) >= config.columns or last.kind == AFAR:
        return None
    in_vain = last.kind == LOST and last.clips == curriculum.lost
    if curriculum.lost and not in_vain:
        following = Column(curriculum.lost, LOST)
    else:
        best = curriculum.best_of(len(curriculum.columns), curriculum.afar)
        following = Column(curriculum.followed(best, curriculum.afar), AFAR)
    return replace(curriculum, columns=(*curriculum.columns, following)) if following.clips else None


def check_mining(config: MiningConfig) -> None:
    """Raises ValueError that names the setting which makes no sense, if there is one."""
    check_least(
        config, "config.mining.",
        columns=1, stall=1, progress=0, closer=0, afar=0, stray_limit=0, position_scale=0, compose_minutes=0,
    )  # fmt: skip
    if config.evaluate_every <= 0:
        raise ValueError(f"config.mining.evaluate_every is {config.evaluate_every}, expected minutes, more than 0")


def write_curriculum(folder: Path, curriculum: Curriculum) -> None:
    """Keep a curriculum in a run folder."""
    write_json(folder / FILE, to_json(curriculum))


def read_curriculum(folder: Path, clips: Sequence[str] | None = None) -> Curriculum:
    """The curriculum of a run folder; where there is none, and clips are named, the beginning of one.

    Raises ValueError where there is none and no clips are named, or it is of other clips than those.
    """
    path = folder / FILE
    if not path.exists():
        if clips is None:
            raise ValueError(f"{path}: no such file; expected the run folder of a training with mining.columns over 1")
        return begin_curriculum(clips)
    curriculum = from_json(Curriculum, read_json(path), path)
    if clips is not None and curriculum.clips != tuple(clips):
        differing = sorted(set(curriculum.clips) ^ set(clips))[:5] or "in another order"
        raise ValueError(
            f"{path}: holds columns for {len(curriculum.clips)} clips, but {len(clips)} are there now (differing: "
            f"{differing}); bring back the motions it began with, or start again with --overwrite"
        )
    return curriculum
