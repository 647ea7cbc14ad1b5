"""Our results as OpenSim's tables: ground reactions (.mot) under its usual column names, joint torques (.sto)."""

import numpy as np

from imdy_jax.biomechanics.opensim import Storage, to_y_up
from imdy_jax.skeleton import JOINT_NAMES

FEET = ("l", "r")  # order of the feet in our arrays; columns are ground_force_l_vx and the like
_AXES = "xyz"


def reaction_storage(name: str, time: np.ndarray, force: np.ndarray, point: np.ndarray, moment: np.ndarray) -> Storage:
    """What the floor does to each foot, for OpenSim's external loads: `loads_on(table, {"ground_force_l": "calcn_l"})`.

    Args:
      time: (T,) s.
      force, point, moment: (T, 2, 3) of the left and the right foot in our world: N, the centre of pressure in m, and
        the free moment about it in N·m. They are turned into OpenSim's world, y up.
    """
    columns, values = [], []
    for foot, side in enumerate(FEET):
        for stem, x in ((f"ground_force_{side}_v", force), (f"ground_force_{side}_p", point)):
            columns += [f"{stem}{axis}" for axis in _AXES]
            values.append(to_y_up(np.asarray(x, float)[:, foot]))
    for foot, side in enumerate(FEET):
        columns += [f"ground_torque_{side}_{axis}" for axis in _AXES]
        values.append(to_y_up(np.asarray(moment, float)[:, foot]))
    return Storage(name, time, tuple(columns), np.concatenate(values, axis=1))


def torque_storage(name: str, time: np.ndarray, torque: np.ndarray) -> Storage:
    """Joint torques (T, 23, 3), N·m on the child, in columns such as left_knee_moment_x.

    Their axes are the child segment's, which no change of world touches: x to the person's left, y up, z forward.
    """
    columns = tuple(f"{joint}_moment_{axis}" for joint in JOINT_NAMES[1:] for axis in _AXES)
    return Storage(name, time, columns, np.asarray(torque, float).reshape(len(time), -1))
