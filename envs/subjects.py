"""Per-subject MuJoCo models of a batch of humanoids: each distinct subject is compiled once."""

import jax
import mujoco
import numpy as np

from imdy_jax.humanoid import Humanoid
from imdy_jax.mjcf import build_model


def distinct(humanoids: Humanoid) -> tuple[np.ndarray, np.ndarray]:
    """Where each distinct subject among N (leaves stacked) is first met (B,), and which of them each one is (N,)."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(humanoids)]
    rows = np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
    _, first, subject = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, subject.reshape(-1)


def distinct_models(humanoids: Humanoid, timestep: float) -> tuple[list[mujoco.MjModel], np.ndarray]:
    """A MuJoCo model for each distinct subject among N (leaves stacked), and the index (N,) of each one's model."""
    first, subject = distinct(humanoids)
    models = [build_model(jax.tree.map(lambda leaf, i=i: leaf[i], humanoids), timestep) for i in first]
    return models, subject
