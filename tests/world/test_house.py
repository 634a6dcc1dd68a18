import dataclasses
import json

import numpy as np
import pytest

from golden import homes
from safevla.types import KNOBS, Knobs
from safevla.world.catalogue import TYPES, Hazard
from safevla.world.furnish import PICK_UP_TARGETS
from safevla.world.house import SLOTS, HouseSpec, generate

ALL = Knobs(1.0, 1.0, 1.0, 1.0, 1.0)
SEEDS = range(25)


def _placed(spec: HouseSpec, component: str | None) -> list[str]:
    return [item.type for item in (*spec.objects, *spec.furniture) if item.component == component]


@pytest.mark.parametrize("knobs", [Knobs(), ALL], ids=["none", "all"])
def test_same_arguments_give_the_same_house(knobs: Knobs):
    assert generate(5, knobs=knobs) == generate(5, knobs=knobs)
    assert generate(5, knobs=knobs) != generate(6, knobs=knobs)


def test_homes_of_class_s_are_those_that_the_shipped_policies_know():
    kept = json.loads(homes.FILE.read_text())
    assert homes.hashes() == kept


def test_splits_differ():
    houses = [generate(3, split=split) for split in ("train", "val", "test")]
    assert len({house.rooms for house in houses}) == 3


def test_train_never_shows_the_colours_held_out():
    held_out = [
        item
        for seed in SEEDS
        for item in generate(seed, knobs=ALL).objects
        if item.colour == len(TYPES[item.type].colours) - 1
    ]
    assert not held_out
    other = [item for seed in SEEDS for item in generate(seed, split="test").objects]
    assert any(item.colour == len(TYPES[item.type].colours) - 1 for item in other)


@pytest.mark.parametrize("knobs", [Knobs(), ALL], ids=["none", "all"])
def test_json_round_trip_is_exact(knobs: Knobs):
    for seed in SEEDS:
        spec = generate(seed, knobs=knobs)
        again = HouseSpec.from_json(spec.to_json())
        assert again == spec
        assert again.to_json() == spec.to_json()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"knobs": 3}'])
def test_other_text_is_no_house(text: str):
    with pytest.raises(ValueError, match="to_json"):
        HouseSpec.from_json(text)


def test_json_with_unknown_fields_is_no_house():
    data = json.loads(generate(0).to_json()) | {"pool": True}
    with pytest.raises(ValueError, match="to_json"):
        HouseSpec.from_json(json.dumps(data))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size_class": "XL"}, "class 'XL', use S or M or L"),
        ({"split": "dev"}, "train, val, test"),
        ({"seed": -1}, "0 or more"),
    ],
)
def test_bad_arguments(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        generate(**({"seed": 0} | arguments))


def test_houses_fit_their_slots():
    slots = SLOTS["S"]
    for seed in SEEDS:
        for knobs in (Knobs(), ALL):
            spec = generate(seed, knobs=knobs)
            assert 1 <= len(spec.rooms) <= slots.rooms
            assert len(spec.walls) <= slots.walls
            assert len(spec.furniture) <= slots.furniture
            assert len(spec.objects) <= slots.objects


def test_every_house_offers_targets():
    for seed in range(60):
        spec = generate(seed)
        graspable = {item.type for item in spec.objects} & set(PICK_UP_TARGETS)
        assert len(graspable) >= 3, seed


@pytest.mark.parametrize("name", KNOBS)
def test_a_knob_places_its_component_and_only_that(name: str):
    most = 0
    for seed in SEEDS:
        assert not _placed(generate(seed), name)
        spec = generate(seed, knobs=Knobs(**{name: 1.0}))
        placed = _placed(spec, name)
        assert placed, (name, seed)
        most = max(most, len(placed))
        assert all(not _placed(spec, other) for other in KNOBS if other != name)
        if name == "fragile_collection":
            assert len(placed) >= 3 and all(TYPES[kind].fragile for kind in placed)
        if name == "dangerous_equipment":
            assert all(TYPES[kind].hazard != Hazard.NONE for kind in placed)
    half = [len(_placed(generate(seed, knobs=Knobs(**{name: 0.3})), name)) for seed in SEEDS]
    assert min(half) >= 1 and max(half) < most


def test_a_knob_leaves_the_rest_of_the_house_alone():
    for seed in SEEDS:
        plain, full = generate(seed), generate(seed, knobs=ALL)
        assert full.rooms == plain.rooms and full.walls == plain.walls
        assert full.objects[: len(plain.objects)] == plain.objects
        changed = [a.type for a, b in zip(plain.furniture, full.furniture, strict=True) if a != b]
        assert changed in ([], ["stove"])


def test_ordinary_homes_have_no_hazard_and_no_fragile_collection():
    for seed in SEEDS:
        spec = generate(seed)
        assert all(TYPES[item.type].hazard == Hazard.NONE for item in (*spec.objects, *spec.furniture))
        fragile = np.array([item.position[:2] for item in spec.objects if TYPES[item.type].fragile])
        for place in fragile:
            assert np.count_nonzero(np.linalg.norm(fragile - place, axis=1) < 0.4) <= 2


def test_furniture_does_not_overlap():
    for seed in SEEDS:
        spec = generate(seed)
        boxes = []
        for item in spec.furniture:
            if item.type in ("rug", "television"):
                continue
            half = np.array(TYPES[item.type].size[:2]) * item.scale[:2] / 2
            if abs(np.sin(item.yaw)) > 0.5:
                half = half[::-1]
            boxes.append((np.array(item.position[:2]) - half, np.array(item.position[:2]) + half))
        for i, (low, high) in enumerate(boxes):
            for other_low, other_high in boxes[:i]:
                assert (low >= other_high).any() or (high <= other_low).any(), seed


def test_specs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        generate(0).seed = 1  # type: ignore[misc]
