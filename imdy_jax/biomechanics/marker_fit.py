"""A person and their motion from a laboratory's markers: whatever set of them, wherever they were put.

    trials = [read_markers(file) for file in ("static.trc", "walk.trc")]
    person = fit_person(trials, sex="female", mass=62.6)
    motion = fit_motion(trials[1], person, "walk")

First the poses of a few frames, then stature, proportions and each marker's place together with them, then every frame
(marker_equations.py has the least squares). Markers whose labels tell a place (marker_labels.py) begin; the others then
join the segment that their label names, or in whose axes they move least. The body is the embedded one, of that stature
and shape vector.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from imdy_jax.biomechanics.marker_equations import (
    Believed,
    Person,
    Places,
    mean_cost,
    neutral,
    person_step,
    pose_step,
    predicted,
)
from imdy_jax.biomechanics.marker_labels import Site, shares_of, site
from imdy_jax.biomechanics.opensim import to_z_up
from imdy_jax.biomechanics.opensim_storage import Markers
from imdy_jax.body.anthropometric import anthropometric_body, usual
from imdy_jax.body.person import Body
from imdy_jax.body.proportions import NUM_SHAPE, SHAPE
from imdy_jax.motion.clip import Clip, from_generalized_positions
from imdy_jax.skeleton import JOINT_NAMES, NUM_BODIES, NUM_Q, PARENTS, joint_index

CALIBRATION_FRAMES = 48  # of all trials together
LEAST_PLACED = 12  # markers whose labels have to tell a place
_FRAMES = 64  # per call, and
_ROWS = 32  # the number of markers is made a multiple of it: other lengths and other sets run the same programs
_LENGTHS = sum("mass" not in name for name, _ in SHAPE)  # components of the shape vector that place joints
_SIGMA = {"landmark": 0.01, "joint": 0.01, "segment": 0.015}  # m, of a marker about its segment: skin moves
_SLACK = {"landmark": 0.02, "joint": 0.015, "segment": 0.5}  # m, of where it was put
_STATURE_SPREAD = 0.10, 0.01  # m, where the stature is not known and where it is
_TRUNK = ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar")
_OUTLIERS = (60.0, 12.0, 4.0)  # σ beyond which a marker is not believed: from far to near
_STEPS, _CONVERGED = 30, 1e-3  # of a pose, at most; share of the cost that a step has to gain
_STEPS_TOGETHER = 15
_ASIDE = 0.05  # m that a marker may move more on a segment, for each metre that it is nearer to it


class FittedPerson(NamedTuple):
    """A person, and where their M markers sit."""

    body: Body
    stature: float  # m
    names: tuple[str, ...]
    placed: np.ndarray  # (M,) bool, the label tells the place
    segment: np.ndarray  # (M,) of the skeleton
    place: np.ndarray  # (M, 3) m from the segment's joint, in its axes
    shift: np.ndarray  # (M, 3) m of it from the landmark, or from the joint where the label tells no place


class FittedMotion(NamedTuple):
    """A motion of T frames of a fitted person."""

    clip: Clip
    error: np.ndarray  # (T, M) m, of each of the person's markers; NaN where it was not seen


def fit_person(
    trials: Sequence[Markers], sex: str = "neutral", mass: float | None = None, stature: float | None = None,
    up: str | None = None,
) -> FittedPerson:  # fmt: skip
    """The person in some recordings; a marker need not be in all of them, as those of a static trial are not.

    Args:
      trials: of the same person with the markers in the same places.
      sex: of the tables of proportions and masses: female, male or neutral.
      mass: kg; by default that of the stature at the mean adult's body-mass index.
      stature: m, where it is known; else it follows from the markers.
      up: the recordings' vertical axis, "y" or "z"; by default as the markers tell.

    Raises ValueError where fewer than LEAST_PLACED labels tell a place, or fewer than three of them on the trunk.
    """
    names = tuple(dict.fromkeys(name for trial in trials for name in trial.names if np.isfinite(_of(trial, name)).any()))
    sites = [site(name) for name in names]
    placed = np.array([s is not None and s.kind != "segment" for s in sites])
    _check(names, sites, placed)
    seen = np.concatenate([
        _in_order(upright(trial, up), trial.names, names)[_spread_out(trial, number)]
        for trial, number in zip(trials, _allotted(len(trials)), strict=True)
    ])  # fmt: skip
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        rows = -len(names) % _ROWS
        sites, seen, sure = sites + [None] * rows, _padded(seen, rows), np.pad(placed, (0, rows))
        believed = _believed(sites, sex, stature, np.isfinite(seen).all(axis=-1).mean(axis=0))
        person, near = Person(believed.shape, jnp.zeros((len(sites), 3))), _near(sex, sites, believed.shape)
        first = np.where(sure[:, None], seen, np.nan)
        q = _settled(_first_poses(first, near, believed), person, near, first, believed)
        q, person, near = _together(q, person, near, first, believed, sex, sites)
        segment, middle = _attached(q, person, near, seen, sites)
        believed = believed._replace(segment=segment)
        person = person._replace(shift=jnp.where(sure[:, None], person.shift, middle))
        q, person, near = _together(q, person, near, seen, believed, sex, sites)
        place = np.asarray(near.places + near.places_by_shape @ (person.shape - near.shape) + person.shift)
        told = np.asarray(segment), place, np.asarray(person.shift)
    tall, betas = float(person.shape[0]), np.asarray(person.shape[1:])
    body = anthropometric_body(sex, tall, usual(sex, tall)[1] if mass is None else mass, betas)
    return FittedPerson(body, tall, names, placed, *(x[: len(names)] for x in told))


def fit_motion(
    markers: Markers, person: FittedPerson, name: str, up: str | None = None,
    belt: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> FittedMotion:  # fmt: skip
    """The motion of a fitted person in a recording, at its frame rate; z up, where the laboratory has it.

    belt: m/s, velocity of a treadmill's belt in the recording's axes; the motion is then as it would be over ground.

    Raises ValueError where a frame has fewer than three markers.
    """
    seen = _in_order(upright(markers, up), markers.names, person.names)
    few = np.flatnonzero(np.isfinite(seen).all(axis=-1).sum(axis=1) < 3)
    if len(few):
        raise ValueError(
            f"{name}: frame {few[0]} ({len(few)} frames concerned) has fewer than 3 markers, expected most of "
            f"{len(person.names)}; fill the gaps or cut the recording"
        )
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        moving = to_z_up(np.array(belt)) if (up or _vertical(markers)) == "y" else np.array(belt)
        seen = seen - moving * (markers.time - markers.time[0])[:, None, None]
        rows = -len(person.names) % _ROWS
        kinds = np.where(person.placed, _SIGMA["landmark"], _SIGMA["segment"])
        none, joints = jnp.zeros(0), jnp.asarray(person.body.joints, float)
        segment, sigma = (jnp.asarray(np.pad(x, (0, rows), "edge")) for x in (person.segment, kinds))
        near = Places(none, joints, jnp.pad(jnp.asarray(person.place), ((0, rows), (0, 0))),
                      jnp.zeros((NUM_BODIES, 3, 0)), jnp.zeros((len(sigma), 3, 0)))  # fmt: skip
        believed = Believed(segment, sigma, jnp.ones(len(sigma)), none, none)
        at_rest, padded = Person(none, jnp.zeros((len(sigma), 3))), _padded(seen, rows)
        q = _settled(_first_poses(padded, near, believed), at_rest, near, padded, believed)
        said = jax.vmap(predicted, in_axes=(0, None, None, None))(jnp.asarray(q), joints, near.places, segment)
        error = np.linalg.norm(np.asarray(said)[:, : len(person.names)] - seen, axis=-1)
        return FittedMotion(from_generalized_positions(q, person.body, _rate(markers), name), error)


def upright(markers: Markers, up: str | None = None) -> np.ndarray:
    """Positions (T, M, 3) with z up; up: "y" or "z" of the recording, by default as the markers tell."""
    return markers.positions if (up or _vertical(markers)) == "z" else to_z_up(markers.positions)


def _vertical(markers: Markers) -> str:
    """The axis along which the trunk's and the head's markers lie above the feet's; y where nobody knows."""
    found = [site(name) for name in markers.names]
    high = [k for k, s in enumerate(found) if s and JOINT_NAMES[s.segment] in (*_TRUNK, "head")]
    low = [k for k, s in enumerate(found) if s and JOINT_NAMES[s.segment].endswith(("knee", "ankle", "foot"))]
    if not high or not low:
        return "y"
    gap = np.nanmean(markers.positions[:, high], axis=(0, 1)) - np.nanmean(markers.positions[:, low], axis=(0, 1))
    return "y" if abs(gap[1]) >= abs(gap[2]) else "z"


