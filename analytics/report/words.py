"""Numbers and shares as the report writes them."""

from collections.abc import Mapping

NO_LABEL = "visible, no label"


def share_words(shares: Mapping[str, float]) -> str:
    """Shares in words, the largest first; empty if there are none.

    >>> share_words({"happy": 0.25, "sad": 0.75, "fear": 0.0})
    'sad 75%, happy 25%'
    """
    largest = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {part:.0%}" for name, part in largest if part >= 0.005)


def percent(share: float | None) -> str:
    """A share in percent; empty if it is not known.

    >>> percent(0.1234), percent(None)
    ('12.3%', '')
    """
    return "" if share is None else f"{share:.1%}"


def clock(time_s: float) -> str:
    r"""A time: seconds below a minute, then minutes, then hours.

    >>> clock(3.25), clock(59.97), clock(75), clock(3675)
    ('3.2\xa0s', '1:00', '1:15', '1:01:15')
    """
    if abs(time_s) < 59.95:
        return f"{time_s:.1f}\N{NO-BREAK SPACE}s"
    minutes, seconds = divmod(round(abs(time_s)), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    return f"-{text}" if time_s < 0 else text
