"""MuJoCo's C functions for compiled kernels, so that a whole action runs without the interpreter lock.

The Python bindings take the lock back after every substep, and reading the contacts needs it: then two
threads are no faster than one. A compiled kernel can call the same functions of the same library by their
address, and read the contacts where MuJoCo leaves them. Where that is, is taken from MuJoCo's own description
of its structures, and `functions` compares what is read there with what the bindings say before anyone relies
on it. Where they differ, or the library is not found, it returns None, and the bindings have to be used.

An error inside a function that is called by its address ends the process, while the bindings raise. The one
that a sound model can run into is a full arena: `Memory.has_room` says when to go back to the bindings.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from safevla.world.compiled import compiled

FULL_ARENA = 0.5  # share of the arena that has been in use at some time, from which the bindings are used
_PROBE_STEPS = 40
_PROBE = """<mujoco><option timestep="0.005" integrator="implicitfast" cone="elliptic"/><worldbody>
<geom name="floor" type="plane" size="2 2 .1"/>
<body pos="0 0 .11"><freejoint/><geom type="box" size=".1 .1 .1"/></body>
<body pos=".05 0 .35"><freejoint/><geom type="sphere" size=".1" condim="4"/></body>
<body pos=".6 0 .06"><freejoint/><geom type="capsule" size=".05 .1" condim="1"/></body>
</worldbody></mujoco>"""
_C_TYPES = {
    "int": ctypes.c_int,
    "size_t": ctypes.c_size_t,
    "uintptr_t": ctypes.c_size_t,
    "uint64_t": ctypes.c_uint64,
    "mjtBool": ctypes.c_uint8,
    "mjtByte": ctypes.c_uint8,
    "mjtNum": ctypes.c_double,
    "mjtSize": ctypes.c_int64,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}


class Functions(NamedTuple):
    """Addresses of C functions that return nothing."""

    step: int  # mj_step(m, d)
    kinematics: int  # mj_kinematics(m, d)
    collision: int  # mj_collision(m, d)
    centres: int  # mj_comPos(m, d)
    cameras: int  # mj_camlight(m, d)
    multiply_poses: (
        int  # mju_mulPose(position, quaternion, position 1, quaternion 1, position 2, quaternion 2)
    )


class Layout(NamedTuple):
    """Where things are in `mjData` and `mjContact`; bytes."""

    contact_count: int  # int
    row_count: int  # int: rows of constraints
    arena: int  # pointer
    arena_size: int  # int64
    arena_used: int  # int64: the most that has been in use
    contacts: int  # pointer into the arena
    forces: int  # pointer into the arena
    contact_size: int  # of one mjContact; the rest are offsets in it
    distance: int
    point: int
    frame: int
    dimension: int
    geoms: int
    first_row: int


class Memory(NamedTuple):
    """The memory of one MjData as arrays. Good while that MjData lives and keeps its arena."""

    model: int  # address of the MjModel
    data: int  # address of the MjData
    arena_address: int
    head_ints: np.ndarray  # int32 view of the mjData structure
    head_words: np.ndarray  # int64 view of the same
    arena: np.ndarray  # float64 view of the arena
    arena_ints: np.ndarray  # int32 view of the same
    layout: Layout

    def has_room(self) -> bool:
        """Return whether the arena is far from full, and is still the one that this was made for."""
        used, size = (
            int(self.head_words[at // 8]) for at in (self.layout.arena_used, self.layout.arena_size)
        )
        same = int(self.head_words[self.layout.arena // 8]) == self.arena_address
        return same and used < FULL_ARENA * size


class Contacts(NamedTuple):
    """The C contacts of a substep."""

    geoms: np.ndarray  # (C, 2) int32
    dims: np.ndarray  # (C,) int32
    addresses: np.ndarray  # (C,) int32 first row in forces, negative when inactive
    distances: np.ndarray  # (C,) m, negative where the geoms overlap
    frames: np.ndarray  # (C, 9), normal first
    points: np.ndarray  # (C, 3)
    forces: np.ndarray  # (rows,)


def contacts_by_bindings(data: mujoco.MjData) -> Contacts:
    """Return the contacts as the Python bindings give them, packed: theirs are views with gaps."""
    contact = data.contact
    parts = (contact.geom, contact.dim, contact.efc_address, contact.dist, contact.frame, contact.pos)
    return Contacts._make([*(np.ascontiguousarray(part) for part in parts), data.efc_force])


@compiled
def contacts_in(memory: Memory) -> Contacts:
    """Return the contacts as they are in memory; forces are a view, the rest is copied."""
    layout, arena, ints = memory.layout, memory.arena, memory.arena_ints
    count = memory.head_ints[layout.contact_count // 4]
    base = memory.head_words[layout.arena // 8]
    start = memory.head_words[layout.contacts // 8] - base
    first_force = (memory.head_words[layout.forces // 8] - base) // 8
    rows = memory.head_ints[layout.row_count // 4]
    geoms = np.empty((count, 2), np.int32)
    dims = np.empty(count, np.int32)
    addresses = np.empty(count, np.int32)
    distances = np.empty(count, np.float64)
    frames = np.empty((count, 9), np.float64)
    points = np.empty((count, 3), np.float64)
    for c in range(count):
        here = start + c * layout.contact_size
        distances[c] = arena[(here + layout.distance) // 8]
        for k in range(9):
            frames[c, k] = arena[(here + layout.frame) // 8 + k]
        for k in range(3):
            points[c, k] = arena[(here + layout.point) // 8 + k]
        dims[c] = ints[(here + layout.dimension) // 4]
        addresses[c] = ints[(here + layout.first_row) // 4]
        for k in range(2):
            geoms[c, k] = ints[(here + layout.geoms) // 4 + k]
    if rows == 0:
        first_force = 0  # the pointer is null then
    return Contacts(
        geoms, dims, addresses, distances, frames, points, arena[first_force : first_force + rows]
    )


@intrinsic  # type: ignore[untyped-decorator]
def call(_context: Any, function: Any, arguments: Any) -> Any:
    """Call the C function at an address with a tuple of addresses; for use in compiled kernels only."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        word = ir.IntType(64)
        count = len(signature.args[1])
        pointer = builder.inttoptr(values[0], ir.FunctionType(ir.VoidType(), [word] * count).as_pointer())
        builder.call(pointer, [builder.extract_value(values[1], k) for k in range(count)])
        return context.get_dummy_value()

    return types.void(types.int64, types.UniTuple(types.int64, len(arguments))), generate


