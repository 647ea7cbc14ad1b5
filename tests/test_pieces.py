"""Long motions in pieces: every frame is kept once, well inside a piece, and the result is that of the whole."""

import numpy as np
import pytest

from imdy_jax.body.anthropometric import anthropometric_body
from imdy_jax.dynamics.estimate import estimate
from imdy_jax.dynamics.pieces import Pieces, estimate_in_pieces, in_pieces, spans
from imdy_jax.humanoid import GRAVITY
from imdy_jax.motion.procedural import procedural_clip


@pytest.mark.parametrize("fps", [30.0, 120.0])
@pytest.mark.parametrize("count", [10, 59, 60, 64, 65, 151, 513, 1000, 20000])
def test_every_frame_is_kept_once_a_margin_away_from_inner_ends(count, fps):
    pieces = Pieces(longest=8.0, margin=0.5)
    cut, margin = spans(count, fps, pieces), round(0.5 * fps)
    assert [s.keep for s in cut] == [0, *(s.drop for s in cut[:-1])]
    assert cut[-1].drop == count
    assert len({s.stop - s.start for s in cut}) == 1, "one compiled program serves them all"
    assert all(s.stop - s.start <= max(8.0 * fps, 4 * margin) for s in cut), "memory is bounded"
    for s in cut:
        assert 0 <= s.start <= s.keep < s.drop <= s.stop <= count
        assert s.keep - s.start >= margin or s.start == 0
        assert s.stop - s.drop >= margin or s.stop == count


def test_lengths_share_programs():
    sizes = {spans(count, 30.0)[0].stop for count in range(60, 5000, 7)}
    assert sizes - set(range(64)) == {64, 128, 256}


def test_pieces_are_put_together_in_order():
    x = np.arange(500.0)
    seen = []

    def double(frames):
        seen.append(len(frames["x"]))
        return {"y": 2.0 * frames["x"], "z": frames["x"][:, None] + np.zeros(3)}

    found = in_pieces(double, {"x": x}, 30.0, Pieces(4.0, 0.5))
    np.testing.assert_array_equal(found["y"], 2.0 * x)
    np.testing.assert_array_equal(found["z"][:, 1], x)
    assert len(seen) > 4 and set(seen) == {64}


def test_a_walk_in_pieces_is_the_walk_as_a_whole():
    body = anthropometric_body()
    clip, weight = procedural_clip("walk", body, 30.0), float(np.sum(body.mass)) * GRAVITY
    whole = estimate(clip, body)
    cut = estimate_in_pieces(clip, body, pieces=Pieces(longest=3.0, margin=0.5))
    assert np.abs(cut.q - whole.q).max() < 1e-5
    assert np.abs(cut.torque - whole.torque).max() < 2.0 < 50.0 < np.abs(cut.torque).max()
    assert np.abs(cut.force - whole.force).max() < 0.005 * weight
    assert np.abs(cut.residual[:, :3] - whole.residual[:, :3]).max() < 0.001 * weight


def test_margins_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match=r"pieces: found 1 s with margins of 0\.5 s, expected"):
        Pieces(longest=1.0, margin=0.5)
