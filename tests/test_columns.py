"""Columns and their composer in the simulator, as train_imitator.py trains them: two clips can be followed, one cannot.

The third clip rises like a balloon. A copy of the run folder is taken in the middle of the second column, after a
checkpoint and before the evaluation that it was made for is written down: what a killed process leaves.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_world import small_env

import envs.columns
from envs.columns import Course, train_columns
from envs.imitator import ImitatorConfig, begin_with, open_columns, open_imitator, performers, publish
from envs.people import PeopleConfig, load_cast
from envs.recovery import RecoveryConfig
from envs.task import TaskConfig
from envs.world import WorldConfig, playing_env, training_env
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.imitation.best import Best
from imdy_jax.imitation.evaluate import make_judge
from imdy_jax.imitation.mining import AFAR, LOST, MiningConfig, beats, read_curriculum
from imdy_jax.imitation.policy import Trained, init_normalizer, make_policy
from imdy_jax.imitation.ppo import PPOConfig
from imdy_jax.imitation.train import TrainConfig, reinforcement, train
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.run import RunFolder, read_metrics

PPO = PPOConfig(hidden=(16,), critic_hidden=(16,), horizon=8, minibatch=64, hearing=0)
ROOT = Path(__file__).resolve().parents[1]
CONFIG = ImitatorConfig(
    world=WorldConfig(engine="c", task=TaskConfig(balance=False, feedforward=False, ahead=())),
    train=TrainConfig(minutes=60.0, iterations=3, checkpoint_every=100, ppo=PPO),
    mining=MiningConfig(columns=2, evaluate_every=1e-9, stall=1, closer=500.0, afar=500.0, compose_minutes=1.0),
    num_envs=8,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folders of a run, and of one that was killed; and the config."""
    folder = tmp_path_factory.mktemp("columns")
    (folder / "motions").mkdir()
    for name in ("arm_wave", "sway"):
        clip = procedural_clip(name, anthropometric_body(), 30.0)
        turns = Rotation.from_quat(np.asarray(clip.rotations)[:26].reshape(-1, 4), scalar_first=True).as_rotvec()
        place = np.asarray(clip.translation)[:26]
        flight = place + 0.1 * np.arange(26)[:, None] * np.array([0.0, 0.0, 1.0])
        for motion, translation in ((name, place), ("balloon", flight)):
            np.savez(folder / "motions" / f"{motion}.npz", poses=turns.reshape(-1, 72), trans=translation,
                     mocap_framerate=30.0, gender="neutral", betas=np.zeros(10))  # fmt: skip
    config = replace(CONFIG, people=PeopleConfig(motions=str(folder / "motions"), check=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "experiments")
        script = pytest.importorskip("train_imitator", reason="the scripts are not installed with the packages")
        write = envs.columns.write_curriculum

        def watched(path, curriculum):
            second = curriculum.columns[1:]
            if second and len(second[0].history) == 1 and not (folder / "killed").exists():
                shutil.copytree(path, folder / "killed")
            write(path, curriculum)

        patch.setattr(envs.columns, "write_curriculum", watched)
        script.main(config, str(folder / "whole"))
    return folder / "whole", folder / "killed", config


def test_the_second_column_has_just_the_clip_that_the_first_loses(run):
    whole, _, _ = run
    curriculum = read_curriculum(whole)
    assert curriculum.clips == ("arm_wave", "balloon", "sway")
    first, second = curriculum.columns
    assert first.clips == (0, 1, 2) and second.clips == (1,)
    # Two evaluations of two iterations of 64 samples: the second has brought nothing, and that is one too many.
    assert [(j.samples, j.failed) for j in first.history] == [(64, (1,)), (128, (1,))]
    assert [first.success(j) for j in first.history] == pytest.approx([200 / 3, 200 / 3])
    assert [second.success(j) for j in second.history] == [0.0, 0.0]
    assert first.frozen == second.frozen == "neither 2.5 points more nor 500 mm less in 1 evaluations"
    # Training of what is lost may go astray farther.
    tasks = [open_imitator(whole / f"column-{k}")[0].world.task for k in (0, 1)]
    assert [(t.stray_limit, t.scales.position) for t in tasks] == [(0.25, 100.0), (0.5, 100.0)]
    table = json.loads((whole / "tables" / "imitator.json").read_text())
    assert [(row[0], row[3]) for row in table["rows"][1:3]] == [("column-0", pytest.approx(200 / 3)), ("column-1", 0)]
    assert table["rows"][0][3] == pytest.approx(200 / 3) and table["rows"][3][0] == "composer"


def test_a_column_begins_with_the_weights_of_the_one_before_and_leaves_them_as_they_were(run):
    whole, _, _ = run
    first, second = open_columns(whole).columns
    assert open_imitator(whole / "column-0")[1].digest == first.digest
    assert open_imitator(whole / "column-1")[0].mining == MiningConfig()  # each opens by itself
    assert read_metrics(whole / "column-0" / "metrics.jsonl")[-1]["step"] == 2
    # What the first column had seen when it was at its best is in the second's normaliser, and its weights are a step
    # away from the first's. The second follows nothing: of equals the later one is kept.
    best = read_curriculum(whole).columns[0].best
    assert first.normalizer.seen == best.samples and second.normalizer.seen == best.samples + 128
    pairs = zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params), strict=True)
    assert 0 < max(float(np.abs(a - b).max()) for a, b in pairs) < 0.05


