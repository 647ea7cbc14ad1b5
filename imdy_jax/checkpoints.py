"""What a long job goes on from after an interruption."""

import shutil
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from imdy_jax.files import leading

_REMOVED = ".removed"  # beside the checkpoints, on their file system, so that losing the name is one rename


class Checkpoints:
    """Checkpoints of one run: a pytree of arrays and a small JSON-able metadata dict per step.

    A checkpoint gets its name only once complete, and loses it before it is removed, so what a killed process leaves
    half-written or half-removed is never restored.
    """

    def __init__(self, folder: str | Path, keep: int = 3):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False, todelete_subdir=_REMOVED
        )
        self.folder = Path(folder).absolute()
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint; None where there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, metadata: dict[str, Any] | None = None) -> None:
        """Write the checkpoint of a step; a step that exists already is replaced."""
        self._clear()
        if step in self._manager.all_steps():
            self._manager.delete(step)
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), metadata=ocp.args.JsonSave(metadata or {}))
        self._manager.save(step, args=args, force=True)
        self._clear()

    def forget(self, step: int) -> None:
        """Remove the checkpoints of a step and of all later ones."""
        self._clear()
        for later in [kept for kept in self._manager.all_steps() if kept >= step]:
            self._manager.delete(later)
        self._clear()

    def metadata(self, step: int | None = None) -> dict[str, Any]:
        """Metadata of a step (default: the newest) alone; raises ValueError where there is none."""
        return self._restore(self._known(step), metadata=ocp.args.JsonRestore()).metadata

    def restore(self, template: Any, step: int | None = None) -> tuple[Any, dict[str, Any]]:
        """State and metadata of a step (default: the newest), with the structure, shapes and dtypes of template."""
        given = {"state": ocp.args.StandardRestore(template), "metadata": ocp.args.JsonRestore()}
        restored = self._restore(self._known(step), **given)
        return restored.state, restored.metadata

    def close(self) -> None:
        self._manager.close()

    def _restore(self, step: int, **items: Any) -> Any:
        """Items of a step; raises ValueError where it is damaged, or of another config."""
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:  # orbax raises bare ones, too, where a file is cut short
            told = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"{self.folder / str(step)}: cannot be restored, expected a whole checkpoint of the config beside it; "
                f"copy it again, or remove it and go on from an earlier one ({told:.200})"
            ) from error

    def _clear(self) -> None:
        """Free what removed checkpoints have taken; of several processes the first alone does."""
        if leading():
            shutil.rmtree(self.folder / _REMOVED, ignore_errors=True)

    def _known(self, step: int | None) -> int:
        """That step, or by default the newest; raises ValueError where there is none."""
        step = self.latest_step() if step is None else step
        if step is None or step not in self._manager.all_steps():
            known = sorted(self._manager.all_steps())
            raise ValueError(f"{self.folder}: no checkpoint of step {step}, found steps {known}; train first")
        return step
