"""Balance: from the path of the centre of pressure to that of the centre of mass, and back for the whole body.

Stage axes as in legs.py: y up.
"""

import numpy as np
from scipy.linalg import solve_banded
from scipy.spatial.transform import Rotation

from imdy_jax.body.person import Body
from imdy_jax.motion.posing import Posed, centre_of_mass
from imdy_jax.skeleton import NUM_BODIES

GRAVITY = 9.81  # m/s²


def com_over_pressure(pressure: np.ndarray, height: float, fps: float) -> np.ndarray:
    """Horizontal path (T, K) of the centre of mass whose centre of pressure follows `pressure` (T, K), m.

    The linear inverted pendulum, com - (height/g)·com'' = pressure (Kajita et al. 2001), solved with both ends at
    rest over the pressure: the body leans ahead of each step as people do.
    """
    stiffness = height / GRAVITY * fps**2
    bands = np.tile(np.array([[-stiffness], [1.0 + 2.0 * stiffness], [-stiffness]]), (1, len(pressure)))
    bands[0, 1], bands[1, 0], bands[1, -1], bands[2, -2] = 0.0, 1.0, 1.0, 0.0
    return solve_banded((1, 1), bands, pressure)


def centre_of_pressure(posed: Posed, body: Body, fps: float) -> np.ndarray:
    """Point of the floor (T, 2: x and z), m, about which the ground reaction has no horizontal moment.

    From the rates of the whole body's linear and angular momentum, by central differences; first and last frame as
    in their neighbours' rest.
    """
    com = centre_of_mass(posed, body)
    acceleration = np.zeros_like(com)
    acceleration[1:-1] = (com[2:] - 2.0 * com[1:-1] + com[:-2]) * fps**2
    turning = np.gradient(_angular_momentum(posed, body, com, fps), 1.0 / fps, axis=0) / float(np.sum(body.mass))
    up = acceleration[:, 1] + GRAVITY
    x = com[:, 0] - (com[:, 1] * acceleration[:, 0] - turning[:, 2]) / up
    z = com[:, 2] - (com[:, 1] * acceleration[:, 2] + turning[:, 0]) / up
    return np.stack([x, z], axis=1)


def _angular_momentum(posed: Posed, body: Body, com: np.ndarray, fps: float) -> np.ndarray:
    """Angular momentum about the centre of mass (T, 3), kg·m²/s."""
    mass, inertia = np.asarray(body.mass, float), np.asarray(body.inertia, float)
    arm = posed.p_world + np.einsum("tkij,kj->tki", posed.R_world, np.asarray(body.com, float)) - com[:, None]
    velocity = np.gradient(arm, 1.0 / fps, axis=0)
    spin = np.zeros_like(arm)
    turned = posed.R_world[2:] @ np.swapaxes(posed.R_world[:-2], 2, 3)
    rotation = Rotation.from_matrix(turned.reshape(-1, 3, 3)).as_rotvec()
    spin[1:-1] = rotation.reshape(-1, NUM_BODIES, 3) * fps / 2.0
    local = np.einsum("tkji,tkj->tki", posed.R_world, spin)
    own = np.einsum("tkij,kjl,tkl->ti", posed.R_world, inertia, local)
    return own + np.einsum("k,tki->ti", mass, np.cross(arm, velocity))
