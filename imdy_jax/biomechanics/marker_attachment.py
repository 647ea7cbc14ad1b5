"""Markers of which nobody knows where they sit: the segment in whose axes each moves least."""

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.biomechanics.marker_equations import Person, Places, predicted
from imdy_jax.biomechanics.marker_labels import Site
from imdy_jax.skeleton import NUM_BODIES, PARENTS

_ASIDE = 0.05  # m that a marker may move more on a segment, for each metre that it is nearer to it


def attached(
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
