"""The text of a formula: its grammar, and errors that point at the place and say what was expected.

`parse(str(formula)) == formula` for every formula that can be written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import lark
from lark import Lark, Token, Transformer, v_args

from safevla.config import nearest
from safevla.safety import units
from safevla.safety.formula import FUNCTIONS, Formula, Number, Operation, Signal, Window, both, either

_UNIT = "(?:" + "|".join(sorted(units.SYMBOLS, key=len, reverse=True)) + r")\b"
_KEYWORDS = (
    "any|every|object|that|is|implies|iff|xor|or|and|since|until|not|once|historically|previous|eventually|"
    "always|next|true|false|end"
)
_ENDS = r"(?![\w.])"
_NAME = rf"(?!(?:{_KEYWORDS}){_ENDS})[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*"
GRAMMAR = rf"""
?start: formula
?formula: implication
?implication: disjunction
    | disjunction (IMPLIES | IFF | XOR) implication            -> infix
?disjunction: conjunction (_OR conjunction)*                   -> disjunction
?conjunction: binding (_AND binding)*                          -> conjunction
?binding: unary
    | unary (SINCE | UNTIL) [window] unary                     -> temporal_pair
?unary: comparison
    | NOT unary                                                -> prefix
    | QUANTIFIER _OBJECT [_THAT _IS implication] ":" formula   -> quantified
    | TEMPORAL [window] unary                                  -> temporal
?comparison: sum
    | sum COMPARISON sum                                       -> infix
?sum: product
    | sum (PLUS | MINUS) product                               -> infix
?product: negation
    | product (TIMES | OVER) negation                          -> infix
?negation: atom
    | MINUS negation                                           -> negative
?atom: QUANTITY                                                -> quantity
    | TRUTH                                                    -> truth
    | FUNCTION "(" formula ("," formula)* ")"                  -> call
    | NAME                                                     -> signal
    | "(" formula ")"
window: "[" bound ["," (bound | END)] "]"
bound: QUANTITY                                                -> quantity

