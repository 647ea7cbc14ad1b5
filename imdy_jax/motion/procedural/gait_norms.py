"""Published joint angles of normal walking: Schwartz, Rozumalski & Trost 2008, J. Biomech. 41, 1639–1650.

Means over typically developing walkers from the tables that accompany the paper, in degrees, at 0, 4, ... 96 % of
the gait cycle from the foot's own contact; conventional gait model. The pelvis angles are those of the side that
makes contact at 0 %: rotation forward and obliquity up are positive.
"""

from typing import NamedTuple

import numpy as np

HARMONICS = 8  # of the stride frequency; sagittal gait angles hold less than 1 % of their power above the sixth


class GaitNorm(NamedTuple):
    """One walking speed."""

    speed: float  # dimensionless: m/s over √(g · leg length)
    foot_off: float  # share of the gait cycle
    pelvic_tilt: float  # degrees, mean; the hip angle is measured from the tilted pelvis
    hip: tuple[float, ...]  # flexion
    knee: tuple[float, ...]  # flexion
    ankle: tuple[float, ...]  # dorsiflexion
    rotation: tuple[float, ...]  # of the pelvis
    obliquity: tuple[float, ...]  # of the pelvis


SLOW = GaitNorm(
    speed=0.290, foot_off=0.62, pelvic_tilt=11.0,
    hip=(32.8, 31.7, 29.8, 26.6, 23.0, 19.5, 16.1, 12.9, 10.0, 7.2, 4.5, 1.9, -0.4, -2.1, -2.2, 0.5, 6.5, 13.7, 20.3,
         25.7, 29.9, 32.8, 34.2, 34.1, 33.4),
    knee=(4.6, 7.9, 11.5, 12.7, 12.1, 11.0, 9.9, 9.0, 8.2, 7.7, 7.5, 8.0, 9.8, 13.2, 19.2, 28.8, 40.8, 50.9, 55.2,
          53.1, 46.0, 35.3, 22.8, 11.0, 4.2),
    ankle=(-2.5, -6.3, -5.5, -2.5, 0.2, 2.5, 4.5, 6.4, 8.3, 10.1, 11.8, 13.1, 13.8, 12.8, 8.1, -2.3, -12.4, -12.0,
           -5.6, 0.0, 3.2, 3.8, 2.1, -0.3, -1.6),
    rotation=(3.0, 3.4, 3.0, 3.1, 3.3, 3.1, 2.6, 1.9, 1.3, 0.5, -0.5, -1.6, -2.6, -3.4, -3.4, -3.1, -3.4, -3.5, -3.1,
              -2.5, -1.8, -1.2, -0.3, 0.8, 1.9),
    obliquity=(0.7, 1.2, 2.3, 2.9, 3.0, 2.4, 1.4, 0.4, -0.4, -0.7, -0.7, -0.6, -0.6, -0.9, -1.7, -2.6, -3.0, -2.8,
               -2.0, -0.9, 0.0, 0.6, 0.7, 0.6, 0.5),
)  # fmt: skip
FREE = GaitNorm(
    speed=0.429, foot_off=0.59, pelvic_tilt=11.6,
    hip=(35.8, 35.5, 34.2, 31.1, 26.9, 22.5, 18.1, 13.6, 9.3, 5.3, 1.6, -1.7, -4.4, -5.8, -4.9, -0.9, 6.1, 14.1, 21.4,
         27.4, 32.0, 35.1, 36.6, 36.5, 35.8),
    knee=(5.6, 10.9, 16.9, 19.3, 18.6, 16.5, 13.9, 11.3, 9.0, 7.2, 6.2, 6.8, 9.5, 14.5, 22.6, 33.9, 46.3, 55.7, 59.1,
          56.9, 49.8, 38.8, 25.5, 12.5, 4.6),
    ankle=(-2.1, -5.6, -4.1, -0.2, 2.9, 5.2, 6.8, 8.0, 9.1, 10.2, 11.1, 11.8, 11.5, 8.4, -0.2, -13.8, -19.8, -14.7,
           -7.9, -2.4, 1.1, 2.5, 1.8, 0.1, -1.1),
    rotation=(4.4, 4.3, 3.6, 3.4, 3.6, 3.3, 2.6, 1.6, 0.5, -0.6, -1.9, -3.2, -4.1, -4.4, -3.9, -3.5, -3.6, -3.6, -3.1,
              -2.2, -1.2, -0.1, 1.1, 2.4, 3.6),
    obliquity=(0.8, 1.5, 2.8, 3.8, 4.1, 3.4, 2.1, 0.8, -0.1, -0.5, -0.5, -0.3, -0.5, -1.0, -2.0, -3.3, -4.1, -3.9,
               -2.8, -1.5, -0.4, 0.2, 0.4, 0.3, 0.3),
)  # fmt: skip


def curve(values: tuple[float, ...], phase: np.ndarray, odd: bool = False) -> np.ndarray:
    """A tabulated angle as a Fourier series, rad, at phases (T,) of the gait cycle.

    odd: keep the odd harmonics only, so that the two halves of the cycle are mirror images (pelvis of an even gait).
    """
    spectrum = np.fft.rfft(values)[: HARMONICS + 1] / len(values)
    orders = np.arange(HARMONICS + 1)
    weights = np.where(orders == 0, 1.0, 2.0) * np.where(odd & (orders % 2 == 0), 0.0, 1.0)
    waves = np.exp(2j * np.pi * orders * np.asarray(phase)[:, None])
    return np.deg2rad((waves @ (weights * spectrum)).real)
