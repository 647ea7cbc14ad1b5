"""What is kept of a policy that is judged on its way: the best, however often the process dies and is set back."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imdy_jax.checkpoints import Checkpoints
from imdy_jax.imitation.best import BEST, Best, holds_policy
from imdy_jax.imitation.mining import Judged, beats
from imdy_jax.imitation.policy import Trained, init_normalizer, make_policy
from imdy_jax.imitation.ppo import PPOConfig
from imdy_jax.imitation.train import TrainConfig, load
from imdy_jax.run import RunFolder

CONFIG = TrainConfig(ppo=PPOConfig(hidden=(4,), critic_hidden=(4,)))


@functools.cache
def _policy(seed: int) -> Trained:
    policy = make_policy((4,), (4,), 2, CONFIG.ppo.spread)
    params = policy.init(jax.random.PRNGKey(0), 3)
    normalizer = init_normalizer(3)._replace(seen=jnp.float32(seed))
    return Trained(policy, jax.tree.map(lambda x: x + seed, params), normalizer)


def _judged(step: int, lost: int, error: float | None) -> Judged:
    return Judged(0.1 * step, 64 * step, tuple(range(lost)), error)


def _loaded(run: RunFolder) -> str:
    return load(run, CONFIG, 3, 2).digest


# Fewer lost beat less error; nothing followed has none; of equals the later one is kept.
_OUTCOMES = ((2, None), (2, None), (1, 30.0), (1, 20.0), (1, 25.0), (0, 90.0), (1, 5.0))
JUDGED = [_judged(step, *outcome) for step, outcome in enumerate(_OUTCOMES, 1)]
KEPT = [1, 2, 3, 4, 4, 6, 6]


def test_better_is_a_total_order_in_which_success_comes_first():
    for a, b, c in itertools.product(JUDGED, repeat=3):
        assert beats(a, b) or beats(b, a)
        assert beats(a, c) or not (beats(a, b) and beats(b, c))
        assert beats(a, b) or not len(a.failed) < len(b.failed)
    assert beats(JUDGED[3], JUDGED[4]) and not beats(JUDGED[4], JUDGED[3])
    assert beats(_judged(1, 2, 500.0), JUDGED[0]) and not beats(JUDGED[0], _judged(1, 2, 500.0))


def test_the_best_plays_and_not_the_newest(tmp_path):
    run = RunFolder.create(tmp_path, CONFIG, seed=0)
    newest = Checkpoints(run.path / "policy")
    best = Best(run)
    assert best.judged is None
    for step, (judged, kept) in enumerate(zip(JUDGED, KEPT, strict=True), 1):
        trained = _policy(step)
        newest.save(step, {"params": trained.params, "normalizer": trained.normalizer})
        if step == 1:
            assert _loaded(run) == trained.digest  # nothing has been judged
        assert best.offer(step, trained, judged) == JUDGED[kept - 1]
        assert _loaded(run) == _policy(kept).digest
    assert Best(RunFolder.open(tmp_path)).judged == JUDGED[5]
    again = RunFolder.create(tmp_path, CONFIG, seed=0, overwrite=True)
    assert Best(again).judged is None
    with pytest.raises(ValueError, match="policy: no checkpoint of step None"):
        _loaded(again)


def test_killed_at_any_moment_and_judged_again_it_keeps_the_same(tmp_path, monkeypatch):
    run = RunFolder.create(tmp_path, CONFIG, seed=0)

    def dies(*_):
        raise KeyboardInterrupt

    for step, (judged, kept) in enumerate(zip(JUDGED, KEPT, strict=True), 1):
        for _ in range(2 * (kept == step)):  # while it is kept: the first time, and when it is judged again
            with monkeypatch.context() as patch:
                patch.setattr(Checkpoints, "save", dies)
                with pytest.raises(KeyboardInterrupt):
                    Best(run).offer(step, _policy(step), judged)
            assert Best(run).judged == (JUDGED[KEPT[step - 2] - 1] if step > 1 else None)
            assert step == 1 or _loaded(run) == _policy(KEPT[step - 2]).digest
            assert Best(run).offer(step, _policy(step), judged) == judged
        for _ in range(2):  # after it was kept, before that was written down elsewhere
            assert Best(run).offer(step, _policy(step), judged) == JUDGED[kept - 1]
        assert _loaded(run) == _policy(kept).digest


def test_a_run_that_is_set_back_forgets_what_came_after(tmp_path):
    run = RunFolder.create(tmp_path, CONFIG, seed=0)
    for step in (3, 4):
        Best(run).offer(step, _policy(step), JUDGED[step - 1])
    assert Best(run).offer(4, _policy(9), _judged(4, 2, 10.0)) == JUDGED[2]
    assert _loaded(run) == _policy(3).digest
    Best(run).offer(2, _policy(2), JUDGED[1])
    assert _loaded(run) == _policy(2).digest and holds_policy(run.path / BEST)
    np.testing.assert_array_equal(load(run, CONFIG, 3, 2).normalizer.seen, 2.0)