def test_a_column_starts_only_on_its_own_clips(run):
    cast, _ = load_cast(run[2].people)
    env = training_env(cast, run[2].world, 64, np.array([0, 2]))
    state, _ = jax.jit(env.reset)(jax.random.PRNGKey(0))
    assert set(np.asarray(state.clip).tolist()) == {0, 2}
    assert env.clip_choices.shape == (64, 2)
    everything = training_env(cast, run[2].world, 64)
    assert set(np.asarray(everything.clip_choices).ravel().tolist()) == {0, 1, 2}


def test_killed_in_the_middle_of_the_second_column_it_goes_on_with_the_same_numbers(run):
    whole, killed, config = run
    assert [len(c.history) for c in read_curriculum(killed).columns] == [2, 0]
    cast, _ = load_cast(config.people)
    folder = RunFolder.create(killed, config, config.seed, resume=True)
    columns = train_columns(Course(cast, config, folder))
    assert [c.digest for c in columns] == [c.digest for c in open_columns(whole).columns]
    assert _told(killed) == _told(whole)
    for name in ("column-0", "column-1"):
        one, other = (read_metrics(path / name / "metrics.jsonl") for path in (whole, killed))
        assert [row["reward"] for row in one] == [row["reward"] for row in other]
        assert len(one) == 2


def _told(path):
    columns = read_curriculum(path).columns
    return [[(j.samples, j.failed, j.error) for j in (*column.history, column.best)] for column in columns]


def test_a_column_plays_with_the_weights_of_its_best_evaluation(run):
    whole, _, config = run
    cast, _ = load_cast(config.people)
    curriculum, opened = read_curriculum(whole), open_columns(whole)
    rows = np.arange(3)
    play = make_judge(playing_env(cast, config.world, cast.subjects), rows, cast.lengths)
    for known, column in zip(curriculum.columns, opened.columns, strict=True):
        scores = [s for s, row in zip(play(column), rows, strict=True) if row in known.clips]
        followed = [s.mpjpe for s in scores if s.success]
        assert all(beats(known.best, judged) for judged in known.history)
        assert len(followed) == len(known.clips) - len(known.best.failed)
        assert known.best.error == (pytest.approx(np.mean(followed), rel=1e-4) if followed else None)
    # The first column's evaluations follow the same clips with different errors: that decides, whichever comes first.
    errors = {j.error: j.samples for j in curriculum.columns[0].history}
    assert len(errors) == 2 and opened.columns[0].normalizer.seen == errors[min(errors)]
    table = json.loads((whole / "tables" / "imitator.json").read_text())
    kept = [*(c.best.samples for c in curriculum.columns), Best(RunFolder.open(whole / "composer")).judged.samples]
    assert [row[2] for row in table["rows"][1:]] == kept
    watched = 320  # observations that the composer was told about to begin with
    assert opened.composer.normalizer.seen == kept[-1] + watched


