import numpy as np
import pytest

from safevla.tasks.colours import COLOURS, colour_name, dominant_colour, seen_shares


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0.8, 0.2, 0.2), "red"),
        ((0.9, 0.5, 0.15), "orange"),
        ((0.95, 0.8, 0.3), "yellow"),
        ((0.2, 0.6, 0.25), "green"),
        ((0.15, 0.4, 0.75), "blue"),
        ((0.55, 0.35, 0.6), "purple"),
        ((0.45, 0.3, 0.18), "brown"),
        ((0.05, 0.05, 0.05), "black"),
        ((0.5, 0.5, 0.52), "grey"),
        ((0.95, 0.95, 0.93), "white"),
        ((0.3, 0.7, 0.65), None),  # green or blue
        ((0.8, 0.66, 0.47), None),  # light wood: brown, beige or yellow
        ((0.82, 0.82, 0.84), None),  # grey or white
    ],
)
def test_names_are_given_where_they_are_beyond_dispute(rgb, name):
    assert colour_name(rgb) == name


def test_small_changes_never_turn_one_name_into_another():
    rng = np.random.default_rng(0)
    named = 0
    for rgb in rng.uniform(0.02, 0.98, (400, 3)):
        near = colour_name(np.clip(rgb + rng.uniform(-0.01, 0.01, 3), 0.0, 1.0))
        name = colour_name(rgb)
        named += name is not None
        # Brown runs into grey and black by degrees; between all others lies what has no name.
        assert name in (near, None) or near is None, (rgb, name, near)
    assert 100 < named < 350
    assert len(set(COLOURS)) == 10


def test_what_lies_inside_or_behind_is_not_seen():
    upright = np.tile(np.eye(3), (3, 1, 1))
    sizes = np.array([[0.1, 0, 0], [0.05, 0.05, 0.05], [0.1, 0.1, 0.02]])
    positions = np.array([[0, 0, 0.2], [0, 0, 0.2], [0, 0, 0.0]], dtype=float)
    ball, inside, foot = seen_shares(["sphere", "box", "box"], sizes, positions, upright)
    assert inside == 0 and ball > foot > 0


def test_the_colour_of_most_of_it_is_its_colour():
    red, white = np.array([0.8, 0.2, 0.2]), np.array([0.95, 0.95, 0.93])
    assert dominant_colour([red, white], np.array([7.0, 3.0])) == "red"
    assert dominant_colour([red, white], np.array([5.0, 5.0])) is None
    assert dominant_colour([None, white], np.array([7.0, 3.0])) is None
    assert dominant_colour([], np.zeros(0)) is None
