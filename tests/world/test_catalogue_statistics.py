import json
from importlib import resources

import pytest

from safevla.world.catalogue import CORE, TYPES
from safevla.world.catalogue_statistics import FILE, RECEPTACLES, SOURCES, all_statistics, found_on

# Machines are modelled smaller, for our counters; their towels hang, their newspapers lie otherwise.
OTHER_SIZE = {"coffee_machine", "microwave", "dog_bed", "towel", "newspaper", "toilet_paper"}
OTHER_MASS = {"bottle"}  # ours is full


def test_the_file_names_its_source_and_licence():
    data = json.loads((resources.files("safevla") / "data" / FILE).read_text())
    assert "procthor" in data["source"] and "Apache" in data["source"]
    assert set(SOURCES.values()) <= set(data["types"])


def test_sources_are_types_of_the_catalogue():
    assert set(SOURCES) <= set(TYPES) and set(RECEPTACLES) <= set(TYPES)
    assert len(SOURCES) >= 60


@pytest.mark.parametrize("name", sorted(set(SOURCES) - set(CORE) - OTHER_SIZE))
def test_sizes_and_masses_of_added_types_are_those_counted(name: str):
    kind, known = TYPES[name], all_statistics()[name]
    ours = sorted(kind.size[:2])
    theirs = sorted((known.width[1], known.depth[1]))
    assert all(a == pytest.approx(b, rel=0.45, abs=0.06) for a, b in zip(ours, theirs, strict=True)), (
        ours,
        theirs,
    )
    assert kind.size[2] == pytest.approx(known.height[1], rel=0.45, abs=0.06)
    # Masses of movable things; some of theirs are placeholders of 1 kg.
    if known.mass is not None and kind.movable and known.mass != 1.0 and name not in OTHER_MASS:
        assert kind.mass == pytest.approx(known.mass, rel=0.65), (kind.mass, known.mass)
    if known.breakable and kind.movable:
        assert kind.fragile


def test_spreads_hold_the_nominal_size_and_stay_near_it():
    for known in all_statistics().values():
        for low, high in known.spread():
            assert 0.85 <= low <= 1.0 <= high <= 1.18


def test_what_is_found_where():
    assert found_on("mug", "kitchen_counter") > 0.05
    assert found_on("pillow", "sofa") > found_on("pillow", "kitchen_counter")
    assert found_on("toy_block", "desk") == 0.0  # unknown there
