"""The embedded default body: a person of given sex, stature and mass, from published anthropometric tables.

`proportions` places the joints, `figure` gives the skin, `de_leva` the inertial parameters, `markers` the markers.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imdy_jax.body import figure, proportions
from imdy_jax.body.de_leva import SEGMENTS, segment_inertias, segment_table
from imdy_jax.body.markers import MARKER_SEGMENT
from imdy_jax.body.person import Body, array_module
from imdy_jax.body.proportions import NUM_SHAPE, SEXES, Lengths
from imdy_jax.skeleton import NUM_BODIES

# ICRP Publication 89 (2002), reference adults: stature m, mass kg. Neutral is their mean.
_REFERENCE = {"female": (1.63, 60.0), "male": (1.76, 73.0), "neutral": (1.695, 66.5)}
STATURE_RANGE = (1.2, 2.3)  # m
_MASS_RANGE = (25.0, 250.0)  # kg
_BETA_RANGE = 5.0


@jax.default_matmul_precision("highest")  # on GPUs the default would round to TF32
def anthropometric_body(
    sex: str = "neutral",
    stature: float | jax.Array | None = None,
    mass: float | jax.Array | None = None,
    betas: Any = None,
) -> Body:
    """A person in SMPL's rest pose: 24 joints, inertial parameters, closed skin and markers; pelvis at the origin.

    stature in m and mass in kg, by default ICRP Publication 89's reference adult of that sex. betas, up to
    NUM_SHAPE of them, vary the proportions (`proportions.SHAPE` names them; one is about one standard deviation)
    at the same stature and mass. Under jit and grad the body is a differentiable function of all three.
    Raises ValueError for an unknown sex or a figure out of range.
    """
    stature, mass = check_person(sex, stature, mass)
    betas = _full_shape(betas)
    size = proportions.lengths(sex, stature, betas)
    joints = proportions.joint_positions(size)
    table = segment_table(sex, betas)
    vertices, solids = figure.fit(size, joints, _girths(size, mass * table[:, 0]))
    model = figure.figure()
    masses, centres, inertias = segment_inertias(size, joints, mass, table, solids)
    spots = array_module(vertices).einsum("mc,mcx->mx", model.marker_shares, vertices[model.marker_corners])
    return Body(
        joints=_number(joints),
        mass=_number(masses),
        com=_number(centres - joints),
        inertia=_number(inertias),
        vertices=_number(vertices),
        faces=_number(model.faces, jnp.int32),
        skin=_number(model.skin),
        markers=_number(spots),
        marker_skin=_number(np.eye(NUM_BODIES)[MARKER_SEGMENT]),
        betas=_number(betas),
        sex=sex,
        source="anthropometric",
    )


def usual(sex: str, stature: float | None = None) -> tuple[float, float]:
    """Stature, m, and mass, kg, of the reference adult; of somebody of another stature at the same body-mass index."""
    _check_sex(sex)
    mean_stature, mean_mass = _REFERENCE[sex]
    tall = mean_stature if stature is None else stature
    return tall, mean_mass * (tall / mean_stature) ** 2


def random_subject(key: jax.Array) -> Body:
    """A person drawn at random from a jax random key: woman or man, 1.50–1.95 m, 45–110 kg.

    Stature is normal about ICRP's reference adult (standard deviation 6.5 cm), the body-mass index log-normal about
    the reference adult's (15 %), the shape vector normal, cut at two standard deviations.
    """
    # Single precision always: the same key is the same person whether or not JAX computes in double.
    keys = jax.random.split(key, 4)
    sex = ("female", "male")[int(jax.random.uniform(keys[0], (), jnp.float32) < 0.5)]
    mean_stature = usual(sex)[0]
    tall, heavy = (float(jax.random.truncated_normal(k, -2.0, 2.0, (), jnp.float32)) for k in keys[1:3])
    stature = float(np.clip(mean_stature + 0.065 * tall, 1.50, 1.95))
    mass = float(np.clip(usual(sex, stature)[1] * np.exp(0.15 * heavy), 45.0, 110.0))
    betas = np.asarray(jax.random.truncated_normal(keys[3], -2.0, 2.0, (NUM_SHAPE,), jnp.float32), float)
    return anthropometric_body(sex, stature, mass, betas)


def _number(x: Any, dtype: Any = None) -> jax.Array:
    """As a JAX array, under a trace too: what does not depend on the shape stays known there."""
    dtype = jnp.result_type(float) if dtype is None else dtype
    if isinstance(x, jax.core.Tracer):
        return jnp.asarray(x, dtype)
    with jax.ensure_compile_time_eval():
        return jnp.asarray(x, dtype)


def check_person(sex: str, stature: Any = None, mass: Any = None) -> tuple[Any, Any]:
    """Stature, m, and mass, kg, as given or of the reference adult of that sex.

    Raises ValueError for an unknown sex or a figure out of range.
    """
    _check_sex(sex)
    stature, mass = (
        default if given is None else given for given, default in zip((stature, mass), _REFERENCE[sex], strict=True)
    )
    _check("stature", stature, STATURE_RANGE, "metres", "give 1.75 for 175 cm")
    _check("mass", mass, _MASS_RANGE, "kilograms", "give 70.0 for 70 kg")
    return stature, mass


def _check_sex(sex: str) -> None:
    if sex not in SEXES:
        raise ValueError(f"default body: sex is {sex!r}, expected one of {', '.join(SEXES)}")


def _check(field: str, found: Any, limits: tuple[float, float], unit: str, mend: str) -> None:
    if not isinstance(found, jax.core.Tracer) and not limits[0] <= found <= limits[1]:
        raise ValueError(f"default body: {field} is {found}, expected {limits[0]} to {limits[1]} {unit}; {mend}")


def _full_shape(betas: Any) -> Any:
    xp = array_module(betas)
    given = np.zeros(0) if betas is None else xp.asarray(betas, float).reshape(-1)
    if len(given) > NUM_SHAPE or (xp is np and not np.all(np.abs(given) <= _BETA_RANGE)):
        raise ValueError(
            f"default body: betas are {given}, expected at most {NUM_SHAPE} numbers within ±{_BETA_RANGE:g}; "
            "scale the shape vector down (one is a standard deviation)"
        )
    return xp.pad(given, (0, NUM_SHAPE - len(given)))


def _girths(size: Lengths, mass: Any) -> Any:
    """Girths (24,) relative to the model's, from the masses (8,) of de Leva's segments at their lengths.

    Head, hands and feet grow with their length alone; what mass they lack is made good on trunk and limbs.
    """
    model, xp = figure.figure(), array_module(size, mass)
    model_mass = figure.MASS * segment_table("neutral", np.zeros(NUM_SHAPE))[:, 0]
    stretch = xp.stack([getattr(size, name) / getattr(model.size, name) for name in SEGMENTS])
    count = np.array([s.sides for s in SEGMENTS.values()])
    stiff = np.array([name in ("head", "hand", "foot") for name in SEGMENTS])
    lacking = xp.sum((count * (mass - model_mass * stretch**3))[stiff])
    mass = mass * (1.0 + lacking / xp.sum((count * mass)[~stiff]))
    factors = xp.sqrt(mass / model_mass / stretch)
    members = {m: factor for segment, factor in zip(SEGMENTS.values(), factors, strict=True) for m in segment.members}
    return proportions.by_segment(xp, {name: f for name, f in members.items() if name != "right_collar"})
