"""Bodies as differentiable functions of their shape: JAX's derivative against differences of the NumPy route."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from smpl_format import small_fields, write_npz

from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.body.smpl import load_model, smpl_body
from imdy_jax.humanoid import from_body

pytestmark = pytest.mark.usefixtures("strict")

FIELDS = ("offset", "mass", "com", "inertia", "solid_ends", "solid_radius", "stiffness", "betas")


@pytest.fixture(scope="module")
def makers(strict, tmp_path_factory):
    """Humanoids as functions of one vector: betas, mass in units of 10 kg and, of the default body, stature."""
    model = load_model(write_npz(tmp_path_factory.mktemp("smpl") / "SMPL_NEUTRAL.npz", small_fields()))
    return {
        "anthropometric": (lambda x: from_body(anthropometric_body("female", x[11], 10.0 * x[10], x[:10])), 12),
        "smpl": (lambda x: from_body(smpl_body(model, "neutral", x[:10], 10.0 * x[10])), 11),
    }


@pytest.mark.parametrize("kind", ["anthropometric", "smpl"])
def test_the_humanoid_is_differentiable_by_the_shape(strict, makers, kind):
    make, size = makers[kind]
    draw = np.random.default_rng(0)
    at = np.concatenate([0.5 * draw.normal(size=10), [6.2, 1.68]])[:size]
    way = draw.normal(size=size)
    chosen = lambda humanoid: {name: getattr(humanoid, name) for name in FIELDS}  # noqa: E731
    value, slope = jax.jit(lambda x: jax.jvp(lambda y: chosen(make(y)), (x,), (jnp.asarray(way),)))(at)
    host, step = chosen(make(at)), 1e-5
    ahead, behind = chosen(make(at + step * way)), chosen(make(at - step * way))
    for name in FIELDS:
        np.testing.assert_allclose(value[name], host[name], atol=1e-12 * float(np.abs(host[name]).max()), err_msg=name)
        central = (np.asarray(ahead[name]) - np.asarray(behind[name])) / (2 * step)
        np.testing.assert_allclose(slope[name], central, atol=2e-6 * np.abs(central).max(), err_msg=name)
        assert np.abs(central).max() > 1e-4, name