def _rate(markers: Markers) -> float:
    return (len(markers.time) - 1) / float(markers.time[-1] - markers.time[0])


def _check(names: tuple[str, ...], sites: list[Site | None], placed: np.ndarray) -> None:
    trunk = sum(bool(p) and s is not None and JOINT_NAMES[s.segment] in _TRUNK for s, p in zip(sites, placed, strict=True))
    if placed.sum() < LEAST_PLACED or trunk < 3:
        others = ", ".join(n for n, p in zip(names, placed, strict=True) if not p)
        raise ValueError(
            f"markers: found {placed.sum()} labels that tell a place, {trunk} of them on the trunk, expected at least "
            f"{LEAST_PLACED} and 3; rename what is known of {others} as in docs/markers.md"
        )


def _of(trial: Markers, name: str) -> np.ndarray:
    return trial.positions[:, trial.names.index(name)]


def _in_order(positions: np.ndarray, names: tuple[str, ...], wanted: tuple[str, ...]) -> np.ndarray:
    """Positions (T, M, 3) of the wanted markers, NaN for those that are not there."""
    gone = np.full((len(positions), 1, 3), np.nan)
    column = [names.index(name) if name in names else len(names) for name in wanted]
    return np.concatenate([positions, gone], axis=1)[:, column]


