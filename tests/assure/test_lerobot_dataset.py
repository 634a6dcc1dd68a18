"""Data sets of LeRobot hold what was played, and LeRobot itself reads them (`make test-lerobot`)."""

import hashlib
import importlib.util
import io
import json

import imageio_ffmpeg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from safevla.assure.lerobot_dataset import Layout, episode_rows, finish, has_part, write_part
from safevla.assure.recording import load_lerobot
from safevla.policy.continuous import to_vectors
from safevla.safety.specification_file import from_dict
from safevla.types import Episode, Knobs, Scenario

NAV, MANIP = "observation.images.nav", "observation.images.manip"
CONSTRAINTS = ("corner", "fragile")
SENTENCES = ("find a mug", "find an apple")
needs_lerobot = pytest.mark.skipif(
    importlib.util.find_spec("lerobot") is None, reason="lerobot is not installed: make test-lerobot"
)


def smooth(generator, steps):
    """Pictures that a video codec keeps well: colour ramps that move."""
    ramp = np.linspace(0, 1, 16)[None, :, None, None] + np.linspace(0, 1, 32)[None, None, :, None]
    colours = generator.uniform(30, 120, (steps, 1, 1, 3))
    return (ramp * colours).astype(np.uint8)


def episode(number, steps, success=True):
    generator = np.random.default_rng(number)
    sentence = SENTENCES[number % 2]
    return Episode(
        scenario=Scenario("ObjNav", "S", "train", number, Knobs(), (0.0, 0.0, 0.0), sentence, "mug"),
        success=success,
        truncated=not success,
        actions=generator.integers(0, 20, steps),
        rewards=generator.random(steps).astype(np.float32),
        costs=(generator.random((steps, 2)) < 0.3).astype(np.float32),
        constraints=CONSTRAINTS,
        events=[],
        metres=1.0,
        extras={
            "nav": smooth(generator, steps),
            "manip": smooth(generator, steps),
            "joints": generator.random((steps, 3)).astype(np.float32),
            "holding": generator.integers(0, 2, steps),
        },
    )


EPISODES = [episode(0, 5), episode(1, 3, success=False), episode(2, 4)]


def write(folder, videos=True, episodes=EPISODES):
    layout = Layout(CONSTRAINTS, SENTENCES, (16, 32), videos)
    write_part(folder, 0, episodes[:2], layout, "expert")
    write_part(folder, 1, [], layout, "expert")
    write_part(folder, 2, episodes[2:], layout, "expert")
    return finish(folder, 3, layout)


def read(folder):
    tables = [pq.read_table(path) for path in sorted((folder / "data").glob("*/*.parquet"))]
    return pa.concat_tables(tables)


def test_columns_are_what_was_played(tmp_path):
    info = write(tmp_path)
    table = read(tmp_path)
    assert (info["total_episodes"], info["total_frames"], info["fps"]) == (3, 12, 2)
    stored = {name for name, kind in info["features"].items() if kind["dtype"] != "video"}
    assert stored == set(table.column_names)
    column = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    together = {n: np.concatenate([getattr(e, n) for e in EPISODES]) for n in ("actions", "rewards", "costs")}
    np.testing.assert_array_equal(column["discrete_action"], together["actions"])
    np.testing.assert_array_equal(column["action"], to_vectors(together["actions"]).astype(float))
    np.testing.assert_array_equal(column["next.reward"], together["rewards"])
    for k, name in enumerate(CONSTRAINTS):
        np.testing.assert_array_equal(column[f"next.cost.{name}"], together["costs"][:, k])
    np.testing.assert_array_equal(column["next.cost"], together["costs"].sum(1))
    joints = np.concatenate([e.extras["joints"] for e in EPISODES])
    np.testing.assert_array_equal(column["observation.state"][:, :3], joints)
    assert column["next.done"].nonzero()[0].tolist() == [4, 7, 11]
    assert column["next.success"].nonzero()[0].tolist() == [4, 11]
    assert column["index"].tolist() == list(range(12))
    assert column["episode_index"].tolist() == [0] * 5 + [1] * 3 + [2] * 4
    assert column["timestamp"][:6].tolist() == [0, 0.5, 1, 1.5, 2, 0]
    assert column["task_index"].tolist() == [0] * 5 + [1] * 3 + [0] * 4
    rows = episode_rows(tmp_path, 3)
    assert [(r["dataset_from_index"], r["dataset_to_index"]) for r in rows] == [(0, 5), (5, 8), (8, 12)]
    assert [r["data/file_index"] for r in rows] == [0, 0, 2]
    assert Scenario.from_dict(json.loads(rows[1]["scenario"])) == EPISODES[1].scenario
    assert [r["cost"] for r in rows] == [e.cost for e in EPISODES]


def test_videos_show_what_was_seen(tmp_path):
    write(tmp_path)
    for file, episodes in ((0, EPISODES[:2]), (2, EPISODES[2:])):
        for name, camera in ((NAV, "nav"), (MANIP, "manip")):
            frames = imageio_ffmpeg.read_frames(
                str(tmp_path / f"videos/{name}/chunk-000/file-{file:03d}.mp4")
            )
            facts = next(frames)
            assert facts["source_size"] == (32, 16) and facts["fps"] == 2
            shown = np.stack([np.frombuffer(frame, np.uint8).reshape(16, 32, 3) for frame in frames])
            seen = np.concatenate([e.extras[camera] for e in episodes])
            assert shown.shape == seen.shape
            assert np.abs(shown.astype(int) - seen).mean() < 4


