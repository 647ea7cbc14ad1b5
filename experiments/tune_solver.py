"""ImDyS tuned to laboratories' force plates, and what that is worth for people whom it has not seen.

    python experiments/tune_solver.py --data laboratory
    python experiments/tune_solver.py --data one another --solver pretrained/imdys-segments --test third
    python experiments/solve.py walk.npz --config.method solver --config.solver runs/tuned --config.taken force

Trials are those of evaluate_laboratory.py. A solver that was fitted to imitated motion goes on with the windows of
these trials and their mirror images: forces of the plates, torques of the fitted body under them. Each person is left
out once, and judged by the solver that the others have tuned; the last is tuned by all, and stays in the run folder.
Who was left out calibrates its error bars.
"""

import hashlib
import sys
from dataclasses import dataclass, replace

import tyro

from imdy_jax.analysis.correction import Correction
from imdy_jax.analysis.laboratory import CORRECTED, RAW, Recording, Scores, judge, recordings, told_by
from imdy_jax.analysis.laboratory_tables import force_table, moment_table
from imdy_jax.analysis.laboratory_windows import laboratory_sequences
from imdy_jax.analysis.residual_reduction import Reduction
from imdy_jax.analysis.solution import solve
from imdy_jax.biomechanics.force_plates import Trial, find_trials
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.motion.filters import Butterworth
from imdy_jax.motion.fit import fit as put_on
from imdy_jax.motion.resample import resample
from imdy_jax.report import Progress, command, show
from imdy_jax.run import RunFolder
from imdy_jax.solver.coverage import Held, coverage_table, hold
from imdy_jax.solver.data import WindowBatches
from imdy_jax.solver.fit import CALIBRATION, fit, load_solver, read_kept
from imdy_jax.solver.fitted import FittedTo
from imdy_jax.solver.infer import Solver
from imdy_jax.solver.intervals import Calibration
from imdy_jax.solver.loss import LossWeights
from imdy_jax.solver.pack import Sequence, pack


@dataclass(frozen=True)
class TuneConfig:
    """How a solver is tuned."""

    steps: int = 400  # batches
    learning_rate: float = 3e-4  # to begin with
    batch_size: int = 64
    weights: LossWeights = LossWeights(forward=0.0, plausible=0.0, error=0.02)
    sex: str = "neutral"  # of the people
    cutoff: float = 6.0  # Hz, of the low-pass on poses
    fps: float = 30.0  # one that the solver takes
    seed: int = 0
    begun_with: tyro.conf.Suppress[str | None] = None  # as --solver says


def main(
    data: tuple[str, ...] = ("../shared/data/force_plates",), test: tuple[str, ...] = (),
    solver: str = "pretrained/imdys-segments", config: TuneConfig = TuneConfig(), run: str = "runs/tuned",
    resume: bool = False, overwrite: bool = False,
) -> None:  # fmt: skip
    """Tune and judge.

    Args:
      data: folders of trials to tune by.
      test: folders of trials to judge the last solver by; by default each person of the data is left out once.
      solver: run folder of fit_solver.py, or a published one, to begin with.
      config: how.
      run: run folder to write.
      resume: go on with the run that is there.
      overwrite: throw away the run that is there.
    """
    enable_compilation_cache()
    config = replace(config, begun_with=solver)
    begun = RunFolder.open(solver)
    before = load_solver(begun)
    known, others = record(find_trials(*data), config), record(find_trials(*test), config) if test else []
    folder = RunFolder.create(run, config, config.seed, resume=resume, overwrite=overwrite)
    sequences = [one for recording in known for one in windows(recording, before, config)]
    print(f"{len(known)} trials of {len({r.person for r in known})} people, {len(sequences)} sequences")
    scores: dict[str, dict[str, Scores]] = {}
    held = list[Held]()

    def judged(unseen: list[Recording], tuned: Solver) -> None:
        scores.update(compared(unseen, before, tuned, config))
        if tuned.config.spread:
            held.extend(hold(tuned, [s for r in unseen for s in windows(r, before, config)], config.fps))

    for person in sorted({r.person for r in known}) if not test else []:
        taught = [s for s in sequences if s.subject != person]
        if taught:
            without = folder.path / "without" / person
            own = RunFolder.create(without, config, config.seed, resume=not overwrite, overwrite=overwrite)
            judged([r for r in known if r.person == person], tune(begun, before, taught, own, config))
    last = tune(begun, before, sequences, folder, config)
    judged(others, last)
    if held:
        Calibration.of(h.ratios for h in held).write(folder.path / CALIBRATION)
        show(coverage_table(held), folder.path / "tables" / "error_bars.json")
    elif last.config.spread:
        print("data: nobody was left out, so there are no error bars; name trials of another person, or --test")
    if scores:
        show(force_table(scores), folder.path / "tables" / "forces.json")
        show(moment_table(scores), folder.path / "tables" / "moments.json")


