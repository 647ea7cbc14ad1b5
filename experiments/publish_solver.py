"""Make of a run folder a small one to give away: the solver, its error bars, and what it was fitted to.

    python experiments/publish_solver.py --solver runs/default/solver --to pretrained/imdys-mine

It is opened wherever a run folder of fit_solver.py is: `solve.py --config.method solver --config.solver folder`,
`fit_solver.py --from-pretrained folder`. Of those in pretrained/ whose names begin with imdys-, solve.py takes the one
published last. What it was fitted on, under which licence, and how good it is belong into a README.md beside it.
"""

from imdy_jax.report import command
from imdy_jax.run import RunFolder
from imdy_jax.solver.publish import publish


def main(to: str, solver: str = "runs/default/solver", half: bool = False) -> None:
    """Publish a solver.

    Args:
      to: folder to make, of 5 MB at most.
      solver: run folder of fit_solver.py.
      half: parameters in half precision, which halves the folder.
    """
    size = publish(RunFolder.open(solver), to, half)
    print(f"published: {to}, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    command(main)
