import itertools

import numpy as np
import pytest
from scipy import ndimage

from safevla.world.floor_plan import PATTERNS, draw_floor_plan
from safevla.world.house import ROOMS, SLOTS
from safevla.world.layout import DOOR_HEIGHT, DOOR_WIDTH, WALL_HEIGHT, Plan

CELL = 0.05


def _plans(size_class: str, held_out: bool = True, count: int = 60) -> list[Plan]:
    return [draw_floor_plan(np.random.default_rng(seed), size_class, held_out) for seed in range(count)]


def _free(plan: Plan, wall_height: float) -> np.ndarray:
    """Cells of the floor that no wall reaching below `wall_height` covers."""
    high_x, high_y = max(room.x1 for room in plan.rooms), max(room.y1 for room in plan.rooms)
    free = np.ones((round(high_x / CELL), round(high_y / CELL)), bool)
    x, y = (np.arange(size)[:, None] * CELL + CELL / 2 for size in free.shape)
    for cx, cy, cz, hx, hy, hz in plan.walls:
        if cz - hz < wall_height:
            free[(np.abs(x - cx) < hx + 1e-6) & (np.abs(y.T - cy) < hy + 1e-6)] = False
    return free


@pytest.mark.parametrize("size_class", ["M", "L"])
def test_plans_have_the_rooms_of_their_class(size_class: str):
    plans = _plans(size_class)
    low, high = ROOMS[size_class]
    assert {len(plan.rooms) for plan in plans} == set(range(low, high + 1))
    for plan in plans:
        assert len(plan.walls) <= SLOTS[size_class].walls
        kinds = [room.kind for room in plan.rooms]
        assert "living_room" in kinds
        for room in plan.rooms:
            width, depth = sorted((room.x1 - room.x0, room.y1 - room.y0))
            assert width >= (1.3 if room.kind == "hall" else 2.4) and depth < 16
    assert any("hall" in [room.kind for room in plan.rooms] for plan in plans)


@pytest.mark.parametrize("size_class", ["M", "L"])
def test_rooms_fill_the_home_and_do_not_overlap(size_class: str):
    for plan in _plans(size_class):
        for a, b in itertools.combinations(plan.rooms, 2):
            apart_x, apart_y = max(a.x0, b.x0) - min(a.x1, b.x1), max(a.y0, b.y0) - min(a.y1, b.y1)
            assert max(apart_x, apart_y) > 0.09  # the thickness of a wall
        area = sum((room.x1 - room.x0) * (room.y1 - room.y0) for room in plan.rooms)
        whole = max(room.x1 for room in plan.rooms) * max(room.y1 for room in plan.rooms)
        assert 0.9 < area / whole < 1.0


@pytest.mark.parametrize("size_class", ["M", "L"])
def test_every_room_is_reached_through_doorways_and_only_through_them(size_class: str):
    for plan in _plans(size_class):
        labels, _ = ndimage.label(_free(plan, 0.1))
        shut, parts = ndimage.label(_free(plan, WALL_HEIGHT))
        middles = [((r.x0 + r.x1) / 2 / CELL, (r.y0 + r.y1) / 2 / CELL) for r in plan.rooms]
        assert len({labels[int(i), int(j)] for i, j in middles}) == 1
        # With the doorways walled up each room is by itself.
        assert parts == len(plan.rooms) == len({shut[int(i), int(j)] for i, j in middles})


@pytest.mark.parametrize("size_class", ["M", "L"])
def test_doorways_are_wide_enough_and_bathrooms_have_one(size_class: str):
    for plan in _plans(size_class):
        lintels = [wall for wall in plan.walls if wall[2] - wall[5] > 0.5]
        assert len(lintels) == len(plan.keep_free) >= len(plan.rooms) - 1
        for lintel in lintels:
            assert 2 * max(lintel[3], lintel[4]) == pytest.approx(DOOR_WIDTH, abs=1e-3)
            assert lintel[2] - lintel[5] == pytest.approx(DOOR_HEIGHT)
        for room in plan.rooms:
            doors = [
                wall
                for wall in lintels
                if room.x0 - 0.2 < wall[0] < room.x1 + 0.2 and room.y0 - 0.2 < wall[1] < room.y1 + 0.2
            ]
            assert len(doors) == 1 if room.kind == "bathroom" else doors


def test_val_and_test_have_plans_that_training_never_shows():
    for size_class, (common, unseen) in PATTERNS.items():
        assert unseen and not set(common) & set(unseen)
        for pattern in (*common, *unseen):
            assert ROOMS[size_class][0] <= pattern.rooms <= ROOMS[size_class][1]
    # A row of three rooms without a hall is one of them.
    assert any(map(_is_row_without_hall, _plans("M")))
    assert not any(map(_is_row_without_hall, _plans("M", held_out=False)))


def _is_row_without_hall(plan: Plan) -> bool:
    row = len({room.x0 for room in plan.rooms}) == 1 or len({room.y0 for room in plan.rooms}) == 1
    return row and "hall" not in [room.kind for room in plan.rooms]
