"""The benchmark's peer in PyTorch is the same network with the same losses, so that speeds can be compared."""

from pathlib import Path

import jax
import numpy as np
import pytest

from imdy_jax.solver.data import Windows
from imdy_jax.solver.fit import FitConfig, start
from imdy_jax.solver.infer import estimate_windows
from imdy_jax.solver.model import ModelConfig, num_parameters
from imdy_jax.solver.objective import batch_loss
from imdy_jax.solver.representation import PELVIS

SCRIPTS = Path(__file__).resolve().parents[1] / "experiments"
CONFIG = FitConfig(model=ModelConfig(width=16, layers=2, heads=2, hidden=32))
torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def peer():
    if not SCRIPTS.is_dir():
        pytest.skip("the scripts are not installed with the packages")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        from solver_benchmark import torch_imdys

        yield torch_imdys


@pytest.fixture(scope="module")
def pair(peer):
    """Our variables, none of them at rest, and the peer's network with the same."""
    draw, state = np.random.default_rng(0), start(CONFIG)
    stirred = jax.tree.map(lambda x: np.float32(x + 0.1 * draw.normal(size=x.shape)), state.variables)
    network = peer.TorchImDyS(CONFIG.model)
    peer.copy_weights(stirred, network)
    return stirred, network.eval()


@pytest.fixture(scope="module")
def windows():
    """Moving markers at two frame rates; in one window a marker of the pelvis is missing, in one another marker."""
    draw, place = np.random.default_rng(1), np.random.default_rng(2).normal(size=(1, 1, 66, 3))
    motion = place + 0.05 * np.cumsum(draw.normal(size=(5, 6, 66, 3)), axis=1)
    motion[1, 2, 65] = motion[3, 0, PELVIS[2]] = np.nan
    force = 300.0 * draw.normal(size=(5, 2, 24, 3)) * (draw.random((5, 2, 24, 1)) < 0.3)
    mass, dt = draw.uniform(50.0, 90.0, 5), np.array([1.0, 0.5, 1.0, 1.0, 0.5]) / 30.0
    return Windows(*map(np.float32, (motion, draw.normal(size=(5, 23, 3)), force, mass, dt)))


def test_the_peer_has_as_many_parameters(peer):
    config = ModelConfig()
    shapes = jax.eval_shape(lambda: start(FitConfig(model=config)).variables)
    assert peer.num_parameters(peer.TorchImDyS(config)) == num_parameters(shapes) > 100_000


def test_with_the_same_weights_it_says_the_same(peer, pair, windows):
    variables, network = pair
    ours = jax.jit(lambda v, motion, dt: estimate_windows(v, CONFIG.model, motion, dt))(
        variables, windows.motion, windows.dt
    )
    with torch.inference_mode():
        theirs = peer.estimate(network, torch.from_numpy(windows.motion), torch.from_numpy(windows.dt))
    for a, b in zip((ours.torque, ours.contact_force), theirs, strict=True):
        assert np.abs(a).max() > 0.1
        np.testing.assert_allclose(b.numpy(), a, atol=1e-5 * float(np.abs(a).max()))


def test_it_learns_by_the_same_loss(peer, pair, windows):
    variables, network = pair
    params, constants = ({"inverse": variables[kind]} for kind in ("params", "statistics"))
    keys = jax.random.split(jax.random.PRNGKey(0), len(windows.mass))
    asked = (CONFIG.model, CONFIG.weights, 0.0, constants)
    (ours, _), slope = jax.jit(jax.value_and_grad(lambda p: batch_loss(*asked, p, windows, keys), has_aux=True))(params)
    theirs = peer.batch_loss(network, CONFIG, tuple(torch.from_numpy(x) for x in windows if x is not None))
    assert theirs.item() == pytest.approx(float(ours), rel=1e-5)
    theirs.backward()
    ours, theirs = np.asarray(slope["inverse"]["embed"]["Dense_0"]["kernel"]).T, network.embed.weight.grad.numpy()
    np.testing.assert_allclose(theirs, ours, atol=1e-4 * np.abs(ours).max())
