import math
from itertools import pairwise
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from safevla.types import Knobs
from safevla.world.freespace import (
    Grid,
    distance_field,
    empty_clearance,
    inflate,
    line_of_sight,
    local_areas,
    occupancy,
    patch,
)
from safevla.world.freespace_kernels import CELL, CLEARANCE_CAP, descend, flood, stamp_box
from safevla.world.furnish import PICK_UP_TARGETS
from safevla.world.house import generate
from safevla.world.robot import FOOTPRINT_RADIUS
from safevla.world.scene import compile_scene
from safevla.world.simulator import HousePool


def _grid(picture: list[str]) -> Grid:
    """Rows of "#" (blocked) and "." from low to high x; clearance is far from exact and only for searches."""
    blocked = np.array([[letter == "#" for letter in row] for row in picture])
    return Grid(np.zeros(2), blocked, np.where(blocked, 0.0, CLEARANCE_CAP).astype(np.float32))


def _home_of(geoms: str) -> tuple[SimpleNamespace, mujoco.MjData]:
    """What occupancy needs of a scene, for a free body made of the given geoms."""
    model = mujoco.MjModel.from_xml_string(
        f"<mujoco><worldbody><body><freejoint/>{geoms}</body></worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    scene = SimpleNamespace(
        model=model,
        cache={},
        geom_entity=np.zeros(model.ngeom, np.int32),
        movable=np.array([True]),
        bounds=(-1.0, -1.0, 1.0, 1.0),
    )
    return scene, data


def _number(low: float, high: float) -> st.SearchStrategy[float]:
    return st.integers(0, 10_000).map(lambda share: round(low + share * (high - low) / 10_000, 6))


def _centres(grid: Grid) -> np.ndarray:
    i, j = np.indices(grid.blocked.shape)
    return np.stack([i, j], axis=-1) * grid.cell + grid.origin + grid.cell / 2


@settings(max_examples=40, deadline=None)
@given(_number(-0.5, 0.5), _number(-0.5, 0.5), _number(0.02, 0.4), _number(0.02, 0.4), _number(-3.2, 3.2))
def test_clearance_is_the_distance_to_a_turned_box(
    x: float, y: float, half_x: float, half_y: float, yaw: float
):
    geom = (
        f'<geom type="box" size="{half_x} {half_y} 0.2" pos="{x} {y} 0.3" euler="0 0 {math.degrees(yaw)}"/>'
    )
    grid = occupancy(*_home_of(geom))
    offset = _centres(grid) - (x, y)
    c, s = math.cos(yaw), math.sin(yaw)
    u = np.maximum(np.abs(c * offset[..., 0] + s * offset[..., 1]) - half_x, 0)
    v = np.maximum(np.abs(c * offset[..., 1] - s * offset[..., 0]) - half_y, 0)
    exact = np.minimum(np.hypot(u, v), CLEARANCE_CAP)
    np.testing.assert_allclose(grid.clearance, exact, atol=1e-5)
    origin, stamped = empty_clearance((-1.0, -1.0, 1.0, 1.0))
    stamp_box(stamped, *origin, x, y, half_x, half_y, yaw)
    np.testing.assert_allclose(stamped, exact, atol=1e-5)


