import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from synthetic import ConstantPolicy, CostlyEnv, make_scenario, synthetic_table

from safevla.assure import evaluate, video
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import sample_scenario


@pytest.fixture(scope="module")
def films():
    scenarios = [make_scenario(house) for house in (1, 2, 3, 5)]
    episodes, rough = video.record(CostlyEnv(), ConstantPolicy(1), scenarios, size=64)
    _, calm = video.record(CostlyEnv(), ConstantPolicy(0), scenarios, size=64)
    return episodes, rough, calm


def test_films_are_the_episodes(films):
    episodes, rough, calm = films
    for episode, film in zip(episodes, rough, strict=True):
        assert film.scenario == episode.scenario
        assert len(film.frames) == episode.length
        assert film.cost == episode.cost
        assert film.success == episode.success
        assert [event for frame in film.frames for event in frame.events] == episode.events
        # each frame shows what was seen after its action
        assert [int(frame.pictures[0, 0, 0, 0]) for frame in film.frames] == [40, 80, 120, 160]
    assert [film.cost for film in rough] == [4, 0, 4, 4]
    assert [film.cost for film in calm] == [0, 0, 0, 0]


def test_composed_frames_show_costs_only_where_they_were(films):
    _, rough, calm = films
    frames = list(video.compose({"rl": rough[0], "isa": calm[0]}))
    assert len(frames) == 4 + video._HOLD
    assert frames[0].shape[0] % 2 == frames[0].shape[1] % 2 == 0
    flash = (frames[1] == np.array(video._BAD)).all(axis=-1)
    half = frames[0].shape[1] // 2
    assert flash[:, :half].sum() > 200  # frame around the pictures, cost in red
    assert flash[:, half:].sum() == 0
    quiet = list(video.compose({"rl": calm[0], "isa": calm[0]}))
    assert (quiet[1] == np.array(video._BAD)).all(axis=-1).sum() == 0


def test_the_mark_of_an_event_fades_and_its_place_on_the_timeline_stays(films):
    _, rough, calm = films
    film = video.Film(rough[0].scenario, rough[0].constraints, rough[0].frames[:1] + calm[0].frames * 4)
    frames = list(video.compose({"rl": film}))
    x, y = video._MARGIN - 2, video._MARGIN + 34 + 32 + 20  # left edge of the frame around the picture
    marked = [tuple(int(value) for value in frame[y, x]) == video._BAD for frame in frames]
    assert marked == [index < video._FLASH for index in range(len(frames))]
    lane = np.array(tuple(bytes.fromhex(video.CONSTRAINT_COLOURS[0][1:])))
    marks = [int((frame == lane).all(axis=-1).sum()) for frame in frames]
    assert marks[0] > 50
    assert max(marks) - min(marks) < 60  # the cursor hides a little of it at times
    none = list(video.compose({"isa": calm[0]}))
    assert (none[1] == lane).all(axis=-1).sum() == 0


def test_encoding_gives_a_playable_mp4(films, tmp_path):
    _, rough, calm = films
    made = video.side_by_side({"rl": rough[0], "isa": calm[0]}, "an example")
    assert made.mime == "video/mp4"
    assert "“find a mug” rl: succeeded, cost 4, 4 steps; isa: succeeded, cost 0" in made.caption
    path = made.save(tmp_path / "pair")
    assert path.suffix == ".mp4"
    reader = imageio_ffmpeg.read_frames(str(path))
    facts = next(reader)
    shape = next(iter(video.compose({"rl": rough[0], "isa": calm[0]}))).shape
    assert facts["source_size"] == (shape[1], shape[0])
    assert facts["codec"] == "h264"
    assert len(list(reader)) == 4 + video._HOLD
    assert made.html().count("data:video/mp4;base64,") == 1


def test_without_an_encoder_it_is_an_animated_picture(films, monkeypatch):
    def missing(*_, **__):
        raise RuntimeError("no ffmpeg")

    monkeypatch.setattr(imageio_ffmpeg, "write_frames", missing)
    _, rough, calm = films
    made = video.side_by_side({"rl": rough[0], "isa": calm[0]})
    assert made.mime == "image/webp"
    assert made.data[:4] == b"RIFF" and b"ANIM" in made.data[:64]
    assert "<img" in made.html()


def test_films_of_different_scenarios_are_not_put_together(films):
    _, rough, calm = films
    with pytest.raises(ValueError, match="one and the same scenario"):
        video.side_by_side({"rl": rough[0], "isa": calm[1]})


def test_choice_of_scenarios_is_by_rule():
    table = synthetic_table()
    chosen = video.choose_scenarios(table, "isa", "rl", 3)
    rl, isa = (evaluate.select(table, policy=name) for name in ("rl", "isa"))
    saved = dict(
        zip(
            rl["scenario"].to_pylist(),
            evaluate.numbers(rl, "cost") - evaluate.numbers(isa, "cost"),
            strict=True,
        )
    )
    assert saved[chosen[0][0]] == max(saved.values())
    median = np.median(list(saved.values()))
    distances = sorted(abs(value - median) for value in saved.values())
    assert [abs(saved[name] - median) for name, _ in chosen[1:]] == distances[:2]
    assert len({name for name, _ in chosen}) == 3
    assert chosen == video.choose_scenarios(table, "isa", "rl", 3)


def test_real_homes_are_drawn_again_at_the_size_of_the_video():
    env = HomeVecEnv("ObjNav", num_envs=2, resolution=32, horizon=4)
    scenarios = [sample_scenario("ObjNav", seed, "val", pool=env.pool, prove=False) for seed in (1, 2)]
    episodes, films = video.record(env, ConstantPolicy(3), scenarios, size=96)
    again, _ = video.record(env, ConstantPolicy(3), scenarios[:1], size=96)
    assert np.array_equal(again[0].costs, episodes[0].costs)
    seen = []
    for film in films:
        pictures = np.stack([frame.pictures for frame in film.frames])
        assert pictures.shape == (4, 2, 96, 96, 3)
        # turning by 30 degrees changes the picture, and a room is more than one colour
        assert all(np.abs(np.diff(pictures[:, camera].astype(int), axis=0)).mean() > 1 for camera in (0, 1))
        assert pictures[:, 0].std() > 5
        seen.append(pictures)
    assert not np.array_equal(seen[0], seen[1])
    # the film shows what the policy saw, only finer
    env.reset(np.array([True, False]), scenarios[:1])
    step = env.step(np.array([3, 3]), np.array([True, False]))
    small = np.asarray(Image.fromarray(seen[0][0, 0]).resize((32, 32), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - step.observation.nav[0]).mean() < 12
