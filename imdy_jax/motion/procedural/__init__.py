"""The built-in motions: deterministic clips from published joint-angle curves and simple laws, made for each body.

Steps, exercises and walking are balanced: the centre of pressure of the whole body stays under its feet. Movements
begin and end standing still; the walks are steady.
"""

import hashlib
import json
from collections.abc import Callable

import numpy as np

from imdy_jax.body.person import Body
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.procedural import exercises, gait, gait_norms, hop, steps
from imdy_jax.motion.procedural.choreography import Score, perform
from imdy_jax.motion.procedural.legs import OutOfReachError
from imdy_jax.motion.procedural.stand import STAND_KNEES, Stand, stand

VERSION = 1  # raised whenever a clip changes: it is part of the clips' digests

Maker = Callable[[Stand, np.ndarray, float], Score]
REST = 0.8  # s of standing before and after a movement: a body leans before it moves
# Name → maker and duration in s of the movement. The walks are steady: they have no rest.
WALKS: dict[str, tuple[Maker, float]] = {
    "walk_slow": (lambda pose, time, fps: gait.walk(pose.body, gait_norms.SLOW, time, fps), 6.0),
    "walk": (lambda pose, time, fps: gait.walk(pose.body, gait_norms.FREE, time, fps), 5.0),
}
MOVEMENTS: dict[str, tuple[Maker, float]] = {
    "squat": (exercises.squat, 4.2),
    "lunge": (steps.lunge, 5.8),
    "reach": (exercises.reach, 3.4),
    "arm_wave": (exercises.arm_wave, 5.4),
    "side_step": (steps.side_step, 5.7),
    "turn": (steps.turn, 5.0),
    "sway": (exercises.sway, 6.0),
    "kneel": (steps.kneel, 6.4),
    "heel_raise": (exercises.heel_raise, 6.0),
    "hop": (hop.hop, hop.hop_times()[2]),
    "march": (steps.march, 5.4),
    "bow": (exercises.bow, 3.8),
    "twist": (exercises.twist, 5.2),
}
CLIPS = (*WALKS, *MOVEMENTS)


def procedural_clips(body: Body, fps: float = 30.0) -> dict[str, Clip]:
    """All built-in clips by name, for this body's own limbs; floor at z = 0, starting near the origin, facing -y."""
    return {name: procedural_clip(name, body, fps) for name in CLIPS}


def procedural_clip(name: str, body: Body, fps: float = 30.0) -> Clip:
    """One built-in clip. Raises ValueError for an unknown name, or for a body whose legs cannot do the movement."""
    if name not in CLIPS:
        raise ValueError(f"procedural clip: found {name!r}, expected one of {', '.join(CLIPS)}; choose one of these")
    make, duration = (WALKS | MOVEMENTS)[name]
    rest = 0.0 if name in WALKS else REST
    time = np.arange(round((duration + 2 * rest) * fps) + 1) / fps - rest
    rotations, translation = _perform(make, body, time, fps)
    made_of = [name, VERSION, fps, np.round(np.asarray(body.joints, float), 6).tolist()]
    return Clip(
        rotations=rotations,
        translation=translation,
        fps=float(fps),
        name=name,
        source="procedural",
        digest=hashlib.sha256(json.dumps(made_of).encode()).hexdigest(),
        sex=body.sex,
        betas=tuple(float(beta) for beta in body.betas),
        leg_length=float(body.leg_length),
    )


def _perform(make: Maker, body: Body, time: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """The movement from as upright a stance as the body's proportions allow."""
    for knee in STAND_KNEES:
        try:
            return perform(make(stand(body, knee), time, fps), body)
        except OutOfReachError as error:
            reason = error
    raise reason
