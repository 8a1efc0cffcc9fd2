"""Describe in plain words why a model card is invalid."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_REPORTED_ERRORS = 3
MAX_VALUE_LENGTH = 40  # most characters of a value that are shown
# What a field must be, by the type of pydantic's error; in braces: values of the error's context.
REQUIREMENTS = {
    "too_short": "must have {min_length} or more items",
    "too_long": "must have at most {max_length} items",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "finite_number": "must be a finite number",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "string_type": "must be a string",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "dataclass_type": "must be an object",
    "predicate_failed": "is not valid",
}
# Errors of whole fields, whose value says nothing.
FIELD_ERRORS = {"missing": "is missing", "unexpected_keyword_argument": "is not a field of this card"}
# Parts of the names that pydantic gives to the alternatives of a field that is a number or a list of numbers.
ALTERNATIVES = ("constrained-", "tuple[")


def describe_errors(errors: Sequence["ErrorDetails"]) -> str:
    """Format the first errors, each with its field and value."""
    relevant = [error for error in errors if not _is_of_other_alternative(error) and not _follows_from_items(error)]
    parts = [_describe(error) for error in relevant[:MAX_REPORTED_ERRORS]]
    more = len(relevant) - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")


def _is_of_other_alternative(error: "ErrorDetails") -> bool:
    """Whether a number was expected and a list found, or the reverse, in a field that may be either."""
    if not _is_alternative(error["loc"][-1:]):
        return False
    return error["type"] == "tuple_type" or (error["type"] == "float_type" and isinstance(error["input"], list))


def _is_alternative(part: Sequence[int | str]) -> bool:
    return bool(part) and str(part[0]).startswith(ALTERNATIVES)


def _follows_from_items(error: "ErrorDetails") -> bool:
    """Whether a list counts as too short only because some of its values are invalid, each with an error of its own."""
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


def _describe(error: "ErrorDetails") -> str:
    """Format one error.

    >>> _describe({"type": "int_type", "loc": ("input_size_px",), "msg": "Input should be…", "input": "48"})
    'input_size_px: must be an integer (got "48")'
    """
    where = ".".join(str(part) for part in error["loc"] if not _is_alternative([part]))
    if (problem := FIELD_ERRORS.get(error["type"])) is not None:
        return f"{where}: {problem}"
    if (requirement := REQUIREMENTS.get(error["type"])) is None:
        return f"{where}: {error['msg']}" if where else error["msg"]
    text = f"{requirement.format(**error.get('ctx', {}))} (got {_shown(error['input'])})"
    return f"{where}: {text}" if where else text


def _shown(value: object) -> str:
    """Format a value as in the card; of lists and objects only their length.

    >>> _shown("rgb"), _shown(True), _shown([1, 2]), _shown({})
    ('"rgb"', 'true', 'a list of 2', 'an object of 0')
    """
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[: MAX_VALUE_LENGTH - 1]}…"
