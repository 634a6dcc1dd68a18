"""Labels agree with what is drawn, losses prefer the truth, a short run learns, resumes, is reproducible."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from safevla.policy.checkpoint import load_policy
from safevla.policy.presets import PRESETS, make_policy
from safevla.pretrain import perception
from safevla.pretrain.perception import Trainer, draw_queries, load_encoder, pretrain
from safevla.pretrain.perception_data import TARGET_CATEGORIES, ViewSampler, phrases
from safevla.pretrain.perception_metrics import colour_figures, curve, detection_table, peaks
from safevla.pretrain.settings import PerceptionConfig
from safevla.tasks.labels import MASKS
from safevla.world.catalogue import CATEGORIES

TINY = PerceptionConfig(
    pictures=96, batch=16, homes=2, workers=1, preset="tiny-64", precision="fp32", validation_pictures=50
)


@pytest.fixture(scope="module")
def batch():
    return ViewSampler(0, homes=3).draw(40)


def test_same_seed_same_pictures(batch):
    again, other = ViewSampler(0, homes=3).draw(40), ViewSampler(1, homes=3).draw(40)
    for name in ("images", "counts", "masks", "depth", "distance", "asked", "asked_counts"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(again, name))
    assert (batch.images != other.images).any()


def test_labels_agree_with_each_other(batch):
    assert batch.images.std() > 10 and batch.camera.tolist() == [0, 1] * 20
    pixels = batch.counts.sum((2, 3), dtype=np.int64)
    assert batch.counts.max() == 16 and batch.masks.max() == 64
    assert ((pixels > 0) == np.isfinite(batch.distance)).all()
    assert (pixels.sum(1) <= 112 * 112).all() and (pixels > 0).sum(1).mean() > 1.5
    patches = batch.counts.sum(1, dtype=np.int64).reshape(40, 14, 2, 14, 2).sum((2, 4))
    assert (patches + batch.masks[:, MASKS.index("floor")] <= 64).all()
    assert (np.log(0.1) <= batch.depth + 1e-4).all() and (batch.depth <= np.log(12) + 1e-4).all()
    # The floor comes nearer toward the lower edge of a picture.
    floor = batch.masks[:, MASKS.index("floor")] > 50
    assert batch.depth[:, 10:][floor[:, 10:]].mean() < batch.depth[:, :6][floor[:, :6]].mean()


def test_objects_are_looked_at_more_often_than_by_chance(batch):
    small = [CATEGORIES.index(name) for name in ("mug", "apple", "bowl", "vase", "spray_bottle")]
    assert (batch.counts[:, small].sum((2, 3)) >= 12).any(1).mean() > 0.15


def test_focus_brings_the_robot_near_what_it_may_be_sent_for(batch):
    near = ViewSampler(0, homes=3, focus=1.0).draw(40)
    columns = [CATEGORIES.index(name) for name in ("mug", "apple", "bowl", "vase", "spray_bottle", "laptop")]

    def well_seen(pictures):
        return (pictures.counts[:, columns].sum((2, 3), dtype=int) >= 60).any(1).mean()

    assert well_seen(near) > 1.3 * well_seen(batch)
    assert near.distance[:, columns].min(1).min() < 1.0


def test_what_is_held_is_before_the_manipulation_camera(batch):
    held = ViewSampler(0, homes=3, focus=1.0, held=1.0).draw(40)
    columns = [CATEGORIES.index(name) for name in TARGET_CATEGORIES]

    def near(pictures):
        return (pictures.distance[pictures.camera == 1][:, columns] < 0.8).any(1).mean()

    assert near(held) > 0.4 > 2 * near(batch)


def test_repainted_pictures_show_the_same_things_in_other_colours():
    sampler = ViewSampler(0, homes=2, repaint=1.0)
    drawn = sampler.draw(40)
    assert (drawn.asked == -1).all() and not drawn.asked_counts.any()  # no colour has its name any more
    assert (drawn.counts.any((2, 3)).sum(1)).mean() > 1.5
    stage = sampler._stages[0]
    robot = np.flatnonzero(np.asarray(stage.scene.geom_entity)[stage.mesh.slots["geom"]] < 0)
    channels = ["red", "green", "blue"]
    own = np.array(stage.mesh.slots[channels].tolist())
    for mesh in stage.painted:
        np.testing.assert_array_equal(mesh.vertices, stage.mesh.vertices)
        np.testing.assert_array_equal(mesh.slots["geom"], stage.mesh.slots["geom"])
        moved = np.abs(np.array(mesh.slots[channels].tolist()) - own).max(1)
        assert (moved > 0.05).mean() > 0.5 and (moved[robot] == 0.0).any()
    plain = ViewSampler(0, homes=2)
    plain.draw(2)
    assert not plain._stages[0].painted


def test_queries_by_colour_mean_a_part_of_their_category(batch):
    rows, queries = np.nonzero(batch.asked[:, :, 0] >= 0)
    asked, meant = batch.asked[rows, queries], batch.asked_counts[rows, queries]
    assert len(asked) >= 20 and not batch.asked_counts[batch.asked[:, :, 0] < 0].any()
    whole = batch.counts[rows, asked[:, 0]]
    assert (meant <= whole).all() and whole.any((1, 2)).all()
    # Some are meant and some are not there: their category is, in another colour.
    assert 0.5 < meant.any((1, 2)).mean() < 0.95


def test_gripper_is_seen_by_the_manipulation_camera():
    drawn = ViewSampler(3, homes=2).draw(60)
    seen = drawn.masks[:, MASKS.index("gripper")].sum((1, 2)) > 5
    assert seen[drawn.camera == 1].mean() > 0.4 > seen[drawn.camera == 0].mean()


def test_phrases():
    assert {"spray bottle", "a spray bottle", "atomizer", "search for a spray bottle"} <= set(
        phrases("spray_bottle")
    )
    assert "fetch a spray bottle" not in phrases("spray_bottle")  # held out


def test_queries_are_the_targets_then_mostly_what_is_seen(batch):
    chosen = draw_queries(batch.counts, np.random.default_rng(0))
    assert chosen.shape == (40, perception.QUERIES)
    target = np.array([name in TARGET_CATEGORIES for name in CATEGORIES])
    present = batch.counts.any((2, 3))
    for row in chosen:
        assert len(set(row)) == perception.QUERIES
        assert set(row[: target.sum()]) == set(np.flatnonzero(target))
    others = present & ~target
    asked = np.array([others[row, kinds].sum() for row, kinds in enumerate(chosen)])
    room = perception.QUERIES - target.sum()
    assert asked.sum() > 0.5 * np.minimum(others.sum(1), room).sum()
    assert (asked < room).mean() > 0.3  # something is asked for that is not there


def test_everything_is_asked_for_where_it_is_not():
    nothing = np.zeros((400, len(CATEGORIES), 2, 2), np.uint8)
    chosen = draw_queries(nothing, np.random.default_rng(0))
    asked = np.bincount(chosen.ravel(), minlength=len(CATEGORIES)) / len(chosen)
    assert asked.min() > 0.05


def test_match_loss_prefers_the_truth_and_weighs_small_things():
    pixels = torch.zeros(1, 2, 8, 8)
    pixels[0, 0, :4, :4] = 16
    pixels[0, 1, 7, 7] = 5
    pixels[0, 1, 0, 0] = 1  # neither yes nor no
    truth = torch.where(pixels >= 2, 4.0, -4.0)
    right = perception.match_loss(truth, pixels)
    assert right < 0.1 * perception.match_loss(-truth, pixels)
    no_large, no_small, unsure = truth.clone(), truth.clone(), truth.clone()
    no_large[0, 0], no_small[0, 1], unsure[0, 1, 0, 0] = -4.0, -4.0, 4.0
    ratio = perception.match_loss(no_large, pixels) / perception.match_loss(no_small, pixels)
    assert 1 < ratio < 5  # 16 cells against 1
    assert torch.equal(perception.match_loss(unsure, pixels), right)


def test_precision_and_recall_by_hand():
    precision, recall, threshold = curve(np.array([0.9, 0.5]), np.array([0.7]), 2)
    np.testing.assert_allclose(precision, [1, 0.5, 2 / 3])
    np.testing.assert_allclose(recall, [0.5, 0.5, 1])
    np.testing.assert_allclose(threshold, [0.9, 0.7, 0.5])
    counts = np.zeros((1, 1, 6, 6), np.uint8)
    counts[0, 0, 2, 2] = 5
    scores = np.zeros((1, 1, 6, 6))
    scores[0, 0, 3, 3], scores[0, 0, 5, 5] = 0.8, 0.6  # beside the thing, and elsewhere
    assert [float(part[0, 0]) for part in peaks(scores, counts)] == pytest.approx([0.8, 0.6])


def test_a_detector_that_sees_no_colours_is_found_out():
    counts = np.zeros((2, 4, 4), np.uint8)
    counts[0, 0, 0] = 16  # the red mug of the first picture; there is a blue one at (3, 3) in both
    red, mug = np.zeros((2, 4, 4)), np.zeros((2, 4, 4))
    red[0, 0, 0], red[:, 3, 3] = 0.9, 0.2
    mug[0, 0, 0], mug[:, 3, 3] = 0.7, (0.8, 0.9)
    figures = colour_figures(red, mug, counts)
    assert figures["things"] == 1 and figures["ap"] == 1.0
    assert figures["ap_noun"] == pytest.approx(1 / 3)


def test_perfect_and_blind_detectors(batch):
    perfect = detection_table((batch.counts > 0).astype(np.float16), batch.counts, batch.distance)
    assert perfect["category/" + CATEGORIES[batch.counts.any((2, 3)).sum(0).argmax()]]["ap"] == 1.0
    blind = detection_table(np.full(batch.counts.shape, 0.5, np.float16), batch.counts, batch.distance)
    assert blind["all"]["recall_at_p70/all"] <= perfect["all"]["recall_at_p70/all"]
    assert blind["all"]["ap/all"] < 0.5 < perfect["all"]["ap/all"]


def test_ten_pictures_can_be_learned():
    """The loss on one repeated batch falls to a fraction: gradients reach everything that must learn."""
    trainer = Trainer(replace(TINY, learning_rate=3e-3))
    trainer.begin()
    fixed = trainer.sampler.draw(16)
    trainer.sampler.draw = lambda count: fixed
    first = trainer.step(0.0)
    trainer.pictures = 100_000  # past the warm-up
    for _ in range(60):
        last = trainer.step(0.0)
    assert last["match"] < 0.5 * first["match"]
    assert last["depth"] < 0.5 * first["depth"]
    assert last["floor"] < 0.7 * first["floor"] and last["masks"] < 0.5 * first["masks"]


@pytest.fixture(autouse=True)
def small_preset(monkeypatch):
    """A preset whose encoder has no block at a quarter of the picture's size."""
    tiny = PRESETS["tiny-64"]
    monkeypatch.setitem(PRESETS, "small", replace(tiny, encoder=replace(tiny.encoder, fine_blocks=0)))


