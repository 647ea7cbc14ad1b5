"""What is known of a person before any marker is seen, and how joints and markers move with stature and proportions."""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.biomechanics.marker_equations import Believed, Places
from imdy_jax.biomechanics.marker_labels import Site, shares_of
from imdy_jax.body.anthropometric import anthropometric_body, usual
from imdy_jax.body.proportions import NUM_SHAPE, SHAPE
from imdy_jax.skeleton import LEFT_FOOT, RIGHT_FOOT

SIGMA = {"landmark": 0.01, "joint": 0.01, "segment": 0.015}  # m, of a marker about its segment: skin moves
_SLACK = {"landmark": 0.02, "joint": 0.015, "segment": 0.5}  # m, of where it was put;
_SHOE = 0.02, 0.05, 0.03  # m, on a foot: to the left, up and forward; soles are thick, and heels' markers sit anywhere
_LENGTHS = sum("mass" not in name for name, _ in SHAPE)  # components of the shape vector that place joints
_STATURE_SPREAD = 0.10, 0.01  # m, where the stature is not known and where it is


def prior(sites: list[Site | None], sex: str, stature: float | None, share: np.ndarray) -> Believed:
    """share (M,) of the frames in which a marker is seen: what is known of it beforehand counts as much less."""
    kinds = ["segment" if s is None else s.kind for s in sites]
    segment = np.array([0 if s is None else s.segment for s in sites])
    mean = np.pad([usual(sex)[0] if stature is None else stature], (0, _LENGTHS))
    spread = np.concatenate([[_STATURE_SPREAD[stature is not None]], np.ones(_LENGTHS)])
    sigma, slack = (np.array([table[k] for k in kinds]) for table in (SIGMA, _SLACK))
    slack = np.repeat(slack[:, None], 3, axis=1)
    on_foot = np.isin(segment, (*LEFT_FOOT, *RIGHT_FOOT)) & (np.array(kinds) == "landmark")
    slack[on_foot] = _SHOE
    slack = slack / np.sqrt(np.maximum(share, 1e-3))[:, None]
    return Believed(*map(jnp.asarray, (segment, sigma, slack, mean, spread)))


def places_near(sex: str, sites: list[Site | None], shape: jax.Array) -> Places:
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
