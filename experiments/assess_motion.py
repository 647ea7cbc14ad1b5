"""Does the plausibility of a motion tell which of its frames are wrong? Artefacts are planted, and looked for.

    python experiments/assess_motion.py                             # glitches, foot skate, floating: 15 motions each
    python experiments/assess_motion.py --config.seed 1             # at other places, of other sizes
    python experiments/assess_motion.py --solver run                # a solver's discriminator beside physics

Every frame is scored by the analytic dynamics; nothing is fitted to the artefacts. The table gives areas under
the ROC curve over planted and other frames, the figure the score over time with the planted frames marked.
"""

from pathlib import Path

from envs.people import PeopleConfig, make_bodies
from imdy_jax.analysis.artefacts import ARTEFACTS
from imdy_jax.analysis.assessment import Assessed, AssessmentStudy, assess, assessment_table
from imdy_jax.analysis.plausibility import Limits
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.humanoid import from_body
from imdy_jax.motion.filters import Butterworth
from imdy_jax.report import Progress, command, show
from imdy_jax.run import RunFolder
from imdy_jax.solver.fit import load_solver
from imdy_jax.view.assessment_figure import assessment_figure
from imdy_jax.view.surface import skin_surface


def main(
    config: AssessmentStudy = AssessmentStudy(), person: PeopleConfig = PeopleConfig(), limits: Limits = Limits(),
    cutoff: float = 6.0, draw: str = "walk", solver: str | None = None, out: str = "runs/assessed",
) -> None:  # fmt: skip
    """Plant, judge, count and draw.

    Args:
      config: what is planted where.
      person: who moves.
      limits: values at which each measure alone halves the score.
      cutoff: of the low-pass on poses, Hz.
      draw: the motion whose name is this, or holds it, is drawn with every artefact.
      solver: run folder of fit_solver.py, fitted with weights.plausible; its discriminator is asked beside physics.
      out: folder to write.
    """
    enable_compilation_cache()
    body = make_bodies(person)[0]
    judging = None if solver is None else load_solver(RunFolder.open(solver))
    if judging is not None and judging.judge is None:
        raise ValueError(
            f"{solver}: has no discriminator, expected the run folder (a published one has none) of a fit with "
            "--config.fit.weights.plausible 1; fit one so"
        )
    with Progress(len(config.clips) * len(ARTEFACTS), "judging", "motion") as progress:
        found = assess(body, config, limits, Butterworth(cutoff), progress.advance, judging)
    show(assessment_table(found), Path(out) / "tables" / "assessed.json")
    picture = Path(out) / "figures" / "assessed.png"
    assessment_figure(picture, from_body(body), skin_surface(body), chosen(found, draw), config.fps)
    print(f"wrote {picture}")


def chosen(found: list[Assessed], name: str) -> list[Assessed]:
    """Every artefact of the motion whose name is the text or holds it; raises ValueError where there is none."""
    clips = list(dict.fromkeys(each.clip for each in found))
    clip = min((clip for clip in clips if name in clip), key=len, default=None)
    if clip is None:
        raise ValueError(f"draw: found no motion with {name!r}, expected one of {', '.join(clips)}")
    return [each for each in found if each.clip == clip]


if __name__ == "__main__":
    command(main)
