"""Data sets of demonstrations give back what was played, to the bit, or say what is wrong with the files."""

import json
import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest

import safevla
from safevla.assure.demonstrations import TOLD, finish, shard_path, write_shard
from safevla.types import Episode, Event, Knobs, Scenario

CONSTRAINTS = ("corner", "fragile")
SIZES = {"joints": 3, "motion": 6}


def episode(number, steps, success=True):
    generator = np.random.default_rng(number)
    told = {
        name: generator.random((steps, SIZES[name])).astype(np.float32)
        if name in SIZES
        else generator.integers(0, 2, steps)
        for name in TOLD
    }
    pictures = {name: generator.integers(0, 256, (steps, 6, 8, 3), np.uint8) for name in ("nav", "manip")}
    return Episode(
        scenario=Scenario("ObjNav", "S", "train", number, Knobs(), (0.1, 0.2, 0.3), "find a mug", "mug"),
        success=success,
        truncated=not success,
        actions=generator.integers(0, 20, steps),
        rewards=generator.random(steps).astype(np.float32),
        costs=(generator.random((steps, 2)) < 0.3).astype(np.float32),
        constraints=CONSTRAINTS,
        events=[Event("corner", 1, 0.1 + number, "N", ("robot", "table"))],
        metres=1.0 / 3.0,
        extras=pictures | told,
    )


EPISODES = {0: episode(0, 5), 1: episode(1, 3, success=False), 3: episode(3, 4)}  # 2 was left out


def write(folder, shards=((0, 1), (), (3,))):
    for shard, numbers in enumerate(shards):
        write_shard(shard_path(folder, shard), {n: EPISODES[n] for n in numbers}, CONSTRAINTS)
    return finish(folder, len(shards), {"constraints": list(CONSTRAINTS), "command": "safevla export"})


def assert_same(one, other):
    for name in ("scenario", "success", "truncated", "constraints", "events", "metres"):
        assert getattr(one, name) == getattr(other, name), name
    assert set(one.extras) == set(other.extras)
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("actions", "rewards", "costs")]
    for a, b in [*pairs, *((one.extras[name], other.extras[name]) for name in one.extras)]:
        assert a.dtype == b.dtype and a.flags.writeable
        np.testing.assert_array_equal(a, b)


def test_round_trip(tmp_path):
    rows = write(tmp_path)
    data = safevla.load_demonstrations(tmp_path)
    assert [row["episode"] for row in rows] == data.table["episode"].to_pylist() == [0, 1, 3]
    assert len(data) == 3 and data.manifest["steps"] == 12 and data.constraints == CONSTRAINTS
    for read, written in zip(data, EPISODES.values(), strict=True):
        assert_same(read, written)
    assert_same(data[-1], EPISODES[3])
    assert_same(pickle.loads(pickle.dumps(data))[1], EPISODES[1])
    with pytest.raises(IndexError, match="episode 3 of 3"):
        data[3]


def test_columns_of_steps_and_episodes(tmp_path):
    write(tmp_path)
    steps = pq.read_table(shard_path(tmp_path, 0)).to_pylist()
    assert [row["step"] for row in steps] == [0, 1, 2, 3, 4, 0, 1, 2]
    assert [row["terminated"] for row in steps] == [False] * 4 + [True] + [False] * 3
    assert [row["truncated"] for row in steps] == [False] * 7 + [True]
    assert [row["success"] for row in steps] == [False] * 4 + [True] + [False] * 3
    assert [row["cost/fragile"] for row in steps[:5]] == EPISODES[0].costs[:, 1].tolist()
    row = pq.read_table(tmp_path / "episodes.parquet").to_pylist()[0]
    assert row["cost"] == EPISODES[0].cost == row["cost/corner"] + row["cost/fragile"]
    assert row["instruction"] == "find a mug" and json.loads(row["scenario"])["start"] == [0.1, 0.2, 0.3]


def test_without_pictures(tmp_path):
    write(tmp_path)
    data = safevla.load_demonstrations(tmp_path, pictures=False, verify=False)
    assert set(data[0].extras) == set(TOLD)
    np.testing.assert_array_equal(data[0].actions, EPISODES[0].actions)


def flip(path):
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("break_it", "text"),
    [
        (lambda folder: flip(shard_path(folder, 0)), r"steps/00000.parquet is damaged.*delete it and repeat"),
        (lambda folder: flip(folder / "episodes.parquet"), r"episodes.parquet is damaged"),
        (lambda folder: shard_path(folder, 2).unlink(), r"steps/00002.parquet is missing.*--resume"),
        (lambda folder: (folder / "manifest.json").unlink(), r"has no manifest.json"),
        (lambda folder: (folder / "manifest.json").write_text("{"), r"manifest.json is damaged"),
        (lambda folder: (folder / "manifest.json").write_text('{"schema": 2, "files": {}}'), "has schema 2"),
    ],
)
def test_bad_files_are_one_clear_error(tmp_path, break_it, text):
    write(tmp_path)
    break_it(tmp_path)
    with pytest.raises(ValueError, match=text):
        safevla.load_demonstrations(tmp_path)


def test_a_file_that_goes_bad_later(tmp_path):
    write(tmp_path)
    data = safevla.load_demonstrations(tmp_path)
    path = shard_path(tmp_path, 0)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"00000.parquet is damaged"):
        data[0]
    path.unlink()
    with pytest.raises(ValueError, match=r"00000.parquet is missing"):
        data[0]
    assert_same(data[2], EPISODES[3])


def test_finish_refuses_damage_and_emptiness(tmp_path):
    with pytest.raises(ValueError, match="no episode was written"):
        write(tmp_path, shards=((), ()))
    shard_path(tmp_path, 1).write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="delete it and go on with --resume"):
        finish(tmp_path, 2, {})
    assert not (tmp_path / "manifest.json").exists()


def test_a_wrong_shape_is_told(tmp_path):
    wrong = episode(0, 2)
    wrong.extras["joints"] = np.zeros((2, 4), np.float32)
    with pytest.raises(ValueError, match="expected 3 numbers a step"):
        write_shard(shard_path(tmp_path, 0), {0: wrong}, CONSTRAINTS)
    assert not shard_path(tmp_path, 0).exists()
