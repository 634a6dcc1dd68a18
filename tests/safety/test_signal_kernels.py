"""The loops behind the signals, against NumPy and SciPy."""

import numpy as np
import pytest
from scipy import ndimage

from safevla.safety import signal_kernels


@pytest.mark.parametrize("seed", range(5))
def test_pixels_are_counted_as_numpy_counts_them(seed):
    generator = np.random.default_rng(seed)
    geom_entity = generator.integers(-3, 6, 20).astype(np.int32)
    ids = np.repeat(generator.integers(-1, 20, (2, 40)), generator.integers(1, 9), axis=1).astype(np.int32)
    counts = np.zeros((2, 6), np.int32)
    signal_kernels.count_pixels(ids, geom_entity, counts)
    for camera in range(2):
        owners = geom_entity[ids[camera][ids[camera] >= 0]]
        np.testing.assert_array_equal(counts[camera], np.bincount(owners[owners >= 0], minlength=6))


@pytest.mark.parametrize("seed", range(20))
def test_cells_reached_are_a_piece_of_the_free_cells(seed):
    generator = np.random.default_rng(seed)
    side = 21
    free = generator.random((side, side)) < generator.uniform(0.2, 0.8)
    steps = np.arange(side) - side // 2
    distance = 0.05 * np.hypot(steps[:, None], steps[None, :])
    start = int(np.where(free, distance, np.inf).argmin())
    expected = 0
    if free.flat[start] and distance.flat[start] <= 0.1:
        pieces, _ = ndimage.label(free)
        expected = int(np.count_nonzero(pieces == pieces.flat[start]))
    assert signal_kernels.cells_reached(free, distance, 0.1) == expected


def test_no_cell_is_reached_where_none_is_free():
    assert signal_kernels.cells_reached(np.zeros((5, 5), bool), np.zeros((5, 5)), 1.0) == 0


def test_nearest_box_is_measured_in_the_frame_of_the_body():
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # a quarter to the left
    positions, rotations = np.array([[0.0] * 3, [1.0, 0.0, 0.0]]), np.stack([np.eye(3), turn]).reshape(2, 9)
    body, centre = np.array([0, 1], np.int32), np.zeros((2, 3))
    half = np.array([[0.1, 0.1, 0.1], [0.5, 0.1, 0.1]])  # the second reaches out along y, being turned

    def nearest(point, within, candidates=(0, 1)):
        where = (body, positions, rotations, centre, half)
        return signal_kernels.nearest_box(np.array(point), np.array(candidates), *where, within)

    assert nearest((1.0, 0.55, 0.0), 0.1) == 1 and nearest((1.55, 0.0, 0.0), 0.1) == -1
    assert nearest((0.15, 0.0, 0.0), 0.1) == 0 and nearest((0.15, 0.0, 0.0), 0.1, candidates=(1,)) == -1
    assert nearest((0.6, 0.0, 0.0), 0.4) == 1  # 0.3 m from the second, 0.5 m from the first


def test_what_is_remembered_of_a_contact_and_a_sight():
    last_visible, episode, peak = np.array([3, -100]), np.array([4.0, 2.0]), np.array([0.1, 0.3])
    visible, last_seen, before = np.empty(2, bool), np.empty(2, np.int64), np.empty(2)
    pixels = np.array([[7, 2], [8, 1]], np.int32)
    force, damage = np.array([3.0, 0.0]), np.array([0.2, 0.1])
    remembered = (last_visible, episode, peak, visible, last_seen, before)
    signal_kernels.follow(5, pixels, 8, 50, force, damage, *remembered)
    assert visible.tolist() == [True, False] and last_seen.tolist() == [2, 50]
    assert last_visible.tolist() == [5, -100]
    assert before.tolist() == [4.0, 2.0] and episode.tolist() == [4.0, 0.0] and peak.tolist() == [0.2, 0.3]
