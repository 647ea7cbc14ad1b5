"""Several processes that train one policy: what one alone would learn, after a kill, too, and clear refusals."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small_world import FPS, swaying
from toy_humanoid import toy_humanoid

from envs.imitation import ImitationEnv
from envs.imitator import ImitatorConfig
from envs.make_physics import make_physics
from envs.preparing import check_shared
from envs.reference import build_table
from envs.task import TaskConfig
from envs.world import training_mesh
from imdy_jax import humanoid
from imdy_jax.compiling import enable_compilation_cache
from imdy_jax.imitation.mining import MiningConfig
from imdy_jax.imitation.ppo import PPOConfig
from imdy_jax.imitation.processes import connect, in_turn, same, together
from imdy_jax.imitation.train import TrainConfig, reinforcement, train
from imdy_jax.run import RunFolder, read_metrics

PPO = PPOConfig(hidden=(16,), critic_hidden=(16,), horizon=2, minibatch=4, learning_rate=1e-3)


def learn(path, iterations: int, resume: bool = False, dies: bool = False, engine: str = "c") -> str:
    """Train four humanoids of two bodies, each process its share; dies: every process, after the first iteration."""
    people = humanoid.stack([toy_humanoid()] * 2 + [toy_humanoid(1.1, 85.0)] * 2)
    short, tall = toy_humanoid(), toy_humanoid(1.1, 85.0)
    table = build_table(humanoid.stack([short, tall]), [swaying(short, 40), swaying(tall, 25)], FPS)
    env = ImitationEnv(make_physics(people, engine, shared=True), table, TaskConfig(ahead=(), feedforward=False))
    config = TrainConfig(minutes=60.0, iterations=iterations, checkpoint_every=2, ppo=PPO)
    kept = replace(config, iterations=0)
    run = in_turn(lambda: RunFolder.create(path, kept, seed=0, resume=resume), lambda: RunFolder.open(path))
    method = reinforcement(env, PPO, mesh=training_mesh(env))
    die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
    return train(method, config, run, 0, *(((1e-9,), die) if dies else ())).digest


def main(number: int, port: str, path: str, engine: str) -> None:
    """One of two processes: dies in its first run, resumes in the second, where it also says how errors are shared."""
    enable_compilation_cache()
    connect(2, number, f"localhost:{port}", patience=300)
    resume = (Path(path) / "run.json").exists()
    told = {}
    if resume:
        calls = {"failed": lambda: together(lambda: 1 // (1 - number)), "same": lambda: same("cast", number)}
        for name, call in calls.items():
            try:
                call()
            except (ValueError, ZeroDivisionError) as error:
                told[name] = str(error)
    told["digest"] = learn(path, 3, resume, dies=not resume, engine=engine)
    print(json.dumps(told))


def _both(path: Path, engine: str = "c") -> list[tuple[int, str, str]]:
    """Exit status, output and errors of two processes that run main."""
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # to compile
    setting = os.environ | {"XLA_FLAGS": quick, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths}
    port = str(_free_port())
    begun = []
    for number in ("0", "1"):
        command = [sys.executable, "-c", "import sys, test_processes as t; t.main(int(sys.argv[1]), *sys.argv[2:])"]
        arguments = [number, port, str(path), engine]
        begun.append(subprocess.Popen(command + arguments, env=setting, text=True, stdout=-1, stderr=-1))
    said = [process.communicate(timeout=1800) for process in begun]
    return [(process.returncode, *texts) for process, texts in zip(begun, said, strict=True)]


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("", 0))
        return trial.getsockname()[1]


def test_two_processes_learn_what_one_learns_and_go_on_after_a_kill(tmp_path):
    """Two bodies, so that a wrong share shows; the order of sums is all that differs."""
    killed = _both(tmp_path / "two")
    assert [status for status, *_ in killed] == [-signal.SIGKILL] * 2, killed
    assert [row["step"] for row in read_metrics(tmp_path / "two" / "metrics.jsonl")] == [1]
    done = _both(tmp_path / "two")
    assert [status for status, *_ in done] == [0, 0], done
    first, second = (json.loads(output.splitlines()[-1]) for _, output, _ in done)
    assert first["digest"] == second["digest"]
    assert "process 1 of 2 has failed" in first["failed"] and "division" in second["failed"]
    assert "cast: not the same in all 2 processes" in first["same"] == second["same"]
    assert "training the imitator" in done[0][2] and "training the imitator" not in done[1][2]  # who shows progress

    learn(tmp_path / "one", 3)
    one, two = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    assert [row["step"] for row in two] == [1, 2, 3] and len({row["critic_loss"] for row in one}) == 3
    apart = {
        (row["step"], name): (row[name], shared[name])
        for row, shared in zip(one, two, strict=True)
        for name in row.keys() - {"seconds", "samples_per_second"}
        if shared[name] != pytest.approx(row[name], rel=1e-4, abs=1e-5)
    }
    assert not apart


def test_what_cannot_be_joined_is_said_in_one_line():
    port = _free_port()
    with pytest.raises(ConnectionError, match=f"coordinator localhost:{port}: not reached in 1 s .*start it"):
        connect(2, 1, f"localhost:{port}", patience=1.0)
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(ValueError, match=f"cannot listen at port {taken} .*choose another"):
            connect(2, 0, f"localhost:{taken}")
    with pytest.raises(ConnectionError, match=f"process 1 of 2 has not come to port {port} in 1 s; start it"):
        connect(2, 0, f"localhost:{port}", patience=1.0)
    with pytest.raises(ValueError, match="coordinator is localhost, expected host:port"):
        connect(2, 0, "localhost")
    with pytest.raises(ValueError, match=r"processes 2, process 2.*numbered from 0"):
        connect(2, 2, f"localhost:{port}")
    connect(1, 0, None)  # who is alone needs nobody


def test_what_processes_cannot_share_is_refused():
    with pytest.raises(ValueError, match="num_envs is 5 with 2 processes, expected a multiple of 2"):
        check_shared(ImitatorConfig(num_envs=5), 2)
    with pytest.raises(ValueError, match=r"mining.columns is asked for with 2 processes"):
        check_shared(ImitatorConfig(mining=MiningConfig(columns=3)), 2)
    check_shared(ImitatorConfig(num_envs=6), 2)