def _padded(seen: np.ndarray, rows: int) -> np.ndarray:
    return np.pad(seen, ((0, 0), (0, rows), (0, 0)), constant_values=np.nan)


def _allotted(trials: int) -> list[int]:
    """Calibration frames of each trial; together CALIBRATION_FRAMES."""
    return [CALIBRATION_FRAMES * (k + 1) // trials - CALIBRATION_FRAMES * k // trials for k in range(trials)]


def _spread_out(trial: Markers, count: int) -> np.ndarray:
    """Frames as different in posture as can be, those with gaps last; one is there again where there are too few."""
    there = np.isfinite(trial.positions).all(axis=-1)
    centred = trial.positions - np.nanmean(trial.positions, axis=1, keepdims=True)
    flat = np.where(there[..., None], centred, 0.0).reshape(len(there), -1)
    whole = there.mean(axis=1) ** 4
    chosen, gap = [int(np.argmax(whole))], np.full(len(there), np.inf)
    while len(chosen) < count:
        gap = np.minimum(gap, np.linalg.norm(flat - flat[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(gap * whole)))
    return np.array(chosen[:count], int)


def _believed(sites: list[Site | None], sex: str, stature: float | None, share: np.ndarray) -> Believed:
    """share (M,) of the frames in which a marker is seen: what is known of it beforehand counts as much less."""
    kinds = ["segment" if s is None else s.kind for s in sites]
    segment = np.array([0 if s is None else s.segment for s in sites])
    mean = np.pad([usual(sex)[0] if stature is None else stature], (0, _LENGTHS))
    spread = np.concatenate([[_STATURE_SPREAD[stature is not None]], np.ones(_LENGTHS)])
    sigma, slack = (np.array([table[k] for k in kinds]) for table in (_SIGMA, _SLACK))
    slack = slack / np.sqrt(np.maximum(share, 1e-3))
    return Believed(*map(jnp.asarray, (segment, sigma, slack, mean, spread)))


def _near(sex: str, sites: list[Site | None], shape: jax.Array) -> Places:
    """Joints and places of a person of this shape, and by the shape."""
    (joints, landmarks), (joints_by, landmarks_by) = _anatomy(sex)(shape)
    shares, centres = shares_of(sites)
    own = np.array([0 if s is None else s.segment for s in sites])
    placed = (shares.sum(axis=1) + centres.sum(axis=1))[:, None]  # 1, or 0 where the label tells no place
    places = shares @ landmarks + centres @ joints - placed * joints[own]
    by = jnp.einsum("mk,kxs->mxs", shares, landmarks_by) + jnp.einsum("mk,kxs->mxs", centres, joints_by)
    return Places(shape, joints, places, joints_by, by - placed[..., None] * joints_by[own])


@lru_cache
def _anatomy(sex: str) -> Any:
    """Jitted: shape (S,) → joints (24, 3) and landmarks (66, 3), and both by the shape."""

    def places(shape: jax.Array) -> tuple[jax.Array, jax.Array]:
        body = anthropometric_body(sex, shape[0], None, jnp.pad(shape[1:], (0, NUM_SHAPE - _LENGTHS)))
        return body.joints, body.markers

    return jax.jit(lambda shape: (places(shape), jax.jacfwd(places)(shape)))


def _first_poses(seen: np.ndarray, near: Places, believed: Believed) -> np.ndarray:
    """Standing poses (T, 99) where the trunk's markers are, or all where there are too few of these."""
    segment, joints = np.asarray(believed.segment), np.asarray(near.joints)
    rest = joints[segment] + np.asarray(near.places)
    trunk = np.isin(segment, [joint_index(name) for name in _TRUNK])
    q = np.zeros((len(seen), NUM_Q))
    q[:, 7:] = neutral()[1:].reshape(-1)
    for k, frame in enumerate(seen):
        there = np.isfinite(frame).all(axis=1)
        use = trunk & there if (trunk & there).sum() >= 3 else there
        mean, middle = frame[use].mean(axis=0), rest[use].mean(axis=0)
        turn, _ = Rotation.align_vectors(frame[use] - mean, rest[use] - middle)
        q[k, :3] = mean + turn.apply(joints[0] - middle)
        q[k, 3:7] = turn.as_quat(scalar_first=True)
    return q


def _settled(q: np.ndarray, person: Person, near: Places, seen: np.ndarray, believed: Believed) -> np.ndarray:
    """Poses (T, 99) from where they begin; what is far off counts at first, and less and less."""
    parts = []
    for start in range(0, len(q), _FRAMES):
        block = [x[start : start + _FRAMES] for x in (q, seen)]
        count = len(block[0])
        now, points = (jnp.asarray(np.concatenate([x, np.repeat(x[-1:], _FRAMES - count, axis=0)])) for x in block)
        for outlier in _OUTLIERS:
            now = _descended(now, person, near, points, believed._replace(outlier=outlier))
        parts.append(np.asarray(now)[:count])
    return np.concatenate(parts)


def _descended(q: jax.Array, person: Person, near: Places, seen: jax.Array, believed: Believed) -> jax.Array:
    before, damping = np.full(len(q), np.inf), jnp.full(len(q), 1e-2)
    for _ in range(_STEPS):
        q, damping, now = pose_step(q, damping, person, near, seen, believed)
        if np.all(before - now < _CONVERGED * now):
            break
        before = np.asarray(now)
    return q


def _together(
    q: np.ndarray, person: Person, near: Places, seen: np.ndarray, believed: Believed, sex: str,
    sites: list[Site | None],
) -> tuple[np.ndarray, Person, Places]:  # fmt: skip
    """Poses and person, both moved; what is near is made anew as the shape changes."""
    now, damping = mean_cost(q, person, near, seen, believed), 1e-3
    for _ in range(_STEPS_TOGETHER):
        moved, other = person_step(q, damping, person, near, seen, believed)
        closer = _near(sex, sites, other.shape)
        after = mean_cost(moved, other, closer, seen, believed)
        gain = float((now - after) / now)
        if gain > 0:
            q, person, near, now = moved, other, closer, after
        if 0 < gain < _CONVERGED:
            break
        damping *= 0.2 if gain > 0 else 10.0
    return np.asarray(q), person, near


def _attached(
    q: np.ndarray, person: Person, near: Places, seen: np.ndarray, sites: list[Site | None]
) -> tuple[jax.Array, jax.Array]:
    """The segment of every marker (M,): its label's, or where it moves least; and the middle of its places (M, 3)."""
    joints = near.joints + near.joints_by_shape @ (person.shape - near.shape)
    spots = jnp.concatenate([jnp.zeros((1, NUM_BODIES, 3)), jnp.broadcast_to(jnp.eye(3)[:, None], (3, NUM_BODIES, 3))])
    by_frame = jax.vmap(predicted, in_axes=(0, None, None, None))
    corners = jax.vmap(by_frame, in_axes=(None, None, 0, None))(jnp.asarray(q), joints, spots, jnp.arange(NUM_BODIES))
    origin, axes = np.asarray(corners[0]), np.asarray(corners[1:] - corners[0])  # (T, 24, 3), (3, T, 24, 3)
    local = np.einsum("jtbi,tmbi->tmbj", axes, seen[:, :, None] - origin[:, None])
    seen_once = np.isfinite(local).all(axis=-1).any(axis=0)[..., None]
    middle = np.nanmedian(np.where(seen_once, local, 0.0), axis=0)
    spread = np.sqrt(np.nanmean(np.sum((np.where(seen_once, local, 0.0) - middle) ** 2, axis=-1), axis=0))
    best = np.argmin(spread + _ASIDE * _beside(middle, np.asarray(joints)), axis=1)
    segment = np.array([b if s is None else s.segment for s, b in zip(sites, best, strict=True)])
    return jnp.asarray(segment), jnp.asarray(middle[np.arange(len(sites)), segment])


def _beside(places: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Distance (M, 24), m, of places in the segments' axes from their bones, which end amid the joints that follow."""
    follow = np.array([[parent == k for parent in PARENTS] for k in range(NUM_BODIES)], float)
    number = follow.sum(axis=1)
    ends = np.where(number[:, None] > 0, follow @ joints / np.maximum(number, 1.0)[:, None] - joints, 0.0)
    along = np.clip(np.sum(places * ends, axis=-1) / np.maximum(np.sum(ends**2, axis=-1), 1e-9), 0.0, 1.0)
    return np.linalg.norm(places - along[..., None] * ends, axis=-1)
