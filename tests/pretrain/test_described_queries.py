import numpy as np

from safevla.pretrain.described_queries import DESCRIBED, count_described, draw_described, geom_colours
from safevla.tasks.colours import COLOURS
from safevla.tasks.matching import entity_colours
from safevla.types import Knobs
from safevla.world.catalogue import CATEGORIES
from safevla.world.simulator import HousePool

MUG, VASE, BOWL = (CATEGORIES.index(name) for name in ("mug", "vase", "bowl"))
RED, BLUE = COLOURS.index("red"), COLOURS.index("blue")
# Geoms 0 and 1 are a red and a blue mug, 2 a red vase, 3 a blue bowl, 4 one without a clear colour, 5 a wall.
CATEGORY = np.array([MUG, MUG, VASE, BOWL, BOWL, -1], np.int32)
COLOUR = np.array([RED, BLUE, RED, BLUE, -1, -1], np.int32)


def picture(*geoms):
    """Return ids with a block of 8 x 8 pixels of each geom side by side in the first rows."""
    ids = np.full((112, 112), 5, np.int32)
    for index, geom in enumerate(geoms):
        ids[:8, 8 * index : 8 * index + 8] = geom
    return ids


def test_only_what_has_a_clear_colour_is_asked_for():
    rng, seen = np.random.default_rng(0), set()
    for _ in range(200):
        asked = draw_described(picture(0, 1, 2, 3, 4), CATEGORY, COLOUR, rng)
        assert asked.shape == (DESCRIBED, 2) and (asked[:, 0] >= 0).all()
        seen |= {(int(kind), int(name)) for kind, name in asked}
    kinds = {kind for kind, _ in seen}
    assert kinds == {MUG, VASE}
    assert {(MUG, RED), (MUG, BLUE), (VASE, RED)} <= seen
    assert any(kind == VASE and name != RED for kind, name in seen)  # a colour that no vase here has
    nothing = draw_described(picture(3, 4), CATEGORY, COLOUR, rng)
    assert (nothing == -1).all()


def test_pixels_of_other_colours_are_not_meant():
    asked = np.array([[MUG, RED], [VASE, BLUE], [-1, -1]])
    counts = np.ones((3, 28, 28), np.uint8)
    count_described(picture(0, 1, 2), CATEGORY, COLOUR, asked, counts)
    assert (counts[0, :2, :2] == 16).all() and counts[0].sum() == 64
    assert not counts[1:].any()


def test_colours_of_the_palette_are_those_of_the_things_themselves():
    """What the encoder is taught to call red is what an instruction calls red."""
    same = []
    for size_class, seed in (("S", 0), ("S", 1), ("M", 0)):
        settled = HousePool(1).get(seed, size_class, "train", Knobs())
        scene, colours = settled.scene, geom_colours(settled.scene)
        things = np.flatnonzero(scene.present & (scene.category >= 0))
        for entity, name in zip(things, entity_colours(settled, things), strict=True):
            own = {int(colour) for colour in colours[scene.geom_entity == entity]}
            same.append(own == {COLOURS.index(name) if name else -1})
        assert (colours[scene.geom_entity < 0] == -1).all()
    assert len(same) > 60 and np.mean(same) > 0.97
