import pytest

from safevla.tasks.descriptions import described, descriptions, parse
from safevla.tasks.instructions import TARGETS


def test_a_described_noun_reads_as_people_say_it():
    assert described("mug", "") == "mug"
    assert described("spray_bottle", "colour:blue") == "blue spray bottle"
    assert described("mug", "size:big") == "big mug"
    assert described("mug", "in:living_room") == "mug in the living room"
    assert described("apple", "on:dining_table") == "apple on a dining table"


def test_only_what_can_be_is_said():
    assert {"colour:red", "colour:blue", "in:kitchen", "on:desk"} <= set(descriptions("mug"))
    assert not any(which.startswith("colour") for which in descriptions("bowl"))  # as much inside as outside
    assert not any(which.startswith("on:") for which in descriptions("basketball"))  # lies on the floor
    for target in TARGETS["ObjNav"]:
        assert all(parse(which) for which in descriptions(target))
        assert len(set(descriptions(target))) == len(descriptions(target))


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("red", "'red' describes nothing; write it like colour:red"),
        ("colour:redd", "unknown colour 'redd'; did you mean 'red'"),
        ("in:garden", "unknown in 'garden'"),
        ("on:floor", "unknown on 'floor'"),
    ],
)
def test_anything_else_is_one_clear_error(which, message):
    with pytest.raises(ValueError, match=message):
        parse(which)
