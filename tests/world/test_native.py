"""Reading MuJoCo's memory and calling its functions by address: the same as the bindings, or not at all."""

import mujoco
import numpy as np
import pytest
from room import room

from safevla.world import native


@pytest.fixture
def forget():
    """Let `functions` find out anew, before and after."""
    native.functions.cache_clear()
    yield
    native.functions.cache_clear()


def shifted(**fields):
    layout, size = native._layout()
    return lambda: (layout._replace(**fields), size)


def test_this_platform_can_be_relied_on():
    assert native.functions() is not None


@pytest.mark.parametrize("field", native.Layout._fields)
def test_a_wrong_description_is_noticed(field, forget, monkeypatch):
    layout, _ = native._layout()
    monkeypatch.setattr(native, "_layout", shifted(**{field: getattr(layout, field) + 8}))
    assert native.functions() is None


def test_a_missing_library_is_no_error(forget, monkeypatch, tmp_path):
    monkeypatch.setattr(native, "_library", lambda: tmp_path / "libmujoco.so")
    assert native.functions() is None


def test_a_missing_function_is_no_error(forget, monkeypatch):
    monkeypatch.setattr(native, "_library", lambda: None)  # this process itself, which exports none of them
    monkeypatch.setattr(native.ctypes, "CDLL", lambda _: object())
    assert native.functions() is None


def test_contacts_in_memory_are_those_of_the_bindings():
    model = room().model
    data = mujoco.MjData(model)
    memory, counts = native.memory_of(model, data), []
    for _ in range(200):
        mujoco.mj_step(model, data)
        read, said = native.contacts_in(memory), native.contacts_by_bindings(data)
        for name, one, other in zip(native.Contacts._fields, read, said, strict=True):
            assert one.dtype == other.dtype and one.shape == other.shape, name
            np.testing.assert_array_equal(one, other, err_msg=name)
        counts.append(data.ncon)
    assert max(counts) > min(counts) and max(counts) >= 8


def test_room_in_the_arena(monkeypatch):
    model = room().model
    data = mujoco.MjData(model)
    memory = native.memory_of(model, data)
    for _ in range(50):
        mujoco.mj_step(model, data)
    share = data.maxuse_arena / data.narena
    assert memory.has_room() and 0 < share < native.FULL_ARENA
    monkeypatch.setattr(native, "FULL_ARENA", 0.9 * share)
    assert not memory.has_room()
