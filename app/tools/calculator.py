"""A calculator: one expression of numbers, evaluated by a library that knows nothing else."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

import simpleeval

MAX_EXPRESSION_CHARS: Final = 500
MAX_DIGITS: Final = 1_000
"""Digits of a whole number on the way to a result: larger ones would keep everybody waiting."""
_SIGNS: Final = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "√": "sqrt"})


class CalculationError(Exception):
    """An expression without a result; the message says why, as a sentence."""


def _number(value: Any) -> Any:
    """Return it if it is a number of reasonable size. Raises CalculationError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CalculationError("Only numbers can be calculated with.")
    if isinstance(value, int) and value.bit_length() > MAX_DIGITS * math.log2(10):
        raise CalculationError("The result is too large.")
    return value


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*values: Any) -> Any:
        return _number(function(*map(_number, values)))

    return call


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int):
        digits = abs(exponent) * math.log10(max(2, abs(base)))
        if exponent > 0 and digits > MAX_DIGITS:
            raise CalculationError("The result is too large.")
    result = base**exponent
    if isinstance(result, complex):
        raise CalculationError("The result is no real number.")
    return result


def _factorial(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= 400:
        raise CalculationError("The factorial takes a whole number from 0 to 400.")
    return math.factorial(value)


def _rounded(value: Any, digits: Any = 0) -> Any:
    return round(value, max(-20, min(20, int(digits)))) if digits else round(value)


_OPERATORS: Final[Mapping[type[ast.AST], Callable[..., Any]]] = {
    ast.Add: _checked(operator.add),
    ast.Sub: _checked(operator.sub),
    ast.Mult: _checked(operator.mul),
    ast.Div: _checked(operator.truediv),
    ast.FloorDiv: _checked(operator.floordiv),
    ast.Mod: _checked(operator.mod),
    ast.Pow: _checked(_power),
    ast.BitXor: _checked(_power),  # as people write it
    ast.USub: _checked(operator.neg),
    ast.UAdd: _checked(operator.pos),
}
_PLAIN: Final = (
    *("sqrt", "cbrt", "exp", "log", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan"),
    *("atan2", "sinh", "cosh", "tanh", "hypot", "degrees", "radians", "floor", "ceil", "gcd"),
)
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    **{name: _checked(getattr(math, name)) for name in _PLAIN},
    **{"ln": _checked(math.log), "abs": _checked(abs), "min": _checked(min), "max": _checked(max)},
    **{"round": _checked(_rounded), "factorial": _checked(_factorial)},
}
_NAMES: Final = {"pi": math.pi, "e": math.e, "tau": math.tau}


def calculate(expression: str) -> str:
    """Return the result of an expression. Raises CalculationError."""
    text = expression.strip().removesuffix("=").translate(_SIGNS)
    if not text:
        raise CalculationError("There is nothing to calculate.")
    if len(text) > MAX_EXPRESSION_CHARS:
        raise CalculationError(f"Give at most {MAX_EXPRESSION_CHARS} characters.")
    evaluator = simpleeval.SimpleEval(
        operators=dict(_OPERATORS), functions=dict(_FUNCTIONS), names=dict(_NAMES)
    )
    try:
        ast.parse(text, mode="eval")  # an expression and no assignment
        return _format(_number(evaluator.eval(text)))
    except CalculationError:
        raise
    except ZeroDivisionError:
        raise CalculationError("Nothing can be divided by zero.") from None
    except OverflowError:
        raise CalculationError("The result is too large.") from None
    except simpleeval.FunctionNotDefined as error:
        raise CalculationError(f"There is no function {error.func_name}.") from None
    except simpleeval.NameNotDefined as error:
        raise CalculationError(f"There is no name {error.name}.") from None
    except (simpleeval.InvalidExpression, SyntaxError, MemoryError, RecursionError):
        raise CalculationError("This is no expression, such as (2 + 3) * 4.") from None
    except (ValueError, TypeError, KeyError):
        raise CalculationError("This has no result.") from None


def _format(value: Any) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CalculationError("The result is too large.")
        return f"{value:.12g}"
    return str(value)