@pytest.mark.parametrize(
    ("geom", "radius"),
    [
        ('type="cylinder" size="0.2 0.3" pos="0 0 0.4"', 0.2),
        ('type="sphere" size="0.2" pos="0 0 0.4"', 0.2),
        ('type="ellipsoid" size="0.2 0.2 0.1" pos="0 0 0.4"', 0.2),
        ('type="capsule" size="0.2 0.3" pos="0 0 0.6"', 0.2),
    ],
)
def test_round_things_are_never_cut_and_hardly_enlarged(geom: str, radius: float):
    grid = occupancy(*_home_of(f"<geom {geom}/>"))
    exact = np.clip(np.linalg.norm(_centres(grid), axis=-1) - radius, 0, CLEARANCE_CAP)
    error = exact - grid.clearance
    assert error.min() > -1e-6
    assert error.max() < 0.02 * radius + 1e-6, error.max()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(("box", "cylinder", "ellipsoid", "capsule")),
    _number(-180, 180),
    _number(-180, 180),
    _number(-180, 180),
)
def test_tilted_things_cover_every_point_of_theirs(shape: str, a: float, b: float, c: float):
    scene, data = _home_of(
        f'<geom type="{shape}" size="0.1 0.2 0.3" pos="0.1 -0.1 0.7" euler="{a} {b} {c}"/>'
    )
    grid = occupancy(scene, data)
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(400, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    if shape == "box":
        points = np.sign(directions) * (0.1, 0.2, 0.3)
    elif shape == "ellipsoid":
        points = directions * (0.1, 0.2, 0.3)
    elif shape == "capsule":
        points = directions * 0.1 + np.sign(directions[:, 2:]) * (0, 0, 0.2)
    else:
        round_part = directions[:, :2] / np.linalg.norm(directions[:, :2], axis=1, keepdims=True) * 0.1
        points = np.concatenate([round_part, np.sign(directions[:, 2:]) * 0.2], axis=1)
    seen = points @ data.geom_xmat[0].reshape(3, 3).T + data.geom_xpos[0]
    for x, y, _ in seen:
        i, j = grid.index(x, y)
        distance = np.linalg.norm(np.array(grid.centre(i, j)) - (x, y))
        assert grid.clearance[i, j] <= distance + 1e-6


def test_low_and_high_things_do_not_block():
    for height, blocked in ((0.01, False), (0.1, True), (1.2, True), (1.6, False)):
        grid = occupancy(*_home_of(f'<geom type="box" size="0.2 0.2 0.01" pos="0 0 {height}"/>'))
        assert grid.blocked.any() == blocked, height


def test_what_cannot_be_touched_does_not_block():
    geom = '<geom type="box" size="0.2 0.2 0.2" pos="0 0 0.4" contype="0" conaffinity="0"/>'
    assert not occupancy(*_home_of(geom + '<geom size="0.01" pos="0 0 2"/>')).blocked.any()


def test_inflation_is_a_threshold_of_distance():
    grid = occupancy(*_home_of('<geom type="box" size="0.1 0.1 0.2" pos="0 0 0.3"/>'))
    wide = inflate(grid, 0.3)
    assert (wide.blocked == (grid.clearance < 0.3)).all()
    np.testing.assert_allclose(wide.clearance, np.maximum(grid.clearance - 0.3, 0), atol=1e-6)
    with pytest.raises(ValueError, match="radius"):
        inflate(grid, 2.0)


def test_moved_and_ignored_things():
    scene = compile_scene(generate(1, knobs=Knobs(blind_spot=1.0)))
    data = mujoco.MjData(scene.model)
    mujoco.mj_forward(scene.model, data)
    grid = occupancy(scene, data)
    entity = next(e for e in np.flatnonzero(scene.movable) if scene.component[e] == "blind_spot")
    place = data.xpos[scene.body[entity]][:2].copy()
    assert grid.clearance[grid.index(*place)] < 0.02
    without = occupancy(scene, data, ignore=(int(entity),))
    assert without.clearance[without.index(*place)] > 0.05
    address = scene.model.jnt_qposadr[scene.model.body_jntadr[scene.body[entity]]]
    data.qpos[address + 2] = 5.0
    mujoco.mj_forward(scene.model, data)
    np.testing.assert_array_equal(occupancy(scene, data).clearance, without.clearance)


def test_fixed_things_can_be_ignored_and_come_back():
    scene = compile_scene(generate(1))
    data = mujoco.MjData(scene.model)
    mujoco.mj_forward(scene.model, data)
    before = occupancy(scene, data).clearance
    sofa = next(e for e, name in enumerate(scene.names) if name.startswith("sofa"))
    assert (occupancy(scene, data, ignore=(sofa,)).clearance > before).any()
    np.testing.assert_array_equal(occupancy(scene, data).clearance, before)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 0.45))
