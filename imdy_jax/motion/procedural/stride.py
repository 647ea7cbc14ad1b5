"""One stride of walking: published leg angles, a stance foot that stays where it is, and the pelvis that follows.

Stage axes as in legs.py. `phase` runs in gait cycles of the left leg, `own` in those of the leg in question: the
right leg is half a cycle later. A leg's own first footprint is the origin of its forward axis.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from imdy_jax.body.person import Body
from imdy_jax.motion.procedural.choreography import ease, quintic
from imdy_jax.motion.procedural.gait_norms import GaitNorm, curve
from imdy_jax.motion.procedural.legs import leg, plant, rotation_about, sagittal_angles, sagittal_ankle
from imdy_jax.motion.procedural.pressure import GRAVITY

FLAT, FLAT_BLEND = np.deg2rad(1.0), np.deg2rad(3.0)  # the foot is flat while the published pitch is below 1 degree
STEP_WIDTH = 0.12  # of leg length, between the ankles
TOUCH = 0.03  # of the gait cycle, from the published contact, when the knee is all but straight, to the resting heel
BALL_LEAD = 0.03  # of the gait cycle, by which the toe joint lifts before the tip of the toes, which is foot-off
JOINING = 0.15  # of the gait cycle, in which a swinging leg passes from its footprint to the published angles, or back
EXCESS_WEIGHT = 300.0  # rad/m, on legs too short for their footprint
JET_STEP = 0.01  # of the gait cycle: derivatives where stance meets swing are taken from the stance side
SWAY_ORDERS, SURGE_ORDERS = np.array([1, 3, 5]), np.array([2, 4])  # harmonics of the stride frequency


class Stride(NamedTuple):
    """The pelvis over one gait cycle of a body."""

    norm: GaitNorm
    length: float  # m
    period: float  # s
    start: float  # m, mean lead of the pelvis over the left foot's first print at phase 0
    up: np.ndarray  # (5,) m: constant, cosine and sine of the second and fourth harmonic
    sway: np.ndarray  # (3,) m, complex amplitudes of SWAY_ORDERS, to the left
    surge: np.ndarray  # (2,) m, complex amplitudes of SURGE_ORDERS, forward of steady progress


def fit_stride(body: Body, norm: GaitNorm) -> Stride:
    """The pelvis path and stride length that keep the stance leg closest to its published angles, its foot planted.

    First guess: through stance, pelvis = footprint + rolling foot - leg at its published angles, in the least-squares
    sense. Then the same in hip and knee angles, since near the straight knee millimetres are degrees. The height
    repeats itself every half cycle, hence even harmonics only. Sway and surge about steady progress are those of an
    inverted pendulum over the feet (a free fit would brake and push harder than feet can), and the period follows
    from the published speed.
    """
    own = np.linspace(TOUCH, norm.foot_off - BALL_LEAD, 61)
    waves = _half_cycle_waves(own)
    bones = leg(body, "left")
    wanted = rolling_foot(body, norm, "left", own) - pelvis_rotation(norm, own) @ bones.hip
    wanted -= sagittal_ankle(bones, published_angles(norm, own), np.zeros(len(own)))
    line = np.stack([np.ones(len(own)), own], axis=1)
    guess = np.concatenate([np.linalg.lstsq(basis, wanted[:, axis])[0] for basis, axis in ((waves, 1), (line, 2))])
    hip_height = float(body.leg_length) + bones.ankle_height

    def stride(x: np.ndarray) -> Stride:
        period = float(x[6]) / (norm.speed * np.sqrt(GRAVITY * hip_height))
        return Stride(norm, float(x[6]), period, float(x[5]), x[:5], *_pendulum(body, norm, float(x[6]), period, x[0]))

    def misfit(x: np.ndarray) -> np.ndarray:
        angles, excess = _planted(body, stride(x), "left", own)
        return np.concatenate([(angles - published_angles(norm, own)).ravel(), EXCESS_WEIGHT * excess])

    return stride(least_squares(misfit, guess).x)


def _pendulum(body: Body, norm: GaitNorm, length: float, period: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Sway and surge amplitudes: a linear inverted pendulum over a pressure that rolls along each foot in turn."""
    bones, phase = leg(body, "left"), np.arange(200) / 200.0
    left = ease(phase, 0.0, norm.foot_off - 0.5) - ease(phase, 0.5, norm.foot_off)
    # From heel to ball while a foot is down. The left print lies at 0, the right ones half a stride before and after.
    rolled = np.clip(np.stack([phase, (phase + 0.5) % 1.0]) / norm.foot_off, 0.0, 1.0)
    under = bones.heel[2] + (bones.ball[2] - bones.heel[2]) * rolled
    under[1] += np.where(phase < 0.5, -0.5, 0.5) * length
    ahead = left * under[0] + (1.0 - left) * under[1] - length * phase
    sideways = half_width(body) * (2.0 * left - 1.0)
    amplitudes = []
    for path, orders in ((sideways, SWAY_ORDERS), (ahead, SURGE_ORDERS)):
        gain = 1.0 / (1.0 + (2.0 * np.pi * orders / period) ** 2 * height / GRAVITY)
        amplitudes.append(2.0 * np.fft.rfft(path)[orders] / len(phase) * gain)
    return amplitudes[0], amplitudes[1]


def half_width(body: Body) -> float:
    """Lateral distance (m) of either ankle from the line of progression."""
    return 0.5 * STEP_WIDTH * float(body.leg_length)


