"""Make of a run folder a small one to give away: the policy, and what it takes to use it and to go on training it.

    python experiments/publish_imitator.py --to pretrained/imitator-mine

What it was trained on, under which licence, and how good it is belong into a README.md beside it.
"""

from envs.imitator import publish
from imdy_jax.report import command


def main(to: str, imitator: str = "runs/default/imitator") -> None:
    """Publish an imitator.

    Args:
      to: folder to make.
      imitator: run folder of train_imitator.py.
    """
    publish(imitator, to)
    print(f"published: {to}")


if __name__ == "__main__":
    command(main)
