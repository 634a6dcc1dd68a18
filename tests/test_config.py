from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safevla.config import ConfigError, build, leaves, nest, read_toml, save_toml


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    names: tuple[str, ...] = ("a",)


@dataclass(frozen=True)
class Outer:
    seed: int = 0
    resume: bool = False
    out: str = "runs"
    limit: float | None = None
    inner: Inner = Inner()
    budgets: dict[str, Inner] = field(default_factory=dict)


@given(
    seed=st.integers(-(2**31), 2**31),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    names=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5), max_size=3),
    limit=st.none() | st.floats(0, 1e6),
)
def test_toml_round_trip(tmp_path_factory, seed, rate, names, limit):
    config = Outer(seed=seed, limit=limit, inner=Inner(rate, tuple(names)), budgets={"x y": Inner(rate)})
    path = tmp_path_factory.mktemp("config") / "config.toml"
    save_toml(config, path)
    assert build(Outer, read_toml(path)) == config


def test_later_layers_win_and_text_is_parsed_by_type():
    layers = [{"seed": 1, "inner": {"rate": 1}}, nest({"inner.names": "b,c", "resume": "true", "seed": "7"})]
    assert build(Outer, *layers) == Outer(seed=7, resume=True, inner=Inner(1.0, ("b", "c")))


def test_mappings_dots_and_plain_values_mix():
    layer = nest({"inner": {"rate": 2}, "inner.names": ("b",), "limit": None, "budgets.x": {"rate": "3"}})
    assert build(Outer, {"limit": 4.0}, layer) == Outer(inner=Inner(2.0, ("b",)), budgets={"x": Inner(3.0)})


def test_a_value_cannot_be_a_table_too():
    with pytest.raises(ConfigError, match=r"'inner' is a table of settings, it cannot be '3'"):
        nest({"inner": "3", "inner.rate": "4"})
    with pytest.raises(ConfigError, match=r"'inner' must be a table of settings"):
        build(Outer, nest({"inner.rate": "4", "inner": "3"}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"sead": 1}, "unknown setting 'sead'; did you mean 'seed'?"),
        ({"inner": {"rates": 1}}, "unknown setting 'inner.rates'; did you mean 'rate'?"),
        ({"seed": "three"}, "'seed' must be a whole number, got 'three'"),
        ({"seed": 1.5}, "'seed' must be a whole number"),
        ({"seed": True}, "'seed' must be a whole number"),
        ({"inner": 3}, "'inner' must be a table of settings"),
        ({"inner": {"names": "a"}}, "'inner.names' must be a list"),
        (nest({"inner.rate": "fast"}), "'inner.rate' must be a number, got 'fast'"),
        (nest({"resume": "maybe"}), "'resume' must be true or false"),
    ],
)
def test_bad_settings_are_one_clear_line(data, message):
    with pytest.raises(ConfigError) as caught:
        build(Outer, data)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_malformed_and_missing_files(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("seed = [1,\n")
    with pytest.raises(ConfigError, match=r"bad.toml is not valid TOML"):
        read_toml(tmp_path / "bad.toml")


def test_leaves_are_dotted_and_complete():
    assert list(leaves(Outer)) == ["seed", "resume", "out", "limit", "inner.rate", "inner.names", "budgets"]
