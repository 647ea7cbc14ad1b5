"""The best policy of a run so far, kept beside its checkpoints with the evaluation that says so."""

from pathlib import Path

from imdy_jax.checkpoints import Checkpoints
from imdy_jax.files import from_json, to_json
from imdy_jax.imitation.mining import Judged, beats
from imdy_jax.imitation.policy import Trained
from imdy_jax.run import RunFolder

BEST, NEWEST = "best", "policy"  # folders of a run, of policies by iteration


class Best:
    """What a run keeps of its evaluations.

    The newest policy in its folder is the best one. The one before it stays, too: a process that is killed while one
    is replaced loses neither.
    """

    def __init__(self, run: RunFolder):
        self._kept = Checkpoints(run.path / BEST, keep=2)

    @property
    def judged(self) -> Judged | None:
        """The evaluation of the policy that is kept; None where none is."""
        if self._kept.latest_step() is None:
            return None
        return from_json(Judged, self._kept.metadata(), self._kept.folder)

    def offer(self, step: int, trained: Trained, judged: Judged) -> Judged:
        """The evaluation of what is kept once a policy, judged after iteration step, is, where it is the best so far.

        What was kept of that iteration or later ones belongs to a run that was set back since, and goes.
        """
        self._kept.forget(step)
        before = self.judged
        if before is not None and not beats(judged, before):
            return before
        arrays = {"params": trained.params, "normalizer": trained.normalizer}
        self._kept.save(step, arrays, to_json(judged))
        return judged


def kept_policies(path: Path) -> Path:
    """Folder of a run's policies, of which the newest plays: the best ones, or where none was judged, all of them."""
    return path / (BEST if holds_policy(path / BEST) else NEWEST)


def holds_policy(folder: Path) -> bool:
    """Whether a folder of policies has a complete one."""
    return any(step.name.isdigit() for step in folder.glob("*"))
