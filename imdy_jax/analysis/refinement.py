"""What refinement of poses is worth: noisy copies of clean motions, the best filter, and refinement, side by side.

The true torques are those of the clean motion, estimated just as the others are: from poses alone, the ground's forces
shared by contact_sequence. The rival is the zero-phase filter, of a family and a cut-off, that does best on all motions
of the study together, which no one who has only noisy poses can know.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax import rotation
from imdy_jax.analysis.clean_motion import Scene, View, inner_frames, view
from imdy_jax.dynamics.estimate import Estimate, estimate_poses
from imdy_jax.dynamics.kinematics import forward_kinematics
from imdy_jax.dynamics.noise import perturb
from imdy_jax.dynamics.refine import Refinement, refine
from imdy_jax.humanoid import Humanoid
from imdy_jax.motion.filters import Butterworth, Filter, NoFilter, SmoothingSpline
from imdy_jax.motion.procedural import CLIPS
from imdy_jax.report import Table
from imdy_jax.skeleton import NUM_BODIES

_CUTOFFS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0)  # Hz


@dataclass(frozen=True)
class RefinementStudy:
    """What is studied. Angles in degrees and lengths in mm here, for people to read."""

    clips: tuple[str, ...] = CLIPS  # built-in motions
    seconds: float = 3.0  # from the middle of each
    fps: float = 30.0
    degrees: float = 0.4  # standard deviation of each component of the joints' rotation noise
    millimetres: float = 4.0  # of each component of the root's position
    memory: float = 0.0  # s, after which the noise's correlation is 1/e; 0 is white
    seed: int = 0


class Outcome(NamedTuple):
    """Of one motion: torque errors in N·m rms, differences of poses as means over joints and frames."""

    clip: str
    raw: float
    filtered: float
    refined: float
    change: tuple[float, float]  # from the noisy poses, degrees and mm
    noisy_pose: tuple[float, float]  # error of the noisy poses, degrees and mm
    refined_pose: tuple[float, float]
    torque: np.ndarray  # (3, N, 23, 3) N·m, true, filtered and refined


def study(
    scenes: list[Scene], config: RefinementStudy, settings: Refinement, advance: Callable[..., None]
) -> tuple[list[Outcome], str]:
    """Outcomes of motions of one person, and the filter that is best for all of them."""
    views = [view(scene, config.fps) for scene in scenes]
    humanoid = scenes[0].humanoid
    keys = jax.random.split(jax.random.PRNGKey(config.seed), len(views))
    clean = [np.asarray(_joined(seen.position, seen.rotations)) for seen in views]
    noisy = [_noisy(key, seen, config) for key, seen in zip(keys, views, strict=True)]
    refined = refine(humanoid, noisy, config.fps, settings, advance).motions
    frames = inner_frames(len(clean[0]), config.fps)
    torques = lambda motions, smoothing: np.stack(  # noqa: E731
        [np.asarray(estimate(humanoid, q, config.fps, smoothing).torque)[frames] for q in motions]
    )
    true, raw, mended = (torques(motions, NoFilter()) for motions in (clean, noisy, refined))
    rivals = {name: torques(noisy, smoothing) for name, smoothing in candidates(config.fps).items()}
    best = min(rivals, key=lambda name: _rms(rivals[name] - true))
    apart = partial(difference, humanoid)
    found = [
        Outcome(
            scene.clip, _rms(raw[i] - true[i]), _rms(rivals[best][i] - true[i]), _rms(mended[i] - true[i]),
            apart(refined[i], noisy[i]), apart(noisy[i], clean[i]), apart(refined[i], clean[i]),
            np.stack([true[i], rivals[best][i], mended[i]]),
        )
        for i, scene in enumerate(scenes)
    ]  # fmt: skip
    return found, best


def candidates(fps: float) -> dict[str, Filter]:
    """The filters that refinement has to beat, by name."""
    named: dict[str, Filter] = {}
    for cutoff in _CUTOFFS:
        if cutoff < 0.45 * fps:
            named[f"Butterworth {cutoff:g} Hz"] = Butterworth(cutoff, extension=round(fps))
            named[f"smoothing spline {cutoff:g} Hz"] = SmoothingSpline(cutoff)
    return named


def estimate(humanoid: Humanoid, q: np.ndarray, fps: float, smoothing: Filter) -> Estimate:
    """Torques of coordinates q (T, 99), the ground's forces estimated with them."""
    rotations = jnp.asarray(q[:, 3:]).reshape(len(q), NUM_BODIES, 4)
    return estimate_poses(humanoid, jnp.asarray(q[:, :3]), rotations, fps, smoothing)


def difference(humanoid: Humanoid, one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Mean angle between joint rotations, degrees, and mean distance of joint positions, mm, of q (T, 99)."""
    turns = [jnp.asarray(q[:, 3:]).reshape(len(q), NUM_BODIES, 4) for q in (one, other)]
    angle = jnp.linalg.norm(rotation.between(*turns), axis=-1)
    apart = jnp.linalg.norm(_positions(humanoid, one) - _positions(humanoid, other), axis=-1)
    return float(np.rad2deg(jnp.mean(angle))), 1e3 * float(jnp.mean(apart))


def outcome_table(found: list[Outcome], best: str, config: RefinementStudy) -> Table:
    """One row per motion, and one for all."""
    rows = [_row(each.clip, [each]) for each in found]
    kind = f"correlated over {config.memory:g} s" if config.memory else "white"
    return Table(
        f"Refinement of poses at {config.fps:g} frames/s under {config.degrees:g}° and {config.millimetres:g} mm of "
        f"{kind} noise",
        (
            "motion", "raw N·m", "filtered N·m", "refined N·m", "less than raw %", "than filtered %",
            "pose change °", "mm", "pose error before °", "mm before", "after °", "mm after",
        ),
        (*rows, _row("all", found)),
        (
            f"torque errors: rms over frames and components; the filter, best for all motions together: {best}",
            "pose errors and changes: means over joints and frames; noise: standard deviation of each component",
        ),
    )  # fmt: skip


def _row(name: str, found: list[Outcome]) -> tuple[Any, ...]:
    raw, filtered, refined = (
        float(np.sqrt(np.mean([getattr(each, kind) ** 2 for each in found]))) for kind in ("raw", "filtered", "refined")
    )
    pairs = [np.mean([getattr(each, kind) for each in found], axis=0) for kind in Outcome._fields[4:7]]
    less = [100.0 * (1.0 - refined / other) for other in (raw, filtered)]
    return (name, raw, filtered, refined, *less, *(float(x) for pair in pairs for x in pair))


def _noisy(key: jax.Array, seen: View, config: RefinementStudy) -> np.ndarray:
    sd = np.deg2rad(config.degrees), 1e-3 * config.millimetres
    rotations, position = perturb(key, seen.rotations, seen.position, config.fps, *sd, config.memory)
    return np.asarray(_joined(position, rotations))


def _joined(position: jax.Array, rotations: jax.Array) -> jax.Array:
    return jnp.concatenate([position, rotations.reshape(len(rotations), -1)], axis=1)


@jax.jit
def _positions(humanoid: Humanoid, q: jax.Array) -> jax.Array:
    return jax.vmap(forward_kinematics, in_axes=(None, 0))(humanoid, jnp.asarray(q)).position


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))