def test_the_composer_of_a_run_has_its_columns_in_it_untouched(run):
    whole, _, _ = run
    opened = open_columns(whole)
    assert opened.players() == [opened.composer] and opened.players(1) == [opened.columns[1]]
    assert open_imitator(whole)[1].digest == opened.composer.digest
    assert [c.digest for c in opened.composer.policy.columns] == [c.digest for c in opened.columns]
    digests = [open_imitator(path)[1].digest for path in performers(whole)]
    assert digests == [c.digest for c in (*opened.columns, opened.composer)]
    rows = read_metrics(whole / "composer" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3]
    with pytest.raises(ValueError, match=r"column is 2, expected one of 0 to 1"):
        opened.players(2)
    with pytest.raises(ValueError, match=r"whole: is a composer of columns, expected one policy; name column-0 in it"):
        begin_with(str(whole), run[2])


def test_people_who_play_the_same_clips_are_judged_apart(run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    script = pytest.importorskip("evaluate")
    script.main(str(run[0] / "column-0"), subjects=3, check=False, json=str(tmp_path / "judged.json"))
    rows = {row[0]: row[1:] for row in json.loads((tmp_path / "judged.json").read_text())["rows"]}
    assert [rows[name][0] for name in ("arm_wave", "balloon", "sway")] == ["3 of 3", "0 of 3", "3 of 3"]
    kinds = ("by the first person", "by the others", "all")
    share, error = ([rows[f"{kind}: the successes' means"][k] for kind in kinds] for k in (0, 2))
    assert share == ["66.7 %"] * 3
    # One plays two clips, two play four: others move their limbs otherwise, and nobody's errors are the first one's.
    assert error[2] == pytest.approx((error[0] + 2 * error[1]) / 3, rel=1e-4)
    assert abs(error[0] - error[1]) > 1e-3


def test_policies_that_were_trained_apart_are_composed_and_taken_along(run, tmp_path, monkeypatch):
    whole, _, config = run
    monkeypatch.syspath_prepend(ROOT / "experiments")
    script = pytest.importorskip("train_imitator")
    apart = tuple(str(whole / f"column-{k}") for k in (1, 0))
    once = replace(config, mining=MiningConfig(compose_minutes=1.0))
    script.main(once, str(tmp_path / "composed"), columns=apart)
    opened = open_columns(tmp_path / "composed")
    assert [c.digest for c in opened.columns] == [open_imitator(path)[1].digest for path in apart]
    told = [c.frozen for c in read_curriculum(tmp_path / "composed").columns]
    assert told == ["trained apart, column-1", "trained apart, column-0"]
    assert opened.composer is not None and opened.players() == [opened.composer]
    assert len(read_metrics(tmp_path / "composed" / "composer" / "metrics.jsonl")) == 3
    for wrong, changed, begin in ((apart[:1], once, None), (apart, once, apart[0])):
        with pytest.raises(ValueError, match=r"--columns names . with config\.mining\.columns"):
            script.main(changed, str(tmp_path / "refused"), columns=wrong, from_pretrained=begin)
    lying = replace(once.world.task, recovery=RecoveryConfig(led=True, share=0.5))
    with pytest.raises(ValueError, match=r"recovery\.led: found 0 clips that begin lying .* add get-ups"):
        script.main(replace(once, world=replace(once.world, task=lying)), str(tmp_path / "refused"))
    assert not (tmp_path / "refused").exists()


def test_columns_are_mined_for_what_policies_that_were_trained_apart_lose_and_then_for_what_is_afar(
    run, tmp_path, monkeypatch
):
    whole, _, config = run
    monkeypatch.syspath_prepend(ROOT / "experiments")
    script = pytest.importorskip("train_imitator")
    cast, _ = load_cast(config.people)
    env = playing_env(cast, config.world, cast.subjects)
    errors = [s.mpjpe for s in make_judge(env, np.arange(3), cast.lengths)(open_columns(whole).columns[0])]
    farther = 0 if errors[0] > errors[2] else 2  # of the two that are followed, one is to be afar
    mining = replace(config.mining, columns=3, compose_minutes=0.0, afar=(errors[0] + errors[2]) / 2)
    short = replace(config, mining=mining, train=replace(config.train, iterations=1))
    script.main(short, str(tmp_path / "on"), columns=(str(whole / "column-0"),))
    first, second, third = read_curriculum(tmp_path / "on").columns
    assert (second.clips, second.kind) == ((1,), LOST) and (third.clips, third.kind) == ((farther,), AFAR)
    assert first.best.failed == (1,) and first.best.afar == (farther,)
    assert first.frozen == "trained apart, column-0" and second.frozen and third.frozen
    opened = open_columns(tmp_path / "on").columns
    assert opened[0].digest == open_imitator(whole / "column-0")[1].digest
    # The third begins with the first, which follows its clip, and not with the second.
    assert (
        opened[2].normalizer.seen - opened[0].normalizer.seen == opened[1].normalizer.seen - opened[0].normalizer.seen
    )
    tasks = [open_imitator(tmp_path / "on" / f"column-{k}")[0].world.task for k in (1, 2)]
    assert [(t.stray_limit, t.scales.position) for t in tasks] == [(0.5, 100.0), (0.5, 300.0)]


def test_columns_are_given_away_together_and_without_a_composer_each_clip_has_its_own(run, tmp_path):
    whole, _, _ = run
    publish(str(whole), str(tmp_path / "given"))
    given, mine = open_columns(tmp_path / "given"), open_columns(whole)
    assert given.composer.digest == mine.composer.digest and given.config.people == PeopleConfig()
    led = tmp_path / "given" / "column-1" / "config.json"
    unled = led.read_text()
    told = json.loads(unled)
    told["world"]["task"]["recovery"] |= {"led": True, "share": 0.5}
    led.write_text(json.dumps(told))
    assert performers(tmp_path / "given") == [str(tmp_path / "given" / "column-0"), str(tmp_path / "given")]
    led.write_text(unled)
    shutil.rmtree(tmp_path / "given" / "composer")
    apart = open_columns(tmp_path / "given")
    assert [c.digest for c in apart.players()] == [c.digest for c in mine.columns]
    assert performers(tmp_path / "given") == [str(tmp_path / "given" / f"column-{k}") for k in (0, 1)]
    with pytest.raises(ValueError, match=r"given: holds 2 columns and no composer, expected one policy"):
        open_imitator(tmp_path / "given")
    for part in ("column-0", "column-1"):
        shutil.rmtree(tmp_path / "given" / part)
    with pytest.raises(ValueError, match=r"given: no column has a policy yet; go on with train_imitator.py --resume"):
        open_columns(tmp_path / "given")


def test_a_composer_learns_which_column_is_of_use_and_changes_neither(tmp_path):
    env = small_env(32, balance=False, feedforward=False, ahead=())
    policy = make_policy((16,), (16,), env.action_size, 0.1)
    params = policy.init(jax.random.PRNGKey(0), env.observation_size)
    useful = Trained(policy, params, init_normalizer(env.observation_size))
    crooked = jax.tree.map(lambda x: x, params)
    bias = crooked["actor"]["params"]["Dense_1"]["bias"]
    crooked["actor"]["params"]["Dense_1"]["bias"] = bias.at[::3].set(0.8)  # every joint is turned about
    columns = [useful._replace(params=crooked), useful]
    before = jax.tree.map(np.array, [c.arrays for c in columns])
    ppo = replace(PPO, learning_rate=1e-2, max_learning_rate=1e-2, divergence=9.0, least_divergence=9.0, averaging=1.0)
    config = TrainConfig(minutes=60.0, iterations=60, ppo=ppo)
    folder = RunFolder.create(tmp_path / "composer", config, seed=0)
    method = reinforcement(env, ppo, columns=columns)
    untrained = method.trained(jax.jit(method.init)(jax.random.PRNGKey(0)))
    composer = train(method, config, folder, seed=0)
    for after in ([c.arrays for c in columns], list(composer.arrays[2])):
        jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, after))
    for a, b in zip(jax.tree.leaves(untrained.params), jax.tree.leaves(composer.params), strict=True):
        assert np.abs(np.asarray(a) - np.asarray(b)).max() > 0
    _, observation = jax.jit(env.reset)(jax.random.PRNGKey(1))
    weight = np.asarray(composer.act(observation))[:, 0] / 0.8  # of the crooked one: the other does nothing
    assert np.mean(weight) < 0.25, "half to begin with"
