"""What is beyond the paper's network keeps its symmetries, is off by default, and does what it is there for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from swaying_people import DT, swaying_people

from imdy_jax import rotation
from imdy_jax.checkpoints import Checkpoints
from imdy_jax.files import to_json, write_json
from imdy_jax.run import RunFolder
from imdy_jax.solver.architecture import ModelConfig, sized
from imdy_jax.solver.features import Targets, frames
from imdy_jax.solver.fit import FitConfig, load_solver, start
from imdy_jax.solver.infer import estimate_windows
from imdy_jax.solver.intervals import BEARING
from imdy_jax.solver.loss import LossWeights, contact_loss
from imdy_jax.solver.model import ImDyS, init, num_parameters
from imdy_jax.solver.representation import REPRESENTATIONS

SMALL = ModelConfig(width=16, layers=1, heads=2, hidden=32)
EVERYTHING = {"contact": True, "spread": True}
OPTIONS = {
    "time": dataclasses.replace(SMALL, attention="time", **EVERYTHING),
    "both": dataclasses.replace(SMALL, attention="both", window=3, **EVERYTHING),
    "heads": dataclasses.replace(SMALL, **EVERYTHING),
}


@pytest.fixture(scope="module", params=OPTIONS)
def network(request):
    config = OPTIONS[request.param]
    tokens = np.random.default_rng(0).normal(size=(66, config.token_size)).astype(np.float32)
    return config, init(config, jax.random.PRNGKey(0)), tokens, jax.jit(ImDyS(config).apply)


def outputs(prediction):
    return np.concatenate([np.ravel(x) for x in (*prediction, prediction.torque, prediction.contact_force)])


def test_order_of_the_points_does_not_matter_and_what_is_not_there_is_as_good_as_absent(network):
    _, variables, tokens, apply = network
    mask = np.arange(66) < 50
    order = np.random.default_rng(1).permutation(66)
    straight = outputs(apply(variables, tokens, mask))
    np.testing.assert_allclose(outputs(apply(variables, tokens[order], mask[order])), straight, rtol=1e-4, atol=1e-5)
    polluted = np.where(mask[:, None], tokens, 1e3)
    np.testing.assert_allclose(outputs(apply(variables, polluted, mask)), straight, rtol=1e-4, atol=1e-5)
    assert np.abs(outputs(apply(variables, tokens, mask | True)) - straight).max() > 1e-3


def test_turning_and_moving_a_person_turns_the_forces_and_leaves_all_else(network):
    config, variables, *_ = network
    motion = swaying_people()[1].motion
    windows = np.stack([motion[t : t + 2 * config.window + 2] for t in (5, 20, 35)]).astype(float)
    with jax.enable_x64(True):
        turn = np.array([np.cos(1.1), 0, 0, np.sin(1.1)])
        turned = np.asarray(rotation.rotate(turn, windows)) + np.array([3.0, -8.0, 0])
        doubled = jax.tree.map(lambda x: np.asarray(x, np.float64), variables)
        see = jax.jit(lambda motion: estimate_windows(doubled, config, motion, np.full(3, DT)))
        here, there = see(windows), see(turned)
        np.testing.assert_allclose(there.contact_force, rotation.rotate(turn, here.contact_force), atol=1e-9)
        for name in ("torque", "torque_spread", "force_spread"):
            np.testing.assert_allclose(getattr(there, name), getattr(here, name), atol=1e-9)
        assert np.abs(there.contact_force - here.contact_force).max() > 1e-3
    assert np.ptp(np.asarray(here.force_spread)[..., :2], axis=-1).max() == 0  # it has no direction on the floor


def test_the_order_of_frames_matters_and_all_of_them_count():
    config = dataclasses.replace(SMALL, attention="time", window=4)
    motion, network = jnp.asarray(swaying_people()[1].motion[5:15]), ImDyS(config)
    states = jnp.concatenate([motion, 0 * motion], axis=-1)
    tokens = jnp.concatenate([jnp.moveaxis(states, 0, 1).reshape(66, -1), jnp.zeros((66, 1))], axis=-1)
    np.testing.assert_array_equal(frames(REPRESENTATIONS["markers"], tokens, config.window)[7, 3], states[3, 7])
    variables = jax.jit(network.init)(jax.random.PRNGKey(0), tokens, jnp.ones(66, bool))
    blind = jax.tree.map(jnp.zeros_like, variables["params"]["embed"])
    variables = {**variables, "params": {**variables["params"], "embed": blind}}  # the time encoder alone

    @jax.jit
    def slope(states):
        tokens = jnp.concatenate([jnp.moveaxis(states, 0, 1).reshape(66, -1), jnp.zeros((66, 1))], axis=-1)
        return jnp.sum(network.apply(variables, tokens, jnp.ones(66, bool)).torque)

    assert (np.abs(jax.grad(slope)(states)).max(axis=(1, 2)) > 1e-6).all()
    wide = 20.0 * (states - states.mean(axis=0))  # frames far from alike, and the effect of their order from rounding
    assert abs(float(slope(wide[::-1]) - slope(wide))) > 1e-3


def test_contact_gates_the_forces_and_is_told_from_what_bears_load():
    config = dataclasses.replace(SMALL, contact=True)
    variables = init(config, jax.random.PRNGKey(0))
    head = variables["params"]["contact"]
    feature = jnp.ones(16)
    lengths = []
    for bias in (-30.0, 0.0, 30.0):
        shut = {"kernel": 0 * head["kernel"], "bias": head["bias"] + bias}
        known = {**variables, "params": {**variables["params"], "contact": shut}}
        said = ImDyS(config).apply(known, feature, jnp.zeros((66, config.token_size)), method="decode")
        lengths.append(np.asarray(said.force_magnitude))
    assert np.abs(lengths[0]).max() < 1e-9 < np.abs(lengths[2]).max()
    np.testing.assert_allclose(lengths[1], 0.5 * lengths[2], rtol=1e-5)

    force = jnp.zeros((2, 24, 3)).at[0, 7, 2].set(1.01 * BEARING).at[1, 8, 0].set(0.99 * BEARING)
    bears = np.zeros((2, 24), bool)
    bears[0, 7] = True
    targets = Targets(jnp.zeros((23, 3)), force)
    assert float(contact_loss(jnp.zeros((2, 24)), targets)) == pytest.approx(np.log(2), rel=1e-6)
    assert float(contact_loss(jnp.where(bears, 20.0, -20.0), targets)) < 1e-6
    assert float(contact_loss(jnp.where(bears, -12.0, -20.0), targets)) == pytest.approx(12 / 48, rel=1e-3)


def test_the_default_is_the_paper_s_network():
    fresh = jax.eval_shape(lambda: start(FitConfig()))
    assert set(fresh.params["inverse"]) == {
        "embed", "encoder_0", "encoder_1", "encoder_2", "torque_magnitude", "torque_direction", "force_magnitude",
        "force_direction",
    }  # fmt: skip
    assert set(fresh.statistics["inverse"]) == {"embed"}


def test_a_solver_that_was_written_before_there_were_options_is_read(tmp_path):
    config = FitConfig(model=SMALL, weights=LossWeights(forward=0.0, plausible=0.0))
    written = to_json(config)
    for part, names in (("model", ("attention", "contact", "spread")),
                        ("weights", ("whole_body", "each_joint", "contact", "spread"))):  # fmt: skip
        written[part] = {name: value for name, value in written[part].items() if name not in names}
    run = RunFolder.create(tmp_path / "run", config, 0)
    write_json(run.path / "solver.json", {"rates": (30.0, 30.0), "config": written})
    checkpoints, state = Checkpoints(run.path / "checkpoints"), start(config)
    checkpoints.save(0, state, {})
    checkpoints.close()
    read = load_solver(run)
    assert (read.config, read.calibration) == (SMALL, None)
    jax.tree.map(np.testing.assert_array_equal, read.variables, state.variables)


def test_ten_times_the_size():
    count = lambda config: num_parameters(  # noqa: E731
        jax.eval_shape(lambda key: init(config, key), jax.random.PRNGKey(0))
    )
    assert 9.5 < count(sized(ModelConfig(), "x10")) / count(ModelConfig()) < 10.5
    assert sized(SMALL, "given") == SMALL
