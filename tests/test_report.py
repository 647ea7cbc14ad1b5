"""Tables line up, are kept as JSON, and progress reads well where there is no terminal."""

import json
import sys

import numpy as np
import pytest

from imdy_jax.report import Progress, Table, clock, command, show

TABLE = Table(
    title="Imitator",
    columns=("clip", "success (%)", "MPJPE (mm)"),
    rows=(("walk", 100.0, np.float32(21.5)), ("single_foot_balance", 0.0, None)),
    notes=("2 clips",),
)


def test_table_is_aligned():
    assert str(TABLE).splitlines() == [
        "Imitator",
        "─" * 44,
        "clip                 success (%)  MPJPE (mm)",
        "─" * 44,
        "walk                         100        21.5",
        "single_foot_balance            0           –",
        "─" * 44,
        "2 clips",
    ]


def test_table_is_kept_as_json(tmp_path, capsys):
    show(TABLE, tmp_path / "tables" / "imitator.json")
    assert "single_foot_balance" in capsys.readouterr().out
    kept = json.loads((tmp_path / "tables" / "imitator.json").read_text())
    assert kept["columns"] == ["clip", "success (%)", "MPJPE (mm)"]
    assert kept["rows"] == [["walk", 100.0, 21.5], ["single_foot_balance", 0.0, None]]
    assert "mujoco" in kept["provenance"]["versions"]


def test_table_refuses_a_ragged_row():
    with pytest.raises(ValueError, match=r"'Imitator': row \('walk',\) has 1 cells, expected 2"):
        Table("Imitator", ("clip", "success"), (("walk",),))


def test_progress_prints_plain_lines(capsys):
    with Progress(total=4, label="training", unit="iterations") as progress:
        for _ in range(4):
            progress.advance(1, reward=0.53219)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("training: 1/4 iterations, 0:00 passed")
    assert lines[-1] == "training: 4/4 iterations, 0:00 passed, 0:00 left, reward 0.5322"
    assert len(lines) == 2


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (65.4, "1:05"), (3723, "1:02:03")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_a_place_for_results_that_cannot_be_written_is_told_before_the_work(tmp_path, capsys, monkeypatch):
    worked = []

    def main(rounds: int = 1, json: str | None = None, out: str = "runs/results") -> None:
        worked.append((rounds, json, out))

    (tmp_path / "file").write_text("")
    for asked in (["--json", str(tmp_path)], ["--out", str(tmp_path / "file")], ["--json", f"{tmp_path}/file/a.json"]):
        monkeypatch.setattr(sys, "argv", ["main", *asked])
        with pytest.raises(SystemExit, match="2"):
            command(main)
        assert str(tmp_path) in capsys.readouterr().err
    assert not worked
    monkeypatch.setattr(sys, "argv", ["main", "--rounds", "3", "--out", str(tmp_path / "new")])
    command(main)
    assert worked == [(3, None, str(tmp_path / "new"))]
