"""The rules of mining, the networks of the composer: pure functions, no physics."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imdy_jax.imitation.mining import (
    AFAR,
    LOST,
    Column,
    Judged,
    MiningConfig,
    begin_curriculum,
    check_mining,
    judge,
    mine,
    read_curriculum,
    reason_to_freeze,
    write_curriculum,
)
from imdy_jax.imitation.policy import Offered, Trained, init_normalizer, make_policy, update_normalizer

CONFIG = MiningConfig(columns=3, stall=3, progress=2.5)


def column_of(success, errors=None, of=2400):
    """A column whose evaluations had these success rates, %, of so many clips, and these errors, mm."""
    lost = [round(of * (1 - rate / 100)) for rate in success]
    errors = errors or [40.0 if n < of else None for n in lost]
    history = [Judged(1.0 + k, 100 + k, tuple(range(n)), errors[k]) for k, n in enumerate(lost)]
    return Column(tuple(range(of)), history=tuple(history))


def first(column, count):
    """The column after so many of its evaluations."""
    return replace(column, history=column.history[:count])


def test_a_column_that_goes_on_rising_is_never_frozen_and_one_that_stands_still_is_after_its_patience():
    for stall in (1, 2, 5):
        config = replace(CONFIG, stall=stall)
        rising = column_of([2.5 * k / stall for k in range(30)])
        standing = column_of([40.0] * 30)
        assert all(reason_to_freeze(first(rising, n), config) == "" for n in range(31))
        assert [n for n in range(31) if reason_to_freeze(first(standing, n), config)] == list(range(stall + 1, 31))


def test_a_column_that_comes_closer_goes_on_where_it_follows_as_much():
    closer = [60.0 - 0.5 * k for k in range(12)]
    same, fewer = column_of([50.0] * 12, closer), column_of([60.0, *[50.0] * 11], closer)
    patience = CONFIG.stall + 1
    assert not any(reason_to_freeze(first(same, n), CONFIG) for n in range(13))  # 1.5 mm in three evaluations
    slow = replace(CONFIG, closer=2.0)
    assert [n for n in range(13) if reason_to_freeze(first(same, n), slow)] == list(range(patience, 13))
    # Closer on fewer clips is no progress: what is hard has been dropped.
    assert [n for n in range(13) if reason_to_freeze(first(fewer, n), CONFIG)] == list(range(patience, 13))


def test_whether_it_stalls_depends_on_differences_only_and_a_lower_bar_is_less_strict():
    draw = np.random.default_rng(0)
    frozen = 0
    for _ in range(300):
        history = draw.integers(0, 240, draw.integers(1, 12)) / 4  # exact in binary
        verdict = bool(reason_to_freeze(column_of(history), CONFIG))
        assert bool(reason_to_freeze(column_of(history + 32.0), CONFIG)) == verdict
        best = np.maximum.accumulate(history)  # independent: what the last evaluations have added to the best
        gained = best[-1] - best[-1 - CONFIG.stall] if len(history) > CONFIG.stall else np.inf
        assert verdict == (gained < CONFIG.progress)
        if reason_to_freeze(column_of(history), replace(CONFIG, progress=1.0)):
            assert verdict
        frozen += verdict
    assert 30 < frozen < 270  # both happen


def test_what_is_followed_closely_altogether_is_frozen_at_once():
    done = Judged(1.0, 100, (), 20.0)
    column = lambda judged: judge(Column((0, 1)), judged)  # noqa: E731
    assert reason_to_freeze(column(done), CONFIG) == "everything is followed"
    assert not reason_to_freeze(Column((0, 1)), CONFIG)
    assert not reason_to_freeze(column(replace(done, failed=(1,))), CONFIG)
    assert not reason_to_freeze(column(replace(done, afar=(1,))), CONFIG)


def judged(curriculum, failed, afar=()):
    """The curriculum whose last column has been judged so, and is frozen."""
    column = judge(curriculum.columns[-1], Judged(1.0, 100, failed, 40.0, afar))
    return curriculum.with_last(replace(column, frozen="for a reason"))


def test_the_next_column_has_what_no_column_follows_until_the_columns_are_used_up():
    curriculum = begin_curriculum(["walk", "hop", "kick"])
    assert curriculum.lost == (0, 1, 2) and mine(curriculum, CONFIG) is None  # nothing is known, nothing is frozen
    for failed in ((0, 1, 2), (1, 2), (1,)):
        curriculum = judged(curriculum, failed)
        training = curriculum.with_last(replace(curriculum.columns[-1], frozen=""))
        assert mine(training, CONFIG) is None
        following = mine(curriculum, CONFIG)
        if len(curriculum.columns) < CONFIG.columns:
            assert following.columns[:-1] == curriculum.columns and following.columns[-1] == Column(failed, LOST)
            curriculum = following
    assert following is None
    assert mine(judged(curriculum, ()), replace(CONFIG, columns=9)) is None  # nothing is hard


def test_what_is_followed_from_afar_has_a_column_where_another_one_for_what_is_lost_would_be_in_vain():
    config = replace(CONFIG, columns=9)
    curriculum = judged(begin_curriculum(["walk", "hop", "kick", "run", "roll", "jump"]), (2, 4), (0, 1))
    curriculum = judged(mine(curriculum, config), (4,), (2,))
    assert curriculum.columns[-1].clips == (2, 4) and curriculum.lost == (4,) and curriculum.afar == (0, 1, 2)
    curriculum = mine(curriculum, config)
    assert curriculum.columns[-1] == Column((4,), LOST) and curriculum.ancestor == 1  # of equals the latest
    assert judged(curriculum, ()).lost == ()
    curriculum = mine(judged(curriculum, (4,)), config)
    assert curriculum.columns[-1] == Column((0, 1), AFAR) and curriculum.ancestor == 0  # the third it does not follow
    assert mine(judged(curriculum, (0,), (1,)), config) is None
    at_once = judged(begin_curriculum(["walk", "hop"]), (), (1,))
    assert mine(at_once, config).columns[-1] == Column((1,), AFAR)


def test_an_evaluation_takes_the_place_of_those_that_a_run_was_set_back_from():
    column = Column((4, 7))
    for samples, failed in ((100, (4, 7)), (200, (4,)), (300, (7,)), (200, ())):
        column = judge(column, Judged(samples / 60, samples, failed))
    assert [judged.samples for judged in column.history] == [100, 200]
    assert [column.success(judged) for judged in column.history] == [0.0, 100.0]


def test_the_next_column_has_what_the_kept_weights_lose_and_not_the_last_ones():
    early, late = Judged(1.0, 100, (1,), 30.0), Judged(2.0, 200, (2,), 20.0, afar=(0,))
    column = judge(judge(Column((0, 1, 2)), early, early), late, early)
    curriculum = begin_curriculum(["walk", "hop", "kick"]).with_last(replace(column, frozen="for a reason"))
    assert curriculum.lost == (1,) and mine(curriculum, CONFIG).columns[-1] == Column((1,), LOST)
    of_old = replace(curriculum.columns[0], best=None)  # an earlier version kept the last
    assert curriculum.with_last(of_old).lost == (2,) and curriculum.with_last(of_old).afar == (0,)


def test_a_curriculum_comes_back_as_it_was_and_not_for_other_motions(tmp_path):
    curriculum = begin_curriculum(["walk", "hop"])
    assert read_curriculum(tmp_path, ["walk", "hop"]) == curriculum
    with pytest.raises(ValueError, match=r"curriculum.json: no such file; expected the run folder of a training"):
        read_curriculum(tmp_path)
    known = Judged(0.1 + 0.2, 100, (1,), 0.1 + 0.7, (0,))
    known = judge(curriculum.columns[0], known, known)
    kept = mine(curriculum.with_last(replace(known, frozen="for a reason")), CONFIG)
    write_curriculum(tmp_path, kept)
    assert read_curriculum(tmp_path) == read_curriculum(tmp_path, ["walk", "hop"]) == kept
    with pytest.raises(ValueError, match=r"for 2 clips, but 2 are there now \(differing: \['hop', 'jump'\]\)"):
        read_curriculum(tmp_path, ["walk", "jump"])


@pytest.mark.parametrize(
    ("setting", "value"),
    [("columns", 0), ("stall", 0), ("evaluate_every", 0.0), ("compose_minutes", -1.0), ("afar", -1.0)],
)
def test_a_setting_that_makes_no_sense_is_named(setting, value):
    with pytest.raises(ValueError, match=rf"config.mining.{setting} is {value}, expected"):
        check_mining(replace(CONFIG, **{setting: value}))


def _column(seed: int, sees: int = 5, acts: int = 3) -> Trained:
    """A policy of random weights, with a normaliser of its own."""
    keys = iter(jax.random.split(jax.random.PRNGKey(seed), 20))
    policy = make_policy((8,), (8,), acts, 0.1)
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(next(keys), x.shape), policy.init(next(keys), sees))
    return Trained(policy, params, update_normalizer(init_normalizer(sees), jax.random.normal(next(keys), (40, sees))))


def _composer(columns: list[Trained], seed: int = 9, sees: int = 5) -> Trained:
    """A composer whose weights depend on what it sees."""
    policy = make_policy((8,), (8,), 3, 0.1, columns)
    gate = _column(seed, sees, len(columns))
    return Trained(policy, {"actor": gate.params["actor"], "critic": gate.params["critic"]}, gate.normalizer)


def test_a_composer_of_one_column_does_exactly_what_the_column_does():
    column, seen = _column(1), 3.0 * jax.random.normal(jax.random.PRNGKey(0), (200, 5))
    np.testing.assert_array_equal(_composer([column]).act(seen), column.act(seen))
    assert np.abs(column.act(seen)).max() > 0.1


def test_a_composer_s_action_lies_between_its_columns_and_all_of_them_count():
    columns, seen = [_column(k) for k in (1, 2, 3)], jax.random.normal(jax.random.PRNGKey(0), (100, 5))
    actions, composed = np.stack([c.act(seen) for c in columns]), _composer(columns)
    found = np.asarray(composed.act(seen))
    assert (actions.min(axis=0) - 1e-6 <= found).all() and (found <= actions.max(axis=0) + 1e-6).all()
    # At every moment there are three weights, of sum one, that give all three joints: four equations.
    equations = np.concatenate([actions.transpose(1, 2, 0), np.ones((100, 1, 3))], axis=1)
    wanted = np.concatenate([found, np.ones((100, 1))], axis=1)
    weight = np.stack([np.linalg.lstsq(a, b, rcond=None)[0] for a, b in zip(equations, wanted, strict=True)])
    np.testing.assert_allclose(np.einsum("nek,nk->ne", equations, weight), wanted, atol=1e-4)
    assert weight.std(axis=0).min() > 0.01  # what it sees decides
    blank = make_policy((8,), (8,), 3, 0.1, columns)
    untrained = Trained(blank, blank.init(jax.random.PRNGKey(0), 5), init_normalizer(5))
    np.testing.assert_allclose(untrained.act(seen), actions.mean(axis=0), atol=1e-6)  # all alike to begin with


def test_a_composer_is_named_by_its_columns_too_and_learns_nothing_of_them():
    columns = [_column(1), _column(2)]
    composed, other = _composer(columns), _composer([_column(1), _column(3)])
    assert composed.digest != other.digest and composed.digest == _composer(columns).digest
    seen = composed.policy.see(composed.normalizer, jnp.ones((4, 5)))
    assert isinstance(seen, Offered) and seen.actions.shape == (4, 2, 3)
    assert set(composed.params) == {"actor", "critic"}  # what the optimiser is given
    borrowed = composed.with_arrays(other.arrays)
    np.testing.assert_array_equal(borrowed.act(jnp.ones((4, 5))), other.act(jnp.ones((4, 5))))