def leg_phase(phase: np.ndarray, side: str) -> np.ndarray:
    """A leg's own phase at a phase of the left leg."""
    return phase if side == "left" else phase + 0.5


def pelvis_path(stride: Stride, phase: np.ndarray) -> np.ndarray:
    """Pelvis joint (T, 3), m."""
    turns = 2j * np.pi * phase[:, None]
    sideways = (np.exp(turns * SWAY_ORDERS) @ stride.sway).real
    ahead = stride.start + stride.length * phase + (np.exp(turns * SURGE_ORDERS) @ stride.surge).real
    return np.stack([sideways, _half_cycle_waves(phase) @ stride.up, ahead], axis=1)


def pelvis_rotation(norm: GaitNorm, phase: np.ndarray) -> np.ndarray:
    """Axial rotation and obliquity (T, 3, 3); the mean tilt is that of SMPL's rest pelvis."""
    turn = rotation_about("y", -curve(norm.rotation, phase, odd=True))
    return turn @ rotation_about("z", curve(norm.obliquity, phase, odd=True))


def hip_path(body: Body, stride: Stride, side: str, own: np.ndarray) -> np.ndarray:
    """Hip joint (T, 3), m, from the leg's own first footprint."""
    phase = own if side == "left" else own - 0.5
    ahead = 0.0 if side == "left" else 0.5 * stride.length
    pelvis = pelvis_path(stride, phase) + np.array([0.0, 0.0, ahead])
    return pelvis + pelvis_rotation(stride.norm, phase) @ leg(body, side).hip


def published_angles(norm: GaitNorm, own: np.ndarray) -> np.ndarray:
    """Pitch of the thigh in the world (forward) and flexion of the knee, (2, T), rad."""
    return np.stack([curve(norm.hip, own) - np.deg2rad(norm.pelvic_tilt), curve(norm.knee, own)])


def foot_pitch(norm: GaitNorm, own: np.ndarray) -> np.ndarray:
    """Pitch of the sole (T,), rad, toes up: published, and flat where it nearly is; C2 at both ends of flat foot."""
    thigh, knee = published_angles(norm, own)
    raw = thigh - knee + curve(norm.ankle, own)
    s = np.maximum((np.abs(raw) - FLAT) / FLAT_BLEND, 0.0)
    return np.sign(raw) * FLAT_BLEND * np.where(s < 1.0, s**3 - 0.5 * s**4, s - 0.5)


def rolling_foot(body: Body, norm: GaitNorm, side: str, own: np.ndarray) -> np.ndarray:
    """Ankle (T, 3), m, of a foot that rolls over its first footprint."""
    sideways = np.full(len(own), half_width(body) if side == "left" else -half_width(body))
    flat = np.stack([sideways, np.zeros(len(own))], axis=1)
    return plant(leg(body, side), flat, np.zeros(len(own)), foot_pitch(norm, own)).ankle


def ankle_path(body: Body, stride: Stride, side: str, own: np.ndarray) -> np.ndarray:
    """Ankle (T, 3), m, over one cycle (own in TOUCH to 1 + TOUCH): planted in stance, at the published angles in swing.

    The leg's corrections to the published angles, which plant the foot, fade out after the toe joint lifts and in
    before the next contact.
    """
    lift = stride.norm.foot_off - BALL_LEAD
    leaving = _jet(lambda at: _correction(body, stride, side, at, 0), lift, -JET_STEP)
    landing = _jet(lambda at: _correction(body, stride, side, at, 1), 1.0 + TOUCH, JET_STEP)
    landing[2] = 0.0  # contact is an impact: accelerations may step
    rest = np.zeros((3, 2))
    correction = quintic(leaving, rest, (own - lift) / JOINING, JOINING)
    correction += quintic(rest, landing, (own - 1.0 - TOUCH + JOINING) / JOINING, JOINING)
    hip = hip_path(body, stride, side, own)
    planted = rolling_foot(body, stride.norm, side, own)
    angles = published_angles(stride.norm, own) + correction.T
    swinging = hip + sagittal_ankle(leg(body, side), angles, planted[:, 0] - hip[:, 0])
    return np.where((own <= lift)[:, None], planted, swinging)


def _planted(body: Body, stride: Stride, side: str, own: np.ndarray, prints: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Leg angles (2, T) with the foot on the footprint `prints` strides ahead, and how far it is out of reach (T,)."""
    ankle = rolling_foot(body, stride.norm, side, own) + prints * np.array([0.0, 0.0, stride.length])
    return sagittal_angles(leg(body, side), ankle - hip_path(body, stride, side, own))


def _correction(body: Body, stride: Stride, side: str, own: np.ndarray, prints: int) -> np.ndarray:
    """What planting the foot adds to the published angles, (T, 2)."""
    return (_planted(body, stride, side, own, prints)[0] - published_angles(stride.norm, own)).T


def _jet(path: Callable[[np.ndarray], np.ndarray], at: float, step: float) -> np.ndarray:
    """Value, first and second derivative (3, K) of a path at one phase, by differences towards at + 2 step."""
    here, near, far = path(at + step * np.arange(3.0))
    return np.stack([here, (4 * near - 3 * here - far) / (2 * step), (far - 2 * near + here) / step**2])


def _half_cycle_waves(phase: np.ndarray) -> np.ndarray:
    angle = 2.0 * np.pi * phase[:, None] * np.array([2.0, 4.0])
    return np.concatenate([np.ones((len(phase), 1)), np.cos(angle), np.sin(angle)], axis=1)