QUANTIFIER.2: /(any|every){_ENDS}/
_OBJECT.2: /object{_ENDS}/
_THAT.2: /that{_ENDS}/
_IS.2: /is{_ENDS}/
IMPLIES.2: /implies{_ENDS}|->/
IFF.2: /iff{_ENDS}/
XOR.2: /xor{_ENDS}/
_OR.2: /or{_ENDS}/
_AND.2: /and{_ENDS}/
SINCE.2: /since{_ENDS}/
UNTIL.2: /until{_ENDS}/
NOT.2: /not{_ENDS}/
TEMPORAL.2: /(once|historically|previous|eventually|always|next){_ENDS}/
TRUTH.2: /(true|false){_ENDS}/
FUNCTION.2: /({"|".join(FUNCTIONS)})(?=\s*\()/
END.2: /end{_ENDS}/
COMPARISON: /<=|>=|==|!=|<|>/
PLUS: "+"
MINUS: "-"
TIMES: "*"
OVER: "/"
QUANTITY: /(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?(\s*{_UNIT}(\s*[\/*]?\s*{_UNIT})*)?/
NAME: /{_NAME}/
%ignore /\s+/
"""

# Words for the terminals of the grammar in error messages.
_WORDS = {
    "QUANTIFIER": "'any object' or 'every object'",
    "_OBJECT": "'object'",
    "_THAT": "'that is'",
    "_IS": "'is'",
    "IMPLIES": "'implies'",
    "IFF": "'iff'",
    "XOR": "'xor'",
    "_OR": "'or'",
    "_AND": "'and'",
    "SINCE": "'since'",
    "UNTIL": "'until'",
    "NOT": "'not'",
    "TEMPORAL": "a temporal operator",
    "TRUTH": "'true' or 'false'",
    "FUNCTION": "a function",
    "END": "'end'",
    "COMPARISON": "a comparison",
    "PLUS": "'+'",
    "MINUS": "'-'",
    "TIMES": "'*'",
    "OVER": "'/'",
    "QUANTITY": "a number",
    "NAME": "a signal",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "a window '['",
    "RSQB": "']'",
    "COMMA": "','",
    "COLON": "':'",
    "$END": "the end",
}
_START_OF_TERM = {"NAME", "QUANTITY", "LPAR", "TRUTH", "FUNCTION", "MINUS"}
_START_OF_FORMULA = {*_START_OF_TERM, "NOT", "TEMPORAL", "QUANTIFIER"}


class FormulaError(ValueError):
    """A formula is wrong.

    Attributes:
        place: index of the character where, or -1.
    """

    def __init__(self, problem: str, text: str = "", place: int = -1) -> None:
        self.problem, self.place = problem, place
        super().__init__(f"{problem}{_pointer(text, place)}" if text else problem)


def parse(text: str) -> Formula:
    """Read a formula.

    Raises:
        FormulaError: in one line: where in the text, what was expected there, and what stands there.
    """
    try:
        tree = _parser().parse(text)
        result: Formula = _Builder().transform(tree)
        return result
    except lark.exceptions.UnexpectedCharacters as error:
        place = int(error.pos_in_stream or 0)
        word = re.match(r"\w+", text[place:])
        if word is None:
            raise FormulaError(f"unexpected character '{text[place]}'", text, place) from None
        raise FormulaError(f"expected {_expected(error.allowed)}, found '{word[0]}'", text, place) from None
    except lark.exceptions.UnexpectedToken as error:
        at_end = error.token.type == "$END"
        place = len(text) if at_end else int(error.token.start_pos or 0)
        close = nearest(str(error.token), units.SYMBOLS)
        if re.search(r"\d\s*$", text[:place]) and len(error.token) > 1 and "did you mean" in close:
            raise FormulaError(f"unknown unit '{error.token}'{close}", text, place) from None
        found = "the end" if at_end else f"'{error.token}'"
        accepted = error.accepts or set()
        raise FormulaError(f"expected {_expected(accepted)}, found {found}", text, place) from None
    except lark.exceptions.VisitError as error:
        if isinstance(error.orig_exc, FormulaError):
            raise FormulaError(error.orig_exc.problem, text, error.orig_exc.place) from None
        raise


def is_name(text: str) -> bool:
    """Return whether a signal can be called that."""
    return re.fullmatch(_NAME, text) is not None and text not in FUNCTIONS


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", propagate_positions=True, maybe_placeholders=True)


def _expected(terminals: Iterable[str]) -> str:
    names = set(terminals)
    words = []
    if names >= _START_OF_FORMULA:
        names -= _START_OF_FORMULA
        words.append("a formula")
    elif names >= _START_OF_TERM:
        names -= _START_OF_TERM
        words.append("a number or a signal")
    words += sorted(_WORDS.get(name, name) for name in names)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _pointer(text: str, place: int) -> str:
    """Return where a place is: line, column, and the text around it with a mark before the place."""
    if place < 0:
        return f" in '{' '.join(text.split())}'" if text.strip() else ""
    line = text.count("\n", 0, place) + 1
    column = place - (text.rfind("\n", 0, place) + 1) + 1
    before, after = text[max(0, place - 60) : place], text[place : place + 30].split("\n")[0]
    if place > 60:
        before = "... " + before.partition(" ")[2]  # not from the middle of a word
    before = " ".join(before.split())
    space = " " if before and text[place - 1 : place].isspace() else ""
    return f" at line {line}, column {column}: {before}{space}<HERE>{after.rstrip()}"


@v_args(inline=True)
class _Builder(Transformer):
    """Turns the parse tree into a formula."""

    def quantified(self, quantifier: Token, condition: Formula | None, body: Formula) -> Formula:
        chosen = Number(True) if condition is None else condition
        return Operation(str(quantifier), (chosen, body), place=_place(quantifier))

    def infix(self, left: Formula, sign: Token, right: Formula) -> Formula:
        kind = "implies" if sign == "->" else str(sign)
        return Operation(kind, (left, right), place=_place(sign))

    def disjunction(self, *parts: Formula) -> Formula:
        return either(*parts)

    def conjunction(self, *parts: Formula) -> Formula:
        return both(*parts)

    def temporal_pair(self, left: Formula, sign: Token, window: Window | None, right: Formula) -> Formula:
        return Operation(str(sign), (left, right), window, _place(sign))

    def prefix(self, sign: Token, body: Formula) -> Formula:
        return Operation(str(sign), (body,), place=_place(sign))

    def temporal(self, sign: Token, window: Window | None, body: Formula) -> Formula:
        if window is not None and sign in ("previous", "next"):
            raise FormulaError(f"'{sign}' has no window; it is about one step", place=_place(sign))
        return Operation(str(sign), (body,), window, _place(sign))

    def window(self, *bounds: Any) -> Window:
        first, second = bounds if len(bounds) == 2 else (bounds[0], None)
        if isinstance(second, Token):
            return Window(first, None)
        if second is None:  # [5 s] is short for [0, 5 s]
            return Window(Number(0.0, first.unit, first.place), first)
        if not first.unit:  # [0, 5 s]: the unit of the second bound is that of both
            first = Number(first.value, second.unit, first.place)
        return Window(first, second)

    def negative(self, sign: Token, body: Formula) -> Formula:
        if isinstance(body, Number) and not isinstance(body.value, bool):
            return Number(-body.value, body.unit, _place(sign))
        return Operation("negative", (body,), place=_place(sign))

    def quantity(self, token: Token) -> Number:
        digits = token.rstrip()
        split = next((i for i in range(len(digits), 0, -1) if _is_number(digits[:i])), len(digits))
        return Number(float(digits[:split]), " ".join(digits[split:].split()), _place(token))

    def truth(self, token: Token) -> Number:
        return Number(token == "true", place=_place(token))

    def call(self, name: Token, *arguments: Formula) -> Formula:
        wanted = FUNCTIONS[str(name)]
        if len(arguments) != wanted:
            raise FormulaError(f"'{name}' takes {wanted} arguments, got {len(arguments)}", place=_place(name))
        return Operation(str(name), arguments, place=_place(name))

    def signal(self, token: Token) -> Signal:
        return Signal(str(token), _place(token))


def _place(token: Token) -> int:
    return int(token.start_pos or 0)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text[-1].isspace()
