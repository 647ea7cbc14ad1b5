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
    subjects, seats = deal_seats(cast, np.array([0, 2, 3, 4, 5, 6, 7, 8, 9, 11]), 4)
    assert sorted(row for seat in seats for row in seat) == [0, 2, 3, 4, 5, 6, 7, 8, 9, 11]
    for subject, seat in zip(subjects, seats, strict=True):
        assert set(cast.subjects[seat]) == {subject}
        assert (np.diff(cast.lengths[seat]) <= 0).all()  # the longest first
    assert abs(len(seats) - 4) <= 1


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
