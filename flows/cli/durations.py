"""Durations with a unit, such as `30m`, `24h` or `30d`."""

import re
from datetime import timedelta

import typer

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(rf"(\d+(?:\.\d+)?)([{''.join(_UNITS)}])")

_LONGEST = timedelta(days=36_500)  # dates that long ago can still be represented


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as `24h`.

    Raises:
        typer.BadParameter: if it is not a number with a unit, or longer than a century.

    >>> parse_duration("36h"), parse_duration("1.5d")
    (datetime.timedelta(days=1, seconds=43200), datetime.timedelta(days=1, seconds=43200))
    """
    if (found := _DURATION.fullmatch(text.strip().lower())) is None:
        raise typer.BadParameter(f"a number with a unit, such as 90s, 30m, 24h, 30d or 2w, got {text!r}")
    try:
        duration = timedelta(**{_UNITS[found[2]]: float(found[1])})
    except OverflowError as error:
        raise typer.BadParameter(f"{text} is too long") from error
    if duration > _LONGEST:
        raise typer.BadParameter(f"{text} is too long: give at most {_LONGEST.days}d")
    return duration
