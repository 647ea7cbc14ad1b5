"""Cross-validation of an imitator: no policy is judged by a motion that it has seen, in any of its variants."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.imitator import ImitatorConfig
from envs.jitter import JitterConfig
from envs.people import PeopleConfig
from envs.task import TaskConfig
from envs.world import WorldConfig
from imdy_jax.imitation.mining import MiningConfig
from imdy_jax.imitation.ppo import PPOConfig
from imdy_jax.imitation.train import TrainConfig
from imdy_jax.motion.resample import original
from imdy_jax.run import read_metrics

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ImitatorConfig(
    world=WorldConfig(engine="c", task=TaskConfig(balance=False, feedforward=False, ahead=())),
    train=TrainConfig(minutes=60.0, iterations=2, ppo=PPOConfig(hidden=(16,), critic_hidden=(16,), horizon=8)),
    num_envs=8,
)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    return pytest.importorskip("cross_validate", reason="the scripts are not installed with the packages")


def test_variants_of_a_motion_share_a_fold_and_likes_are_dealt_out(script):
    names = ["hop1", "hop1_mirrored", "hop2", "hop1_x0.85", "hop2_x1.2_mirrored", "walk"]
    assert [original(name) for name in names] == ["hop1", "hop1", "hop2", "hop1", "hop2", "walk"]
    np.testing.assert_array_equal(script.deal(names, 3), [0, 0, 1, 0, 1, 2])
    np.testing.assert_array_equal(script.deal(names, 2), [0, 0, 1, 0, 1, 0])
    for folds in (1, 4):
        with pytest.raises(ValueError, match=f"--folds is {folds} with 3 motions, expected from 2"):
            script.deal(names, folds)


def test_each_clip_is_judged_by_a_policy_that_has_not_started_from_it(script, tmp_path, monkeypatch):
    """All are told their references with noise, of which every clip has its takes."""
    folder = tmp_path / "motions"
    folder.mkdir()
    for name, turn in (("bow", 0.3), ("nod", 0.2), ("stand", 0.0)):
        poses = np.zeros((20, 24, 3))
        poses[:, 0, 0] = np.pi / 2  # upright
        poses[:, 12, 0] = turn * np.sin(np.arange(20) / 6.0)
        np.savez(folder / f"{name}.npz", poses=poses.reshape(20, 72), trans=np.tile([0.0, 0.0, 0.93], (20, 1)),
                 mocap_framerate=30.0, gender="neutral", betas=np.zeros(10))  # fmt: skip
    world = replace(CONFIG.world, jitter=JitterConfig(degrees=1.0, millimetres=5.0, takes=2))
    config = replace(CONFIG, people=PeopleConfig(motions=str(folder), check=False, mirrored=True), world=world)
    played, make = [], script.training_env
    monkeypatch.setattr(script, "training_env", lambda *given: played.append(env := make(*given)) or env)
    script.main(config, str(tmp_path / "run"), folds=2)
    table = json.loads((tmp_path / "run" / "tables" / "cross_validation.json").read_text())
    rows = {row[0]: row[1:] for row in table["rows"]}
    for number, env in enumerate(played):
        chosen = set(np.asarray(env.clip_choices).ravel().tolist())
        assert chosen == ({2, 3}, {0, 1, 4, 5})[number]  # a motion and its mirror image, both or none
        assert rows[f"fold {number}: seen"][0] == len(chosen)
        told, motion = env.tracker.table.bodies.position, env.table.bodies.position
        assert len(told) == 2 * len(motion)
        assert 0.004 < np.std(np.asarray(told[: len(motion), 0] - motion[:, 0])) < 0.006
        assert rows[f"fold {number}: not seen"][0] == 6 - len(chosen)
    assert rows["all, not seen"][0] == 6
    unseen = [rows[f"fold {number}: not seen"] for number in range(2)]
    followed = sum(count * success for count, success, *_ in unseen)
    assert rows["all, not seen"][1] == pytest.approx(followed / 6) and followed > 0
    # It goes on where it was: nothing is trained or written again, and the table is the same.
    (kept,) = (tmp_path / "run" / "fold-1" / "checkpoints").glob("[0-9]*")
    inode = kept.stat().st_ino
    script.main(config, str(tmp_path / "run"), folds=2, resume=True)
    assert kept.stat().st_ino == inode
    again = json.loads((tmp_path / "run" / "tables" / "cross_validation.json").read_text())
    assert again["rows"] == table["rows"]
    assert len(read_metrics(tmp_path / "run" / "fold-1" / "metrics.jsonl")) == 2
    with pytest.raises(ValueError, match=r"deal\.json: motions were dealt out otherwise .*'stand'"):
        script.main(config, str(tmp_path / "run"), folds=3, resume=True)
    with pytest.raises(
        ValueError, match=r"config\.json: cannot resume with another config \(begun_with was None, is .*fold-0"
    ):
        script.main(
            config, str(tmp_path / "run"), folds=2, resume=True, from_pretrained=str(tmp_path / "run" / "fold-0")
        )


@pytest.mark.parametrize("changed", [{"guide": True}, {"evaluate_at": (1.0,)}, {"mining": MiningConfig(columns=2)}])
def test_what_a_fold_has_no_place_for_is_refused(script, tmp_path, changed):
    with pytest.raises(ValueError, match=rf"config\.{next(iter(changed))}.* is asked for .*; leave it out"):
        script.main(replace(CONFIG, **changed), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
