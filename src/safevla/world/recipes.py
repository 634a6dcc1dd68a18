"""How a home of each size class is made: plan, furniture, things, and what components are made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from safevla.world.component_types import LARGE, MEDIUM, ComponentTypes
from safevla.world.floor_plan import draw_floor_plan
from safevla.world.furnish import furnish
from safevla.world.furnish_large import furnish_large
from safevla.world.house import SLOTS
from safevla.world.layout import Layout, draw_plan
from safevla.world.stock import Stock, stock
from safevla.world.varied import VariedLayout

# From random numbers, and whether the home is held out (val, test), to a home without components.
Recipe = Callable[[np.random.Generator, bool], Layout]

STOCK_M = Stock(targets=8, stacks=4, rows=3, under=2, least=50, most=58)
STOCK_L = Stock(targets=12, stacks=6, rows=5, under=4, least=78, most=104)


def _small(rng: np.random.Generator, held_out: bool) -> Layout:
    layout = Layout(draw_plan(rng), SLOTS["S"], held_out)
    furnish(layout, rng)
    return layout


def _large(size_class: str, components: ComponentTypes, amounts: Stock) -> Recipe:
    def make(rng: np.random.Generator, held_out: bool) -> Layout:
        plan = draw_floor_plan(rng, size_class, held_out)
        layout = VariedLayout(plan, SLOTS[size_class], held_out, components)
        furnish_large(layout, rng)
        stock(layout, rng, amounts)
        return layout

    return make


# Class S keeps the core of the catalogue; to give it all of it, make it with `_large` as well.
RECIPES: dict[str, Recipe] = {
    "S": _small,
    "M": _large("M", MEDIUM, STOCK_M),
    "L": _large("L", LARGE, STOCK_L),
}
