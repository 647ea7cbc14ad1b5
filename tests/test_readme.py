"""The example in the README runs as it stands."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_example_runs(capsys):
    if not README.exists():
        pytest.skip("README.md is not installed with the packages")
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    exec(compile(example, str(README), "exec"), {})
    highest = re.search(r"walk.*: ([\d.]+) s, highest joint torque (\d+) N·m", capsys.readouterr().out)
    assert highest, "the example prints what it found"
    assert 50 < int(highest[2]) < 250, "of the order of a gait's peak joint moment, 1 to 2 N·m/kg"
