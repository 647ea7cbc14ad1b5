"""Plausibility: sound motions are, planted artefacts are not, and the frames flagged are the right ones."""

import numpy as np
import pytest

from imdy_jax.analysis.artefacts import ARTEFACTS, floating, glitch, skate
from imdy_jax.analysis.assessment import AssessmentStudy, assess, assessment_table, judge, roc_area
from imdy_jax.analysis.plausibility import IMPLAUSIBLE, Limits, Measures, _jerk, score
from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.humanoid import from_body
from imdy_jax.motion.clip import generalized_positions
from imdy_jax.motion.filters import Butterworth
from imdy_jax.motion.procedural import procedural_clip
from imdy_jax.view.assessment_figure import assessment_figure
from imdy_jax.view.surface import skin_surface

STUDY = AssessmentStudy(clips=("walk", "squat"))


def test_roc_area_of_known_cases():
    wrong = np.array([True, True, False, False])
    assert roc_area(wrong, np.array([4.0, 3.0, 2.0, 1.0])) == 1.0
    assert roc_area(wrong, np.array([1.0, 2.0, 3.0, 4.0])) == 0.0
    assert roc_area(wrong, np.ones(4)) == 0.5
    assert roc_area(wrong, np.array([4.0, 2.0, 3.0, 1.0])) == 0.75
    assert roc_area(wrong, np.array([4.0, 2.0, 2.0, 1.0])) == 0.875, "a tie counts one half"
    draw = np.random.default_rng(0)
    mask, value = draw.random(300) < 0.3, draw.normal(size=300)
    value[mask] += 1.0
    pairs = value[mask][:, None] > value[~mask][None]
    assert roc_area(mask, value) == pytest.approx(pairs.mean())
    with pytest.raises(ValueError, match="found 0 wrong and 3 sound frames"):
        roc_area(np.zeros(3, bool), np.ones(3))


@pytest.mark.parametrize("name", Measures._fields)
def test_a_measure_at_its_limit_halves_the_score(name):
    nothing = Measures(*np.zeros((len(Measures._fields), 3)))
    limits = Limits()
    assert score(nothing, limits) == pytest.approx(1.0)
    one = nothing._replace(**{name: getattr(limits, name) * np.array([0.5, 1.0, 3.0])})
    np.testing.assert_allclose(score(one, limits), [2**-0.25, 0.5, 2**-9])


@pytest.mark.parametrize("fps", [30.0, 120.0])
def test_jerk_of_a_cubic_path_is_exact_and_of_noise_no_larger_at_higher_rates(fps):
    time = np.arange(0, 2.0, 1.0 / fps)
    path = np.zeros((len(time), 24, 3))
    path[:, 5, 1] = 7.0 * time**3
    np.testing.assert_allclose(_jerk(path, fps), 42.0, rtol=1e-6)
    noise = 0.001 * np.random.default_rng(0).normal(size=(400, 24, 3))
    assert 100.0 < np.median(_jerk(noise, fps)) < 500.0
    assert _jerk(path[:3], fps).shape == (3,)


@pytest.fixture(scope="module")
def clean():
    body = anthropometric_body()
    return body, np.asarray(generalized_positions(procedural_clip("squat", body, 30.0), body), float)


@pytest.mark.parametrize("plant", [glitch, floating])
def test_passing_artefacts_change_the_planted_frames_alone(clean, plant):
    for seed in range(5):
        q, wrong = plant(clean[1], 30.0, np.random.default_rng(seed))
        changed = np.abs(q - clean[1]).max(axis=1) > 1e-9
        assert not changed[~wrong].any()
        assert changed[wrong].mean() >= 0.9, "a floating phase begins and ends on the floor"
        np.testing.assert_allclose(np.linalg.norm(q[:, 3:].reshape(-1, 24, 4), axis=2), 1.0, atol=1e-6)


def test_skating_moves_within_the_planted_frames_alone(clean):
    q, wrong = skate(clean[1], 30.0, np.random.default_rng(0))
    step = np.linalg.norm(np.diff(q[:, :2] - clean[1][:, :2], axis=0), axis=1)
    assert step[~wrong[1:]].max() < 1e-3
    assert step.sum() > 0.2
    np.testing.assert_array_equal(q[:, 2:], clean[1][:, 2:])


def test_a_motion_too_short_for_an_artefact_is_refused(clean):
    with pytest.raises(ValueError, match=r"motion: found 0.67 s, expected at least"):
        floating(clean[1][:20], 30.0, np.random.default_rng(0))


def test_a_sound_motion_is_plausible_throughout(clean):
    found = score(judge(*clean, 30.0))
    assert found.min() > 0.9


@pytest.fixture(scope="module")
def assessed(clean):
    return assess(clean[0], STUDY, Limits(), Butterworth(), lambda: None)


def test_the_frames_flagged_are_the_planted_ones(assessed):
    assert [(a.clip, a.artefact) for a in assessed] == [(c, kind) for c in STUDY.clips for kind in ARTEFACTS]
    for each in assessed:
        assert roc_area(each.wrong, -each.score) > 0.93, (each.clip, each.artefact)
        flagged = np.flatnonzero(each.score < IMPLAUSIBLE)
        planted = np.flatnonzero(each.wrong)
        away = np.maximum(planted[0] - flagged, flagged - planted[-1]).clip(0)
        assert len(flagged) and away.max() <= 4, "a flag is within the filter's memory of an artefact"


def test_each_artefact_is_told_by_the_measure_that_is_made_for_it(assessed):
    table = assessment_table(assessed)
    column = {name: table.columns.index(f"AUC {name}") for name in Measures._fields}
    row = {row[0]: row for row in table.rows}
    assert row["glitch"][column["jerk"]] > 0.95
    assert row["foot skate"][column["skate"]] > 0.9
    assert row["floating"][column["force"]] > 0.9
    assert row["all"][1] == 6 and row["all"][3] > 0.93


def test_a_discriminator_is_judged_beside_physics(assessed):
    learnt = [each._replace(learnt=np.where(each.wrong, 0.2, 0.9)) for each in assessed]
    table, before = assessment_table(learnt), assessment_table(assessed)
    assert table.columns == (*before.columns, "AUC discriminator")
    assert [row[-1] for row in table.rows] == [1.0] * 4
    assert [row[:-1] for row in table.rows] == list(before.rows)


def test_the_figure_is_drawn(assessed, clean, tmp_path):
    both = [assessed[0]._replace(learnt=1.0 - assessed[0].wrong)]
    assessment_figure(tmp_path / "one.png", from_body(clean[0]), skin_surface(clean[0]), both, 30.0)
    assert (tmp_path / "one.png").stat().st_size > 20_000