@compiled
def _step(functions: Functions, memory: Memory) -> Contacts:
    call(functions.step, (memory.model, memory.data))
    return contacts_in(memory)


@functools.cache
def functions() -> Functions | None:
    """Return the addresses of MuJoCo's functions, or None where calling them cannot be relied on."""
    try:
        library = ctypes.CDLL(str(_library()))
        names = ("mj_step", "mj_kinematics", "mj_collision", "mj_comPos", "mj_camlight", "mju_mulPose")
        addresses = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in names]
        found = Functions(*addresses)
        return found if all(addresses) and _is_sound(found) else None
    except (OSError, AttributeError, ImportError, KeyError, ValueError, IndexError):
        return None  # no such file, function, description, type or field


def memory_of(model: mujoco.MjModel, data: mujoco.MjData) -> Memory:
    """Return the memory of a model and its data; they have to be kept alive while it is in use."""
    layout, size = _layout()
    head = _words_at(data._address, size)
    begin = int(head[layout.arena // 8])
    arena = _words_at(begin, int(head[layout.arena_size // 8]))
    numbers, ints = arena.view(np.float64), arena.view(np.int32)
    return Memory(model._address, data._address, begin, head.view(np.int32), head, numbers, ints, layout)


def _words_at(address: int, size: int) -> np.ndarray:
    """Return (size / 8,) int64, a view of the memory at an address."""
    memory: Any = (ctypes.c_char * size).from_address(address)
    return np.frombuffer(memory, np.int64, size // 8)


def _library() -> Path:
    """Return the library that the package `mujoco` has loaded: opening it again gives the same one."""
    pattern = {"win32": "mujoco.dll", "darwin": "libmujoco*.dylib"}.get(sys.platform, "libmujoco.so*")
    found = sorted(Path(mujoco.__file__).parent.glob(pattern))
    if len(found) != 1:
        raise OSError(f"expected one library {pattern} beside {mujoco.__file__}, found {len(found)}")
    return found[0]


@functools.cache
def _layout() -> tuple[Layout, int]:
    """Return where things are according to MuJoCo's description of its structures, and the size of mjData."""
    from mujoco.introspect import structs

    data, contact = (_structure(name, structs.STRUCTS) for name in ("mjData", "mjContact"))
    heads = ("ncon", "nefc", "arena", "narena", "maxuse_arena", "contact", "efc_force")
    parts = ("dist", "pos", "frame", "dim", "geom", "efc_address")
    where = [getattr(data, name).offset for name in heads]
    where += [ctypes.sizeof(contact), *(getattr(contact, name).offset for name in parts)]
    layout = Layout._make(where)
    return layout, ctypes.sizeof(data)


def _structure(name: str, described: Any) -> type[ctypes.Structure]:
    """Return the C structure that MuJoCo describes under this name."""

    def c_type(kind: Any) -> Any:
        if hasattr(kind, "extents"):
            inner = c_type(kind.inner_type)
            for extent in reversed(kind.extents):
                inner = inner * extent
            return inner
        if not hasattr(kind, "name"):
            return ctypes.c_void_p
        return _C_TYPES[kind.name] if kind.name in _C_TYPES else _structure(kind.name, described)

    fields = [(field.name, c_type(field.type)) for field in described[name].fields]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def _is_sound(found: Functions) -> bool:
    """Return whether a small scene stepped by address does, bit for bit, what the bindings do and say."""
    model = mujoco.MjModel.from_xml_string(_PROBE)
    if mujoco.MJTNUM_BYTES != 8 or not _is_where_described(model):
        return False
    data, other = mujoco.MjData(model), mujoco.MjData(model)
    memory = memory_of(model, data)
    touched = 0
    for _ in range(_PROBE_STEPS):
        read = _step(found, memory)
        mujoco.mj_step(model, other)
        touched += len(read.dims)
        if data.qpos.tobytes() != other.qpos.tobytes():
            return False
        for said in (contacts_by_bindings(data), contacts_by_bindings(other)):
            if any(one.tobytes() != two.tobytes() for one, two in zip(read, said, strict=True)):
                return False
    return touched > 0


def _is_where_described(model: mujoco.MjModel) -> bool:
    """Return whether sizes and addresses stand where `_layout` says, before anyone goes where they point."""
    layout, size = _layout()
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data)
    mujoco.mj_forward(model, data)
    words = _words_at(data._address, size)
    ints, first_contact = words.view(np.int32), data.contact.dist.ctypes.data - layout.distance
    expected = {
        layout.arena_size: data.narena,
        layout.arena_used: data.maxuse_arena,
        layout.arena: first_contact,
        layout.contacts: first_contact,
        layout.forces: data.efc_force.ctypes.data,
    }
    return (
        all(int(words[at // 8]) == value for at, value in expected.items())
        and int(ints[layout.contact_count // 4]) == data.ncon > 0
        and int(ints[layout.row_count // 4]) == data.nefc > 0
        and int(data.contact.dist.strides[0]) == layout.contact_size
    )
