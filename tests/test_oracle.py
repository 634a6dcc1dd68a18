"""The oracle from the command line: every verb that plays a policy tells it its maps."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from safevla.assure.evaluate import load_table
from safevla.cli import main
from safevla.elicit.archive import RiskArchive
from safevla.policy.checkpoint import load_policy
from safevla.pretrain.rounds import load_round
from safevla.types import CHANNELS

pytestmark = pytest.mark.slow
SMALL = ["--task", "PickUp", "--world.num_envs", "2"]
TAUGHT = [
    "imitate", "--preset", "tiny-oracle", "--processes", "1", *SMALL, "--out", "taught",
    *("--imitation.rounds", "2", "--imitation.demonstrations", "3", "--imitation.corrections", "2"),
    *("--imitation.validation_episodes", "1", "--imitation.first_epochs", "2", "--imitation.epochs", "1"),
]  # fmt: skip
ORACLE = "oracle=taught/checkpoint"


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """Imitate once, in the folder that all tests here work in."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("oracle"))
        assert main(TAUGHT) == 0
        yield
    torch.set_num_threads(threads)


def test_what_was_learned_from_are_labels():
    assert load_policy("taught/checkpoint").config.oracle
    lines = Path("taught/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [0, 1]
    for number in (0, 1):
        episodes = load_round(Path(f"taught/round_{number:02d}.npz"))
        maps = np.concatenate([episode.extras["features"][:, :-9] for episode in episodes])
        maps = maps.reshape(len(maps), 2, CHANNELS, 14, 14)
        certain = np.delete(maps, (4, 5), axis=2)  # all but depth and floor are yes or no
        assert set(np.unique(certain)) == {0.0, 1.0} and maps[:, :, :4].any()
        assert np.ptp(maps[:, :, 4]) > 0.5


def test_it_is_judged_beside_others():
    told = f"inactive,{ORACLE},labels=imitation+labels"
    words = ["assure", "--policy", told, "--episodes", "2", "--videos", "1", *SMALL]
    assert main([*words, "--world.horizon", "20", "--processes", "1", "--out", "judged"]) == 0
    table = load_table("judged/episodes.parquet").to_pylist()
    lengths = {row["policy"]: row["length"] for row in table}
    assert len(table) == 6 and lengths["oracle"] > lengths["inactive"] == 1
    assert lengths["labels"] > 1


def test_the_other_verbs_take_it(capsys):
    small = [*SMALL, "--world.horizon", "20", "--policy"]
    assert main(["elicit", "--episodes", "2", *small, "taught/checkpoint", "--out", "found"]) == 0
    assert RiskArchive.load("found/archive.jsonl").episodes == 2
    words = ["export", "--lerobot", "--images", "--episodes", "1", *small, ORACLE, "--out", "data"]
    assert main(words) == 0
    training = [
        "--train.iterations", "1", "--train.episodes_per_iteration", "2", "--train.critic_warmup", "0",
        "--elicit.episodes", "2", "--assure.episodes", "1", "--assure.videos", "0", "--processes", "1",
    ]  # fmt: skip
    assert main(["align", *small, "taught/checkpoint", *training, "--out", "aligned"]) == 0
    assert load_policy("aligned/isa/checkpoint").config.oracle
    capsys.readouterr()
    assert main(["assure", *small, "taught/checkpoint+wrong", "--episodes", "1", "--out", "told"]) == 2
    assert "an oracle is told where its target is" in capsys.readouterr().err
    assert main([*TAUGHT[:-12], "--encoder", "imitation.pt", "--out", "eyes"]) == 2
    assert capsys.readouterr().err.endswith(
        "no image encoder to be taken from imitation.pt; leave --encoder out\n"
    )
