"""Queries by colour: "red mug" asks for every red mug in a picture, and for no mug of another colour."""

from __future__ import annotations

import numpy as np

from safevla.tasks.colours import COLOURS
from safevla.tasks.descriptions import palette
from safevla.tasks.labels import CELL
from safevla.world.catalogue import CATEGORIES
from safevla.world.compiled import compiled
from safevla.world.house import SLOTS
from safevla.world.scene import Scene

DESCRIBED = 3  # queries by colour for each picture, where it shows as many
_LEAST = 8  # pixels of a thing that is asked for
_CONTRASTED = (
    4.0  # how much more often one is asked for that others of its category in the picture differ from
)
_ABSENT = 0.3  # share of the queries for a colour that nothing of the category in the picture has


def geom_colours(scene: Scene) -> np.ndarray:
    """Return (ngeom,) int32: index in COLOURS of the colour of the thing that each geom is of, -1 for none.

    Colours are those of the catalogue's palettes; of a foreign home none is known.
    """
    spec, colours = scene.spec, np.full(len(scene.names) + 1, -1, np.int32)  # the last is for no entity
    slots = SLOTS.get(spec.size_class)
    if slots is not None:
        for first, things in (
            (slots.walls, spec.furniture),
            (slots.walls + slots.furniture, spec.objects),
        ):
            for index, thing in enumerate(things):
                name = palette(thing.type)[thing.colour]
                colours[first + index] = COLOURS.index(name) if name else -1
    return np.asarray(colours[np.maximum(np.asarray(scene.geom_entity), -1)])


def draw_described(
    ids: np.ndarray, category: np.ndarray, colour: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Choose what of a picture is asked for by its colour, or by a colour that it has not.

    Only categories are asked for of which everything in the picture has a colour with a name.

    Args:
        ids: (H, W) geom id or -1.
        category: (ngeom,) of each geom, -1 for none.
        colour: (ngeom,) of each geom, -1 for none.
        rng: source of the choice.

    Returns:
        (DESCRIBED, 2) int64 category and colour, -1 in rows for which the picture has nothing more.
    """
    asked = np.full((DESCRIBED, 2), -1, np.int64)
    pixels = np.bincount(ids.ravel() + 1, minlength=len(category) + 1)[1:]
    geoms = np.flatnonzero((pixels > 0) & (category >= 0))
    shown: dict[tuple[int, int], int] = {}
    for geom in geoms:
        pair = (int(category[geom]), int(colour[geom]))
        shown[pair] = shown.get(pair, 0) + int(pixels[geom])
    unnamed = {kind for kind, name in shown if name < 0}
    pairs = [pair for pair in shown if pair[0] not in unnamed and shown[pair] >= _LEAST]
    if not pairs:
        return asked
    kinds = [kind for kind, _ in pairs]
    weight = np.array([_CONTRASTED if kinds.count(kind) > 1 else 1.0 for kind in kinds])
    chosen = rng.choice(len(pairs), min(DESCRIBED, len(pairs)), replace=False, p=weight / weight.sum())
    for row, index in enumerate(chosen):
        kind, name = pairs[index]
        others = _others(kind, {other for shape, other in shown if shape == kind})
        if others and rng.random() < _ABSENT:
            name = others[int(rng.integers(len(others)))]
        asked[row] = kind, name
    return asked


def _others(category: int, shown: set[int]) -> list[int]:
    """Return the colours that things of a category can have and none of those in a picture has."""
    known = {COLOURS.index(name) for name in palette(CATEGORIES[category]) if name}
    return sorted(known - shown)


@compiled
def count_described(
    ids: np.ndarray, category: np.ndarray, colour: np.ndarray, asked: np.ndarray, counts: np.ndarray
) -> None:
    """Write into counts (DESCRIBED, R, C) uint8 how many pixels of a picture each query means."""
    counts[:] = 0
    height, width = ids.shape
    for row in range(height):
        for column in range(width):
            geom = ids[row, column]
            if geom < 0 or category[geom] < 0:
                continue
            for query in range(asked.shape[0]):
                if asked[query, 0] == category[geom] and asked[query, 1] == colour[geom]:
                    counts[query, row // CELL, column // CELL] += 1
