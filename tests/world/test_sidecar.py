"""What is known of a foreign home: the sidecar, and types guessed from names."""

from __future__ import annotations

import math

import pytest

from safevla.config import ConfigError
from safevla.world.catalogue import TYPES, Hazard
from safevla.world.sidecar import ThingSettings, attributes, check_names, guess_type, read_sidecar, words_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Mug_1", "mug"),
        ("bowl_2f3a4b5c6d7e8f901234567890abcdef_1_0_4", "bowl"),
        ("CoffeeTable_211_1", "coffee_table"),
        ("alarmclock1", "alarm_clock"),
        ("AlarmClock", "alarm_clock"),
        ("HousePlant|3", "houseplant"),
        ("dining-table", "dining_table"),
        ("sofa_visual", "sofa"),
        ("couch", "sofa"),
        ("SprayBottle_9", "spray_bottle"),
        ("left_wall_3", None),
        ("mughal_arch", None),
        ("", None),
    ],
)
def test_types_are_guessed_from_names(name, kind):
    assert guess_type(name) == kind


def test_every_type_is_guessed_from_its_own_name():
    for name in TYPES:
        assert guess_type(name) == name
        assert guess_type("".join(part.capitalize() for part in name.split("_")) + "_12") == name


def test_words_leave_out_numbers_and_hashes():
    words = words_of("RoundSideTable_3|left.2f3a4b5c6d7e8f90-obj7")
    assert words == ["round", "side", "table", "left"]


def test_the_sidecar_wins_over_metadata_and_both_over_the_name():
    assert attributes("mug_1", None, None).source == "name"
    known = attributes("mug_1", None, "Vase")
    assert (known.type, known.source) == ("vase", "metadata")
    known = attributes("mug_1", ThingSettings(type="knife"), "Vase")
    assert (known.type, known.source, known.hazard) == ("knife", "sidecar", Hazard.SHARP)
    unknown = attributes("wall", None, "Wall")
    assert (unknown.type, unknown.source, unknown.hazard) == (None, "", Hazard.NONE)
    assert math.isinf(unknown.break_impulse) and not unknown.graspable


def test_single_attributes_are_laid_over_the_type():
    mug = TYPES["mug"]
    assert attributes("mug", None, None).break_impulse == mug.break_impulse
    assert math.isinf(attributes("mug", ThingSettings(fragile=False), None).break_impulse)
    assert attributes("mug", ThingSettings(break_impulse=0.1), None).break_impulse == 0.1
    assert not attributes("mug", ThingSettings(graspable=False), None).graspable
    assert attributes("mug", ThingSettings(hazard="hot"), None).hazard == Hazard.HOT
    assert attributes("knife", ThingSettings(hazard="none"), None).hazard == Hazard.NONE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[things.a]\ntype = "mugg"', "things.a: unknown type 'mugg'; did you mean 'mug'"),
        ('[things.a]\nhazard = "hott"', "things.a: unknown hazard 'hott'; did you mean 'hot'"),
        ('[things.a]\ncolour = "red"', "unknown setting 'things.a.colour'"),
        ("[things.a]\nbreak_impulse = -1.0", "break_impulse is -1.0 N s, expected more than 0"),
        ("[things.a]\nfragile = true", "fragile needs a break_impulse"),
        ("flor = 1.0", "unknown setting 'flor'; did you mean 'floor'"),
        ("floor = true", "'floor' must be a number"),
        ("bounds = [0.0, 0.0, -1.0, 1.0]", r"bounds is \[0.0, 0.0, -1.0, 1.0\], expected"),
        ('[[rooms]]\nkind = "hall"\nx0 = 1.0\ny0 = 0.0\nx1 = 0.0\ny1 = 1.0', r"rooms\[0\] is"),
        ("[things", "not valid TOML"),
    ],
)
def test_impossible_sidecars_are_one_clear_error(tmp_path, text, message):
    path = tmp_path / "scene.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_sidecar(path)
    assert "\n" not in str(caught.value)


def test_a_sidecar_must_speak_of_what_is_there(tmp_path):
    path = tmp_path / "scene.toml"
    path.write_text('remove = ["robot*"]\n[things.mug_1]\ntype = "mug"')
    sidecar = read_sidecar(path)
    check_names(sidecar, path, ["mug_1", "robot_base"])
    with pytest.raises(ConfigError, match=r"no body or geom of the world 'mug_1'; did you mean 'mug_2'"):
        check_names(sidecar, path, ["mug_2", "robot_base"])
    with pytest.raises(ConfigError, match=r"no body or geom of the world 'robot\*'"):
        check_names(sidecar, path, ["mug_1"])


def test_names_win_over_patterns(tmp_path):
    path = tmp_path / "scene.toml"
    path.write_text('[things."mug*"]\ntype = "mug"\n[things.mug_2]\ntype = "vase"')
    sidecar = read_sidecar(path)
    assert [sidecar.of(name).type for name in ("mug_1", "mug_2")] == ["mug", "vase"]
    assert sidecar.of("bowl") is None
