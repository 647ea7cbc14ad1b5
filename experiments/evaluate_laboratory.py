"""Forces and joint moments from markers alone, against a laboratory's force plates and OpenSim.

    python experiments/evaluate_laboratory.py --data ../shared/data/force_plates
    python experiments/evaluate_laboratory.py --data my_lab --sex female --solver runs/default/solver

Each trial is name.trc with name_ik.mot, name_grf.mot and a scaled OpenSim model. A person is fitted to all marker files
that lie together. The motion is solved as solve.py does it, by analytic dynamics and by ImDyS, which has seen no force
plate; OpenSim's kinematics and model, shared over the feet by contact alone, stand beside them.
"""

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from imdy_jax.analysis.laboratory import (
    MODEL,
    PLATES,
    REDUCED,
    Recording,
    Reference,
    Said,
    Scores,
    judge,
    recordings,
    told_by,
    under_plates,
)
from imdy_jax.analysis.laboratory_tables import force_table, moment_table
from imdy_jax.analysis.residual_reduction import Reduction
from imdy_jax.analysis.solution import solve
from imdy_jax.biomechanics.force_plates import find_trials
from imdy_jax.biomechanics.opensim_gait import Gait
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.humanoid import GRAVITY
from imdy_jax.motion.filters import Butterworth
from imdy_jax.motion.fit import fit
from imdy_jax.motion.resample import resample
from imdy_jax.report import Progress, command, show
from imdy_jax.run import RunFolder
from imdy_jax.solver.fit import load_solver
from imdy_jax.solver.infer import Solver
from imdy_jax.solver.publish import shipped
from imdy_jax.view.joint_moments import joint_moments
from imdy_jax.view.reactions import reactions


@dataclass(frozen=True)
class LaboratoryConfig:
    """How trials are solved."""

    sex: str = "neutral"  # of the people
    fps: float = 30.0
    cutoff: float = 6.0  # Hz, of the low-pass on poses
    reduction: Reduction = Reduction()


def main(
    data: str = "../shared/data/force_plates", solver: str | None = None, only: str = "", draw: str = "walking1",
    config: LaboratoryConfig = LaboratoryConfig(), out: str = "runs/laboratory",
) -> None:  # fmt: skip
    """Estimate, compare and draw.

    Args:
      data: folder of trials.
      solver: run folder of fit_solver.py, or a published one; by default what solve.py has.
      only: leave out trials whose names do not hold this.
      draw: of the trials whose name holds this figures are drawn.
      config: how trials are solved.
      out: folder to write.
    """
    enable_compilation_cache()
    trials = [t for t in find_trials(data) if only in t.name and t.markers is not None]
    path = shipped() if solver is None else Path(solver)
    if not trials or path is None:
        raise ValueError(f"{data}: found {len(trials)} trials with markers named like {only!r}, and solver {path}")
    opened, scores = load_solver(RunFolder.open(path)), dict[str, dict[str, Scores]]()
    namesakes = Counter(trial.name for trial in trials)
    with Progress(len(trials), "trials") as progress:
        for recording in recordings(trials, config.sex):
            if isinstance(recording, str):
                print(f"left out: {recording}", file=sys.stderr)
            else:
                said, name = estimates(recording, opened, config), recording.truth.name
                name = name if namesakes[name] == 1 else f"{recording.person} {name}"
                scores[name] = {method: judge(recording.truth, one) for method, one in said.items()}
                if draw and draw in name:
                    picture(Path(out) / "figures", name, recording.truth, said)
            progress.advance()
    if not scores:
        raise ValueError(f"{data}: no trial could be judged; see above")
    show(force_table(scores), Path(out) / "tables" / "forces.json")
    show(moment_table(scores), Path(out) / "tables" / "moments.json")


def estimates(recording: Recording, solver: Solver, config: LaboratoryConfig) -> dict[str, Said]:
    """What each method says of a trial."""
    _, truth, body, clip, start = recording
    placed, smoothing = resample(fit(clip, body), config.fps), Butterworth(config.cutoff)
    said = {MODEL: Said(truth.estimate.force, None)}
    said[PLATES] = under_plates(clip, body, truth, start, smoothing)
    for one in (None, solver):
        solution = solve(placed, body, smoothing, one, reduction=config.reduction)
        said |= told_by(solution, start, truth.estimate.time)
    return said


def picture(folder: Path, name: str, truth: Reference, said: dict[str, Said]) -> None:
    """Forces under the feet and joint moments, by ImDyS and as measured."""
    title, weight = f"{name}, {truth.mass:.1f} kg", truth.mass * GRAVITY
    ours, time = said[REDUCED], truth.estimate.time
    reactions(folder / f"{name}.png", truth.estimate._replace(force=ours.force), truth.measured, weight, title)
    moments = ours.moments
    if moments is None:
        return
    vertical = truth.measured.force[..., 1].T / weight
    left = (truth.estimate.needed[:, 1] - truth.measured.force[..., 1].sum(axis=1)) / weight
    told, real = (Gait(time, m, vertical, vertical > 0.02, left) for m in (moments, truth.moments))
    joint_moments(folder / f"{name}_moments.png", told, real, title, ("ImDyS", "OpenSim with plates"))
    print(f"wrote {folder / name}.png and {name}_moments.png")


if __name__ == "__main__":
    command(main)
