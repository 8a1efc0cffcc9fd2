"""Explain why a value is not allowed, because pydantic's own messages are written for programmers."""

from collections.abc import Mapping
from typing import Any

# Maps the type of a pydantic error to the explanation.
REASONS = {
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "finite_number": "must be finite",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
}


def explain(problem: Mapping[str, Any]) -> str:
    """Explain one item of `pydantic.ValidationError.errors()`: what is allowed, and the value.

    >>> explain({"type": "greater_than", "loc": ("fps",), "input": 0.0, "ctx": {"gt": 0}})
    'must be greater than 0, got 0.0'
    """
    details = problem.get("ctx", {})
    if problem["type"] == "value_error":
        return str(details["error"])
    return f"{REASONS.get(problem['type'], 'is not allowed').format(**details)}, got {problem['input']!r}"
