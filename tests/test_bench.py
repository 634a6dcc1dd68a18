"""`safevla bench` measures homes and the policy; what it cannot measure is refused at once."""

import re

import pytest
import torch

from safevla.cli import main

SMALL = ["--seconds=0.3", "--world.num_envs=2", "--world.horizon=15"]


@pytest.fixture(autouse=True)
def torch_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_it_prints_two_speeds_above_zero(capsys):
    assert main(["bench", *SMALL]) == 0
    speeds = re.findall(r": (\d+) steps/s", capsys.readouterr().out)
    assert len(speeds) == 2 and all(int(speed) > 0 for speed in speeds)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seconds=0"], "'seconds' is 0.0, expected more than 0"),
        (["--world.resolution=64"], "64 x 64"),
        (["--task=Fecth"], "did you mean 'Fetch'?"),
        (["--out=x"], "unknown flag '--out'"),
        (["--resume"], "unknown flag '--resume'"),
    ],
)
def test_what_it_cannot_measure_is_refused(words, says, capsys):
    assert main(["bench", *SMALL, *words]) == 2
    assert says in capsys.readouterr().err