def test_distances_agree_with_scipy(seed: int, share: float):
    rng = np.random.default_rng(seed)
    blocked = rng.random((14, 17)) < share
    free = np.argwhere(~blocked)
    goal = free[rng.integers(len(free))]
    grid = Grid(np.zeros(2), blocked, np.where(blocked, 0, 0.5).astype(np.float32))
    mask = np.zeros_like(blocked)
    mask[tuple(goal)] = True
    rows, columns, lengths = [], [], []
    nx, ny = blocked.shape
    for i, j in free:
        for a in (-1, 0, 1):
            for b in (-1, 0, 1):
                k, m = i + a, j + b
                if (a, b) == (0, 0) or not (0 <= k < nx and 0 <= m < ny) or blocked[k, m]:
                    continue
                if a and b and (blocked[i, m] or blocked[k, j]):
                    continue
                rows.append(i * ny + j)
                columns.append(k * ny + m)
                lengths.append(CELL * math.hypot(a, b))
    graph = coo_array((lengths, (rows, columns)), shape=(nx * ny, nx * ny)).tocsr()
    expected = dijkstra(graph, indices=int(goal[0] * ny + goal[1])).reshape(nx, ny)
    expected[blocked] = np.inf
    np.testing.assert_allclose(distance_field(grid, mask), expected, atol=1e-4)
    point = (goal + 0.5) * CELL
    np.testing.assert_array_equal(distance_field(grid, point[None]), distance_field(grid, mask))


@pytest.mark.parametrize("seed", range(5))
def test_a_field_is_descended_by_the_lowest_cells_to_its_zero(seed: int):
    rng = np.random.default_rng(seed)
    blocked = rng.random((20, 23)) < 0.25
    free = np.argwhere(~blocked)
    goal = tuple(free[rng.integers(len(free))])
    grid = Grid(np.zeros(2), blocked, np.where(blocked, 0, 0.5).astype(np.float32))
    goals = np.zeros_like(blocked)
    goals[goal] = True
    field = distance_field(grid, goals)
    padded = np.pad(field, 1, constant_values=np.inf)
    for i, j in np.argwhere(np.isfinite(field)):
        way = descend(field, int(i), int(j))
        assert tuple(way[0]) == (i, j) and tuple(way[-1]) == goal
        for (a, b), (c, d) in pairwise(way.tolist()):
            window = padded[a : a + 3, b : b + 3]
            assert (c - a + 1, d - b + 1) == np.unravel_index(window.argmin(), (3, 3))
    for i, j in np.argwhere(~np.isfinite(field)):
        assert descend(field, int(i), int(j)).tolist() == [[i, j]]


def test_clearance_cost_prefers_the_wide_way():
    blocked = np.zeros((40, 40), bool)
    blocked[10:30, 12] = True
    clearance = np.full(blocked.shape, CLEARANCE_CAP, np.float32)
    clearance[:, 10:15] = 0.01
    clearance[blocked] = 0
    grid = Grid(np.zeros(2), blocked, clearance)
    goal = np.array([grid.centre(38, 12)])
    plain, careful = distance_field(grid, goal), distance_field(grid, goal, clearance_cost=3.0)
    assert plain[2, 11] < plain[2, 5]
    assert careful[20, 11] > careful[20, 5]
    assert (careful >= plain - 1e-5).all()


def test_goals_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="shape"):
        distance_field(_grid(["..", ".."]), np.zeros((3, 3), bool))


def test_flood_stops_at_walls():
    grid = _grid(["....#..", "....#..", "....#.."])
    reached = flood(grid.blocked, 0, 0)
    assert reached[:, :4].all() and not reached[:, 4:].any()
    assert not flood(grid.blocked, 0, 4).any()


def test_line_of_sight():
    grid = _grid([".....", "..#..", "....."])
    centre = [[grid.centre(i, j) for j in range(5)] for i in range(3)]
    assert line_of_sight(grid, centre[0][0], centre[0][4])
    assert not line_of_sight(grid, centre[1][0], centre[1][4])
    assert line_of_sight(grid, centre[1][0], centre[1][1])
    assert not line_of_sight(grid, centre[0][0], (9.0, 9.0))