def weights(folder):
    return load_encoder(folder / "encoder.pt").state_dict()


def test_runs_are_reproducible_and_leave_what_is_promised(tmp_path):
    rows = []
    pretrain(TINY, tmp_path / "one", report=rows.append)
    pretrain(TINY, tmp_path / "two")
    other = weights(tmp_path / "two")
    assert all(torch.equal(value, other[name]) for name, value in weights(tmp_path / "one").items())
    table = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert table["pictures"] == 96 and "ap/targets" in table["all"] and rows
    with pytest.raises(ValueError, match="resume it or choose another folder"):
        pretrain(TINY, tmp_path / "one")


def test_resume_goes_on(tmp_path):
    pretrain(TINY, tmp_path)
    before = weights(tmp_path)
    pretrain(replace(TINY, pictures=128), tmp_path, resume=True)
    assert json.loads((tmp_path / "metrics.json").read_text())["pictures"] == 128
    assert any(not torch.equal(before[name], value) for name, value in weights(tmp_path).items())


def test_a_run_can_start_from_an_earlier_one_with_fewer_blocks(tmp_path):
    pretrain(replace(TINY, preset="small"), tmp_path / "first")
    earlier = Trainer(replace(TINY, preset="small", start=str(tmp_path / "first")))
    later = Trainer(replace(TINY, start=str(tmp_path / "first")))
    assert len(later.net.fine_blocks) > len(earlier.net.fine_blocks)
    images = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
    camera = torch.arange(4) % 2
    ours, theirs = later.net.eval()(images, camera), earlier.net.eval()(images, camera)
    torch.testing.assert_close(ours.cells, theirs.cells, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.heads, theirs.heads, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="cannot start from"):
        pretrain(replace(TINY, start=str(tmp_path / "nowhere")), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_run_can_start_from_a_policy_whose_encoder_was_folded():
    trainer = Trainer(replace(TINY, preset="tiny-memory", start="chores"))
    policy = load_policy("chores")
    images = torch.from_numpy(ViewSampler(5, resolution=policy.resolution, homes=2).draw(8).images)
    camera = torch.arange(8) % 2
    assert len(trainer.net.fine_blocks) >= len(policy.encoder.fine_blocks)
    theirs = policy.encoder.float()(images, camera)
    times = trainer.resolution // policy.resolution
    images = images.repeat_interleave(times, 1).repeat_interleave(times, 2)
    ours = trainer.net.eval()(images, camera)
    asked = trainer.book.nouns.expand(8, -1, -1)
    said = policy.encoder.match(theirs.cells, asked)
    torch.testing.assert_close(trainer.net.match(ours.cells, asked), said, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(ours.heads, theirs.heads, atol=1e-3, rtol=1e-3)
    # Its statistics are those of pictures, so that training begins where the policy's encoder stands.
    still = trainer.net.train()(images, camera)
    assert (still.heads - theirs.heads).abs().mean() < 0.2 * theirs.heads.abs().mean()
    with pytest.raises(ValueError, match="cannot start from random: it is neither"):
        Trainer(replace(TINY, start="random"))


def test_two_workers_train_one_net(tmp_path):
    rows = []
    pretrain(replace(TINY, workers=2, pictures=64), tmp_path, report=lambda row: rows.append(row))
    assert [row["pictures"] for row in rows] == [64]
    policy = make_policy("tiny-64")
    policy.set_encoder(load_encoder(tmp_path / "encoder.pt"))
    ours, theirs = policy.encoder.state_dict(), weights(tmp_path)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-3, rtol=1e-3)
    assert json.loads((tmp_path / "metrics.json").read_text())["pictures"] == 64


def test_bad_input_is_one_clear_line(tmp_path):
    for changes in (
        {"batch": 15},
        {"focus": 1.5},
        {"held": -0.1},
        {"repaint": -0.1},
        {"precision": "fp16"},
        {"minutes": 0, "pictures": 0},
        {"workers": 0},
    ):
        with pytest.raises(ValueError):
            replace(TINY, **changes)
    with pytest.raises(ValueError, match="nothing to resume"):
        pretrain(TINY, tmp_path, resume=True)
    (tmp_path / "state.pt").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="cannot resume"):
        pretrain(TINY, tmp_path, resume=True)
    with pytest.raises(ValueError, match="did you mean 'tiny'"):
        pretrain(replace(TINY, workers=2, preset="tinny"), tmp_path / "new")
    (tmp_path / "encoder.pt").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="cannot read an encoder"):
        load_encoder(tmp_path / "encoder.pt")
    with pytest.raises(ValueError, match="even number"):
        ViewSampler(0).draw(3)
