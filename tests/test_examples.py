"""The examples do what they say."""

import runpy
from pathlib import Path

from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_expert_fetches_something_in_a_large_home(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["large_home.py", "3"])
    runpy.run_path(str(EXAMPLES / "large_home.py"))
    said = capsys.readouterr().out
    assert "success True" in said and int(said.split(" rooms")[0].split()[-1]) >= 5
    assert Image.open("home.png").size == (800, 600)
