"""Is a clip a motion that a person could have made on a flat floor? Each problem names the file and the frames.

The limits are physical. A pelvis is not accelerated by more than about 10 g, even in landings, and no runner has
passed 12.5 m/s. Kicks and throws turn a joint at up to about 30 rad/s (knee extension in a soccer kick, Nunome et
al. 2002; elbow extension in pitching, Fleisig et al. 1999); a glitch of one frame shows in the acceleration first.
Without a support the centre of mass falls freely: in a flight that lasts D it rises g D²/8 above the chord between
take-off and landing. A body that floats or slides for longer than its rise allows is not in flight.
"""

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from imdy_jax.body.person import Body
from imdy_jax.motion.clip import Clip
from imdy_jax.motion.posing import Posed, centre_of_mass, lowest_and_below, pose, surface_points
from imdy_jax.skeleton import JOINT_NAMES

GRAVITY = 9.81  # m/s²
ROOT_SPEED = 12.5  # m/s
ROOT_ACCELERATION = 100.0  # m/s²
JOINT_SPEED = 40.0  # rad/s
JOINT_ACCELERATION = 1500.0  # rad/s²
CONTACT_HEIGHT = 0.05  # m, a surface point below this may touch the floor: soft soles, and noise in the height
SLIDE_HEIGHT = 0.02  # m, an unsupported body that is lower than this is said to slide, and to float above it
CONTACT_SPEED = 0.2  # m/s, a touching point that is slower than this carries weight
UNSUPPORTED_WARNING, UNSUPPORTED_LIMIT = 0.15, 0.4  # s without support beyond what ballistic flight explains
DEPTH_WARNING, DEPTH_LIMIT = 0.05, 0.15  # m below the floor


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something that a person cannot have done, in frames first to last of a file."""

    kind: str  # "nan", "jump", "float", "skate" or "penetration"
    source: str
    first: int
    last: int
    found: str
    limit: str
    severity: str  # "reject" or "warn"

    def __str__(self) -> str:
        frames = f"frame {self.first}" if self.first == self.last else f"frames {self.first} to {self.last}"
        return f"{self.source}: {frames}: {self.kind}: found {self.found}, limit {self.limit}"


def check_clip(clip: Clip, body: Body) -> list[Problem]:
    """Problems of a clip that was fitted to the body (fit.fit), the grave ones first; empty for a sound one."""
    broken = _not_finite(clip)
    if broken:
        return broken
    posed = pose(clip, body)
    lowest, low = lowest_and_below(posed, body, CONTACT_HEIGHT)
    points = surface_points(posed, body, low)
    height = centre_of_mass(posed, body)[:, 2]
    problems = [*_root_jumps(clip, posed), *_joint_jumps(clip), *_unsupported(clip, points, height, lowest)]
    problems += _penetration(clip, lowest)
    return sorted(problems, key=lambda p: (p.severity, p.first))


def rejected(problems: list[Problem]) -> list[Problem]:
    """Those that make a clip unusable."""
    return [problem for problem in problems if problem.severity == "reject"]


def _not_finite(clip: Clip) -> list[Problem]:
    values = np.concatenate([np.asarray(clip.rotations).reshape(clip.num_frames, -1), clip.translation], axis=1)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if not len(bad):
        return []
    found = f"NaN or infinity in {len(bad)} frames"
    return [Problem("nan", clip.source, int(bad[0]), int(bad[-1]), found, "finite numbers", "reject")]


def _root_jumps(clip: Clip, posed: Posed) -> list[Problem]:
    root = posed.p_world[:, 0]
    speed = np.linalg.norm(np.diff(root, axis=0), axis=1) * clip.fps
    acceleration = np.linalg.norm(np.diff(root, n=2, axis=0), axis=1) * clip.fps**2
    return [
        *_over(clip, speed, ROOT_SPEED, "pelvis at {:.1f} m/s", "{:g} m/s"),
        *_over(clip, acceleration, ROOT_ACCELERATION, "pelvis at {:.0f} m/s²", "{:g} m/s²"),
    ]


def _joint_jumps(clip: Clip) -> list[Problem]:
    """Angular speed and acceleration of every joint; the fastest joint of a frame speaks for the frame."""
    quaternions = np.asarray(clip.rotations, float)
    before = Rotation.from_quat(quaternions[:-1].reshape(-1, 4), scalar_first=True)
    after = Rotation.from_quat(quaternions[1:].reshape(-1, 4), scalar_first=True)
    velocity = (before.inv() * after).as_rotvec().reshape(clip.num_frames - 1, -1, 3) * clip.fps
    problems = []
    for values, limit, unit in (
        (velocity, JOINT_SPEED, "rad/s"),
        (np.diff(velocity, axis=0) * clip.fps, JOINT_ACCELERATION, "rad/s²"),
    ):
        size = np.linalg.norm(values, axis=-1)
        if size.size and size.max() > limit:
            joint = JOINT_NAMES[np.unravel_index(size.argmax(), size.shape)[1]]
            problems += _over(clip, size.max(axis=1), limit, joint + " at {:.0f} " + unit, "{:g} " + unit)
    return problems


def _over(clip: Clip, values: np.ndarray, limit: float, found: str, allowed: str) -> list[Problem]:
    """One problem over the frames in which values pass the limit.

    Value i belongs to frame i + 1: speeds to the frame reached, accelerations to the frame between its neighbours.
    """
    frames = np.flatnonzero(values > limit)
    if not len(frames):
        return []
    first, last = int(frames[0]) + 1, int(frames[-1]) + 1
    return [Problem("jump", clip.source, first, last, found.format(values.max()), allowed.format(limit), "reject")]


def _unsupported(clip: Clip, points: np.ndarray, height: np.ndarray, lowest: np.ndarray) -> list[Problem]:
    """Spans without a resting point of contact that last longer than free fall explains.

    points (T, P, 3): what comes near the floor; height (T,): of the centre of mass.
    """
    speed = np.linalg.norm(np.diff(points, axis=0), axis=-1) * clip.fps
    touching = np.maximum(points[1:, :, 2], points[:-1, :, 2]) < CONTACT_HEIGHT
    slowest = np.where(touching, speed, np.inf).min(axis=1, initial=np.inf)
    problems = []
    for start, end in _runs(slowest > CONTACT_SPEED):
        duration = (end - start) / clip.fps
        ballistic = _flight_time(height[start : end + 1])
        if duration - ballistic <= UNSUPPORTED_WARNING:
            continue
        gap = float(np.median(lowest[start + 1 : end + 1]))
        slides = gap < SLIDE_HEIGHT
        how = f"sliding at {np.median(slowest[start:end]):.2f} m/s" if slides else f"{gap:.3f} m off the floor"
        problems.append(
            Problem(
                "skate" if slides else "float", clip.source, start, end, f"{duration:.2f} s {how}",
                f"{ballistic:.2f} s of free flight for this rise of the centre of mass, and {UNSUPPORTED_WARNING:g} s",
                "reject" if duration - ballistic > UNSUPPORTED_LIMIT else "warn",
            )
        )  # fmt: skip
    return problems


def _flight_time(height: np.ndarray) -> float:
    """Duration (s) of the free flight in which the centre of mass rises as high above the chord of its path."""
    chord = np.linspace(height[0], height[-1], len(height))
    return float(np.sqrt(8.0 * max(np.max(height - chord), 0.0) / GRAVITY))


def _penetration(clip: Clip, lowest: np.ndarray) -> list[Problem]:
    depth = -lowest
    return [
        Problem(
            "penetration", clip.source, start, end - 1, f"{depth[start:end].max():.3f} m below the floor",
            f"{DEPTH_WARNING:g} m", "reject" if depth[start:end].max() > DEPTH_LIMIT else "warn",
        )
        for start, end in _runs(depth > DEPTH_WARNING)
    ]  # fmt: skip


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """(start, end) of each run of True, end exclusive."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
