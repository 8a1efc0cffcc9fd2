"""Numbers in sentences."""


def counted(n: int, singular: str, plural: str = "") -> str:
    """A number with its noun.

    >>> counted(1, "video"), counted(1200, "video"), counted(2, "analysis", "analyses")
    ('1 video', '1,200 videos', '2 analyses')
    """
    return f"{n:,} {singular if n == 1 else plural or f'{singular}s'}"