def test_local_areas_in_the_open_in_a_corner_and_in_a_nook():
    def areas(boxes: list[tuple[float, float, float, float]]) -> tuple[float, float]:
        origin, clearance = empty_clearance((-2.0, -2.0, 2.0, 2.0))
        for box in boxes:
            stamp_box(clearance, *origin, *box, 0.0)
        return local_areas(Grid(origin, clearance <= CELL / 2, clearance), (0.0, 0.0))

    free, rest = areas([])
    assert free == pytest.approx(math.pi, rel=0.03) and rest == 0.0
    walls = [(-0.28, 0.0, 0.02, 2.0), (0.0, -0.28, 2.0, 0.02)]
    corner, rest = areas(walls)
    assert corner == pytest.approx(math.pi / 4, rel=0.2) and corner + rest == pytest.approx(free, rel=1e-6)
    nook, _ = areas([*walls, (0.28, 0.0, 0.02, 2.0)])
    assert nook < 0.4 * rest
    assert areas([(0.0, 0.0, 2.0, 2.0)])[0] == 0.0


def test_local_areas_count_what_can_be_reached_within_the_disc_alone():
    origin, clearance = empty_clearance((-2.0, -2.0, 2.0, 2.0))
    stamp_box(clearance, *origin, 0.5, 0.0, 0.02, 2.0, 0.0)
    split, _ = local_areas(Grid(origin, clearance <= CELL / 2, clearance), (0.0, 0.0))
    assert split < 0.75 * math.pi  # what is beyond the wall is free but out of reach


@pytest.mark.parametrize("knobs", [Knobs(), Knobs(1.0, 1.0, 1.0, 1.0, 1.0)], ids=["none", "all"])
def test_the_robot_gets_to_every_room_and_target(knobs: Knobs):
    for seed in range(12):
        scene = compile_scene(generate(seed, knobs=knobs))
        data = mujoco.MjData(scene.model)
        mujoco.mj_forward(scene.model, data)
        grid = inflate(occupancy(scene, data), FOOTPRINT_RADIUS)
        sizes = []
        seen = np.zeros_like(grid.blocked)
        for i, j in np.argwhere(~grid.blocked):
            if not seen[i, j]:
                part = flood(grid.blocked, i, j)
                seen |= part
                sizes.append((int(part.sum()), i, j))
        _, i, j = max(sizes)
        centres = _centres(grid)[flood(grid.blocked, i, j)]
        for room in scene.spec.rooms:
            inside = [room.holds(x, y) for x, y in centres]
            assert np.count_nonzero(inside) * CELL * CELL > 0.8, (seed, room.kind)
        graspable = [
            item for item in scene.spec.objects if item.type in PICK_UP_TARGETS and not item.component
        ]
        near = [
            np.count_nonzero(np.linalg.norm(centres - item.position[:2], axis=1) < 0.8) >= 4
            for item in graspable
        ]
        assert sum(near) >= 3, seed


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_near_is_the_same_when_only_that_is_mapped(seed):
    settled = HousePool().get(seed, "S", "train", Knobs(0.5, 0.5, 0.5, 0.5, 0.5))
    scene, data, span = settled.scene, settled.data, 25
    generator = np.random.default_rng(seed)
    ignored = scene.movable & (generator.random(len(scene.names)) < 0.2)
    whole = occupancy(scene, data, np.flatnonzero(ignored))
    around = np.pad(whole.clearance, span)  # outside nothing is free
    only_fixed = occupancy(scene, data, np.flatnonzero(scene.movable)).clearance
    x0, y0, x1, y1 = scene.bounds
    lowered = 0
    for x, y in generator.uniform((x0 - 0.5, y0 - 0.5), (x1 + 0.5, y1 + 0.5), (20, 2)):
        wanted, reach = generator.random((2 * span + 1,) * 2) < 0.8, float(generator.uniform(0.1, 0.8))
        part = patch(scene, data, x, y, wanted, reach, ignored)
        i, j = whole.index(x, y)
        expected = around[i : i + 2 * span + 1, j : j + 2 * span + 1]
        expected = np.where(wanted, np.minimum(expected, np.float32(reach)), np.float32(0.0))
        np.testing.assert_array_equal(part.clearance, expected)
        assert part.corner == (i - span, j - span)
        fixed = np.pad(only_fixed, span)[i : i + 2 * span + 1, j : j + 2 * span + 1]
        lowered += int(np.count_nonzero(wanted & (expected < np.minimum(fixed, np.float32(reach)))))
    assert lowered > 100, "movable things are in what was compared"
