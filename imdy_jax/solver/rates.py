"""Frame rates other than the recorded one, exactly, from what was recorded at every substep.

Poses are those that the simulator passed through, torques are summed and forces averaged over the substeps of each
step: nothing is interpolated. A control step is divided into as many equal parts as the rates asked for need, and a
step of each rate is a whole number of parts; so the substeps' rate has to be a multiple of every rate.
"""

import math
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from imdy_jax.dataset.blocks import map_frames
from imdy_jax.dataset.record import thirty_hertz_view
from imdy_jax.dataset.store import Dataset, read_fields
from imdy_jax.dynamics.kinematics import integrate


def divisions(control: float, rates: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Into how many equal parts a control step is to be divided, and the parts in a step of each rate, control's first.

    control and rates in steps per second; raises ValueError for a rate that is not above zero.
    """
    if any(rate <= 0 for rate in rates):
        raise ValueError(f"rates: found {', '.join(map(str, rates))}, expected frames per second above zero")
    ratios = [Fraction(rate / control).limit_denominator(1000) for rate in rates]
    parts = math.lcm(1, *(ratio.numerator for ratio in ratios))
    strides = [parts * ratio.denominator // ratio.numerator for ratio in ratios]
    return parts, tuple(dict.fromkeys((parts, *strides)))


def read_parts(dataset: Dataset, name: str, timestep: float, parts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q (P+1, 99), angular momentum (P, 23, 3), contact force (P, 24, 3) of P parts, `parts` to a control step."""
    if parts == 1:
        arrays = read_fields(dataset, name, ("q", "angular_momentum", "contact_force"))
        return arrays["q"], arrays["angular_momentum"], arrays["contact_force"]
    arrays = read_fields(dataset, name, ("q", "substep_v", "torque", "wrench"))
    q, velocity = arrays["q"], arrays["substep_v"]
    passed = map_frames(_poses, np.float64(timestep), (q[:-1], velocity))
    passed = passed[:, :: velocity.shape[1] // parts].reshape(-1, q.shape[1])
    torque, wrench = (arrays[x].reshape(len(passed), -1, *arrays[x].shape[2:]) for x in ("torque", "wrench"))
    return np.concatenate([passed, q[-1:]]), *thirty_hertz_view(torque, wrench, timestep)


def substep_poses(timestep: jax.Array, q: jax.Array, velocity: jax.Array) -> jax.Array:
    """Poses (S, 99) before each substep, from the first of them (99,) and the velocity (S, 75) after each."""
    return jax.lax.scan(lambda q, v: (integrate(q, v, timestep), q), q, velocity)[1]


@jax.jit
def _poses(timestep: jax.Array, steps: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Poses (T, S, 99) of control steps q (T, 99) with velocities (T, S, 75)."""
    return jax.vmap(partial(substep_poses, timestep))(*steps)


def check_substeps(path: str | Path, attributes: dict[str, dict[str, Any]], parts: int, rates: tuple[int, ...]) -> None:
    """Raises ValueError unless the control steps of every sequence, by name, can be divided into `parts`."""
    for name, a in attributes.items():
        if a["substeps"] % parts:
            raise ValueError(
                f"{path}: sequence {name} has {a['substeps'] * a['control_rate']:g} substeps per second, expected a "
                f"multiple of each of the rates {', '.join(map(str, rates))}; choose others, or generate with "
                f"--config.substeps {parts}"
            )
