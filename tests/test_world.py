"""Casting: who plays what, where."""

import numpy as np
import pytest

from envs.people import PeopleConfig, make_bodies
from envs.world import Cast, deal_seats, make_cast


class _Table:
    """Only the lengths of a reference table."""

    def __init__(self, length):
        self.length = length


def _cast(subjects, lengths):
    return Cast([], None, [], np.array(subjects), _Table(np.array(lengths)))


def test_every_row_is_played_once_by_its_own_subject():
    cast = _cast([0] * 5 + [1] * 7, [40, 90, 60, 30, 50, 80, 20, 70, 35, 45, 55, 65])
    rows = np.array([0, 2, 3, 4, 5, 6, 7, 8, 9, 11])
    subjects, queues = deal_seats(cast, rows, 4)
    assert sorted(row for queue in queues.values() for row in queue) == rows.tolist()
    for subject, queue in queues.items():
        assert set(cast.subjects[queue]) == {subject}
        assert (np.diff(cast.lengths[queue]) <= 0).all()  # the longest first
    assert set(subjects) == set(queues)
    assert 4 <= len(subjects) <= 5


def test_nobody_waits_for_the_longest_clip():
    cast = _cast([0] * 40 + [1], [250, 100, 50, *[100] * 37, 10])
    subjects, _ = deal_seats(cast, np.arange(41), 64)
    assert np.bincount(subjects).tolist() == [19, 1]  # 4,100 frames at 250 for each take 17, and 20 is a standard size
    assert len(deal_seats(cast, np.array([0, 40]), 64)[0]) == 2


def test_nothing_to_imitate_is_refused():
    with pytest.raises(ValueError, match="no motion to imitate"):
        make_cast([], [[]])


def test_the_first_person_is_the_one_described_and_the_others_repeat():
    people = PeopleConfig(sex="female", stature=1.6, mass=55.0, subjects=3, subject_seed=4)
    bodies, again = make_bodies(people), make_bodies(people)
    masses = [float(np.sum(body.mass)) for body in bodies]
    assert masses[0] == pytest.approx(55.0, rel=1e-6)
    assert masses == [float(np.sum(body.mass)) for body in again]
    assert len(set(masses)) == 3
