"""Joint torques, ground reaction forces, work and plausibility of any motion.

    python experiments/solve.py walk.npz                                # ImDyS, the newest in pretrained/
    python experiments/solve.py folder                                  # every motion file in it
    python experiments/solve.py folder --config.method dynamics         # analytic dynamics: nothing is learnt
    python experiments/solve.py folder --config.method solver --config.solver runs/default/solver
    python experiments/solve.py folder --draw True                      # and draw each of them

Of each motion the output folder then holds name.npz (docs/solve.md lists its arrays), and for OpenSim the ground
reactions of both feet as name_grf.mot and the joint torques as name_torque.sto; of a single motion also two figures,
which take most of its time. A motion that is written already is not computed again; a file that cannot be used is told
in one line, and the others go on. Each core solves a motion of its own; what takes the time is told below the table.
"""

import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from envs.people import PeopleConfig, make_bodies
from imdy_jax.analysis.batch import THREADS, Outcome, clocks, pace, solve_all
from imdy_jax.analysis.correction import Correction
from imdy_jax.analysis.plausibility import Limits
from imdy_jax.analysis.residual_reduction import Reduction
from imdy_jax.analysis.solution import SUMMARY, Solution, solve
from imdy_jax.analysis.solution_files import remove_written, write
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.dynamics.pieces import Pieces
from imdy_jax.humanoid import Humanoid, from_body
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.errors import FASTEST
from imdy_jax.motion.filters import Butterworth
from imdy_jax.motion.load import list_motions, load_motion
from imdy_jax.report import Progress, Table, command, show
from imdy_jax.run import RunFolder
from imdy_jax.solver.fit import load_solver
from imdy_jax.solver.publish import PREFIX, SHIPPED, shipped, takes
from imdy_jax.view.solution_figure import solution_figure
from imdy_jax.view.surface import Surface, skin_surface
from imdy_jax.view.work_figure import work_figure

COLUMNS = ("motion", *SUMMARY, "s of motion per s")


@dataclass(frozen=True)
class SolveConfig:
    """How motions are solved; all of an output folder are solved alike."""

    # Analytic, or ImDyS with the smallest correction; auto: ImDyS where one is named, or comes with the checkout and
    # takes the frame rate.
    method: Literal["auto", "dynamics", "solver"] = "auto"
    solver: str | None = None  # run folder of fit_solver.py, or a published one; by default the checkout's newest
    person: PeopleConfig = PeopleConfig()  # whose motions they are
    fps: float = 30.0  # that motions are resampled to; with ImDyS a rate that it was fitted to
    cutoff: float = 6.0  # Hz, of the low-pass on poses
    # Of ImDyS's forces what each foot, hand and segment bears, or all of them: for who moves as the simulated do.
    taken: Literal["load", "force"] = "load"
    limits: Limits = Limits()  # of plausibility
    reduction: Reduction = Reduction()  # of what contact cannot explain, with ImDyS; 0 passes: the motion stays
    pieces: Pieces = Pieces()  # in which long motions are treated

    def __post_init__(self) -> None:
        if not 0.0 < self.fps <= FASTEST:
            raise ValueError(f"config.fps is {self.fps}, expected frames per second, more than 0, at most {FASTEST:g}")


def main(
    motions: tyro.conf.Positional[str], config: SolveConfig = SolveConfig(), out: str = "runs/solved",
    draw: bool | None = None, overwrite: bool = False,
) -> None:  # fmt: skip
    """Solve motions.

    Args:
      motions: a motion file, a folder of them, or "procedural" for the built-in ones.
      config: how.
      out: folder to write.
      draw: also the figures; by default of a single motion only.
      overwrite: compute again what is written already.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    enable_compilation_cache()
    listed, config = list_motions(motions), named(config)
    solver = load_solver(RunFolder.open(config.solver)) if config.solver is not None else None
    smoothing = Butterworth(config.cutoff)
    smoothing.check(3, config.fps)
    if overwrite:  # first, so that nothing of another config is left where it is interrupted
        remove_written(out, listed)
    folder = RunFolder.create(out, config, config.person.subject_seed, resume=not overwrite, overwrite=overwrite).path
    body = make_bodies(config.person)[0]
    humanoid, surface = from_body(body), skin_surface(body)

    def load(name: str, file: Path | None) -> Clip:
        return load_motion(name, file, body, config.fps, config.person.check, config.person.up)

    def answer(clip: Clip) -> Solution:
        correction = Correction(taken=config.taken)
        return solve(clip, body, smoothing, solver, config.limits, correction, config.reduction, config.pieces)

    outcomes, begun = list[Outcome](), clocks()
    with Progress(len(listed), "solving", "motion") as progress:
        for outcome in solve_all(listed, load, answer, None if overwrite else folder):
            if outcome.problem:
                print(f"left out: {outcome.problem}", file=sys.stderr)
            elif outcome.solution is not None and outcome.row is not None:
                if draw or (draw is None and len(listed) == 1):
                    draw_figures(folder, humanoid, surface, outcome.solution)
                write(folder, outcome.solution, outcome.row)
            outcomes.append(outcome._replace(solution=None))
            progress.advance()
    show(table(outcomes, config, begun), folder / "tables" / "solved.json")
    if not any(outcome.row for outcome in outcomes):
        raise ValueError(f"{motions}: none of {len(outcomes)} motions could be solved; see above")
    print(f"wrote {folder}")


def named(config: SolveConfig) -> SolveConfig:
    """The config with the method and the solver that it comes to.

    Raises ValueError where one is named and not used, or none is named and none comes with the checkout.
    """
    if config.method == "dynamics" and config.solver is not None:
        raise ValueError(
            f"config: found method dynamics beside solver {config.solver}, expected --config.method solver; pass it, "
            "or name no solver"
        )
    found = Path(config.solver) if config.solver else shipped()
    unasked = config.method == "auto" and config.solver is None
    if config.method == "dynamics" or (unasked and (found is None or not takes(found, config.fps))):
        return replace(config, method="dynamics")
    if found is None:
        raise ValueError(
            f"config.solver: none is named, and {SHIPPED} has no {PREFIX}* that was published; name a run folder "
            "of fit_solver.py"
        )
    return replace(config, method="solver", solver=str(found))


def draw_figures(folder: Path, humanoid: Humanoid, surface: Surface, solution: Solution) -> None:
    """Curves over time, and the work of the joints."""
    found, title = solution.found, f"{solution.name}, {solution.mass:.1f} kg"
    solution_figure(folder / f"{solution.name}.png", solution, title)
    work_figure(
        folder / f"{solution.name}_work.png", humanoid, surface, found.q, found.power, found.force, solution.fps, title
    )


def table(outcomes: list[Outcome], config: SolveConfig, begun: tuple[float, float]) -> Table:
    """One row per motion; begun: the clocks when solving began."""
    rows = tuple(outcome.row for outcome in outcomes if outcome.row)
    problems = [outcome.problem for outcome in outcomes if outcome.problem]
    notes = (
        "implausible: frames with a score below one half; residual: mean root force that nothing explains",
        "moved: how far residual reduction has moved the pelvis, at most",
        f"s per s of a row: loading and solving, in one of {THREADS} threads, without compiling",
        *pace(outcomes, begun),
        *(f"left out: {problem}" for problem in problems),
    )
    by = config.method if config.solver is None else f"{config.method} {Path(config.solver).name}"
    title = f"{len(rows)} motions by {by}, {len(problems)} left out"
    return Table(title, COLUMNS, rows, notes)


if __name__ == "__main__":
    command(main)
