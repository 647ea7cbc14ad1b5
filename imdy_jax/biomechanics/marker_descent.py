"""Towards the least squares of marker_equations.py: where poses begin, and the steps from there."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from imdy_jax.biomechanics.marker_equations import Believed, Person, Places, mean_cost, neutral, person_step, pose_step
from imdy_jax.biomechanics.marker_labels import TRUNK, Site
from imdy_jax.biomechanics.marker_person import places_near
from imdy_jax.skeleton import NUM_Q, joint_index

_FRAMES = 64  # per call: motions of other lengths run the same programs
_OUTLIERS = (60.0, 12.0, 4.0)  # σ beyond which a marker is not believed: from far to near
_STEPS, _CONVERGED = 30, 1e-3  # of a pose, at most; share of the cost that a step has to gain
_STEPS_TOGETHER = 15


def first_poses(seen: np.ndarray, places: Places, believed: Believed) -> np.ndarray:
    """Standing poses (T, 99) where the trunk's markers are, or all where there are too few of these."""
    segment, joints = np.asarray(believed.segment), np.asarray(places.joints)
    rest = joints[segment] + np.asarray(places.places)
    trunk = np.isin(segment, [joint_index(name) for name in TRUNK])
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


def settled(q: np.ndarray, person: Person, places: Places, seen: np.ndarray, believed: Believed) -> np.ndarray:
    """Poses (T, 99) from where they begin; what is far off counts at first, and less and less."""
    parts = []
    for start in range(0, len(q), _FRAMES):
        block = [x[start : start + _FRAMES] for x in (q, seen)]
        count = len(block[0])
        now, points = (jnp.asarray(np.concatenate([x, np.repeat(x[-1:], _FRAMES - count, axis=0)])) for x in block)
        for outlier in _OUTLIERS:
            now = _descended(now, person, places, points, believed._replace(outlier=outlier))
        parts.append(np.asarray(now)[:count])
    return np.concatenate(parts)


def _descended(q: jax.Array, person: Person, places: Places, seen: jax.Array, believed: Believed) -> jax.Array:
    before, damping = np.full(len(q), np.inf), jnp.full(len(q), 1e-2)
    for _ in range(_STEPS):
        q, damping, now = pose_step(q, damping, person, places, seen, believed)
        if np.all(before - now < _CONVERGED * now):
            break
        before = np.asarray(now)
    return q


def together(
    q: np.ndarray, person: Person, places: Places, seen: np.ndarray, believed: Believed, sex: str,
    sites: list[Site | None],
) -> tuple[np.ndarray, Person, Places]:  # fmt: skip
    """Poses and person, both moved; what is near is made anew as the shape changes."""
    now, damping = mean_cost(q, person, places, seen, believed), 1e-3
    for _ in range(_STEPS_TOGETHER):
        moved, other = person_step(q, damping, person, places, seen, believed)
        closer = places_near(sex, sites, other.shape)
        after = mean_cost(moved, other, closer, seen, believed)
        gain = float((now - after) / now)
        if gain > 0:
            q, person, places, now = moved, other, closer, after
        if 0 < gain < _CONVERGED:
            break
        damping *= 0.2 if gain > 0 else 10.0
    return np.asarray(q), person, places
