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
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.biomechanics.marker_attachment import attached
from imdy_jax.biomechanics.marker_descent import first_poses, settled, together
from imdy_jax.biomechanics.marker_equations import Believed, Person, Places, predicted
from imdy_jax.biomechanics.marker_frames import allotted, in_order, spread_out, upright, vertical, with_rows
from imdy_jax.biomechanics.marker_labels import TRUNK, Site, site
from imdy_jax.biomechanics.marker_person import SIGMA, places_near, prior
from imdy_jax.biomechanics.opensim import to_z_up
from imdy_jax.biomechanics.opensim_storage import Markers
from imdy_jax.body.anthropometric import STATURE_RANGE, anthropometric_body, check_person, usual
from imdy_jax.body.person import Body
from imdy_jax.motion.clip import Clip, from_generalized_positions
from imdy_jax.motion.errors import MIN_FRAMES
from imdy_jax.skeleton import JOINT_NAMES, NUM_BODIES

LEAST_PLACED = 12  # markers whose labels have to tell a place
MOST_OFF = 0.05  # m, in the median: beyond it something else than the person's size is wrong
_ROWS = 32  # the number of markers is made a multiple of it, so that other sets run the same programs


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

    Raises ValueError where fewer than LEAST_PLACED labels tell a place, or fewer than three of them on the trunk, and
    where the markers, sex, stature or mass are no person's.
    """
    check_person(sex, stature, mass)
    there = (name for t in trials for k, name in enumerate(t.names) if np.isfinite(t.positions[:, k]).any())
    names = tuple(dict.fromkeys(there))
    found = [site(name) for name in names]
    placed = np.array([s is not None and s.kind != "segment" for s in found])
    _check(names, found, placed)
    chosen = [
        in_order(upright(trial, up), trial.names, names)[spread_out(trial, number)]
        for trial, number in zip(trials, allotted(len(trials)), strict=True)
    ]
    rows = -len(names) % _ROWS
    seen, sites, sure = with_rows(np.concatenate(chosen), rows), found + [None] * rows, np.pad(placed, (0, rows))
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        believed = prior(sites, sex, stature, np.isfinite(seen).all(axis=-1).mean(axis=0))
        person, near = Person(believed.shape, jnp.zeros((len(sites), 3))), places_near(sex, sites, believed.shape)
        first = np.where(sure[:, None], seen, np.nan)
        q = settled(first_poses(first, near, believed), person, near, first, believed)
        q, person, near = together(q, person, near, first, believed, sex, sites)
        segment, middle = attached(q, person, near, seen, sites)
        believed = believed._replace(segment=segment)
        person = person._replace(shift=jnp.where(sure[:, None], person.shift, middle))
        q, person, near = together(q, person, near, seen, believed, sex, sites)
        place = near.places + near.places_by_shape @ (person.shape - near.shape) + person.shift
        told = [np.asarray(x)[: len(names)] for x in (segment, place, person.shift)]
        off = float(np.nanmedian(np.where(sure, _errors(q, near.joints, place, segment, seen), np.nan)))
    tall, betas = float(person.shape[0]), np.asarray(person.shape[1:])
    if not (STATURE_RANGE[0] <= tall <= STATURE_RANGE[1] and off < MOST_OFF):
        raise ValueError(
            f"markers: found a person of {tall:.2f} m that half of the labels are {off:.2f} m off, expected less than "
            f"{MOST_OFF} m; check the recordings' unit, which way is up, and whether they are of one person"
        )
    body = anthropometric_body(sex, tall, usual(sex, tall)[1] if mass is None else mass, betas)
    return FittedPerson(body, tall, names, placed, *told)


def fit_motion(
    markers: Markers, person: FittedPerson, name: str, up: str | None = None,
    belt: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> FittedMotion:  # fmt: skip
    """The motion of a fitted person in a recording, at its frame rate; z up, where the laboratory has it.

    belt: m/s, velocity of a treadmill's belt in the recording's axes; the motion is then as it would be over ground.

    Raises ValueError where there are fewer than MIN_FRAMES frames, or a frame has fewer than three markers.
    """
    if len(markers.time) < MIN_FRAMES:
        raise ValueError(f"{name}: found {len(markers.time)} frames, expected at least {MIN_FRAMES}; leave it out")
    seen = in_order(upright(markers, up), markers.names, person.names)
    few = np.flatnonzero(np.isfinite(seen).all(axis=-1).sum(axis=1) < 3)
    if len(few):
        raise ValueError(
            f"{name}: frame {few[0]} ({len(few)} frames concerned) has fewer than 3 markers, expected most of "
            f"{len(person.names)}; fill the gaps or cut the recording"
        )
    moving = to_z_up(np.array(belt)) if (up or vertical(markers)) == "y" else np.array(belt)
    seen = seen - moving * (markers.time - markers.time[0])[:, None, None]
    rows = -len(person.names) % _ROWS
    points = with_rows(seen, rows)
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        here, near, believed = _as_it_is(person, rows)
        q = settled(first_poses(points, near, believed), here, near, points, believed)
        error = _errors(q, near.joints, near.places, believed.segment, points)[:, : len(person.names)]
    return FittedMotion(from_generalized_positions(q, person.body, _rate(markers), name), error)


def _errors(q: np.ndarray, joints: jax.Array, places: jax.Array, segment: jax.Array, seen: np.ndarray) -> np.ndarray:
    """Distances (T, M), m, of markers from where poses (T, 99) carry them; NaN where they were not seen."""
    told = jax.vmap(predicted, in_axes=(0, None, None, None))(jnp.asarray(q), joints, places, segment)
    return np.linalg.norm(np.asarray(told) - seen, axis=-1)


def _as_it_is(person: FittedPerson, rows: int) -> tuple[Person, Places, Believed]:
    """A fitted person for the least squares, with so many rows of markers that nobody sees."""
    none, count = jnp.zeros(0), len(person.names) + rows
    sigma = np.where(person.placed, SIGMA["landmark"], SIGMA["segment"])
    segment, sigma = (jnp.asarray(np.pad(x, (0, rows), "edge")) for x in (person.segment, sigma))
    joints, place = jnp.asarray(person.body.joints, float), jnp.asarray(np.pad(person.place, ((0, rows), (0, 0))))
    near = Places(none, joints, place, jnp.zeros((NUM_BODIES, 3, 0)), jnp.zeros((count, 3, 0)))
    return Person(none, jnp.zeros((count, 3))), near, Believed(segment, sigma, jnp.ones((count, 3)), none, none)


def _rate(markers: Markers) -> float:
    return (len(markers.time) - 1) / float(markers.time[-1] - markers.time[0])


def _check(names: tuple[str, ...], sites: list[Site | None], placed: np.ndarray) -> None:
    trunk = sum(s is not None and s.kind != "segment" and JOINT_NAMES[s.segment] in TRUNK for s in sites)
    if placed.sum() < LEAST_PLACED or trunk < 3:
        others = ", ".join(n for n, p in zip(names, placed, strict=True) if not p)
        raise ValueError(
            f"markers: found {placed.sum()} labels that tell a place, {trunk} of them on the trunk, expected at least "
            f"{LEAST_PLACED} and 3; rename what is known of {others} as in docs/markers.md"
        )
