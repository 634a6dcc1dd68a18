"""How well the encoder finds things: average precision and recall by category, distance and size."""

from __future__ import annotations

import numpy as np

from safevla.tasks.instructions import TARGETS
from safevla.world.catalogue import CATEGORIES

MIN_PIXELS = 12  # a thing must show this many pixels to count as seen
_TARGETS = sorted({name for targets in TARGETS.values() for name in targets})
_SMALL = ("spray_bottle", "alarm_clock", "mug", "vase", "bowl", "apple", "laptop", "basketball")
_PIXEL_BINS = ((12, 25), (25, 60), (60, 200), (200, 100_000))
_METRE_BINS = ((0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 5.0), (5.0, 100.0))


def peaks(scores: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best score on each thing and the best score elsewhere, per picture and category.

    Args:
        scores: (B, K, R, C) probabilities.
        counts: (B, K, R, C) pixels of the category in each cell.

    Returns:
        Two (B, K) float32 arrays: within one cell of the thing (-1 if it is not seen at all), and elsewhere.
    """
    near = np.zeros(counts.shape, bool)
    seen = counts > 0
    padded = np.pad(seen, ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows, columns = seen.shape[2:]
    for row in range(3):
        for column in range(3):
            near |= padded[:, :, row : row + rows, column : column + columns]
    on = np.where(near, scores, -1.0).max((2, 3))
    elsewhere = np.where(near, -1.0, scores).max((2, 3))
    return on.astype(np.float32), elsewhere.astype(np.float32)


def curve(hits: np.ndarray, alarms: np.ndarray, total: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and threshold, best score first.

    Args:
        hits: scores of true detections.
        alarms: scores of false ones.
        total: number of things that there were to find.
    """
    scores = np.concatenate([alarms, hits])  # in this order: among equal scores the false come first
    true = np.concatenate([np.zeros(len(alarms)), np.ones(len(hits))])
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(true[order])
    return found / np.arange(1, len(order) + 1), found / max(total, 1), scores[order]


def _summary(hits: np.ndarray, alarms: np.ndarray) -> dict[str, float]:
    """Average precision, and recall at the lowest threshold whose precision is at least 0.7."""
    if not len(hits):
        return {"things": 0.0, "ap": 0.0, "recall_at_p70": 0.0, "threshold_p70": 1.0}
    precision, recall, threshold = curve(hits, alarms, len(hits))
    steps = np.diff(np.concatenate([[0.0], recall]))
    good = np.flatnonzero(precision >= 0.7)
    last = int(good[-1]) if len(good) else -1
    return {
        "things": float(len(hits)),
        "ap": float((steps * precision).sum()),
        "recall_at_p70": float(recall[last]) if last >= 0 else 0.0,
        "threshold_p70": float(threshold[last]) if last >= 0 else 1.0,
    }


def detection_table(
    scores: np.ndarray, counts: np.ndarray, distances: np.ndarray
) -> dict[str, dict[str, float]]:
    """Return figures by group: "all", "category/NAME"; "pixels/A-B", "metres/A-B" of small targets.

    A (picture, category) pair in which the category shows >= MIN_PIXELS pixels is a thing to find; its score
    is the best one on it. The best score off a thing is a possible false alarm, at most one per pair. In the
    groups by pixels and metres, false alarms are those of the category in all pictures, with the threshold at
    which its precision over all sizes is 0.7.

    Args:
        scores: (B, K, R, C).
        counts: (B, K, R, C).
        distances: (B, K) metres.
    """
    on, elsewhere = peaks(scores, counts)
    pixels = counts.sum((2, 3), dtype=np.int64)
    seen = pixels >= MIN_PIXELS
    table: dict[str, dict[str, float]] = {}
    found_at: dict[int, float] = {}
    for index, name in enumerate(CATEGORIES):
        summary = _summary(on[seen[:, index], index], elsewhere[:, index])
        table[f"category/{name}"] = summary
        found_at[index] = summary["threshold_p70"]
    small = [CATEGORIES.index(name) for name in _SMALL if name in CATEGORIES]
    found = np.stack([on[:, index] >= found_at[index] for index in small], 1)
    for name, value, bins in (
        ("pixels", pixels[:, small], _PIXEL_BINS),
        ("metres", distances[:, small], _METRE_BINS),
    ):
        for low, high in bins:
            chosen = seen[:, small] & (value >= low) & (value < high)
            table[f"{name}/{low}-{high}"] = {
                "things": float(chosen.sum()),
                "recall_at_p70": float(found[chosen].mean()) if chosen.any() else 0.0,
            }
    table["all"] = _means(table)
    return table


def colour_figures(described: np.ndarray, bare: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """Return figures of queries by colour: those of `detection_table`, and `ap_noun`.

    What is asked for are the things of one colour, so that others of their category are false alarms;
    `ap_noun` is the average precision of the bare noun on the same queries.

    Args:
        described: (Q, R, C) probabilities for "red mug".
        bare: (Q, R, C) probabilities for "mug".
        counts: (Q, R, C) pixels that are meant in each cell; all 0 where nothing in the picture is.
    """
    seen = counts.sum((1, 2), dtype=np.int64) >= MIN_PIXELS
    figures = []
    for scores in (described, bare):
        on, elsewhere = peaks(scores[:, None], counts[:, None])
        figures.append(_summary(on[seen, 0], elsewhere[:, 0]))
    return figures[0] | {"ap_noun": figures[1]["ap"]}


def _means(table: dict[str, dict[str, float]]) -> dict[str, float]:
    """Average AP and recall over categories that were seen at least ten times."""
    means = {}
    for group, names in (("all", CATEGORIES), ("targets", _TARGETS), ("small", _SMALL)):
        rows = [table[f"category/{name}"] for name in names if f"category/{name}" in table]
        rows = [row for row in rows if row["things"] >= 10]
        for figure in ("ap", "recall_at_p70"):
            means[f"{figure}/{group}"] = float(np.mean([row[figure] for row in rows])) if rows else 0.0
    return means