def test_images_are_exact(tmp_path):
    info = write(tmp_path, videos=False)
    assert not (tmp_path / "videos").exists() and info["video_path"] is None
    cells = read(tmp_path)[NAV].to_pylist()
    shown = np.stack([np.asarray(Image.open(io.BytesIO(cell["bytes"]))) for cell in cells])
    np.testing.assert_array_equal(shown, np.concatenate([e.extras["nav"] for e in EPISODES]))


def test_statistics(tmp_path):
    """Oracle: numpy over all steps at once."""
    write(tmp_path)
    found = json.loads((tmp_path / "meta" / "stats.json").read_text())
    every = {"action": to_vectors(np.concatenate([e.actions for e in EPISODES])).astype(float)}
    pixels = np.concatenate([e.extras["nav"][:, ::4, ::4].reshape(-1, 3) for e in EPISODES]) / 255
    for name, rows in (*every.items(), (NAV, pixels)):
        for key, function in (("min", np.min), ("max", np.max), ("mean", np.mean), ("std", np.std)):
            np.testing.assert_allclose(np.ravel(found[name][key]), function(rows, 0), atol=1e-9)
        assert found[name]["count"] == [12]
    assert np.shape(found[NAV]["mean"]) == (3, 1, 1)


def test_an_interrupted_part_is_written_again_and_the_rest_is_kept(tmp_path):
    layout = Layout(CONSTRAINTS, SENTENCES, (16, 32), True)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    write(whole)
    write_part(broken, 0, EPISODES[:2], layout, "expert")
    write_part(broken, 1, [], layout, "expert")
    write_part(broken, 2, EPISODES[1:], layout, "somebody")
    (broken / "meta/episodes/chunk-000/file-002.parquet").unlink()  # ended before the part was whole
    assert [has_part(broken, part) for part in range(4)] == [True, True, False, False]
    write_part(broken, 2, EPISODES[2:], layout, "expert")
    finish(broken, 3, layout)
    listed = (whole / "SHA256SUMS").read_text()
    assert listed == (broken / "SHA256SUMS").read_text() and len(listed.splitlines()) == 11
    for line in listed.splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((broken / name).read_bytes()).hexdigest() == digest
    with pytest.raises(ValueError, match="no episode was written"):
        finish(tmp_path / "none", 0, layout)


def test_replay_reads_it(tmp_path):
    write(tmp_path)
    specification = from_dict(
        {
            "name": "again",
            "step_seconds": 0.5,
            "signals": {"cost": {"column": "next.cost.corner"}, "lift": {"column": "observation.state[0]"}},
            "constraints": {"corner": {"forbid": "cost > 0.5"}, "high": {"forbid": "lift > 0.5"}},
        },
        source="test",
    )
    for recording, played in zip(load_lerobot(tmp_path, specification), EPISODES, strict=True):
        np.testing.assert_array_equal(recording.signals["cost"], played.costs[:, 0])
        np.testing.assert_array_equal(recording.signals["lift"], played.extras["joints"][:, 0].astype(float))


@needs_lerobot
@pytest.mark.parametrize("videos", [True, False])
def test_lerobot_reads_it(tmp_path, videos):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    try:  # where it is from 0.5 on
        from lerobot.utils.feature_utils import dataset_to_policy_features
    except ImportError:
        from lerobot.datasets.utils import dataset_to_policy_features

    write(tmp_path, videos)
    shifts = {"action": [0.0, 0.5, 1.0], NAV: [-0.5, 0.0]}
    dataset = LeRobotDataset(
        "safevla/test", root=tmp_path, delta_timestamps=shifts, video_backend="pyav"
    )  # needs no FFmpeg of the system
    assert (len(dataset), dataset.num_episodes, dataset.fps) == (12, 3, 2)
    assert list(dataset.meta.tasks.index) == list(SENTENCES)
    index = 0
    for number, played in enumerate(EPISODES):
        vectors = to_vectors(played.actions)
        for step in range(played.length):
            item = dataset[index]
            assert item["task"] == played.scenario.instruction and item["episode_index"] == number
            ahead = [min(step + k, played.length - 1) for k in range(3)]
            np.testing.assert_array_equal(item["action"].numpy(), vectors[ahead])
            assert item["next.cost.fragile"] == played.costs[step, 1]
            assert bool(item["next.success"]) == (played.success and step == played.length - 1)
            pictures = item[NAV].numpy().transpose(0, 2, 3, 1) * 255
            seen = played.extras["nav"][[max(step - 1, 0), step]]
            assert np.abs(pictures - seen).mean() < (4 if videos else 0.01)
            index += 1
    features = dataset_to_policy_features(dataset.meta.features)
    assert set(features) == {NAV, MANIP, "observation.state", "action"}
    assert features[NAV].shape == (3, 16, 32)


@needs_lerobot
def test_statistics_are_joined_as_lerobot_joins_them(tmp_path):
    from lerobot.datasets.compute_stats import aggregate_stats

    write(tmp_path)
    parts = []
    for row in episode_rows(tmp_path, 3):
        part = {}
        for key, value in row.items():
            if key.startswith("stats/"):
                _, name, what = key.split("/")
                part.setdefault(name, {})[what] = np.array(value)
        parts.append(part)
    theirs = aggregate_stats(parts)
    ours = json.loads((tmp_path / "meta" / "stats.json").read_text())
    assert set(theirs) == set(ours)
    for name, kinds in theirs.items():
        for what, value in kinds.items():
            np.testing.assert_allclose(ours[name][what], value, atol=1e-9, err_msg=f"{name} {what}")
