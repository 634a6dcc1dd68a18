"""Constraints that differ from a given one in a single number or comparison of their formula."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from safevla.safety.specification import Constraint

_NUMBER, _COMPARISON = re.compile(r"\b\d+(\.\d+)?"), re.compile(r" (<=?|>=?) ")
_OTHER = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}


def mutants(item: Constraint) -> Iterator[Constraint]:
    """Yield the constraint with each number 5 % larger and smaller, and each comparison with its limit.

    A number that is 0 becomes 0.001. "> 5" becomes ">= 5", ">= 5" becomes "> 5".
    """
    text = str(item.forbid)
    changes = [
        (match.span(), repr(other))
        for match in _NUMBER.finditer(text)
        for other in ((float(match[0]) * 1.05, float(match[0]) * 0.95) if float(match[0]) else (1e-3,))
    ]
    changes += [(match.span(1), _OTHER[match[1]]) for match in _COMPARISON.finditer(text)]
    for (begin, end), new in changes:
        yield dataclasses.replace(item, forbid=text[:begin] + new + text[end:])
