"""What is written down of a policy in training: every evaluation as a row of its run folder's table."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from imdy_jax.imitation.best import Best
from imdy_jax.imitation.evaluate import ClipScore
from imdy_jax.imitation.mining import Judged
from imdy_jax.motion.clip import Clip
from imdy_jax.report import Table, read_table, say, show
from imdy_jax.run import RunFolder

COLUMNS = ("success %", "MPJPE mm", "root-rel. mm", "vel. mm/frame", "acc. mm/frame²", "diverged")
FALLEN = "got up %"
_NAMED = 40  # of the clips that are lost, at most
NOTE = "errors are means over the successful clips; every clip from its first frame, mean action"


class Scoreboard:
    """Quality of a policy on some clips against its training time; falls: it is judged by falls beside them, too."""

    def __init__(self, folder: RunFolder, clips: list[str], title: str, falls: bool = False):
        self.path = folder.path / "tables" / "imitator.json"
        self.rows = list(read_table(self.path).rows) if self.path.exists() else []  # of the run that is resumed
        self._clips, self._title, self._falls = clips, title, falls

    @property
    def table(self) -> Table:
        columns = ("min", "samples", *COLUMNS, *([FALLEN] if self._falls else []))
        return Table(f"{self._title}, {jax.default_backend()}", columns, tuple(self.rows), (NOTE,))

    def add(self, judged: Judged, scores: list[ClipScore]) -> None:
        """Write down, and show, an evaluation and the scores of the clips in it."""
        # What was measured after the checkpoint that the run goes on from is measured again.
        self.rows[:] = [row for row in self.rows if row[1] < judged.samples]
        fallen = (100.0 * (1.0 - judged.down / len(scores)),) if self._falls else ()
        self.rows.append((round(judged.minutes, 1), judged.samples, *summary(scores), *fallen))
        show(self.table, self.path)
        lost = [clip for clip, s in zip(self._clips, scores, strict=True) if not s.success]
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        say(f"not followed to the end: {', '.join(lost[:_NAMED]) or 'none'}{more}")


def overview(path: Path, title: str, parts: Sequence[str], together: tuple) -> Table:
    """How the parts of a run, columns and perhaps a composer, were judged with the weights that they keep.

    together: the summary of all clips, each with the column that follows it best.
    """
    rows = [(part, *_kept_row(path / part)) for part in parts]
    rows.insert(0, ("the column that follows it best", None, None, *together))
    notes = (NOTE, "a column is judged on its own clips: those that the column before it does not follow")
    return Table(f"{title}, {jax.default_backend()}", ("policy", "min", "samples", *COLUMNS), tuple(rows), notes)


def _kept_row(path: Path) -> tuple:
    """The row of a part's table of the evaluation whose weights are kept: the last, where they are those."""
    rows, best = read_table(path / "tables" / "imitator.json").rows, Best(RunFolder.open(path)).judged
    kept = next((row for row in rows if best is not None and row[1] == best.samples), rows[-1])
    return tuple(kept)[: 2 + len(COLUMNS)]


def summary(scores: list[ClipScore]) -> tuple:
    """Success rate in %, then the mean errors over the successes, and the number of diverged simulations."""
    done = [s for s in scores if s.success]
    mean = lambda name: float(np.mean([getattr(s, name) for s in done])) if done else None  # noqa: E731
    errors = (mean("mpjpe"), mean("mpjpe_root"), mean("velocity"), mean("acceleration"))
    return (100 * len(done) / len(scores), *errors, sum(s.diverged for s in scores))


def clip_rows(clips: Sequence[Clip], scores: list[ClipScore], by: list[str]) -> list[tuple]:
    """A row for each clip of one person; by: what is said of who plays it."""
    return [
        (clip.name, ("yes" if s.success else f"lost at {s.frames / clip.fps:.1f} s") + own, clip.duration, *_errors(s))
        for clip, s, own in zip(clips, scores, by, strict=True)
    ]


def shared_rows(clips: Sequence[Clip], scores: list[ClipScore]) -> list[tuple]:
    """A row for each clip of several people: how many follow it, and the means of these."""
    played: dict[str, list[ClipScore]] = {}
    for clip, s in zip(clips, scores, strict=True):
        played.setdefault(clip.name, []).append(s)
    lasts = {clip.name: clip.duration for clip in clips}
    rows = []
    for name, own in played.items():
        _, *errors, _ = summary(own)
        rows.append((name, f"{sum(s.success for s in own)} of {len(own)}", lasts[name], *errors))
    return rows


def _errors(score: ClipScore) -> tuple[float, float, float, float]:
    return score.mpjpe, score.mpjpe_root, score.velocity, score.acceleration
