"""Environments on several devices: shared out in equal parts, and what is learnt is what one device learns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from imdy_jax.imitation.ppo import PPOConfig, at_scale
from imdy_jax.imitation.sharding import spread

# In a process of its own, which has to be told of its devices before JAX looks for them.
TRAINING = """
import json, sys
import jax
from small_world import FPS, swaying
from toy_humanoid import toy_humanoid
from envs.imitation import ImitationEnv
from envs.task import TaskConfig
from envs.mjx_physics import MjxPhysics
from envs.reference import build_table
from envs.world import training_mesh
from imdy_jax import humanoid
from imdy_jax.imitation.ppo import PPOConfig
from imdy_jax.imitation.train import TrainConfig, prepared, reinforcement, train
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.run import RunFolder, read_metrics

enable_compilation_cache()
person = toy_humanoid()
table = build_table(humanoid.stack([person]), [swaying(person, 40)], FPS)
env = ImitationEnv(MjxPhysics(humanoid.stack([person] * 4)), table, TaskConfig(ahead=(2,)))
ppo = PPOConfig(hidden=(16,), critic_hidden=(16,), horizon=2, minibatch=4, learning_rate=1e-3)
told = {}
for name, mesh in (("one", None), ("two", training_mesh(env))):
    method = reinforcement(env, ppo, mesh=mesh)
    config = TrainConfig(minutes=60.0, iterations=3, checkpoint_every=2, ppo=ppo)
    run = RunFolder.create(sys.argv[1] + "/" + name, config, seed=0)
    trained = train(method, config, run, seed=0)
    told[name] = read_metrics(run.path / "metrics.jsonl")
learner = prepared(method, jax.random.PRNGKey(0))[0]
rows = lambda x: sorted(shard.data.shape[0] for shard in x.addressable_shards)
told["humanoids"] = [rows(x) for x in jax.tree.leaves((learner.env.physics, learner.observation, learner.deviation))]
told["networks"] = [x.is_fully_replicated for x in jax.tree.leaves(learner.params)]
told["actor"] = max(float(abs(x).max()) for x in jax.tree.leaves(trained.params["actor"]["params"]["Dense_1"]))
print(json.dumps(told))
"""


def test_two_devices_learn_what_one_learns(tmp_path):
    """Three iterations in MJX; the order of sums is all that differs."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # to compile
    xla = f"--xla_force_host_platform_device_count=2 {quick}"
    flags = {"XLA_FLAGS": xla, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    command = [sys.executable, "-c", TRAINING, str(tmp_path)]
    done = subprocess.run(command, env=os.environ | flags, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told["humanoids"]) == 5 and all(rows == [2, 2] for rows in told["humanoids"])
    assert all(told["networks"])
    assert told["actor"] > 0.0  # something was learnt
    assert [row["step"] for row in told["two"]] == [1, 2, 3]
    assert len({row["reward"] for row in told["one"]}) == 3
    for one, two in zip(told["one"], told["two"], strict=True):
        for name in one.keys() - {"seconds", "samples_per_second"}:
            assert two[name] == pytest.approx(one[name], rel=1e-3, abs=1e-5), name


def test_shares_are_equal_or_refused():
    device = jax.devices()[0]
    assert spread(5, [device]) is None
    with pytest.raises(ValueError, match="num_envs is 5 on 2 devices, expected a multiple of 2"):
        spread(5, [device, device])


def test_minibatch_and_rates_grow_with_the_environments():
    config = PPOConfig(meant_for=1024)
    four = at_scale(config, 4096)
    assert four.minibatch == 4 * config.minibatch and four.learning_rate == pytest.approx(2 * config.learning_rate)
    assert four.critic_learning_rate / four.max_learning_rate == pytest.approx(
        config.critic_learning_rate / config.max_learning_rate
    )
    assert at_scale(four, 4096) == four and at_scale(PPOConfig(), 4096) == PPOConfig()
    assert at_scale(config, 1024) == PPOConfig()
