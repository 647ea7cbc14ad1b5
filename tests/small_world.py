"""A world small enough for a test: one person of simple numbers who sways and stands."""

import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation
from toy_humanoid import toy_humanoid

from envs.c_physics import CPhysics
from envs.imitation import ImitationEnv
from envs.reference import build_table
from envs.task import TaskConfig
from imdy_jax import humanoid
from imdy_jax.mjcf import standing_height
from imdy_jax.rotation import UPRIGHT
from imdy_jax.skeleton import JOINT_NAMES

FPS = 30.0


def swaying(person, frames: int = 40, reach: float = 0.5) -> np.ndarray:
    """q (frames, 99): standing, an arm raised and lowered, the trunk leaning a little."""
    phase = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frames) / frames)
    turns = np.zeros((frames, 24, 3))
    turns[:, JOINT_NAMES.index("left_shoulder"), 2] = reach * phase
    turns[:, JOINT_NAMES.index("spine2"), 0] = 0.1 * phase
    quaternions = Rotation.from_rotvec(turns.reshape(-1, 3)).as_quat(scalar_first=True).reshape(frames, 24, 4)
    quaternions[:, 0] = UPRIGHT
    root = np.tile([0.0, 0.0, standing_height(person)], (frames, 1))
    return np.concatenate([root, quaternions.reshape(frames, -1)], axis=1)


def small_env(num_envs: int, record: bool = False, lengths: tuple[int, ...] = (40, 25), **task) -> ImitationEnv:
    """num_envs copies of the person, free to play clips of the given lengths."""
    person = toy_humanoid()
    clips = [swaying(person, n, 0.5 + 0.1 * i) for i, n in enumerate(lengths)]
    table = build_table(humanoid.stack([person] * len(clips)), clips, FPS)
    physics = CPhysics(humanoid.stack([person] * num_envs), record=record)
    return ImitationEnv(physics, table, TaskConfig(**task))


def zeros(env: ImitationEnv) -> jnp.ndarray:
    """The action that leaves the reference alone."""
    return jnp.zeros((env.num_envs, env.action_size))