def record(trials: list[Trial], config: TuneConfig) -> list[Recording]:
    """Persons and motions fitted to the markers of the trials; one that cannot be used is told and left out."""
    made = list[Recording]()
    with Progress(len(trials), "fitting people and motions", "trial") as progress:
        for recording in recordings([trial for trial in trials if trial.markers is not None], config.sex):
            if isinstance(recording, str):
                print(f"left out: {recording}", file=sys.stderr)
            else:
                made.append(recording)
            progress.advance()
    if not made:
        raise ValueError("data: no trial can be used, expected some with markers; see above")
    return made


def windows(recording: Recording, solver: Solver, config: TuneConfig) -> list[Sequence]:
    """What a trial has to teach."""
    smoothing, kind = Butterworth(config.cutoff), solver.config.representation
    return laboratory_sequences(recording.truth, recording.clip, recording.body, recording.start, smoothing, config.fps,
                                kind, recording.person)  # fmt: skip


def tune(begun: RunFolder, before: Solver, sequences: list[Sequence], run: RunFolder, config: TuneConfig) -> Solver:
    """The solver that goes on with sequences from where it was."""
    _, fitted = read_kept(begun.path)
    own = replace(
        fitted, steps=config.steps, learning_rate=config.learning_rate, batch_size=config.batch_size, weight_decay=0.0,
        weights=config.weights, hidden_markers=0.0, seed=config.seed,
    )  # fmt: skip
    digest = hashlib.sha256("".join(s.name for s in sequences).encode())
    for s in sequences:
        digest.update(s.motion.tobytes() + s.contact_force.tobytes())
    packed = pack(sequences, digest.hexdigest(), 1.0 / config.fps, run.path / "windows", own.model.representation)
    everything = list(range(len(packed)))
    batches = WindowBatches(packed, everything, own.model.window, config.batch_size, config.seed)
    tuned = fit(own, batches, batches, run, before)
    FittedTo.of(batches, everything, FittedTo.read(begun.path)).write(run.path)
    return tuned


def compared(
    recordings: list[Recording], before: Solver, after: Solver, config: TuneConfig
) -> dict[str, dict[str, Scores]]:
    """Analytic dynamics, and the solver before and after, on trials of people whom the latter has not seen."""
    scores: dict[str, dict[str, Scores]] = {}
    for r in recordings:
        clip, own = resample(put_on(r.clip, r.body), config.fps), dict[str, Scores]()
        for label, one in (("", None), ("before", before), ("tuned", after)):
            found = solve(clip, r.body, Butterworth(config.cutoff), one, correction=Correction(taken="force"),
                          reduction=Reduction(passes=0))  # fmt: skip
            for method, said in told_by(found, r.start, r.truth.estimate.time).items():
                if one is None or method in (RAW, CORRECTED):
                    own[f"{method} {label}".strip()] = judge(r.truth, said)
        scores[f"{r.person}, {r.truth.name}"] = own
    return scores


if __name__ == "__main__":
    command(main)
