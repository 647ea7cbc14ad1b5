"""Balance: from the path of the centre of pressure to that of the centre of mass, and back for the whole body.

Stage axes as in legs.py: y up.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_banded
from scipy.spatial.transform import Rotation

from imdy_jax.body.person import Body
from imdy_jax.motion.posing import Posed, centre_of_mass
from imdy_jax.skeleton import NUM_BODIES

GRAVITY = 9.81  # m/s²
FLIGHT = 0.05 * GRAVITY  # m/s², less vertical force than this is taken for flight, which no pressure can steer


class Balance(NamedTuple):
    """How the whole body presses on the floor; divided by body mass."""

    height: np.ndarray  # (T,) m, of the centre of mass
    up: np.ndarray  # (T,) m/s², vertical force: g at rest, 0 in flight
    moment: np.ndarray  # (T, 2) m²/s², vertical force times the x and z of the centre of pressure


def com_over_pressure(moment: np.ndarray, height: np.ndarray, up: np.ndarray, fps: float) -> np.ndarray:
    """Horizontal path (T, K), m, of a centre of mass that presses with `moment` (T, K), see Balance.

    The inverted pendulum with a given height and vertical force, up·com - height·com'' = moment: for up = g the
    linear one of Kajita et al. 2001, and uniform motion in flight. Solved with both ends at rest over the pressure,
    so the body leans ahead of each step as people do.
    """
    stiffness = height * fps**2
    bands = np.stack([-np.roll(stiffness, 1), up + 2.0 * stiffness, -np.roll(stiffness, -1)])
    bands[0, 1], bands[1, 0], bands[1, -1], bands[2, -2] = 0.0, up[0], up[-1], 0.0
    return solve_banded((1, 1), bands, moment)


def press(posed: Posed, body: Body, fps: float) -> Balance:
    """Balance of a motion, from the rates of the whole body's linear and angular momentum by central differences."""
    com = centre_of_mass(posed, body)
    acceleration = np.zeros_like(com)
    acceleration[1:-1] = (com[2:] - 2.0 * com[1:-1] + com[:-2]) * fps**2
    turning = np.gradient(_angular_momentum(posed, body, com, fps), 1.0 / fps, axis=0) / float(np.sum(body.mass))
    up = acceleration[:, 1] + GRAVITY
    moment = up[:, None] * com[:, [0, 2]] - com[:, 1:2] * acceleration[:, [0, 2]]
    return Balance(com[:, 1], up, moment + np.stack([turning[:, 2], -turning[:, 0]], axis=1))


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
